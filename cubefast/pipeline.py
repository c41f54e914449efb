"""Text -> text: teacher, cube and decoder of a finished run, put together again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import overload

import safetensors
import safetensors.torch
import torch

from .config import TrainingConfig
from .core import CubicCore
from .data.datasets import Parts
from .data.encoders import TextEncoder, create_encoder
from .data.vectors import Preparation
from .decoding import Answer, RetrievalDecoder
from .errors import ArtifactError, InputError
from .training.run_folder import RunFolder

ANSWERS = "answers.safetensors"


def save_answers(run: RunFolder, fingerprint: str, parts: Parts) -> None:
    """Keep a run's bank of answers: their texts, their vectors as the core saw them, what was done to make them so, and
    the fingerprint of the encoder.
    """
    tensors = {"vectors": torch.from_numpy(parts.answer_vectors)}
    if parts.prepare.mean is not None:
        tensors["mean"] = torch.from_numpy(parts.prepare.mean)
    header = {
        "fingerprint": fingerprint,
        "normalize": json.dumps(parts.prepare.normalize),
        "texts": json.dumps(parts.answers, ensure_ascii=False),
    }
    run.write(ANSWERS, safetensors.torch.save(tensors, header))


class Pipeline:
    """Questions in, answers out.

    Args:
        encoder: the teacher the core was trained with.
        core: a trained core.
        decoder: finds texts for the core's embeddings.
        prepare: done to a question's embedding before the core, as in training.
    """

    def __init__(
        self, encoder: TextEncoder, core: CubicCore, decoder: RetrievalDecoder, prepare: Preparation | None = None
    ) -> None:
        self.encoder = encoder
        self.prepare = prepare or Preparation()
        self.core = core.eval()
        self.decoder = decoder

    @classmethod
    def from_run(cls, path: str | Path) -> Pipeline:
        """The pipeline of ``runs/NAME``.

        Raises:
            ArtifactError: no finished run, a damaged file, answers made with another encoder than is here, or a run on
                ready embeddings, which has no encoder.
        """
        run = RunFolder.open(path)
        config = TrainingConfig.load(run.path / "config.yaml")
        if config.data.vectors is not None:
            raise ArtifactError(
                f"{path} was trained on ready embeddings ({config.data.vectors}), so there is no encoder to ask with. "
                f'Use CubicCore.from_pretrained("{run.path / "best"}") on embeddings of the same kind'
            )
        encoder = create_encoder(config.encoder)
        core = CubicCore.from_pretrained(run.path / "best")
        bank = run.path / ANSWERS
        try:
            with safetensors.safe_open(bank, framework="pt") as file:
                header = file.metadata()
                vectors = file.get_tensor("vectors")
                mean = file.get_tensor("mean").numpy() if "mean" in file.keys() else None  # noqa: SIM118
            texts, fingerprint = json.loads(header["texts"]), header["fingerprint"]
            prepare = Preparation(mean, json.loads(header["normalize"]))
        except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the answers of the run, {bank}, cannot be read: {error}") from None
        if fingerprint != encoder.fingerprint:
            raise ArtifactError(
                f"{path} was trained with the encoder {fingerprint}, and this machine's is "
                f"{encoder.fingerprint}: their embeddings do not match. Install that version, or train "
                "again"
            )
        return cls(encoder, core, RetrievalDecoder(texts, vectors), prepare)

    @overload
    def __call__(self, questions: str, count: int = 5) -> list[Answer]: ...
    @overload
    def __call__(self, questions: list[str], count: int = 5) -> list[list[Answer]]: ...
    def __call__(self, questions: str | list[str], count: int = 5) -> list[Answer] | list[list[Answer]]:
        """The ``count`` best answers of a question, best first; of several, a list for each.

        Raises InputError for a blank question.
        """
        if isinstance(questions, str):
            return self([questions], count)[0]
        for question in questions:
            if not question.strip():
                raise InputError("the question is blank; ask something")
        with torch.no_grad():
            embeddings = self.core(torch.from_numpy(self.prepare(self.encoder.encode(questions))))
        return self.decoder.decode(embeddings, count)
