"""How close predicted embeddings are to those wanted, and whether they find the right answers: functions on tensors.

A value per query where there is one ([n] in the order of the queries), so that means, medians and intervals are left to
the caller; :class:`~cubefast.evaluation.embedding_metrics.EmbeddingMetrics` computes all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

TIE = 1e-6
"""Cosines this close count as the same: in float32 either may come out larger."""

# A block of scores has this many queries and candidates at most: 16 MB of float32.
_QUERIES, _CANDIDATES = 256, 16_384


def cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """[n, D], [n, D] -> [n]: the cosine of each pair, p.t / (|p| |t|)."""
    return torch.cosine_similarity(predicted, target, dim=1)


def centred_cosine(predicted: Tensor, target: Tensor, mean: Tensor) -> Tensor:
    """[n, D], [n, D], [D] -> [n]: cos(p - mean, t - mean).

    Embeddings of one model share a direction, so that any two have a cosine well above 0. With the mean of the training
    targets taken off, the mean answer scores 0 and what is left is about the single answer.
    """
    return cosine(predicted - mean, target - mean)


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """[n, D], [n, D] -> [n]: the mean of (p - t)^2 over the D numbers; its mean over queries is the MSE."""
    return (predicted - target).square().mean(dim=1)


def semantic_preservation(predicted: Tensor, target: Tensor, rows: int = 1000, seed: int = 0) -> float:
    """How well the similarities among the targets survive among the predictions: Spearman's rank correlation between
    the upper triangles (without the diagonal) of the two matrices of cosines.

    This is the comparison of two representations by their similarity structure (Kriegeskorte et al. 2008).

    Args:
        predicted, target: [n, D]; they may have different D.
        rows: how many rows are compared with each other, drawn with ``seed`` where there are more.

    Returns:
        -1 .. 1; 1 where the order of all similarities is the same. 0 where one side has no order: all its similarities
        are the same (the mean answer), or there are fewer than three rows.
    """
    if len(predicted) > rows:
        chosen = torch.randperm(len(predicted), generator=torch.Generator().manual_seed(seed))[:rows]
        predicted, target = predicted[chosen], target[chosen]
    return spearman(_similarities(predicted), _similarities(target))


def spearman(a: Tensor, b: Tensor) -> float:
    """[n], [n] -> Spearman's rank correlation: Pearson's of the ranks, ties with their mean rank; 0 if one side is
    constant.
    """
    ranks = torch.stack([_average_ranks(a), _average_ranks(b)])
    ranks -= ranks.mean(dim=1, keepdim=True)
    spread = float(ranks.norm(dim=1).prod())
    return float(ranks[0] @ ranks[1]) / spread if spread > 0 else 0.0


def _similarities(rows: Tensor) -> Tensor:
    """[n, D] -> [n (n - 1) / 2], rounded to TIE: equal rows get equal similarities, whatever the order of a sum."""
    unit = normalize(rows.double(), dim=1)
    first, second = torch.triu_indices(len(rows), len(rows), offset=1)
    return ((unit @ unit.T)[first, second] / TIE).round()


def _average_ranks(values: Tensor) -> Tensor:
    """[n] -> float64 [n]: ranks from 1, the mean of their places for values that are the same."""
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(dim=0).double()
    ranks: Tensor = last - (counts - 1) / 2
    return ranks[place]


def retrieval_ranks(predicted: Tensor, pool: Tensor, right: Tensor) -> Tensor:
    """The rank (1 is best) of each query's right answer, by cosine, among the whole pool.

    rank = 1 + how many others score more than the right one + how many score the same (within TIE): a tie counts
    against the model. The pool is gone through in blocks, so it may have millions of answers.

    Args:
        predicted: [n, D].
        pool: [answers, D].
        right: int64 [n], the place of the right answer in the pool.

    Returns:
        int64 [n].
    """
    least = cosine(predicted, pool[right]) - TIE
    ranks = torch.zeros(len(predicted), dtype=torch.int64)
    for rows, begin, scores in _score_blocks(predicted, pool):
        place = right[rows] - begin
        here = torch.nonzero((place >= 0) & (place < scores.shape[1])).squeeze(1)
        scores[here, place[here]] = float("inf")  # the right one counts itself, the 1, whatever rounding made of it
        ranks[rows] += (~(scores < least[rows, None])).sum(dim=1)  # so that NaN comes last
    return ranks


def nearest(queries: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest row of the pool by cosine: its cosine [n] and its place, int64 [n]. The pool is gone through in
    blocks, so it may be large.

    Args:
        queries: [n, D].
        pool: [m, D].
    """
    best = torch.full((len(queries),), float("-inf"), dtype=queries.dtype)
    places = torch.zeros(len(queries), dtype=torch.int64)
    for rows, begin, scores in _score_blocks(queries, pool):
        values, found = scores.max(dim=1)
        better = values > best[rows]
        best[rows] = torch.where(better, values, best[rows])
        places[rows] = torch.where(better, begin + found, places[rows])
    return best, places


def _score_blocks(queries: Tensor, pool: Tensor) -> Iterator[tuple[slice, int, Tensor]]:
    """All cosines of the queries with the pool, in blocks: which queries, the first place in the pool, [q, places]."""
    unit = normalize(queries, dim=1)
    for begin in range(0, len(pool), _CANDIDATES):
        candidates = normalize(pool[begin : begin + _CANDIDATES], dim=1)
        for first in range(0, len(unit), _QUERIES):
            rows = slice(first, first + _QUERIES)
            yield rows, begin, unit[rows] @ candidates.T


def unique_targets(targets: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Keep one target of each id, the first. Returns these targets, [answers, D], and for each row its place among
    them, int64 [n].

    Args:
        targets: [n, D].
        ids: int64 [n], equal where two targets are one answer.
    """
    pool_ids, right = torch.unique(ids, return_inverse=True)
    first = torch.full_like(pool_ids, len(ids)).scatter_reduce(0, right, torch.arange(len(ids)), "amin")
    return targets[first], right


def recall_at(ranks: Tensor, k: int) -> float:
    """R@k: the share of queries whose right answer is among the first k."""
    return float((ranks <= k).double().mean())


def mean_reciprocal_rank(ranks: Tensor) -> float:
    """MRR: the mean of 1 / rank."""
    return float((1 / ranks.double()).mean())


def semantic_relevance(predicted: Tensor, target: Tensor, bank: Tensor) -> Tensor:
    """[n]: how near the answer that would be given is to the true one, by the encoder: cos(bank[best], target), where
    best is the answer of the bank nearest to the prediction (what RetrievalDecoder returns first).

    1 for the right answer, and high for another that says nearly the same; R@1 counts the latter as wrong.

    Args:
        predicted: [n, D].
        target: [n, D], the encoder's embeddings of the true answers.
        bank: [answers, D], the encoder's embeddings of the answers that can be given.
    """
    return cosine(bank[nearest(predicted, bank)[1]], target)
