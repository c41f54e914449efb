"""All metrics of one model on one test, computed once, with the value of every query kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..utils.arrays import real_tensor
from .conversation_metrics import TurnMetric, context_preservation, dialogue_coherence
from .metrics import (
    centred_cosine,
    cosine,
    retrieval_ranks,
    semantic_preservation,
    semantic_relevance,
    squared_error,
    unique_targets,
)

Rows = Tensor | NDArray[np.floating]
Labels = Tensor | NDArray[Any] | Sequence[int] | Sequence[str]


@dataclass(frozen=True, eq=False, repr=False)
class EmbeddingMetrics:
    """How good n predicted embeddings are. Made by :meth:`of`::

        metrics = EmbeddingMetrics.of(predicted, target)  # arrays or tensors [n, D]
        print(metrics)
        metrics.cosine, metrics.recall_at_1, metrics.as_dict()

    Attributes:
        pool: among how many answers the right one had to be found.
        cosines: float32 [n], cos(predicted, target).
        centred_cosines: float32 [n], the same around a given mean; None without one.
        squared_errors: float32 [n], each the mean over the D numbers.
        ranks: int64 [n], of the right answer in the pool; 1 is best, ties count against the model.
        relevances: float32 [n], cos(nearest answer of the pool, target).
        groups: int64 [n], which queries belong together, for :func:`~cubefast.evaluation.paired_bootstrap.compare`.
        semantic_preservation: Spearman correlation of the similarities among targets with those among predictions, on
            1,000 queries at most; see :func:`~cubefast.evaluation.metrics.semantic_preservation`.
        context_preservation, dialogue_coherence: of conversations, see
            :mod:`cubefast.evaluation.conversation_metrics`; None for what was not given or is not there.
    """

    pool: int
    cosines: Tensor
    centred_cosines: Tensor | None
    squared_errors: Tensor
    ranks: Tensor
    relevances: Tensor
    groups: Tensor
    semantic_preservation: float
    context_preservation: TurnMetric | None
    dialogue_coherence: TurnMetric | None

    @classmethod
    def of(
        cls,
        predicted: Rows,
        target: Rows,
        target_ids: Labels | None = None,
        *,
        pool: Rows | None = None,
        centre: Rows | None = None,
        groups: Labels | None = None,
        conversations: Labels | None = None,
        context: Rows | None = None,
    ) -> EmbeddingMetrics:
        """Compute all metrics of n predicted embeddings.

        Args:
            predicted: [n, D], the model's; of any length, but not zero.
            target: [n, D], those wanted.
            target_ids: n labels, equal where two targets are one answer; None: where the targets are equal. With a
                ``pool``: the row of each target's answer in it.
            pool: [answers, D], all answers among which the right one is looked for; None: the different targets. It is
                gone through in blocks: a million answers need no more memory than they take themselves.
            centre: [D], the mean of the training targets, for the centred cosine.
            groups: n labels of what belongs together (topic, document, conversation); None: the target ids.
            conversations: n labels; the answers of one conversation are in the order they were given.
            context: [n, D], the mean embedding of the turns before each question, a row of zeros where there are none.

        Raises InputError for shapes that do not fit, no rows, NaN, Inf or rows of zeros, or ids that are not in the
        pool.
        """
        predicted, target = _vectors("predicted", predicted), _vectors("target", target)
        if predicted.shape != target.shape:
            raise InputError(f"predicted {list(predicted.shape)} and target {list(target.shape)} must have one shape")
        count, dim = target.shape
        if pool is not None:
            answers = _vectors("pool", pool)
            right = _places(target_ids, count, len(answers))
            if answers.shape[1] != dim:
                raise InputError(f"pool is {list(answers.shape)} and target {list(target.shape)}: D must be the same")
        elif target_ids is not None:
            answers, right = unique_targets(target, _labels("target_ids", target_ids, count))
        else:
            answers, right = torch.unique(target, dim=0, return_inverse=True)
        mean = None if centre is None else _numbers("centre", centre, dim)
        turns = None if context is None else _numbers("context", context, count, dim)
        talks = None if conversations is None else _labels("conversations", conversations, count)
        return cls(
            pool=len(answers),
            cosines=cosine(predicted, target),
            centred_cosines=None if mean is None else centred_cosine(predicted, target, mean),
            squared_errors=squared_error(predicted, target),
            ranks=retrieval_ranks(predicted, answers, right),
            relevances=semantic_relevance(predicted, target, answers),
            groups=right if groups is None else _labels("groups", groups, count),
            semantic_preservation=semantic_preservation(predicted, target),
            context_preservation=None if turns is None else context_preservation(predicted, target, turns),
            dialogue_coherence=None if talks is None else dialogue_coherence(predicted, target, talks),
        )

    @property
    def queries(self) -> int:
        """The number of queries."""
        return len(self.cosines)

    @property
    def cosine(self) -> float:
        """Mean of cos(predicted, target)."""
        return self.mean("cosine")

    @property
    def centred_cosine(self) -> float | None:
        """Mean of cos(predicted - centre, target - centre)."""
        return None if self.centred_cosines is None else self.mean("centred_cosine")

    @property
    def mse(self) -> float:
        """Mean of (predicted - target)^2 over queries and numbers; unlike the rest, it depends on lengths."""
        return self.mean("mse")

    @property
    def recall_at_1(self) -> float:
        """R@1: the share of queries with rank 1."""
        return self.mean("recall_at_1")

    @property
    def recall_at_5(self) -> float:
        """R@5: the share of queries whose right answer is among the first five."""
        return self.mean("recall_at_5")

    @property
    def recall_at_10(self) -> float:
        """R@10: the share of queries whose right answer is among the first ten."""
        return self.mean("recall_at_10")

    @property
    def ndcg_at_10(self) -> float:
        """nDCG@10 with one right answer: the mean of 1 / log2(1 + rank), or 0 for a rank above 10."""
        return self.mean("ndcg_at_10")

    @property
    def mrr(self) -> float:
        """Mean of 1 / rank."""
        return self.mean("mrr")

    @property
    def median_rank(self) -> float:
        """The middle rank; between two, their mean."""
        return float(np.median(self.ranks.numpy()))

    @property
    def semantic_relevance(self) -> float:
        """Mean of cos(nearest answer of the pool, target)."""
        return self.mean("semantic_relevance")

    def values(self, metric: str) -> Tensor:
        """float64 [n]: what ``metric`` is the mean of, query by query.

        Raises InputError for a name that is not of METRICS, or centred_cosine where no centre was given.
        """
        if metric not in METRICS:
            raise InputError(f"metric must be one of {', '.join(METRICS)}; got {metric!r}")
        values = METRICS[metric](self)
        if values is None:
            raise InputError(f"there is no {metric}: no centre was given")
        return values.double()

    def mean(self, metric: str) -> float:
        """The metric, one of METRICS; errors as of :meth:`values`."""
        return float(self.values(metric).mean())

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the means by their names in METRICS, and what else is one number; no value of a single query."""
        low, middle, high = np.percentile(self.cosines.double().numpy(), (5, 50, 95))
        return {
            "queries": self.queries,
            "pool": self.pool,
            "groups": len(self.groups.unique()),
            **{name: getattr(self, name) for name in METRICS},
            "cosine_median": float(middle),
            "cosine_p5": float(low),
            "cosine_p95": float(high),
            "median_rank": self.median_rank,
            "semantic_preservation": self.semantic_preservation,
            "context_preservation": self.context_preservation and asdict(self.context_preservation),
            "dialogue_coherence": self.dialogue_coherence and asdict(self.dialogue_coherence),
        }

    def __str__(self) -> str:
        found = self.as_dict()
        lines = {
            "queries": f"{self.queries:,} in {found['groups']:,} groups",
            "cosine": "{cosine:.3f} (median {cosine_median:.3f}, 5% {cosine_p5:.3f}, 95% {cosine_p95:.3f})",
            "centred cosine": None if self.centred_cosines is None else "{centred_cosine:.3f}",
            "MSE": "{mse:.3g}",
            "semantic preservation": "{semantic_preservation:.3f}",
            "retrieval": "R@1 {recall_at_1:.3f}, R@5 {recall_at_5:.3f}, R@10 {recall_at_10:.3f}, MRR {mrr:.3f}, "
            "median rank {median_rank:g} of {pool:,} answers",
            "semantic relevance": "{semantic_relevance:.3f}",
            "context preservation": self.context_preservation and str(self.context_preservation),
            "dialogue coherence": self.dialogue_coherence and str(self.dialogue_coherence),
        }
        return "\n".join(f"{name:<22}{line.format(**found)}" for name, line in lines.items() if line)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.queries} queries: cosine {self.cosine:.3f}, R@1 {self.recall_at_1:.3f}>"
        )


