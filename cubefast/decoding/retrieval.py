"""A decoder that retrieves: the answers of a bank whose embeddings are nearest to a given one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..data.embeddings.vectors import Vectors
from ..errors import InputError
from .bank import Bank, Doubles, Indices, unit
from .search import NO_ROW, ExactIndex, IndexKind, create_index


@dataclass(frozen=True)
class Answer:
    """An answer of the bank, and the cosine similarity of its embedding to the query embedding."""

    text: str
    score: float


class Decoder(Protocol):
    """Turns embeddings into texts."""

    def decode(self, embeddings: Tensor | NDArray[np.floating], count: int = 5) -> list[list[Answer]]:
        """At most ``count`` answers for each embedding [n, D], best first; an empty list if none is known."""
        ...


class RetrievalDecoder:
    """Nearest-neighbour search by cosine similarity among the answers of a bank.

    Args:
        texts: the bank's n answers.
        vectors: their embeddings [n, D], as a tensor, an array (also a memory-mapped one) or :class:`Vectors`; need not
            be of unit length. They are not copied.
        index: ``exact`` looks at every answer; ``usearch`` (extra ``ann``) builds an approximate index first, which
            then answers much faster and may miss some: :meth:`recall_against_exact` measures how many.
        mmr: None: the nearest answers. A number from 0 to 1: answers that differ, by maximal marginal relevance
            (Carbonell & Goldstein 1998). Of the ``fetch`` nearest, the next one taken is always::

                argmax_d  mmr * cos(query, d) - (1 - mmr) * max_{e already taken} cos(d, e)

            So 1 is the plain order, and the first answer is always the nearest. Scores remain cosines to the query.
        threshold: the least cosine of the nearest answer; below it, the list of answers is empty.
            None: there are always answers. See :func:`calibrate_threshold`.
        fetch: how many answers ``mmr`` chooses from, if that is more than are asked for.
        handicap: [n], subtracted from the cosine to each answer when answers are ordered; None: no handicap. A core
            moves questions towards the answers that it was trained on, and the handicap makes up for that (see
            :func:`cubefast.training.trust_choice.choose_handicap`). Scores remain cosines; an approximate index may
            miss answers that come first only because of the handicap.

    Raises InputError for an empty bank, texts and vectors that do not match, rows that are NaN or Inf, a setting that
    cannot be, or ``usearch`` where it is not installed.
    """

    def __init__(
        self,
        texts: Sequence[str],
        vectors: Tensor | NDArray[np.floating] | Vectors,
        *,
        index: IndexKind = "exact",
        mmr: float | None = None,
        threshold: float | None = None,
        fetch: int = 50,
        handicap: NDArray[np.floating] | None = None,
    ) -> None:
        if mmr is not None and not 0 <= mmr <= 1:
            raise InputError(f"mmr must be a number from 0 to 1, or None; got {mmr}")
        if threshold is not None and math.isnan(threshold):
            raise InputError("threshold must be a cosine, or None; got NaN")
        if len(texts) == 0 or len(vectors) != len(texts):
            raise InputError(
                f"a bank needs at least one answer and a vector [D] for each; got {len(texts)} answers "
                f"and {len(vectors)} vectors"
            )
        self.texts = list(texts)
        self.mmr = mmr
        self.threshold = threshold
        self.fetch = fetch
        if handicap is not None and (len(handicap) != len(texts) or not np.isfinite(handicap).all()):
            got = "NaN or Inf among them" if len(handicap) == len(texts) else str(len(handicap))
            raise InputError(f"handicap must be a finite number for each of the {len(texts)} answers; got {got}")
        self._bank = Bank(vectors, None if handicap is None else np.asarray(handicap, np.float32))
        self._index = create_index(index, self._bank)

    def decode(self, embeddings: Tensor | NDArray[np.floating], count: int = 5) -> list[list[Answer]]:
        """The ``count`` nearest answers of each embedding [n, D], best first; fewer if the bank has fewer.

        An empty list where the nearest is below the threshold.

        Raises InputError for embeddings of another dimension, NaN or Inf in them, or a count below 1.
        """
        rows, cosines = self.nearest(embeddings, count if self.mmr is None else max(count, self.fetch))
        return [self._answers(*nearest, count) for nearest in zip(rows, cosines, strict=True)]

    def nearest(self, embeddings: Tensor | NDArray[np.floating], count: int = 5) -> tuple[Indices, Doubles]:
        """The row numbers of the nearest answers, int64 [n, count], and their cosines, float64 [n, count].

        ``mmr`` and the threshold are not applied. A ``count`` larger than the bank is reduced to its size; where an
        approximate index finds fewer, the row is -1 and the cosine -inf. Raises InputError as :meth:`decode` does.
        """
        queries = self._queries(embeddings)
        if count < 1:
            raise InputError(f"count must be at least 1; got {count}")
        rows, scores = self._index.search(queries, min(count, len(self.texts)))
        if self._bank.handicap is not None:
            scores = scores + self._bank.handicap[rows]  # the cosine again; -inf remains
        return rows, scores

    def _answers(self, rows: Indices, cosines: Doubles, count: int) -> list[Answer]:
        rows = rows[rows != NO_ROW]
        if not len(rows) or (self.threshold is not None and cosines[0] < self.threshold):
            return []
        order: Sequence[int] = range(min(count, len(rows)))
        if self.mmr is not None:
            vectors = self._bank.unit_rows(rows)
            handicap = 0 if self._bank.handicap is None else self._bank.handicap[rows]
            relevance = cosines[: len(rows)] - handicap
            order = _marginal_relevance(relevance, vectors @ vectors.T, self.mmr, len(order))
        return [Answer(self.texts[rows[i]], float(cosines[i])) for i in order]

    def recall_against_exact(self, embeddings: Tensor | NDArray[np.floating], count: int = 10) -> float:
        """The recall@count of the index against exact search, as a mean over the embeddings [n, D].

        ``mmr`` and the threshold are not applied. Of equally near answers, those that the exact search gives count.

        Raises InputError as :meth:`decode` does, and for no embeddings.
        """
        approximate, _ = self.nearest(embeddings, count)
        if not len(approximate):
            raise InputError("a recall needs at least one embedding; got none")
        exact, _ = ExactIndex(self._bank).search(self._queries(embeddings), approximate.shape[1])
        return float(np.mean([np.isin(*pair).mean() for pair in zip(exact, approximate, strict=True)]))

    def _queries(self, embeddings: Tensor | NDArray[np.floating]) -> Doubles:
        """The embeddings as unit rows, float64 [n, D]."""
        queries = embeddings.detach().cpu().double().numpy() if isinstance(embeddings, Tensor) else embeddings
        if queries.ndim != 2 or queries.shape[1] != self._bank.dim:
            raise InputError(f"embeddings must be [n, {self._bank.dim}]; got {list(queries.shape)}")
        finite = np.isfinite(queries).all(axis=1)
        if not finite.all():
            raise InputError(f"embedding {int(finite.argmin())} is NaN or Inf")
        return unit(queries)


def _marginal_relevance(relevance: Doubles, similarity: Doubles, weight: float, count: int) -> list[int]:
    """The candidates that maximal marginal relevance selects, in order; ``relevance`` [f], ``similarity`` [f, f]."""
    taken = [0]
    closest = similarity[0].copy()  # of each candidate to the most similar one that is taken
    while len(taken) < count:
        value = weight * relevance - (1 - weight) * closest
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        closest = np.maximum(closest, similarity[taken[-1]])
    return taken
