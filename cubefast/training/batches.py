"""Batches in a given order, prepared by this process or by workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.pairs import PairDataset


class TrainingBatch(NamedTuple):
    """The n pairs of a batch, and the teacher targets and negatives that its losses need.

    Attributes:
        inputs, targets: [n, D].
        target_ids: int64 [n], equal where two targets are one answer.
        teacher_targets: of each further teacher, the targets as it embeds them, [n, E] with an E of its own.
        negatives: the embeddings [m, D] and ids [m] of wrong answers: the hard negatives that were mined, and those
            that the data set names. None for none.
    """

    inputs: Tensor
    targets: Tensor
    target_ids: Tensor
    teacher_targets: Sequence[Tensor] = ()
    negatives: tuple[Tensor, Tensor] | None = None


class _Batches(Dataset[TrainingBatch]):
    """Item i is the batch of the pairs ``rows[i]``."""

    def __init__(self, pairs: PairDataset, rows: Sequence[Tensor], negative_rows: Tensor | None) -> None:
        self.pairs, self.rows, self.negative_rows = pairs, rows, negative_rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TrainingBatch:
        rows = self.rows[index]
        mined = None if self.negative_rows is None else self.pairs.targets_of(self.negative_rows[rows].unique())
        given = self.pairs.negatives_of(rows)
        negatives = given if mined is None else mined
        if mined is not None and given is not None:
            negatives = torch.cat([mined[0], given[0]]), torch.cat([mined[1], given[1]])
        return TrainingBatch(*self.pairs.batch(rows), self.pairs.teacher_targets(rows), negatives)


def ordered_batches(
    pairs: PairDataset, rows: Sequence[Tensor], workers: int, negative_rows: Tensor | None = None
) -> Iterable[TrainingBatch]:
    """One batch for each of ``rows``, in their order. The number of ``workers`` does not change any bit of them.

    Args:
        pairs: n pairs.
        rows: of each batch, the numbers of its pairs, int64.
        workers: processes that prepare batches ahead; 0: this one does.
        negative_rows: int64 [n, k], the pairs whose targets are each pair's hard negatives, from
            :func:`~cubefast.training.hard_negatives.mine_hard_negatives`; None: there are none.
    """
    own = torch.Generator()  # or else torch's global one would be drawn from
    return cast(
        "Iterable[TrainingBatch]",
        DataLoader(_Batches(pairs, rows, negative_rows), batch_size=None, num_workers=workers, generator=own),
    )
