"""Batches in a given order, prepared by the training's own process or by others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.pairs import PairDataset

TaughtBatch = tuple[Tensor, Tensor, Tensor, Sequence[Tensor], tuple[Tensor, Tensor] | None]
"""Inputs [n, D], targets [n, D], target ids [n], the targets as each further teacher sees them [n, E], and the targets
[m, D] and ids [m] of the pairs' neighbors and of the wrong answers that the data set has for them."""


class _Batches(Dataset[TaughtBatch]):
    """Item i is the batch of the pairs that ``rows[i]`` names."""

    def __init__(self, pairs: PairDataset, rows: Sequence[Tensor], neighbors: Tensor | None) -> None:
        self.pairs, self.rows, self.neighbors = pairs, rows, neighbors

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TaughtBatch:
        rows = self.rows[index]
        near = None if self.neighbors is None else self.pairs.targets_of(self.neighbors[rows].unique())
        given = self.pairs.negatives_of(rows)
        if near is not None and given is not None:
            near = torch.cat([near[0], given[0]]), torch.cat([near[1], given[1]])
        return *self.pairs.batch(rows), self.pairs.taught(rows), given if near is None else near


def in_order(
    pairs: PairDataset, rows: Sequence[Tensor], workers: int, neighbors: Tensor | None = None
) -> Iterable[TaughtBatch]:
    """The batches of these rows, with the targets of what :func:`nearest_others` found for them, and their own wrong
    targets. A batch does not depend on who prepares it, so ``workers`` changes no bit.
    """
    own = torch.Generator()  # or else torch's global one would be drawn from
    return cast(
        "Iterable[TaughtBatch]",
        DataLoader(_Batches(pairs, rows, neighbors), batch_size=None, num_workers=workers, generator=own),
    )
