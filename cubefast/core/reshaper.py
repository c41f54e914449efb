"""Maps an embedding to a lattice, one number per cell, and back without loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..lattice.checks import check_choice, check_count
from ..utils.arrays import real_tensor

PLACEMENTS = ("principal", "order")
"""principal: rotated to the training set's principal axes first, largest variance first. order: as it comes."""

Array = TypeVar("Array", Tensor, NDArray[np.floating])

_LONGEST = 3  # of an automatic box's sides, relative to the shortest; beyond that padding is the lesser evil


def lattice_shape(dim: int) -> tuple[int, int, int]:
    """The most cubic shape of at least ``dim`` cells: 768 -> (8, 8, 12), 384 -> (8, 8, 6), 256 -> (8, 8, 4).

    Of all factorisations the one with the least surface whose longest side is at most three times the shortest;
    where ``dim`` has none, that of the next larger number that has (the cells beyond ``dim`` are padding). The two
    most nearly equal sides are X and Y, so that the faces along z are square if they can be.
    """
    check_count("dim", dim, 1)
    cells = dim
    while True:
        boxes = [
            (a, b, cells // (a * b))
            for a in _divisors(cells)
            for b in _divisors(cells // a)
            if a <= b <= cells // (a * b) <= _LONGEST * a
        ]
        if boxes:
            a, b, c = min(boxes, key=lambda box: box[0] * box[1] + box[1] * box[2] + box[0] * box[2])
            return (b, c, a) if c * a < b * b else (a, b, c)
        cells += 1


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


class EmbeddingReshaper(nn.Module):
    """Maps an embedding of D numbers to a lattice of X*Y*Z >= D cells with one number each, and back.

    Args:
        dim: D, the size of the embedding.
        shape: (X, Y, Z), or None for :func:`lattice_shape`. Cells beyond D are padding: zero going in, cut coming out.
        placement: ``"order"`` lays the numbers as they come; ``"principal"`` first rotates the embedding to the
            principal axes of the embeddings given to :meth:`fit`, so that neighboring cells hold directions of similar
            variance. A rotation keeps every cosine and distance.

    Raises ValueError for a shape with fewer cells than ``dim`` or an unknown placement.
    """

    rotation: Tensor | None

    def __init__(self, dim: int, shape: tuple[int, int, int] | None = None, placement: str = "principal") -> None:
        super().__init__()
        check_choice("placement", placement, PLACEMENTS)
        self.shape = lattice_shape(dim) if shape is None else (shape[0], shape[1], shape[2])
        check_count("dim", dim, 1)
        if self.cells < dim:
            x, y, z = self.shape
            raise ValueError(
                f"shape {x}x{y}x{z} has {self.cells} cells, too few for an embedding of {dim} "
                f"numbers; {lattice_shape(dim)} fits"
            )
        self.dim = dim
        self.placement = placement
        # NaN until it is fitted: an unfitted rotation can then not be mistaken for a fitted one.
        rotation = torch.full((dim, dim), math.nan) if placement == "principal" else None
        self.register_buffer("rotation", rotation)

    @property
    def cells(self) -> int:
        """The number of cells, X * Y * Z."""
        return math.prod(self.shape)

    @property
    def fitted(self) -> bool:
        """Whether the placement is ready; ``order`` always is."""
        return self.rotation is None or not bool(self.rotation[0, 0].isnan())

    def fit(self, embeddings: Tensor | NDArray[np.floating] | Iterable[Tensor]) -> EmbeddingReshaper:
        """Find the principal axes of the training embeddings [n, D], which may come in parts; n may be smaller than D.

        The rows of the rotation are the eigenvectors of the covariance, largest eigenvalue first, the sign such that
        the largest component is positive; computed in float64. With placement "order" the embeddings are only checked.

        Returns the reshaper itself. Raises ValueError for another shape, no rows, NaN or Inf.
        """
        whole = isinstance(embeddings, (Tensor, np.ndarray))
        count, total = 0, torch.zeros(self.dim, dtype=torch.float64)
        products = torch.zeros(self.dim, self.dim, dtype=torch.float64)
        for part in (embeddings,) if whole else embeddings:
            values = real_tensor("embeddings", part, np.float64)
            if values.dim() != 2 or values.shape[1] != self.dim:
                raise ValueError(f"embeddings must be [n, {self.dim}], n >= 1; got {list(values.shape)}")
            if not values.isfinite().all():
                raise ValueError("embeddings hold NaN or Inf")
            count += len(values)
            if self.rotation is not None:
                total += values.sum(dim=0)
                products += values.T @ values
        if count == 0:
            raise ValueError(f"embeddings must be [n, {self.dim}], n >= 1; got none")
        if self.rotation is not None:
            _, axes = torch.linalg.eigh(products - total.outer(total) / count)
            rotation = axes.T.flip(0)
            largest = rotation.abs().argmax(dim=1, keepdim=True)
            self.rotation.copy_(rotation * rotation.gather(1, largest).sign())
        return self

    def to_lattice(self, embedding: Array) -> Array:
        """Map embeddings [..., D] to lattices [..., X, Y, Z]; a tensor gives a tensor, a numpy array an array."""
        if isinstance(embedding, np.ndarray):
            return self.to_lattice(real_tensor("embeddings", embedding, embedding.dtype.newbyteorder("="))).numpy()
        if embedding.shape[-1:] != (self.dim,):
            raise ValueError(f"embedding must be [..., {self.dim}]; got {list(embedding.shape)}")
        if self.rotation is not None:
            embedding = embedding @ self._ready_rotation(embedding).T
        padded = nn.functional.pad(embedding, (0, self.cells - self.dim))
        return padded.reshape(*embedding.shape[:-1], *self.shape)

    def to_embedding(self, lattice: Array) -> Array:
        """Map lattices [..., X, Y, Z] to embeddings [..., D], the inverse of :meth:`to_lattice`."""
        if isinstance(lattice, np.ndarray):
            return self.to_embedding(real_tensor("lattice", lattice, lattice.dtype.newbyteorder("="))).numpy()
        if tuple(lattice.shape[-3:]) != self.shape:
            raise ValueError(f"lattice must be [..., {self.shape}]; got {list(lattice.shape)}")
        flat = lattice.reshape(*lattice.shape[:-3], self.cells)[..., : self.dim]
        return flat if self.rotation is None else flat @ self._ready_rotation(flat)

    def _ready_rotation(self, like: Tensor) -> Tensor:
        assert self.rotation is not None
        # A compiled graph cannot branch on a tensor's value: there an unfitted rotation gives NaN and no error.
        if not torch.compiler.is_compiling() and not self.fitted:
            raise RuntimeError(
                'the placement "principal" has not been fitted; call fit(training embeddings) first, '
                'or use placement="order"'
            )
        return self.rotation.to(like.dtype)

    def extra_repr(self) -> str:
        """The arguments in ``print(reshaper)``."""
        return f"dim={self.dim}, shape={self.shape}, placement={self.placement!r}, fitted={self.fitted}"
