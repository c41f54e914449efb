"""The data sets: AutoencoderDataset of texts or vectors, DialogueDataset of questions and answers.

A source is read (reading/, embeddings/), filtered (quality_filter.py), encoded once (encoding/, cache/), made into
pairs (pairs.py) and split by group (splits.py). Whatever is fitted is fitted on the training part alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..config.data import DatasetConfig
from ..errors import InputError
from .cache.shards import CacheStatistics
from .conversation_context import context_weights
from .embeddings.vectors import Preparation, Vectors, VectorsView, chunks
from .encoding.base import Embeddings
from .pairs import PairDataset
from .quality_filter import QualityReport
from .reading.dialogues import Dialogue, normalize
from .splits import Split, check_leaks, split_dialogues, split_items
from .statistics import DatasetStatistics, Spread, cosines

PARAPHRASE, GROUP, TEXT = "unseen paraphrase", "unseen group", "unseen text"
"""The regimes, by what is new in them: the wording alone, the topic; of an autoencoder on single texts, the text."""


@dataclass(frozen=True)
class Parts:
    """The parts of a split data set.

    Attributes:
        train, validation: the pairs to train on, and those that every choice is made on.
        validations: the pairs of validation by regime, under the names that the tests have; empty ones are left out.
        tests: held-out pairs by regime, the name of what is new in them; empty ones are left out.
        answers: the distinct answers, the bank that a question's embedding is matched with; empty for texts.
        answer_vectors: their prepared embeddings, float32 [answers, D].
        prepare: the preparation of every embedding, also of new questions.
        rows: the items of the data set in each part, by its name: "train", "validation" and the names of the tests. The
            parts of an autoencoder hold the distinct texts of these items.
        finds_answers: whether the targets are answers, whose ids are rows of ``answers`` and ``answer_vectors``; False
            for an autoencoder, whose targets are its inputs.
    """

    train: PairDataset
    validation: PairDataset
    validations: dict[str, PairDataset]
    tests: dict[str, PairDataset]
    answers: list[str]
    answer_vectors: Embeddings
    prepare: Preparation
    rows: dict[str, list[int]] = field(default_factory=dict)
    finds_answers: bool = True

    @property
    def bank(self) -> Embeddings | None:
        """All answers, that ranks are computed among: float32 [answers, D]. None for an autoencoder."""
        return self.answer_vectors if self.finds_answers and self.answers else None

    @property
    def trained(self) -> NDArray[np.bool_]:
        """Whether each answer is the target of a training pair, bool [answers]; all False for an autoencoder."""
        is_trained = np.zeros(len(self.answers), bool)
        if self.finds_answers:
            is_trained[self.train.target_ids] = True
        return is_trained

    def __str__(self) -> str:
        """The number of pairs of each part."""
        regimes = ", ".join(f"{name} {len(part)}" for name, part in self.validations.items())
        tests = ", ".join(f"{name} {len(part)}" for name, part in self.tests.items()) or "none"
        return f"train {len(self.train)}, validation {len(self.validation)} ({regimes}), tests: {tests}"


class DialogueDataset(PairDataset):
    """A data set of questions and answers; an item is (question's embedding, answer's embedding, answer's number).

    Made by :func:`create_dialogue_dataset` or :func:`create_conversation_dataset`.

    Args:
        dialogues: the n dialogues.
        vectors: the embeddings of their texts.
        question_rows: int64 [n, W], the rows of each question and, further right, of the turns before it, the latest
            first; -1 for none.
        answer_rows: int64 [n].
        negative_rows: int64 [n, K], the rows of each dialogue's wrong answers, in their order; -1 for none. None: no
            dialogue has any.
        config: the weights of contexts, the preparation of embeddings and the split.
        fingerprint: the fingerprint of the encoder or file of the vectors.
        report: the report of the quality filter.
        cache: how many texts the cache had.
        teachers: the same texts embedded by other encoders, row for row with ``vectors``.

    Attributes:
        answers: the distinct answers by normal form, each in its first spelling.
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
        negative_rows: NDArray[np.int64] | None = None,
    ) -> None:
        forms = [normalize(dialogue.answer) for dialogue in dialogues]
        number = {form: i for i, form in enumerate(dict.fromkeys(forms))}
        ids = np.array([number[form] for form in forms], np.int64)
        first = np.unique(ids, return_index=True)[1]
        self.answers = [dialogues[row].answer for row in first]
        self.answer_rows = answer_rows[first]
        super().__init__(
            vectors,
            question_rows,
            self.answer_rows[ids],  # one spelling's embedding for all
            ids,
            weights=context_weights(question_rows, config.context),
            prepare=Preparation(normalize=config.normalize),
            lengths=np.array([len(d.question) + len(d.answer) for d in dialogues], np.int64),
            teachers=teachers,
            negative_rows=negative_rows,
            negative_ids=None if negative_rows is None else _negative_ids(dialogues, number, negative_rows.shape[1]),
        )
        self.dialogues = list(dialogues)
        self.config = config
        self.fingerprint = fingerprint
        self.report = report
        self.cache = cache

    def split(self, mode: str = "dialogue", seed: int = 0) -> Parts:
        """Split into train, validation and tests, by group.

        Args:
            mode: dialogue: a question's embedding -> its answer's. autoencoder: an embedding with noise -> itself, for
                questions and, where all of an answer's group is in one part, answers.
            seed: of the noise.

        Raises InputError when there are too few groups: only tests may be empty, and only where their shares are 0.
        """
        split = split_dialogues(self.dialogues, self.config.split)
        check_leaks(*([self.dialogues[row] for row in rows] for rows in (split.train, split.unseen_group)))

        # The answers of topics that are held out must be as new as the topics: none is learnt to be wrong.
        held_out = self.target_ids[[*split.validation_group, *split.unseen_group]]

        def part(rows: list[int]) -> PairDataset:
            if mode != "dialogue":
                # Of these alone the answers are in no other part, so that an autoencoder may have them too.
                return self._identities(rows, rows is split.train or rows is split.unseen_group, seed)
            chosen = self.subset(rows)
            return chosen.without_negatives(held_out) if rows is split.train else chosen

        regimes = {
            PARAPHRASE: (split.validation_paraphrase, split.unseen_paraphrase),
            GROUP: (split.validation_group, split.unseen_group),
        }
        return _parts(self, split, regimes, part, self.config.split.has_tests, finds_answers=mode == "dialogue")

    def all_pairs(self, mode: str = "dialogue", seed: int = 0) -> PairDataset:
        """All pairs undivided, in the form in which :meth:`split` gives those to train on, but not centred."""
        rows = list(range(len(self)))
        return self.subset(rows) if mode == "dialogue" else self._identities(rows, with_answers=True, seed=seed)

    def _identities(self, items: list[int], with_answers: bool, seed: int) -> PairDataset:
        """The distinct texts of these items, each as its own target."""
        texts = self.input_rows[items, 0]
        if with_answers:
            texts = np.concatenate([texts, self.target_rows[items]])
        rows = np.array(list(dict.fromkeys(texts.tolist())), np.int64)
        noise = self.config.noise
        return PairDataset(
            self.vectors, rows, rows, rows, prepare=self.prepare, noise=noise, seed=seed, teachers=self.teachers
        )

    def stats(self) -> DatasetStatistics:
        """Statistics: counts, lengths, cos(question, answer), rejections by the quality filter, use of the cache."""
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
            negatives=sum(len(d.negatives) for d in self.dialogues) or None,
            cosine=Spread.of(cosines(self.vectors, self.input_rows[:, 0], self.target_rows)),
            rejected={reason: each.count for reason, each in self.report.rejected.items()} if self.report else {},
            cache_hits=self.cache.hits if self.cache else None,
            cache_misses=self.cache.misses if self.cache else None,
        )


