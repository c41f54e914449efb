"""Batches in a given order, prepared by this process or by workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.pairs import PairDataset


class TrainingBatch(NamedTuple):
    """The n pairs of a batch, and what else its losses need.

    Attributes:
        inputs, targets: [n, D].
        target_ids: int64 [n], equal where two targets are one answer.
        teacher_targets: of each further teacher, the targets as it embeds them, [n, E] with an E of its own.
        negatives: the embeddings [m, D] and ids [m] of wrong answers: the hard negatives that were mined, and those
            that the data set names. None for none.
        crossfit_targets: [n, D], from :func:`~cubefast.training.crossfit.cross_fit`; None where no loss uses them.
    """

    inputs: Tensor
    targets: Tensor
    target_ids: Tensor
    teacher_targets: Sequence[Tensor] = ()
    negatives: tuple[Tensor, Tensor] | None = None
    crossfit_targets: Tensor | None = None


class _Batches(Dataset[TrainingBatch]):
    """Item i is the batch of the pairs ``rows[i]``."""

    def __init__(
        self,
        pairs: PairDataset,
        rows: Sequence[Tensor],
        negative_rows: Tensor | None,
        crossfit_targets: Tensor | None,
    ) -> None:
        self.pairs, self.rows = pairs, rows
        self.negative_rows, self.crossfit_targets = negative_rows, crossfit_targets

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TrainingBatch:
        rows = self.rows[index]
        mined = None if self.negative_rows is None else self.pairs.targets_of(self.negative_rows[rows].unique())
        given = self.pairs.negatives_of(rows)
        negatives = given if mined is None else mined
        if mined is not None and given is not None:
            negatives = torch.cat([mined[0], given[0]]), torch.cat([mined[1], given[1]])
        crossfit_targets = None if self.crossfit_targets is None else self.crossfit_targets[rows].float()
        return TrainingBatch(*self.pairs.batch(rows), self.pairs.teacher_targets(rows), negatives, crossfit_targets)


def ordered_batches(
    pairs: PairDataset,
    rows: Sequence[Tensor],
    workers: int,
    negative_rows: Tensor | None = None,
    crossfit_targets: Tensor | None = None,
) -> Iterable[TrainingBatch]:
    """One batch for each of ``rows``, in their order. The number of ``workers`` does not change any bit of them.

    Args:
        pairs: n pairs.
        rows: for each batch, the numbers of its pairs, int64.
        workers: processes that prepare batches ahead; 0: this one does.
        negative_rows: int64 [n, k], the pairs whose targets are each pair's hard negatives, from
            :func:`~cubefast.training.hard_negatives.mine_hard_negatives`; None: there are none.
        crossfit_targets: [n, D], from :func:`~cubefast.training.crossfit.cross_fit`; None where no loss uses them.
    """
    own = torch.Generator()  # or else torch's global one would be drawn from
    batches = _Batches(pairs, rows, negative_rows, crossfit_targets)
    return cast("Iterable[TrainingBatch]", DataLoader(batches, batch_size=None, num_workers=workers, generator=own))
