"""Nearest-neighbour search in a bank of embeddings: exact, or approximate with an index."""

from __future__ import annotations

import importlib.util
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .bank import Bank, Doubles, Indices

IndexKind = Literal["exact", "usearch"]

_CHUNK = 65_536  # rows of the bank: the fewer chunks, the less the threads of a product wait for each other
_QUERIES = 64  # at once: with a chunk, 16 MB of scores

NO_ROW = -1
"""The row number, with the score -inf, where an index found fewer rows than were requested."""


class Index(Protocol):
    """Finds the nearest rows of a bank."""

    def search(self, queries: Doubles, count: int) -> tuple[Indices, Doubles]:
        """The nearest rows to unit queries [q, D], and their cosines minus the bank's handicap: both [q, count], the
        best first.

        Rows of equal score are in the order of the bank. ``count`` is at most the size of the bank.
        """
        ...


class ExactIndex:
    """Exact search: every row is compared with the query.

    Chunk by chunk, a float32 matrix product finds the rows that could be among the best; their cosines are then
    computed in float64. So the result depends neither on the size of the chunks nor on which queries are searched
    together, and of equal answers the first comes first. Memory: a number for each query and row of a chunk.

    Args:
        bank: the embeddings to search.
        chunk: rows per matrix product.
    """

    def __init__(self, bank: Bank, chunk: int = _CHUNK) -> None:
        self.bank = bank
        self.chunk = chunk

    def search(self, queries: Doubles, count: int) -> tuple[Indices, Doubles]:
        """Search as :meth:`Index.search` does."""
        blocks = [self._search(queries[begin : begin + _QUERIES], count) for begin in range(0, len(queries), _QUERIES)]
        rows = np.concatenate([np.zeros((0, count), np.int64), *(each[0] for each in blocks)])
        return rows, np.concatenate([np.zeros((0, count)), *(each[1] for each in blocks)])

    def _search(self, queries: Doubles, count: int) -> tuple[Indices, Doubles]:
        narrow = queries.astype(np.float32)
        best_rows = np.full((len(queries), count), NO_ROW)
        best = np.full((len(queries), count), -np.inf)
        for begin, rows in self.bank.chunks(self.chunk):
            scores = self.bank.scores(narrow, begin, rows)
            owners, places = _candidates(scores, best[:, -1], count, self.bank.slack)
            if not len(owners):
                continue
            candidates = begin + places
            cosines = self.bank.exact_scores(queries, owners, candidates)
            best_rows, best = _merge((best_rows, best), owners, candidates, cosines)
        return best_rows, best


def _candidates(scores: NDArray[np.float32], worst: Doubles, count: int, slack: float) -> tuple[Indices, Indices]:
    """The queries and columns of those scores [q, c], each with an error of at most ``slack``, that could be among the
    best ``count``. ``worst`` [q] is the lowest cosine among the best so far.
    """
    least = (worst - slack).astype(np.float32)
    hit = scores >= least[:, None]
    crowded = np.flatnonzero(np.count_nonzero(hit, axis=1) > count)
    if len(crowded):  # then the chunk itself has enough that are better than most of these
        inner = scores[crowded]
        inner.partition(-count, axis=1)
        least[crowded] = np.maximum(least[crowded], inner[:, -count] - np.float32(2 * slack))
        hit[crowded] = scores[crowded] >= least[crowded, None]
    owners, places = np.nonzero(hit)
    return owners, places


def _merge(best: tuple[Indices, Doubles], owners: Indices, rows: Indices, cosines: Doubles) -> tuple[Indices, Doubles]:
    """The best [q, count] of those so far and the new ones; of equal ones the lower row."""
    queries, count = best[0].shape
    owners = np.concatenate([np.repeat(np.arange(queries), count), owners])
    rows = np.concatenate([best[0].ravel(), rows])
    cosines = np.concatenate([best[1].ravel(), cosines])
    order = np.lexsort((-cosines, owners))  # a stable sort, and lower rows come first already
    first = np.searchsorted(owners[order], np.arange(queries))
    kept = order[first[:, None] + np.arange(count)]
    return rows[kept], cosines[kept]


class UsearchIndex:
    """Approximate search in a graph of near neighbours (HNSW, package usearch): much faster, and may miss some rows.

    Building the graph takes minutes for 100,000 rows, and memory for a copy of them as bfloat16. The cosines of the
    rows that it finds are exact. Several threads build it, so another graph of the same bank may find other rows.

    Args:
        bank: the embeddings to search.

    Raises InputError when usearch is not installed.
    """

    def __init__(self, bank: Bank) -> None:
        if importlib.util.find_spec("usearch") is None:
            raise InputError("index usearch needs the package usearch; pip install 'cubefast[ann]'")
        from usearch.index import Index as Graph

        self.bank = bank
        self._graph = Graph(ndim=bank.dim, metric="cos", dtype="bf16")
        for begin, rows in bank.chunks(_CHUNK):
            self._graph.add(np.arange(begin, begin + len(rows)), rows)

    def search(self, queries: Doubles, count: int) -> tuple[Indices, Doubles]:
        """Search as :meth:`Index.search` does."""
        rows = np.full((len(queries), count), NO_ROW)
        cosines = np.full((len(queries), count), -np.inf)
        for i, query in enumerate(queries):
            nearest = np.sort(self._graph.search(query.astype(np.float32), count).keys.astype(np.int64))
            cosines_found = self.bank.exact_scores(queries, np.full(len(nearest), i), nearest)
            order = np.argsort(-cosines_found, kind="stable")
            rows[i, : len(nearest)], cosines[i, : len(nearest)] = nearest[order], cosines_found[order]
        return rows, cosines


def create_index(kind: IndexKind, bank: Bank) -> Index:
    """Create the index of a bank by the name of its kind. Raises InputError for an unknown name."""
    if kind == "exact":
        return ExactIndex(bank)
    if kind == "usearch":
        return UsearchIndex(bank)
    raise InputError(f"index must be exact or usearch; got {kind!r}")
