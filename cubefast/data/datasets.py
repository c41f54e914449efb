"""The data sets that people have, ready to be trained on: texts or vectors -> AutoencoderDataset, DialogueDataset.

From a source to pairs: read (dialogues, loader), drop what is bad (quality), encode once (cache), pair (pairs), split
by group (splits). Whatever is fitted is fitted on the training part alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .cache import CacheStatistics
from .config import ContextConfig, DatasetConfig
from .dialogues import Dialogue, normalize
from .encoders import Embeddings
from .pairs import PairDataset
from .quality import QualityReport
from .splits import Split, check_leaks, split_dialogues, split_texts, split_vectors
from .statistics import DatasetStatistics, Spread, cosines
from .teachers import CentredVectors
from .vectors import Preparation, Vectors, chunks


@dataclass(frozen=True)
class Parts:
    """A data set, divided.

    Attributes:
        train, validation: what is learnt from, what selects.
        tests: held-out pairs by the name of what is new in them; empty ones are left out.
        answers: each different answer once, the bank that a question's embedding is matched with; none for texts.
        answer_vectors: float32 [answers, D].
        prepare: what is done to every embedding, to be done to a new question's too.
        rows: of each part by its name, "train", "validation" and the tests', the items of the data set it was made of.
            An autoencoder's parts hold the different texts of theirs.
    """

    train: PairDataset
    validation: PairDataset
    tests: dict[str, PairDataset]
    answers: list[str]
    answer_vectors: Embeddings
    prepare: Preparation
    rows: dict[str, list[int]] = field(default_factory=dict)


class DialogueDataset(PairDataset):
    """Questions and their answers: an item is (question's embedding, answer's embedding, answer's number).

    Made by :func:`create_dialogue_dataset` or :func:`create_conversation_dataset`.

    Args:
        dialogues: n of them.
        vectors: embeddings of their texts.
        question_rows: int64 [n, W], the rows of each question and, further right, of the turns before it, the latest
            first; -1 for none.
        answer_rows: int64 [n].
        config: how contexts are weighted, how embeddings are prepared, how the set is split.
        fingerprint: of what made the vectors.
        report: what the quality filter dropped.
        cache: how many texts the cache had.
        teachers: the same texts embedded by others, row for row with ``vectors``.

    Attributes:
        answers: each different answer once (by normal form, the first spelling).
    """

    def __init__(
        self,
        dialogues: Sequence[Dialogue],
        vectors: Vectors,
        question_rows: NDArray[np.int64],
        answer_rows: NDArray[np.int64],
        config: DatasetConfig,
        *,
        fingerprint: str,
        report: QualityReport | None = None,
        cache: CacheStatistics | None = None,
        teachers: Sequence[Vectors] = (),
    ) -> None:
        forms = [normalize(dialogue.answer) for dialogue in dialogues]
        first: dict[str, int] = {}
        for row, form in enumerate(forms):
            first.setdefault(form, row)
        number = {form: i for i, form in enumerate(first)}
        self.answers = [dialogues[row].answer for row in first.values()]
        self.answer_rows = answer_rows[list(first.values())]
        ids = np.array([number[form] for form in forms], np.int64)
        super().__init__(
            vectors,
            question_rows,
            self.answer_rows[ids],  # one spelling's embedding for all
            ids,
            weights=_context_weights(question_rows, config.context),
            prepare=Preparation(normalize=config.normalize),
            lengths=np.array([len(d.question) + len(d.answer) for d in dialogues], np.int64),
            teachers=teachers,
        )
        self.dialogues = list(dialogues)
        self.config = config
        self.fingerprint = fingerprint
        self.report = report
        self.cache = cache

    def split(self, mode: str = "dialogue", seed: int = 0) -> Parts:
        """Train, validation and tests, by group.

        Args:
            mode: dialogue: a question's embedding -> its answer's. autoencoder: an embedding with noise -> itself, for
                questions and, where all of an answer's group is in one part, answers.
            seed: of the noise.

        Raises InputError when there are too few groups.
        """
        split = split_dialogues(self.dialogues, self.config.split)
        check_leaks(*([self.dialogues[row] for row in rows] for rows in (split.train, split.unseen_group)))
        listed = (split.train, split.validation, split.unseen_paraphrase, split.unseen_group)
        names = ("train", "validation", "unseen paraphrase", "unseen group")
        if mode == "dialogue":
            parts = [self.subset(rows) for rows in listed]
        else:
            whole = (True, False, False, True)  # whether the part's answers are in no other part
            parts = [
                self._identities(self._text_rows(rows, answers), seed)
                for rows, answers in zip(listed, whole, strict=True)
            ]
        rows = dict(zip(names, listed, strict=True))
        return _finish(self, dict(zip(names, parts, strict=True)), rows, self.answers, self.answer_rows)

    def _identities(self, rows: NDArray[np.int64], seed: int) -> PairDataset:
        noise = self.config.noise
        return PairDataset(
            self.vectors, rows, rows, rows, prepare=self.prepare, noise=noise, seed=seed, teachers=self.teachers
        )

    def _text_rows(self, rows: list[int], with_answers: bool) -> NDArray[np.int64]:
        questions = self.input_rows[rows, 0]
        found = np.concatenate([questions, self.target_rows[rows]]) if with_answers else questions
        return np.array(list(dict.fromkeys(found.tolist())), np.int64)

    def stats(self) -> DatasetStatistics:
        """Counts, lengths, cos(question, answer), what was rejected, what the cache had."""
        return DatasetStatistics(
            pairs=len(self),
            dim=self.dim,
            questions=len({normalize(d.question) for d in self.dialogues}),
            answers=len(self.answers),
            groups=len({d.group for d in self.dialogues}),
            domains=dict(Counter(d.domain for d in self.dialogues)) if any(d.domain for d in self.dialogues) else {},
            question_chars=Spread.of([len(d.question) for d in self.dialogues]),
            answer_chars=Spread.of([len(d.answer) for d in self.dialogues]),
            context_turns=Spread.of([len(d.context) for d in self.dialogues])
            if any(d.context for d in self.dialogues)
            else None,
            cosine=Spread.of(cosines(self.vectors, self.input_rows[:, 0], self.target_rows)),
            rejected={reason: each.count for reason, each in self.report.rejected.items()} if self.report else {},
            cache_hits=self.cache.hits if self.cache else None,
            cache_misses=self.cache.misses if self.cache else None,
        )


class AutoencoderDataset(PairDataset):
    """Embeddings and themselves: an item is (embedding with noise, the clean embedding, its number).

    Made by :func:`create_text_dataset` or :func:`create_file_dataset`, or from embeddings directly.

    Args:
        vectors: n embeddings; arrays go in as ``ArrayVectors(array)``.
        texts: what they are embeddings of, if known.
        config: the noise, how embeddings are prepared, how the set is split.
        seed: of the noise.
        fingerprint: of what made the vectors.
        cache: how many texts the cache had.
        teachers: the same n embedded by others, in any dimension.
    """

    def __init__(
        self,
        vectors: Vectors,
        texts: Sequence[str] | None = None,
        config: DatasetConfig | None = None,
        *,
        seed: int = 0,
        fingerprint: str = "",
        cache: CacheStatistics | None = None,
        teachers: Sequence[Vectors] = (),
    ) -> None:
        if texts is not None and len(texts) != len(vectors):
            raise InputError(f"{len(texts)} texts cannot belong to {len(vectors)} embeddings")
        self.config = config or DatasetConfig()
        rows = np.arange(len(vectors))
        prepare = Preparation(normalize=self.config.normalize)
        lengths = None if texts is None else np.array([len(text) for text in texts], np.int64)
        super().__init__(
            vectors,
            rows,
            rows,
            rows,
            prepare=prepare,
            noise=self.config.noise,
            seed=seed,
            lengths=lengths,
            teachers=teachers,
        )
        self.texts = texts
        self.fingerprint = fingerprint
        self.cache = cache

    def split(self) -> Parts:
        """Train, validation and test, by the text or, without texts, by the embedding: repetitions stay together.

        Raises InputError when there are too few.
        """
        shares = self.config.split
        split: Split = split_vectors(self.vectors, shares) if self.texts is None else split_texts(self.texts, shares)
        rows = {"train": split.train, "validation": split.validation, "unseen text": split.unseen_group}
        parts = {name: self.subset(places) for name, places in rows.items()}
        return _finish(self, parts, rows, [], np.zeros(0, np.int64))

    def stats(self) -> DatasetStatistics:
        """Counts, lengths, what the cache had."""
        return DatasetStatistics(
            pairs=len(self),
            dim=self.dim,
            question_chars=Spread.of([len(text) for text in self.texts]) if self.texts is not None else None,
            cache_hits=self.cache.hits if self.cache else None,
            cache_misses=self.cache.misses if self.cache else None,
        )


def _context_weights(rows: NDArray[np.int64], context: ContextConfig) -> Embeddings | None:
    """float32 [n, W]: decay^k for the turn k places before the question, whose own weight is 1."""
    if rows.ndim == 1 or rows.shape[1] == 1:
        return None
    return np.broadcast_to(np.float32(context.decay) ** np.arange(rows.shape[1], dtype=np.float32), rows.shape)


def _finish(
    dataset: DialogueDataset | AutoencoderDataset,
    parts: dict[str, PairDataset],
    rows: dict[str, list[int]],
    answers: list[str],
    answer_rows: NDArray[np.int64],
) -> Parts:
    train, validation = parts.pop("train"), parts.pop("validation")
    tests = {name: part for name, part in parts.items() if len(part)}
    if not len(train) or not len(validation) or not tests:
        raise InputError(
            f"{len(dataset)} pairs are too few to split into train, validation and test; "
            "a few dozen groups that share no text are needed"
        )
    prepare = dataset.prepare
    if dataset.config.centre:
        known = np.unique(np.concatenate([train.input_rows.ravel(), train.target_rows]))
        known = known[known >= 0]
        prepare = Preparation(_mean(dataset.vectors, known), dataset.config.normalize)
        teachers = tuple(CentredVectors(teacher, _mean(teacher, known)) for teacher in dataset.teachers)
        for part in (train, validation, *tests.values()):
            part.prepare, part.teachers = prepare, teachers
    bank = prepare(dataset.vectors.gather(answer_rows)) if answers else np.zeros((0, dataset.dim), np.float32)
    return Parts(train, validation, tests, answers, bank, prepare, rows)


def _mean(vectors: Vectors, rows: NDArray[np.int64]) -> Embeddings:
    """The mean of these embeddings, float32 [D]."""
    total = np.zeros(vectors.dim)
    for places in chunks(len(rows)):
        total += vectors.gather(rows[places]).sum(axis=0, dtype=np.float64)
    return (total / len(rows)).astype(np.float32)
