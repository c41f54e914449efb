"""Further teachers: their embeddings of a data set's texts, in the order of the data set's own embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .encoders import Embeddings
from .vectors import Vectors


@dataclass(frozen=True)
class DialogueRows:
    """The row numbers of the texts of each dialogue among some embeddings.

    Attributes:
        questions: int64 [n, W], the question and, further right, the turns before it, the latest first; -1 for none.
        answers: int64 [n].
        negatives: int64 [n, K], wrong answers; -1 for none. None: nobody has any.
    """

    questions: NDArray[np.int64]
    answers: NDArray[np.int64]
    negatives: NDArray[np.int64] | None = None

    def flat(self) -> NDArray[np.int64]:
        """The rows of all questions, turns and answers, int64 [n * (W + 1)]."""
        return np.concatenate([self.questions.ravel(), self.answers])


@dataclass(frozen=True)
class AlignedVectors:
    """A view of embeddings in another order.

    Attributes:
        vectors: the embeddings.
        rows: int64 [M], which of them stands at each place; -1 where none does; such a row is never gathered.
    """

    vectors: Vectors
    rows: NDArray[np.int64]

    @property
    def dim(self) -> int:
        """The size of the embeddings."""
        return self.vectors.dim

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, rows: NDArray[np.integer]) -> Embeddings:
        """A copy of these rows, float32 [len(rows), dim]."""
        return self.vectors.gather(self.rows[rows])


@dataclass(frozen=True)
class CentredVectors:
    """A view of embeddings from which their mean is subtracted.

    Attributes:
        vectors: the embeddings.
        mean: float32 [dim].
    """

    vectors: Vectors
    mean: Embeddings

    @property
    def dim(self) -> int:
        """The size of the embeddings."""
        return self.vectors.dim

    def __len__(self) -> int:
        return len(self.vectors)

    def gather(self, rows: NDArray[np.integer]) -> Embeddings:
        """A copy of these rows, float32 [len(rows), dim]."""
        return self.vectors.gather(rows) - self.mean


def aligned(teacher: Vectors, theirs: DialogueRows, ours: DialogueRows, count: int) -> Vectors:
    """The embeddings of a teacher in the order of the data set's own embeddings.

    Args:
        teacher: the embeddings.
        theirs: where the dialogues are among them.
        ours: where the same dialogues are among the data set's; a text that is there once may come several times among
            theirs, the first counts.
        count: of the data set's embeddings.
    """
    if theirs is ours:
        return teacher
    rows = np.full(count, -1, np.int64)
    places, sources = ours.flat(), theirs.flat()
    used = np.flatnonzero(places >= 0)[::-1]  # backwards, so that of several sources for one place the first stays
    rows[places[used]] = sources[used]
    return AlignedVectors(teacher, rows)
