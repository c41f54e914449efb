"""Batches in a given order, prepared by the training's own process or by others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.pairs import PairDataset

TaughtBatch = tuple[Tensor, Tensor, Tensor, Sequence[Tensor]]
"""Inputs [n, D], targets [n, D], target ids [n], and the targets as each further teacher sees them [n, E]."""


class _Batches(Dataset[TaughtBatch]):
    """Item i is the batch of the pairs that ``rows[i]`` names."""

    def __init__(self, pairs: PairDataset, rows: Sequence[Tensor]) -> None:
        self.pairs, self.rows = pairs, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TaughtBatch:
        rows = self.rows[index]
        return *self.pairs.batch(rows), self.pairs.taught(rows)


def in_order(pairs: PairDataset, rows: Sequence[Tensor], workers: int) -> Iterable[TaughtBatch]:
    """The batches of these rows. A batch does not depend on who prepares it, so ``workers`` changes no bit."""
    own = torch.Generator()  # or else torch's global one would be drawn from
    return cast(
        "Iterable[TaughtBatch]",
        DataLoader(_Batches(pairs, rows), batch_size=None, num_workers=workers, generator=own),
    )
