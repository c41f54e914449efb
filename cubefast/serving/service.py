"""What the server computes, without HTTP: lists in, lists out, so that requests of many clients are batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.reading.dialogues import load_side
from ..decoding import Answer, CalibratedThreshold, Decoder, RetrievalDecoder
from ..decoding.search import IndexKind
from ..errors import InputError
from ..pipeline import Pipeline
from ..training.run_folder import RunFolder
from .requests import AskRequest

_TOGETHER = 256  # known questions encoded at once


@dataclass(frozen=True)
class Result:
    """The answers to a question.

    Attributes:
        answers: nearest to what the core makes of the question, best first.
        before: nearest to the encoder's own embedding of the question, best first.
        similar: the known questions nearest to it by the encoder's embeddings; None: the server knows none.
    """

    answers: list[Answer]
    before: list[Answer]
    similar: list[Answer] | None


@dataclass(eq=False)
class Service:
    """Computes the embeddings and answers of a run. Its methods must be called by one thread at a time.

    Args:
        name: the name by which clients request it, as the model of OpenAI's API.
        pipeline: a pipeline with a ``plain_decoder``, and a decoder without a threshold, since clients see the score.
        calibration: the threshold below which an answer should not be given, and its calibration; None: none.
        known_questions: finds the known questions nearest to an embedding of the encoder; None: none are known.
    """

    name: str
    pipeline: Pipeline
    calibration: CalibratedThreshold | None = None
    known_questions: RetrievalDecoder | None = None

    def __post_init__(self) -> None:
        if self.pipeline.plain_decoder is None:
            raise ValueError("a service needs a pipeline with a plain_decoder: Pipeline.from_run(..., plain=True)")
        self.plain_decoder: Decoder = self.pipeline.plain_decoder

    @classmethod
    def from_run(
        cls,
        path: str | Path,
        *,
        index: IndexKind = "exact",
        further_answers: Sequence[str] = (),
        questions: str | None = None,
        encoder: str | None = None,
    ) -> Service:
        """Load the service of ``runs/NAME``, which is called NAME.

        Args:
            path: the run's folder.
            index, further_answers, encoder: see :meth:`Pipeline.from_run`.
            questions: a file of known questions, see :func:`~cubefast.data.reading.dialogues.load_side`; they are
                encoded here. None: no questions are known, since a run keeps its answers, and not the questions that it
                was trained on.

        Raises InputError for a run or file that cannot be served.
        """
        pipeline = Pipeline.from_run(
            path, index=index, threshold=None, further_answers=further_answers, plain=True, encoder=encoder
        )
        pipeline.text_encoder()  # what cannot be asked is not served
        run = RunFolder.open(path)
        known = None
        if questions is not None:
            data = run.load_config().data
            try:
                texts = load_side(questions, "question", data.columns, data.limits)
            except InputError:  # the file may have the usual names where the run's data has others
                texts = load_side(questions, "question", limits=data.limits)
            parts = [texts[begin : begin + _TOGETHER] for begin in range(0, len(texts), _TOGETHER)]
            vectors = np.concatenate([pipeline.embed_plain(part).numpy() for part in parts])
            known = RetrievalDecoder(texts, vectors, index=index)
        return cls(run.path.resolve().name, pipeline, run.load_threshold(), known)

    @property
    def threshold(self) -> float | None:
        """The least score of an answer that is likely to be right; None if the run has no threshold."""
        return None if self.calibration is None else self.calibration.threshold

    def is_known(self, answers: Sequence[Answer]) -> bool:
        """Whether the best of these answers reaches the threshold; always True without one."""
        return self.threshold is None or (len(answers) > 0 and answers[0].score >= self.threshold)

    def embed_queries(self, texts: list[str]) -> list[NDArray[np.float32]]:
        """The core's embedding [D] of each question."""
        return list(self.pipeline.embed(texts).numpy())

    def embed_documents(self, texts: list[str]) -> list[NDArray[np.float32]]:
        """The embedding [D] of each document, for an index of :meth:`embed_queries`' embeddings."""
        return list(self.pipeline.embed_answers(texts))

    def ask(self, questions: list[AskRequest]) -> list[Result]:
        """The answers to each question; every text is encoded once."""
        plain = self.pipeline.embed_plain([each.question for each in questions], [each.history for each in questions])
        most = max(each.count for each in questions)
        answers = self.pipeline.decoder.decode(self.pipeline.apply_core(plain), most)
        before = self.plain_decoder.decode(plain, most)
        known = self.known_questions
        similar = [None] * len(questions) if known is None else known.decode(plain, most)
        return [
            Result(after[: each.count], first[: each.count], alike and alike[: each.count])
            for each, after, first, alike in zip(questions, answers, before, similar, strict=True)
        ]
