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
class MappedVectors:
    """A view of embeddings in another order, or from which their mean is subtracted.

    Attributes:
        vectors: the embeddings.
        rows: int64 [M], the row that stands at each place; -1 where there is none, and nothing may be gathered. None:
            their own order.
        mean: float32 [dim]; None: zero.
    """

    vectors: Vectors
    rows: NDArray[np.int64] | None = None
    mean: Embeddings | None = None

    @property
    def dim(self) -> int:
        """The size of the embeddings."""
        return self.vectors.dim

    def __len__(self) -> int:
        return len(self.vectors if self.rows is None else self.rows)

    def gather(self, rows: NDArray[np.integer]) -> Embeddings:
        """A copy of these rows, float32 [len(rows), dim]."""
        vectors = self.vectors.gather(rows if self.rows is None else self.rows[rows])
        return vectors if self.mean is None else vectors - self.mean


def aligned(teacher: Vectors, teacher_rows: DialogueRows, own_rows: DialogueRows, count: int) -> Vectors:
    """The embeddings of a teacher in the order of the data set's own embeddings.

    Args:
        teacher: the embeddings.
        teacher_rows: the rows of the dialogues' texts among them.
        own_rows: the rows of the same texts among the data set's embeddings. Where a text has one row here and several
            among the teacher's, the first of these is taken.
        count: the number of the data set's embeddings.
    """
    if teacher_rows is own_rows:
        return teacher
    rows = np.full(count, -1, np.int64)
    places, sources = own_rows.flat(), teacher_rows.flat()
    used = np.flatnonzero(places >= 0)[::-1]  # backwards, so that of several sources for one place the first stays
    rows[places[used]] = sources[used]
    return MappedVectors(teacher, rows)
