"""Where the core is better or worse than ridge: by domain, length, rarity, difficulty and distance from training."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.pairs import PairDataset
from ..evaluation.baselines import CUBE
from ..evaluation.metrics import nearest, spearman
from ..evaluation.verdict import Outcome, Verdict, paired_bootstrap
from .results import TestResult
from .run_data import PairMetadata

RESAMPLES = 2000  # of each bucket's interval
FEWEST = 12  # queries that a bucket needs, and a test to be cut into thirds four times as many
MOST_DOMAINS = 20  # the largest ones; a table of hundreds says nothing

Doubles = NDArray[np.float64]

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Feature:
    """A number for each query, by which queries are cut into thirds.

    Attributes:
        name, meaning: what it is called, and how it is computed.
        low, high: what queries are that have little and much of it.
        values: float64 [n].
    """

    name: str
    meaning: str
    low: str
    high: str
    values: Doubles


@dataclass(frozen=True)
class Bucket:
    """Some queries of a test: the core beside ridge and identity there.

    Attributes:
        kind, name: such as domain, cooking.
        queries, groups: how many.
        cube, ridge, identity: mean cosines.
        cube_mrr, ridge_mrr: the same of MRR.
        difference, low, high: the difference in mean cosine (core - ridge), and its 95% interval.
        against_identity: the same three against identity.
        outcome, identity_outcome: what the two intervals say, as of a :class:`Verdict`.
        trained: pairs of this domain in training; None for other kinds.
    """

    kind: str
    name: str
    queries: int
    groups: int
    cube: float
    ridge: float
    identity: float
    cube_mrr: float
    ridge_mrr: float
    difference: float
    low: float
    high: float
    against_identity: tuple[float, float, float]
    outcome: Outcome
    identity_outcome: Outcome
    trained: int | None = None


@dataclass(frozen=True)
class Analysis:
    """The buckets of a test, and how the lead over ridge goes with each feature.

    Attributes:
        buckets: by kind.
        features: what the queries were cut by.
        correlations: of each feature, Spearman's with the difference in cosine (core - ridge), over queries.
    """

    buckets: list[Bucket]
    features: list[Feature]
    correlations: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "buckets": [asdict(bucket) for bucket in self.buckets],
            "features": {each.name: each.meaning for each in self.features},
            "correlation_with_lead": self.correlations,
        }


def analyse(test: TestResult, train: PairDataset, trained: PairMetadata) -> Analysis:
    """Cut a test by every feature that is known, and by domain."""
    features = features_of(test, train, trained)
    buckets = []
    if test.metadata.domains is not None:
        known = Counter(trained.domains or ())
        for domain, count in Counter(test.metadata.domains).most_common(MOST_DOMAINS):
            rows = np.array([each == domain for each in test.metadata.domains])
            if count >= FEWEST:
                buckets.append(_bucket(test, "domain", domain or "(none)", rows, known[domain]))
    for feature in features:
        if len(feature.values) < 4 * FEWEST:
            continue
        first, second = np.quantile(feature.values, (1 / 3, 2 / 3))
        cuts = {
            f"{feature.low} (up to {first:.3g})": feature.values <= first,
            f"middle (up to {second:.3g})": (feature.values > first) & (feature.values <= second),
            f"{feature.high} (more)": feature.values > second,
        }
        buckets += [_bucket(test, feature.name, n, rows) for n, rows in cuts.items() if rows.sum() >= FEWEST]
    lead = test.cube.metrics.cosines.double() - test.ridge.metrics.cosines.double()
    correlations = {each.name: spearman(lead, torch.from_numpy(each.values)) for each in features}
    return Analysis(buckets, features, correlations)


def features_of(test: TestResult, train: PairDataset, trained: PairMetadata) -> list[Feature]:
    """The numbers a test is cut by; those of texts are left out where there are none."""
    found = []
    questions = test.metadata.questions
    if questions is not None:
        lengths = np.array([len(text) for text in questions], np.float64)
        found.append(Feature("length", "characters of the question", "short", "long", lengths))
        if trained.questions is not None:
            meaning = "how rare its words are in training: mean of ln((1 + N) / (1 + questions with the word))"
            values = rarity(questions, trained.questions)
            found.append(Feature("rarity", meaning, "of common words", "of rare words", values))
    already = test.identity.metrics.cosines.double().numpy()
    found.append(
        Feature(
            "difficulty", "cosine of question and answer as they are: what identity scores", "hard", "easy", already
        )
    )
    meaning = "cosine of the question to the nearest one in training"
    found.append(Feature("nearness", meaning, "far from training", "near to training", nearness(test, train)))
    return found


def rarity(texts: Sequence[str], known: Sequence[str]) -> Doubles:
    """float64 [n]: the mean over a text's words of ln((1 + N) / (1 + df)), where df of the N known texts have the word.

    It is the inverse document frequency (Spärck Jones 1972), smoothed so that a word nobody knows counts most.
    """
    frequency = Counter(word for text in known for word in set(_words(text)))
    idf = {word: math.log((1 + len(known)) / (1 + frequency[word])) for text in texts for word in _words(text)}
    return np.array([np.mean([idf[word] for word in _words(text)] or [0.0]) for text in texts])


def nearness(test: TestResult, train: PairDataset) -> Doubles:
    """float64 [n]: the highest cosine of each input to one of training, as it is without noise."""
    best = torch.full((len(test.inputs),), -1.0)
    for known, _, _ in train.batches(noisy=False):
        best = torch.maximum(best, nearest(test.inputs, known)[0])
    return best.double().numpy()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _bucket(test: TestResult, kind: str, name: str, rows: NDArray[np.bool_], trained: int | None = None) -> Bucket:
    chosen = torch.from_numpy(rows)
    cube, ridge, identity = (each.metrics for each in (test.cube, test.ridge, test.identity))
    groups = cube.groups[chosen]
    count, different = int(chosen.sum()), len(groups.unique())

    def against(other: torch.Tensor, model: str) -> Verdict:
        ours = cube.cosines[chosen]
        found = paired_bootstrap(ours, other[chosen], groups, resamples=RESAMPLES)
        return Verdict(CUBE, model, "cosine", *found, count, different)

    of_ridge, of_identity = against(ridge.cosines, "ridge"), against(identity.cosines, "identity")
    return Bucket(
        kind=kind,
        name=name,
        queries=count,
        groups=different,
        cube=_mean(cube.cosines[chosen]),
        ridge=_mean(ridge.cosines[chosen]),
        identity=_mean(identity.cosines[chosen]),
        cube_mrr=_mean(1 / cube.ranks[chosen].double()),
        ridge_mrr=_mean(1 / ridge.ranks[chosen].double()),
        difference=of_ridge.difference,
        low=of_ridge.low,
        high=of_ridge.high,
        against_identity=(of_identity.difference, of_identity.low, of_identity.high),
        outcome=of_ridge.outcome,
        identity_outcome=of_identity.outcome,
        trained=trained,
    )


def _mean(values: torch.Tensor) -> float:
    return float(values.double().mean())
