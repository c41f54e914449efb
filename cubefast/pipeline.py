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
from .data.encoders import TextEncoder, create_encoder
from .decoding import Answer, RetrievalDecoder
from .errors import ArtifactError, InputError
from .training.run_folder import RunFolder

ANSWERS = "answers.safetensors"


def save_answers(run: RunFolder, encoder: TextEncoder, texts: list[str], vectors: torch.Tensor) -> None:
    """Keep a run's bank of answers, with the fingerprint of the encoder that made their vectors."""
    header = {"fingerprint": encoder.fingerprint, "texts": json.dumps(texts, ensure_ascii=False)}
    run.write(ANSWERS, safetensors.torch.save({"vectors": vectors.contiguous()}, header))


class Pipeline:
    """Questions in, answers out.

    Args:
        encoder: the teacher the core was trained with.
        core: a trained core.
        decoder: finds texts for the core's embeddings.
    """

    def __init__(self, encoder: TextEncoder, core: CubicCore, decoder: RetrievalDecoder) -> None:
        self.encoder = encoder
        self.core = core.eval()
        self.decoder = decoder

    @classmethod
    def from_run(cls, path: str | Path) -> Pipeline:
        """The pipeline of ``runs/NAME``.

        Raises:
            ArtifactError: no finished run, a damaged file, or answers made with another encoder than is here.
        """
        run = RunFolder.open(path)
        encoder = create_encoder(TrainingConfig.load(run.path / "config.yaml").encoder)
        core = CubicCore.from_pretrained(run.path / "best")
        bank = run.path / ANSWERS
        try:
            with safetensors.safe_open(bank, framework="pt") as file:
                header = file.metadata()
                vectors = file.get_tensor("vectors")
            texts, fingerprint = json.loads(header["texts"]), header["fingerprint"]
        except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the answers of the run, {bank}, cannot be read: {error}") from None
        if fingerprint != encoder.fingerprint:
            raise ArtifactError(
                f"{path} was trained with the encoder {fingerprint}, and this machine's is "
                f"{encoder.fingerprint}: their embeddings do not match. Install that version, or train "
                "again"
            )
        return cls(encoder, core, RetrievalDecoder(texts, vectors))

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
            embeddings = self.core(torch.from_numpy(self.encoder.encode(questions)))
        return self.decoder.decode(embeddings, count)
