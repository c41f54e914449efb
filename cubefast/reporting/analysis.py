"""Where the core helps and where it does not: by domain, length of the question, and distance from training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.pairs import PairDataset
from ..evaluation.baselines import CUBE, IDENTITY
from ..evaluation.metrics import nearest
from ..evaluation.paired_bootstrap import Verdict
from .task_results import TaskResult, TestResult

PART_RESAMPLES = 2000
"""Resamples for the interval of each part, and of each share of the first picture."""
FEWEST = 12  # queries that a part needs, and a test to be cut into thirds four times as many
MOST_DOMAINS = 20  # the largest ones; a table of hundreds says nothing
NEAR_DUPLICATE = 0.98  # a question this similar to one of training is nearly the same


@dataclass(frozen=True)
class Bucket:
    """Some queries of a test, without the core and with it.

    Attributes:
        kind, name: such as domain, cooking.
        before, after: what the report begins with: R@1, or the mean cosine of an autoencoder.
        verdict: the core against identity, by the metric that decides.
        trained: pairs of this domain in training; None for other kinds.
    """

    kind: str
    name: str
    before: float
    after: float
    verdict: Verdict
    trained: int | None = None


@dataclass(frozen=True)
class Analysis:
    """The parts of a test.

    Attributes:
        buckets: by kind.
        near_duplicates: the share of queries that have a question in training at NEAR_DUPLICATE or nearer.
    """

    buckets: list[Bucket]
    near_duplicates: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        buckets = [asdict(each) | {"verdict": each.verdict.as_dict()} for each in self.buckets]
        return {"buckets": buckets, "near_duplicates": self.near_duplicates}


def analyse(result: TaskResult, test: TestResult) -> Analysis:
    """Cut a test by domain, by the length of the question and by its distance from training, as far as known."""
    nearness = _nearness(test, result.task.parts.train)
    buckets = []
    dialogues = test.metadata.dialogues or []
    trained = Counter(each.domain for each in result.task.train)
    domains = Counter(each.domain for each in dialogues)
    for domain, count in domains.most_common(MOST_DOMAINS) if any(domains) else []:
        if count >= FEWEST:
            rows = np.array([each.domain == domain for each in dialogues])
            buckets.append(_bucket(result, test, "domain", domain or "(none)", rows, trained[domain]))
    if dialogues:
        lengths = np.array([len(each.question) for each in dialogues], np.float64)
        for name, rows in _thirds(lengths, ("short", "middle", "long"), "{:.0f} characters"):
            buckets.append(_bucket(result, test, "question", name, rows))
    names = ("far from training", "between", "near to training")
    for name, rows in _thirds(nearness, names, "a cosine of {:.2f}"):
        buckets.append(_bucket(result, test, "distance", name, rows))
    return Analysis(buckets, float((nearness >= NEAR_DUPLICATE).mean()))


def _thirds(
    values: NDArray[np.float64], names: tuple[str, str, str], unit: str
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The names and rows of the lowest, middle and highest third; those of fewer than FEWEST are left out."""
    if len(values) < 4 * FEWEST:
        return
    first, second = np.quantile(values, (1 / 3, 2 / 3))
    low, high = values <= first, values > second
    ends = (f"up to {unit.format(first)}", f"up to {unit.format(second)}", "more")
    for name, end, rows in zip(names, ends, (low, ~low & ~high, high), strict=True):
        if rows.sum() >= FEWEST:
            yield f"{name} ({end})", rows


def _nearness(test: TestResult, train: PairDataset) -> NDArray[np.float64]:
    """float64 [n]: the highest cosine of each input to one of training, as it is without noise."""
    best = torch.full((len(test.pairs.inputs),), -1.0)
    for known, _, _ in train.batches(noisy=False):
        best = torch.maximum(best, nearest(test.pairs.inputs, known)[0])
    return best.double().numpy()


def _bucket(
    result: TaskResult, test: TestResult, kind: str, name: str, rows: NDArray[np.bool_], trained: int | None = None
) -> Bucket:
    cube, identity = test.cube.metrics, test.identity.metrics
    metric, shown = result.verdict_metric, result.summary_metric
    ours, theirs = (each.values(metric)[rows] for each in (cube, identity))
    before, after = (float(each.values(shown)[rows].mean()) for each in (identity, cube))
    verdict = Verdict.of(CUBE, IDENTITY, metric, ours, theirs, cube.groups[rows], PART_RESAMPLES)
    return Bucket(kind, name, before, after, verdict, trained)
