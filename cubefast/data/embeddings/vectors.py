"""Embeddings that need not be in memory, and their preparation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...utils.arrays import real_array
from ..encoding.base import Embeddings

CHUNK = 4096  # rows read at once where all are gone through


@runtime_checkable
class Vectors(Protocol):
    """n embeddings: an array, a memory-mapped file, or rows of a cache."""

    @property
    def dim(self) -> int:
        """The size of the embeddings."""
        ...

    def __len__(self) -> int: ...

    def gather(self, rows: NDArray[np.integer]) -> Embeddings:
        """A copy of these rows, float32 [len(rows), dim]."""
        ...


@dataclass(frozen=True)
class ArrayVectors:
    """The rows of an array [n, dim], which may be memory-mapped (np.load(..., mmap_mode="r")).

    Raises InputError for another shape, and for what :func:`~cubefast.utils.arrays.real_array` refuses.
    """

    array: NDArray[np.floating]

    def __post_init__(self) -> None:
        array = real_array("embeddings", self.array)
        if array.ndim != 2:
            raise InputError(f"embeddings must be [n, dim]; got {list(array.shape)}")
        object.__setattr__(self, "array", array)

    @property
    def dim(self) -> int:
        """The size of the embeddings."""
        return int(self.array.shape[1])

    def __len__(self) -> int:
        return len(self.array)

    def gather(self, rows: NDArray[np.integer]) -> Embeddings:
        """A copy of these rows, float32 [len(rows), dim]."""
        return np.asarray(self.array[rows], dtype=np.float32)


@dataclass(frozen=True)
class StackedVectors:
    """Several sets of embeddings of one size, one after the other, such as those of two files."""

    parts: tuple[Vectors, ...]

    @property
    def dim(self) -> int:
        """The size of the embeddings."""
        return self.parts[0].dim

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def gather(self, rows: NDArray[np.integer]) -> Embeddings:
        """A copy of these rows, float32 [len(rows), dim]."""
        gathered = np.empty((len(rows), self.dim), np.float32)
        start = 0
        for part in self.parts:
            inside = (rows >= start) & (rows < start + len(part))
            if inside.any():
                gathered[inside] = part.gather(rows[inside] - start)
            start += len(part)
        return gathered


@dataclass(frozen=True)
class VectorsView:
    """A view of embeddings in another order, or from which their mean is subtracted."""

    vectors: Vectors
    rows: NDArray[np.int64] | None = (
        None  # [M], the row at each place; -1: none, nothing may be gathered. None: all rows
    )
    mean: Embeddings | None = None  # float32 [dim]

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


@dataclass(frozen=True)
class Preparation:
    """The preparation of every embedding, of questions and answers alike: centring, then scaling to unit length.

    Attributes:
        mean: float32 [D], subtracted first; None: nothing is.
        normalize: whether rows are scaled to unit length.
    """

    mean: Embeddings | None = None
    normalize: bool = True

    def __call__(self, vectors: Embeddings) -> Embeddings:
        """Prepare embeddings [n, D]; a row of zeros stays zero."""
        if self.mean is not None:
            vectors = vectors - self.mean
        if self.normalize:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.where(lengths > 0, lengths, np.float32(1))
        return vectors


def chunks(count: int) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers 0 .. count - 1 in chunks of CHUNK."""
    for begin in range(0, count, CHUNK):
        yield np.arange(begin, min(begin + CHUNK, count))
