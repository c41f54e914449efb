"""Embeddings of pairs that come ready in files, made by an API or another program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...config.data import DatasetConfig
from ...errors import InputError
from ...utils.files import sha256_of
from ..reading.columns import array_of
from ..reading.dialogues import Dialogue
from .embedding_loader import EmbeddingLoader
from .vectors import ArrayVectors, StackedVectors, Vectors, VectorsView

_PAIR = ("question", "answer")
_BEGINNING = "vectors-"  # of a fingerprint


@dataclass(frozen=True)
class DialogueRows:
    """The row numbers of the texts of n dialogues among some embeddings; -1 for no text."""

    questions: NDArray[np.int64]  # [n, W], the question and, further right, the turns before it, the latest first
    answers: NDArray[np.int64]  # [n]
    negatives: NDArray[np.int64] | None = None  # [n, K], the wrong answers; None: nobody has any


def load_precomputed(
    key: str, files: Sequence[str], config: DatasetConfig, dialogues: list[Dialogue], records: int, source: str
) -> tuple[Vectors, DialogueRows]:
    """The ready embeddings of ``data.KEY``, row for row with the records of which these dialogues are left: of a file
    that has both, or of one of questions and one of answers.

    Returns the embeddings, and which rows of them each dialogue has. Raises InputError where the files do not match
    each other, or the number of ``records`` of the ``source``, which is named in the message.
    """
    if config.context.mode != "none":
        raise InputError(
            f"data.{key} has no embeddings of the turns before a question: set data.context.mode=none, or encode"
        )
    path = " and ".join(files)
    loaders = [EmbeddingLoader(file) for file in files]
    parts = tuple(
        ArrayVectors(loader.load(array=_array_name(loader, role, alone=len(files) > 1)).vectors)
        for loader, role in zip(loaders * (3 - len(files)), _PAIR, strict=True)
    )
    question, answer = parts
    rows = np.array([dialogue.row for dialogue in dialogues], np.int64)
    if len(question) != len(answer) or question.dim != answer.dim:
        raise InputError(
            f"{path}: question is [{len(question)}, {question.dim}] and answer "
            f"[{len(answer)}, {answer.dim}]; they must have one shape"
        )
    if len(np.unique(rows)) != len(rows) or records != len(question):
        raise InputError(
            f"{path} has {len(question)} rows, and {source} has {records} records: they must match row for row, "
            "one question and answer per record"
        )
    return StackedVectors(parts), DialogueRows(rows[:, None], rows + len(question))


def _array_name(loader: EmbeddingLoader, role: str, *, alone: bool) -> str | None:
    """Which array of a file has the embeddings of a role; ``alone``: whether the file is of that role alone."""
    names = loader.names()
    if alone and len(names) < 2:
        return None
    if not names:
        raise InputError(
            f"{loader.path} holds one array: give the questions with data.vectors=FILE, the answers with "
            "data.answer_vectors=FILE"
        )
    return array_of(role, names, str(loader.path))


def fingerprint_of(files: Sequence[str | Path]) -> str:
    """What the embeddings of files are known by: it changes with their bytes."""
    return _BEGINNING + "-".join(sha256_of(file)[:16] for file in files)


def is_precomputed(fingerprint: str) -> bool:
    """Whether a fingerprint is that of ready embeddings, and not of an encoder."""
    return fingerprint.startswith(_BEGINNING)


def aligned(teacher: Vectors, teacher_rows: DialogueRows, own_rows: DialogueRows, count: int) -> Vectors:
    """The embeddings of a teacher in the order of the data set's own, of which there are ``count``.

    The rows are those of the same dialogues' texts among both. Where a text has one row among the data set's embeddings
    and several among the teacher's, the first of these is taken.
    """
    if teacher_rows is own_rows:
        return teacher
    rows = np.full(count, -1, np.int64)
    places, sources = (np.concatenate([each.questions.ravel(), each.answers]) for each in (own_rows, teacher_rows))
    used = np.flatnonzero(places >= 0)[::-1]  # backwards, so that of several sources for one place the first stays
    rows[places[used]] = sources[used]
    return VectorsView(teacher, rows)