METRICS: dict[str, Callable[[EmbeddingMetrics], Tensor | None]] = {
    "cosine": lambda metrics: metrics.cosines,
    "centred_cosine": lambda metrics: metrics.centred_cosines,
    "mse": lambda metrics: metrics.squared_errors,
    "recall_at_1": lambda metrics: metrics.ranks <= 1,
    "recall_at_5": lambda metrics: metrics.ranks <= 5,
    "recall_at_10": lambda metrics: metrics.ranks <= 10,
    "ndcg_at_10": lambda metrics: (metrics.ranks <= 10) / (1 + metrics.ranks.double()).log2(),
    "mrr": lambda metrics: 1 / metrics.ranks.double(),
    "semantic_relevance": lambda metrics: metrics.relevances,
}
"""For each metric that is a mean over queries, the function that gives its value for every query; None where it was not
computed."""

LOWER_IS_BETTER = frozenset({"mse"})


def _numbers(name: str, values: Rows, *shape: int | str) -> Tensor:
    """float32 of this shape, in which a letter stands for any size of at least 1."""
    tensor = real_tensor(name, values)
    fits = tensor.dim() == len(shape) and all(
        size == wanted or (isinstance(wanted, str) and size > 0)
        for size, wanted in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        empty = " and not empty" if isinstance(shape[0], str) else ""
        raise InputError(f"{name} must be [{', '.join(map(str, shape))}]{empty}; got {list(tensor.shape)}")
    if not tensor.norm(dim=-1).isfinite().all():
        raise InputError(f"{name} has NaN or Inf, or numbers too large for a length")
    return tensor


def _vectors(name: str, values: Rows) -> Tensor:
    """float32 [n, D], rows that have a direction."""
    tensor = _numbers(name, values, "n", "D")
    zero = ~tensor.any(dim=1)
    if zero.any():
        row = int(zero.to(torch.int8).argmax())
        raise InputError(
            f"row {row} of {name} is all zeros ({int(zero.sum())} such rows): it has no direction and no cosine"
        )
    return tensor


def _labels(name: str, labels: Labels, count: int) -> Tensor:
    """int64 [n], a number for each different label."""
    array = _array(labels)
    if array.shape != (count,):
        raise InputError(f"{name} must be {count} labels, one for each row; got {list(array.shape)}")
    return torch.from_numpy(np.unique(array, return_inverse=True)[1])


def _array(labels: Labels) -> NDArray[Any]:
    return labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)


def _places(target_ids: Labels | None, count: int, answers: int) -> Tensor:
    """int64 [n], rows of a pool that was given."""
    if target_ids is None:
        raise InputError("with a pool, target_ids must say which row of it is the answer of each target")
    places = _array(target_ids)
    if places.shape != (count,) or places.dtype.kind not in "iu" or places.min() < 0 or places.max() >= answers:
        raise InputError(f"target_ids must be {count} whole numbers from 0 to {answers - 1}, rows of the pool")
    return torch.from_numpy(places.astype(np.int64))