class AutoencoderDataset(PairDataset):
    """A data set of embeddings and themselves; an item is (embedding with noise, clean embedding, its number).

    Made by :func:`create_text_dataset` or :func:`create_file_dataset`, or from embeddings directly.

    Args:
        vectors: n embeddings; arrays go in as ``ArrayVectors(array)``.
        texts: what they are embeddings of, if known.
        config: the noise, the preparation of embeddings and the split.
        seed: the seed of the noise.
        fingerprint: the fingerprint of the encoder or file of the vectors.
        cache: how many texts the cache had.
        teachers: the same n texts embedded by other encoders, in any dimension.
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
        """Split into train, validation and test by the text or, without texts, by the embedding, so that repetitions
        stay together.

        Raises InputError when there are too few: only the test may be empty, and only where its share is 0.
        """
        shares = self.config.split
        if self.texts is not None:
            items = (normalize(text).encode() for text in self.texts)
        else:
            items = (row.tobytes() for places in chunks(len(self)) for row in self.vectors.gather(places))
        split = split_items(items, shares)
        regimes = {TEXT: (split.validation_group, split.unseen_group)}
        return _parts(self, split, regimes, self.subset, shares.test_percent > 0, finds_answers=False)

    def stats(self) -> DatasetStatistics:
        """Statistics: counts, lengths, use of the cache."""
        return DatasetStatistics(
            pairs=len(self),
            dim=self.dim,
            question_chars=Spread.of([len(text) for text in self.texts]) if self.texts is not None else None,
            cache_hits=self.cache.hits if self.cache else None,
            cache_misses=self.cache.misses if self.cache else None,
        )


def _negative_ids(dialogues: Sequence[Dialogue], number: Mapping[str, int], width: int) -> NDArray[np.int64]:
    """The id of each wrong answer, int64 [n, width]: that of the equal answer if there is one, else one below 0."""
    own: dict[str, int] = {}
    ids = np.full((len(dialogues), width), -1, np.int64)
    for row, dialogue in enumerate(dialogues):
        for place, text in enumerate(dialogue.negatives):
            form = normalize(text)
            ids[row, place] = number[form] if form in number else own.setdefault(form, -1 - len(own))
    return ids


def _parts(
    dataset: DialogueDataset | AutoencoderDataset,
    split: Split,
    regimes: Mapping[str, tuple[list[int], list[int]]],
    part: Callable[[list[int]], PairDataset],
    wants_tests: bool,
    *,
    finds_answers: bool,
) -> Parts:
    """The parts, if they have enough pairs, with embeddings that are centred on the training part if that is set.

    ``regimes`` has the rows of validation and of the test by regime; ``part`` makes the pairs of some rows.
    """
    train, validation = part(split.train), part(split.validation)
    validations = {name: part(rows) for name, (rows, _) in regimes.items() if rows}
    tests = {name: part(rows) for name, (_, rows) in regimes.items() if rows}
    if not len(train) or not len(validation) or (wants_tests and not tests):
        raise InputError(
            f"{len(dataset)} pairs are too few to split into train, validation and test; "
            "a few dozen groups that share no text are needed, and shares in data.split that leave some for each"
        )
    prepare = dataset.prepare
    if dataset.config.centre:
        known = np.unique(np.concatenate([train.input_rows.ravel(), train.target_rows]))
        known = known[known >= 0]
        prepare = Preparation(_mean(dataset.vectors, known), dataset.config.normalize)
        teachers = tuple(VectorsView(teacher, mean=_mean(teacher, known)) for teacher in dataset.teachers)
        for each in (train, validation, *validations.values(), *tests.values()):
            each.prepare, each.teachers = prepare, teachers
    answers, bank = list[str](), np.zeros((0, dataset.dim), np.float32)
    if isinstance(dataset, DialogueDataset):
        answers, bank = dataset.answers, prepare(dataset.vectors.gather(dataset.answer_rows))
    rows = {"train": split.train, "validation": split.validation, **{name: test for name, (_, test) in regimes.items()}}
    return Parts(train, validation, validations, tests, answers, bank, prepare, rows, finds_answers)


def _mean(vectors: Vectors, rows: NDArray[np.int64]) -> Embeddings:
    """The mean of these embeddings, float32 [D]."""
    total = np.zeros(vectors.dim)
    for places in chunks(len(rows)):
        total += vectors.gather(rows[places]).sum(axis=0, dtype=np.float64)
    return (total / len(rows)).astype(np.float32)
