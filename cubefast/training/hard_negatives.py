"""Hard negatives: the answers to the questions that are most similar to a pair's own.

Where many questions are about one topic, it is their answers that are taken for one another, and a batch drawn from all
topics holds next to none of them. (Mined hard negatives: Xiong et al. 2021, here by the inputs, which do not change, so
that they are found once.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..data.pairs import PairDataset
from ..utils.threads import torch_threads

CANDIDATES = 20_000
_ROWS = 256  # compared with all candidates at once


@torch_threads(1)
def mine_hard_negatives(train: PairDataset, count: int, seed: int = 0) -> Tensor:
    """For each pair, find the ``count`` other pairs with the most similar inputs and another target.

    At most CANDIDATES pairs, drawn at random, are searched, which bounds the memory: their inputs, and their cosines to
    a few hundred pairs. The time is that of n * CANDIDATES dot products, 1.4 s for 13,000 pairs of 384 numbers on one
    core. One thread is used, so that a resumed run finds the same negatives.

    Args:
        train: n pairs; their noise is left out.
        count: the number of negatives of each pair. Where a set has fewer other targets, the rest are pairs of the same
            target, which the losses leave out.
        seed: the seed of the draw.

    Returns:
        int64 [n, count or fewer], row numbers of ``train``.
    """
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:CANDIDATES]
    # What stays is allocated before the temporary tensors: kept between these, it would hold their memory.
    candidates, candidate_ids = torch.empty(len(drawn), train.dim), torch.empty(len(drawn), dtype=torch.int64)
    negatives = torch.empty(len(train), min(count, len(drawn)), dtype=torch.int64)
    cosines = torch.empty(_ROWS, len(drawn))
    for places in torch.arange(len(drawn)).split(_ROWS):
        inputs, _, ids = train.batch(drawn[places], noisy=False)
        candidates[places], candidate_ids[places] = normalize(inputs, dim=1), ids
    for rows in torch.arange(len(train)).split(_ROWS):
        inputs, _, ids = train.batch(rows, noisy=False)
        cosines_of_rows = torch.mm(normalize(inputs, dim=1), candidates.T, out=cosines[: len(rows)])
        cosines_of_rows.masked_fill_(ids[:, None] == candidate_ids[None, :], float("-inf"))
        negatives[rows] = drawn[cosines_of_rows.topk(negatives.shape[1], dim=1).indices]
    return negatives
