"""How close a predicted embedding is to the one wanted, and whether it finds the right answer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """[n, D], [n, D] -> [n]: the cosine of each pair."""
    return torch.cosine_similarity(predicted, target, dim=1)


def retrieval_ranks(predicted: Tensor, pool: Tensor, right: Tensor) -> Tensor:
    """The rank (1 is best) of each query's right answer, by cosine, among the whole pool.

    rank = 1 + how many others score more than the right one + how many score the same: a tie counts against the model.

    Args:
        predicted: [n, D].
        pool: [answers, D].
        right: int64 [n], the place of the right answer in the pool.

    Returns:
        int64 [n].
    """
    candidates = normalize(pool, dim=1)
    ranks = []
    for queries, places in zip(predicted.split(1024), right.split(1024), strict=True):
        scores = normalize(queries, dim=1) @ candidates.T
        own = scores.gather(1, places[:, None])
        ranks.append((scores >= own).sum(dim=1))  # the right one counts itself: the 1
    return torch.cat(ranks)


def recall_at(ranks: Tensor, k: int) -> float:
    """R@k: the share of queries whose right answer is among the first k."""
    return float((ranks <= k).double().mean())


def mean_reciprocal_rank(ranks: Tensor) -> float:
    """MRR: the mean of 1 / rank."""
    return float((1 / ranks.double()).mean())
