"""The embeddings of a bank of answers, in memory or in a file: they are read in chunks and never copied as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.embeddings.vectors import CHUNK, ArrayVectors, Vectors
from ..data.encoding.base import Embeddings
from ..errors import InputError

Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

_UNIT = 1e-6  # a row this close to unit length counts as such
_PAIRS = 1024  # pairs whose cosine is taken at once


class Bank:
    """The n embeddings of a bank of answers, and the cosine similarities of query embeddings to them.

    Args:
        vectors: [n, D], n at least 1: a tensor, an array (also a memory-mapped one) or :class:`Vectors`. They are read
            once here, to learn their lengths: where these are not all 1, one number per row is kept. A row of zeros
            has cosine 0 to everything.
        handicap: float32 [n], subtracted from the cosine to each row when rows are ordered; None: no handicap.

    Attributes:
        slack: the largest rounding error of :meth:`scores`.

    Raises InputError for another shape, or rows that are NaN or Inf.
    """

    def __init__(
        self, vectors: Tensor | NDArray[np.floating] | Vectors, handicap: NDArray[np.float32] | None = None
    ) -> None:
        if isinstance(vectors, Tensor):
            vectors = vectors.detach().to("cpu", torch.float32).numpy()
        self._view: Embeddings | None = None
        if isinstance(vectors, np.ndarray):
            if vectors.ndim != 2:
                raise InputError(f"a bank's vectors must be [n, D]; got {list(vectors.shape)}")
            self._view = vectors if vectors.dtype == np.float32 else None
            vectors = ArrayVectors(vectors)
        self._vectors = vectors
        self.dim = vectors.dim
        # A sum of D float32 products, in whatever order, is off by D/2 ulp of 2^-23 at most, for unit vectors; as much
        # again covers the rounding of the vectors themselves (Higham, Accuracy and Stability, 3.1).
        self.slack = self.dim * 2.0**-23 + 2 * _UNIT
        self._inverse_lengths = self._measure()
        self.handicap = handicap

    def __len__(self) -> int:
        return len(self._vectors)

    def _measure(self) -> Embeddings | None:
        """1 / length of each row, float32 [n], or None where all lengths are 1."""
        lengths = np.empty(len(self))
        for begin, rows in self.chunks(2048):  # small, for the copy in float64
            lengths[begin : begin + len(rows)] = _lengths(rows.astype(np.float64))
        if not np.isfinite(lengths).all():
            row = int(np.isfinite(lengths).argmin())
            raise InputError(f"row {row} of a bank's vectors is NaN or Inf; remove that answer")
        if np.abs(lengths - 1).max() <= _UNIT:
            return None
        return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0).astype(np.float32)

    def chunks(self, size: int) -> Iterator[tuple[int, Embeddings]]:
        """Yield the first row's number and the rows of each chunk, float32 [at most size, D], not scaled.

        The rows of a float32 array are not copied; other vectors are read a few thousand rows at a time.
        """
        step = size if self._view is not None else min(size, CHUNK)
        for begin in range(0, len(self), step):
            end = min(begin + step, len(self))
            yield begin, self._vectors.gather(np.arange(begin, end)) if self._view is None else self._view[begin:end]

    def scores(self, queries: Embeddings, begin: int, rows: Embeddings) -> Embeddings:
        """The cosines of unit queries [q, D] to a chunk of rows [c, D], minus the handicap: float32 [q, c], with an
        error of at most ``slack``.
        """
        products: Embeddings = queries @ rows.T
        if self._inverse_lengths is not None:
            products *= self._inverse_lengths[begin : begin + len(rows)]
        if self.handicap is not None:
            products -= self.handicap[begin : begin + len(rows)]
        return products

    def exact_scores(self, queries: Doubles, owners: Indices, rows: Indices) -> Doubles:
        """The cosine of the unit query ``owners[i]`` to the row ``rows[i]``, minus that row's handicap: float64 [p].

        Each cosine depends on its two vectors alone, to the last bit, so equal rows have equal cosines.
        """
        cosines = np.empty(len(rows))
        for begin in range(0, len(rows), _PAIRS):
            part = slice(begin, begin + _PAIRS)
            cosines[part] = (self.unit_rows(rows[part]) * queries[owners[part]]).sum(axis=1)
        cosines = cosines.clip(-1, 1)
        return cosines if self.handicap is None else cosines - self.handicap[rows]

    def unit_rows(self, rows: Indices) -> Doubles:
        """The rows with these numbers, scaled to unit length: float64 [p, D]."""
        return unit(self._vectors.gather(rows))


def unit(vectors: NDArray[np.floating]) -> Doubles:
    """Rows [n, D] scaled to unit length, in float64; a row of zeros stays one."""
    wide = vectors.astype(np.float64)
    lengths = _lengths(wide)
    wide /= np.where(lengths > 0, lengths, 1)[:, None]
    return wide


def _lengths(rows: Doubles) -> Doubles:
    lengths: Doubles = np.sqrt((rows * rows).sum(axis=1))
    return lengths
