"""The linear map beside the lattice: one matrix while it is trained, two thin ones as it is kept."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LinearMap(nn.Module):
    """A linear map of embeddings [n, D] -> [n, D] of limited rank. An untrained one gives zeros.

    Args:
        dim: D.
        rank: at least 1. Below D, the map is ``w_up w_down``, with ``w_down`` [rank, D] and ``w_up`` [D, rank]; from D
            on it is one matrix, ``w_full`` [D, D].
    """

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        if rank >= dim:
            self.w_full = nn.Parameter(torch.zeros(dim, dim))
        else:
            self.w_down = nn.Parameter(torch.empty(rank, dim))
            self.w_up = nn.Parameter(torch.zeros(dim, rank))
            nn.init.normal_(self.w_down, std=1 / math.sqrt(dim))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map embeddings [n, D] -> [n, D]."""
        if hasattr(self, "w_full"):
            return inputs @ self.w_full.T
        return inputs @ self.w_down.T @ self.w_up.T

    @property
    def matrix(self) -> Tensor:
        """The matrix [D, D] of the map, which multiplies an input from the left."""
        return self.w_full if hasattr(self, "w_full") else self.w_up @ self.w_down

    def weights_of_rank(self, rank: int) -> dict[str, Tensor]:
        """The weights of the best approximation of another rank, by the SVD (Eckart and Young 1936)."""
        if rank == self.rank:
            return self.state_dict()
        matrix = self.matrix.detach()
        if rank >= len(matrix):
            return {"w_full": matrix}
        left, sizes, right = torch.linalg.svd(matrix)
        root = sizes[:rank].sqrt()
        return {"w_up": left[:, :rank] * root, "w_down": root[:, None] * right[:rank]}
