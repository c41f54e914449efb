"""Is one model better than another, or is it chance? A paired bootstrap over groups, and its outcome in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import InputError
from .embedding_metrics import LOWER_IS_BETTER, EmbeddingMetrics

RESAMPLES = 10_000
FEWEST_GROUPS = 6
"""With five, even a model that is better in each of them is so by chance in 2 of 2^5 cases, which is more than 5%."""

Outcome = Literal["better", "worse", "not distinguishable", "too few groups"]
"""Better or worse where the interval leaves 0 out; not distinguishable where it does not; too few groups where no
interval could tell, because there are fewer than FEWEST_GROUPS of them."""

_IN_WORDS: dict[Outcome, str] = {
    "better": "better than",
    "worse": "worse than",
    "not distinguishable": "not distinguishable from",
}
_DRAWS = 1 << 22  # group numbers drawn at once: 32 MB


@dataclass(frozen=True)
class Verdict:
    """One model against another on the same queries.

    Attributes:
        model, baseline: their names.
        metric: what is compared, one of METRICS.
        difference: of the means, model - baseline.
        low, high: the 95% interval of the difference.
        queries, groups: how many; an interval of few groups is not to be trusted.
    """

    model: str
    baseline: str
    metric: str
    difference: float
    low: float
    high: float
    queries: int
    groups: int

    @classmethod
    def of(
        cls,
        model: str,
        baseline: str,
        metric: str,
        ours: Tensor,
        theirs: Tensor,
        groups: Tensor,
        resamples: int = RESAMPLES,
    ) -> Verdict:
        """The verdict on the values [n] of two models; see :func:`paired_bootstrap`."""
        found = paired_bootstrap(ours, theirs, groups, resamples=resamples)
        return cls(model, baseline, metric, *found, len(groups), len(groups.unique()))

    @property
    def enough_groups(self) -> bool:
        """Whether there are FEWEST_GROUPS groups: with fewer the interval says nothing either way."""
        return self.groups >= FEWEST_GROUPS

    @property
    def outcome(self) -> Outcome:
        """What the interval says."""
        if not self.enough_groups:
            return "too few groups"
        if self.low <= 0 <= self.high:
            return "not distinguishable"
        higher = self.low > 0
        return "worse" if higher == (self.metric in LOWER_IS_BETTER) else "better"

    @property
    def words(self) -> str:
        """The outcome as it stands in a sentence: "better than", or "too few groups (5) to tell"."""
        return _IN_WORDS.get(self.outcome, f"too few groups ({self.groups}) to tell")

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the outcome and its words."""
        return {**asdict(self), "outcome": self.outcome, "words": self.words}


def compare(
    ours: EmbeddingMetrics,
    theirs: EmbeddingMetrics,
    metric: str = "cosine",
    *,
    model: str = "the model",
    baseline: str = "the baseline",
) -> Verdict:
    """``ours`` against ``theirs`` in one of METRICS; see :func:`paired_bootstrap`.

    Raises InputError if the two are not of the same queries in the same groups.
    """
    if not torch.equal(ours.groups, theirs.groups):
        raise InputError(
            f"two models can be compared on the same queries in the same groups only; got {ours.queries} and "
            f"{theirs.queries} queries, or other groups"
        )
    return Verdict.of(model, baseline, metric, ours.values(metric), theirs.values(metric), ours.groups)


def paired_bootstrap(
    ours: Tensor, theirs: Tensor, groups: Tensor, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """mean(ours) - mean(theirs) and its 95% interval, low and high.

    The queries of one group resemble each other, so whole groups are drawn, with replacement, as many as there are; the
    interval goes from the 2.5th to the 97.5th percentile of the differences of the resamples (Efron and Tibshirani
    1993, percentile method; Field and Welsh 2007 for groups). With s_g the sum of ours - theirs in group g and n_g its
    queries, the difference of a resample is (sum of s_g) / (sum of n_g) over the groups drawn. With few groups the
    interval is too narrow: simulated with normal values, it held the truth in 86% of cases with 6 groups, 90% with 10,
    93% with 20 and 94% with 200.

    Args:
        ours, theirs: [n], the values of the two models for the same queries.
        groups: int64 [n].
        resamples: how many.
        seed: of the draws.
    """
    _, group, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, group, ours.double() - theirs.double())
    generator = torch.Generator().manual_seed(seed)
    found = []
    for part in torch.arange(resamples).split(max(1, _DRAWS // len(counts))):
        drawn = torch.randint(len(counts), (len(part), len(counts)), generator=generator)
        found.append(sums[drawn].sum(dim=1) / counts[drawn].sum(dim=1))
    low, high = torch.cat(found).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return float(sums.sum() / counts.sum()), low, high
