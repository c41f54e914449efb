"""The core and all baselines on every test of a section, with what is needed to look into single queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import CubicCore
from ..evaluation.baselines import Baseline, wiener
from ..evaluation.comparison import Comparison
from ..evaluation.embedding_metrics import LOWER_IS_BETTER
from ..evaluation.metrics import different, nearest
from ..evaluation.report import Measured, Score, score
from ..evaluation.verdict import Verdict, compare
from ..training.trainer import as_baseline
from .material import Items, Section

HEADLINES = ("cosine", "mrr")
"""The metrics of the verdict: how near, and how well it finds."""

CUBE = "cube"


@dataclass(frozen=True, eq=False)
class Found:
    """What one model answers to n queries of a test: the nearest answer of the pool, int64 [n], and its cosine [n]."""

    places: Tensor
    scores: Tensor


@dataclass(frozen=True, eq=False)
class TestResult:
    """One test.

    Attributes:
        title: with the noise, where there is some.
        items: of its n pairs.
        measured: the core first, then the baselines.
        inputs, targets: float32 [n, D].
        right: int64 [n], the place of the right answer in the pool.
        pool_texts: of the pool, or None.
        found: what the core and ridge answer, by the model's name.
        strongest: for each metric of HEADLINES, the baseline that was best on validation.
    """

    __test__ = False  # it is no test of pytest's

    title: str
    items: Items
    measured: list[Measured]
    inputs: Tensor
    targets: Tensor
    right: Tensor
    pool_texts: list[str] | None
    found: dict[str, Found]
    strongest: dict[str, str]
    _verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict, repr=False)

    def of(self, model: str) -> Measured:
        """That of the model of this name."""
        return next(each for each in self.measured if each.model == model)

    @property
    def cube(self) -> Measured:
        """The core's."""
        return self.measured[0]

    @property
    def ridge(self) -> Measured:
        """Ridge's, the plain linear map that every analysis stands beside."""
        return next(each for each in self.measured if each.model.startswith("ridge"))

    @property
    def identity(self) -> Measured:
        """The input's as it is: before."""
        return self.of("identity")

    def verdict(self, metric: str, baseline: str | None = None) -> Verdict:
        """The core against a baseline; None: the one that was strongest on validation by that metric."""
        name = baseline or self.strongest[metric]
        if (metric, name) not in self._verdicts:
            found = compare(self.cube.metrics, self.of(name).metrics, metric, model=CUBE, baseline=name)
            self._verdicts[metric, name] = found
        return self._verdicts[metric, name]


@dataclass(frozen=True, eq=False)
class SectionResult:
    """What a section came to: its tests, and the core and the baselines on validation."""

    section: Section
    comparison: Comparison
    tests: list[TestResult]
    validation: list[Score]

    @property
    def headline(self) -> TestResult:
        """The test that the verdict is about: new groups, under a noise that was trained on."""
        known = [test for test in self.tests if "(not trained on)" not in test.title] or self.tests
        return next((test for test in known if test.title.startswith("unseen group")), known[0])


def measure_section(
    section: Section, core: CubicCore, noise: Any, fitted: Callable[[Baseline, float], None] | None = None
) -> SectionResult:
    """Fit the baselines on the section's training part and score them beside the core on its tests."""
    cube = as_baseline(core)
    comparison = Comparison(
        section.parts,
        section.mode,
        noise,
        core_parameters=cube.parameters,
        origins=section.origins,
        fitted=fitted,
    )
    validation = [score("validation", model, comparison.validation) for model in (cube, *_rivals(comparison))]
    strongest = {metric: _strongest(validation[1:], metric) for metric in HEADLINES}
    ridge = next(each for each in comparison.baselines if each.name.startswith("ridge"))
    tests = []
    for test in comparison.tests():
        inputs, targets, ids = test.pairs.inputs, test.pairs.targets, test.pairs.target_ids
        pool, right = different(targets, ids)
        texts = None if section.texts is None else [section.texts[int(i)] for i in ids.unique()]
        found = {each.name: Found(*reversed(nearest(each.predict(inputs), pool))) for each in (cube, ridge)}
        measured, items = comparison.measure(cube, test), section.tests[test.name]
        tests.append(TestResult(test.title, items, measured, inputs, targets, right, texts, found, strongest))
    return SectionResult(section, comparison, tests, validation)


def _rivals(comparison: Comparison) -> list[Baseline]:
    """All baselines, as they meet the core on validation: under the noise of training, of which PCA-Wiener is told."""
    if not comparison.denoise:
        return comparison.baselines
    levels = comparison.noise.levels
    typical = math.sqrt(sum(level**2 for level in levels) / len(levels))
    return [*comparison.baselines, wiener(comparison.moments, typical)]


def _strongest(scores: Sequence[Score], metric: str) -> str:
    best = (min if metric in LOWER_IS_BETTER else max)(scores, key=lambda each: getattr(each, metric))
    return best.model


def per_query(results: Sequence[SectionResult]) -> dict[str, NDArray[Any]]:
    """Every value of every query, for ``per_query.npz``.

    ``tests`` and ``models`` are names; for test number t and the models in the order of ``t/models``: ``t/cosine``,
    ``t/centred_cosine``, ``t/mse``, ``t/rank``, ``t/semantic_relevance`` [models, n], ``t/groups`` and ``t/key`` [n]
    (the same for the same pair), ``t/pool``; of the core alone ``t/score`` and ``t/nearest`` [n], the cosine and the
    place of the answer it gives, and ``t/right`` [n], the place of the right one.
    """
    tests = [test for result in results for test in result.tests]
    arrays: dict[str, NDArray[Any]] = {"tests": np.array([test.title for test in tests])}
    for number, test in enumerate(tests):
        metrics = [each.metrics for each in test.measured]
        arrays |= {
            f"{number}/models": np.array([each.model for each in test.measured]),
            f"{number}/parameters": np.array([each.parameters for each in test.measured]),
            f"{number}/cosine": torch.stack([each.cosines for each in metrics]).numpy(),
            f"{number}/centred_cosine": torch.stack([each.values("centred_cosine") for each in metrics])
            .float()
            .numpy(),
            f"{number}/mse": torch.stack([each.squared_errors for each in metrics]).numpy(),
            f"{number}/rank": torch.stack([each.ranks for each in metrics]).numpy(),
            f"{number}/semantic_relevance": torch.stack([each.relevances for each in metrics]).numpy(),
            f"{number}/groups": test.cube.metrics.groups.numpy(),
            f"{number}/key": test.items.keys,
            f"{number}/pool": np.array(test.cube.metrics.pool),
            f"{number}/score": test.found[CUBE].scores.numpy(),
            f"{number}/nearest": test.found[CUBE].places.numpy(),
            f"{number}/right": test.right.numpy(),
        }
    return arrays
