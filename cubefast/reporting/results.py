"""The core and all baselines on every test of a task, with what is needed to look into single queries."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import TrainingConfig
from ..core import CubicCore
from ..evaluation.baselines import CUBE, IDENTITY, Baseline, as_baseline, wiener
from ..evaluation.comparison import Comparison, OnFitted
from ..evaluation.metrics import different, nearest
from ..evaluation.report import ModelResult, Regime
from ..evaluation.summary import ValidationSummary, headline, recall_by_regime, title_in_words
from ..evaluation.verdict import FEWEST_GROUPS, Verdict, compare
from ..training.progress import METRIC_NAMES
from ..training.trainer import CubeTrainer
from ..training.validation import Validation, on_validation
from .run_data import PairMetadata, TaskData

VERDICT_METRICS = ("mrr", "cosine")
"""The metrics of a verdict: how well the model retrieves, and how close its outputs are to the right answers."""


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What the core retrieves for the n queries of a test.

    Attributes:
        places: int64 [n], the place of the nearest answer in the pool.
        scores: float32 [n], its cosine to the core's output.
    """

    places: Tensor
    scores: Tensor


@dataclass(frozen=True, eq=False)
class TestResult:
    """The core and the baselines on one test of n pairs.

    Attributes:
        part: the name of the part of the data set that it is made of.
        title: the same with the noise, where there is some.
        regime: what is new about its questions.
        noise_trained: whether the core was trained on the noise of its inputs; True without any.
        metadata: the texts, domains and groups of its pairs.
        measured: the core first, then the baselines.
        inputs, targets: float32 [n, D].
        right: int64 [n], the place of the right answer in the pool: all answers that it is ranked among.
        pool_texts: of the pool, or None.
        retrieved: the answers that the core gives.
        strongest: for each metric of VERDICT_METRICS, the baseline that was best on validation.
    """

    __test__ = False  # it is no test of pytest's

    part: str
    title: str
    regime: Regime
    noise_trained: bool
    metadata: PairMetadata
    measured: list[ModelResult]
    inputs: Tensor
    targets: Tensor
    right: Tensor
    pool_texts: list[str] | None
    retrieved: Retrieved
    strongest: dict[str, str]
    _verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict, repr=False)

    def of(self, model: str) -> ModelResult:
        """The result of the model of this name."""
        return next(each for each in self.measured if each.model == model)

    @property
    def words(self) -> str:
        """Its title as a reader knows it, such as "new topics"."""
        return title_in_words(self.title)

    @property
    def cube(self) -> ModelResult:
        """The result of the core."""
        return self.measured[0]

    @property
    def identity(self) -> ModelResult:
        """The result of the embeddings as they are, without the core."""
        return next(each for each in self.measured if each.kind == IDENTITY)

    @property
    def groups(self) -> int:
        """The number of groups that its queries are in."""
        return len(self.cube.metrics.groups.unique())

    @property
    def enough_groups(self) -> bool:
        """Whether these are enough for an interval to show a difference between two models."""
        return self.groups >= FEWEST_GROUPS

    def verdict(self, metric: str, baseline: str | None = None) -> Verdict:
        """The core against a baseline; None: the one that was strongest on validation by that metric."""
        name = baseline or self.strongest[metric]
        if (metric, name) not in self._verdicts:
            found = compare(self.cube.metrics, self.of(name).metrics, metric, model=CUBE, baseline=name)
            self._verdicts[metric, name] = found
        return self._verdicts[metric, name]


@dataclass(frozen=True)
class RegimeVerdict:
    """The core against the strongest of the baselines in one test. ``str()`` is a sentence without its capital.

    Attributes:
        test: its title.
        verdict: by the metric that counts, against the baseline that was the strongest on validation by that metric.
        kind: of that baseline.
    """

    test: str
    verdict: Verdict
    kind: str

    def __str__(self) -> str:
        found, words = self.verdict, title_in_words(self.test)
        if not found.enough_groups:
            return f"{words}: {found.words}"
        outcome = "no clear difference from" if found.outcome == "not distinguishable" else found.words
        return f"{words}: {outcome} the strongest rival, {self.kind}"

    @property
    def figures(self) -> str:
        """The difference, its interval, and what they are of."""
        found = self.verdict
        return (
            f"{METRIC_NAMES[found.metric]} {found.difference:+.4f}, 95% interval {found.low:+.4f} to {found.high:+.4f} "
            f"(cube - {found.baseline}; {found.groups:,} groups)"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"test": self.test, "sentence": str(self), "kind": self.kind, **self.verdict.as_dict()}


@dataclass(frozen=True, eq=False)
class TaskResult:
    """The result of an evaluation on one task.

    Attributes:
        task: its data.
        cube: the core, as a model.
        comparison: the baselines.
        tests: the core and the baselines on each, in the order of the regimes.
        validation: the metrics of the core and, after it, the baselines by name, as of :meth:`Validation.metrics`.
    """

    task: TaskData
    cube: Baseline
    comparison: Comparison
    tests: list[TestResult]
    validation: dict[str, dict[str, float]]

    @property
    def main_test(self) -> TestResult:
        """The test that figures are drawn of first: new groups, under a noise that was trained on."""
        known = [test for test in self.tests if test.noise_trained] or self.tests
        return next((test for test in known if test.regime == "unseen_group"), known[0])

    @property
    def summary_metric(self) -> str:
        """The metric that the report begins with: R@1, or the cosine for an autoencoder."""
        return "recall_at_1" if self.task.mode == "dialogue" else "cosine"

    @property
    def verdict_metric(self) -> str:
        """The metric that decides: MRR, or the cosine for an autoencoder."""
        return "mrr" if self.task.mode == "dialogue" else "cosine"

    @property
    def verdicts(self) -> list[RegimeVerdict]:
        """Of each test, by :attr:`verdict_metric`."""
        found = [(test, test.verdict(self.verdict_metric)) for test in self.tests]
        return [RegimeVerdict(test.title, verdict, test.of(verdict.baseline).kind) for test, verdict in found]

    @property
    def headline(self) -> str:
        """R@1 before and after in each test, in a sentence or two; empty for an autoencoder."""
        if self.task.mode != "dialogue":
            return ""
        summary = ValidationSummary.of([self.cube, *self.comparison.baselines], self.validation)
        scores = [each.score for test in self.tests for each in test.measured]
        return headline(recall_by_regime(scores, summary.rival_name), summary)


def evaluate_task(
    task: TaskData,
    core: CubicCore,
    config: TrainingConfig,
    on_fitted: OnFitted | None = None,
) -> TaskResult:
    """Fit the baselines on the task's training part and score them beside the core on its tests.

    ``on_fitted`` is called with each baseline and the seconds that its fitting took.
    """
    cube = as_baseline(core)
    comparison = Comparison(
        task.parts,
        task.mode,
        config.data.noise,
        all_baselines=True,
        rivals=_trained(task, config, on_fitted),
        structures=task.structures,
        bank=task.bank,
        on_fitted=on_fitted,
    )
    validation = on_validation([cube, *_rivals(comparison)], Validation.of_parts(task.parts))
    strongest = {metric: _strongest(validation, metric) for metric in VERDICT_METRICS}
    tests = []
    for test in comparison.tests():
        inputs, targets, ids = test.pairs.inputs, test.pairs.targets, test.pairs.target_ids
        if test.bank is None:
            (pool, right), in_pool = different(targets, ids), ids.unique().tolist()
        else:
            pool, right, in_pool = test.bank, ids, list(range(len(test.bank)))
        texts = None if task.texts is None else [task.texts[row] for row in in_pool]
        scores, places = nearest(cube.predict(inputs), cube.stored(pool))
        measured = comparison.measure(cube, test)
        tests.append(
            TestResult(
                part=test.name,
                title=test.title,
                regime=test.regime,
                noise_trained=test.noise_trained,
                metadata=task.tests[test.name],
                measured=measured,
                inputs=inputs,
                targets=targets,
                right=right,
                pool_texts=texts,
                retrieved=Retrieved(places, scores),
                strongest=strongest,
            )
        )
    return TaskResult(task, cube, comparison, tests, validation)


def _trained(task: TaskData, config: TrainingConfig, on_fitted: OnFitted | None) -> list[Baseline]:
    """The adapters, trained on the same batches and losses as the core."""
    began = time.perf_counter()

    def report(model: Baseline, _: float) -> None:
        if on_fitted is not None:
            on_fitted(model, time.perf_counter() - began)

    parts = task.parts
    trainer = CubeTrainer(config.model_copy(update={"mode": task.mode, "tensorboard": False}))
    return trainer.rivals(parts.train, parts.validations, bank=parts.bank, on_trained=report)


def _rivals(comparison: Comparison) -> list[Baseline]:
    """All baselines, as they meet the core on validation: under the noise of training, which PCA-Wiener is given."""
    if not comparison.denoise:
        return comparison.baselines
    levels = comparison.noise.levels
    typical = math.sqrt(sum(level**2 for level in levels) / len(levels))
    return [*comparison.baselines, wiener(comparison.moments, typical)]


def _strongest(validation: Mapping[str, Mapping[str, float]], metric: str) -> str:
    """The name of the baseline with the best metric on validation; the identity is one of them."""
    return max((name for name in validation if name != CUBE), key=lambda name: validation[name][metric])


def per_query(results: Sequence[TaskResult]) -> dict[str, NDArray[Any]]:
    """Every value of every query, for ``per_query.npz``: arrays by name.

    ``tests`` has the titles. For test number t: ``t/models``, ``t/kinds`` (the models with and without their settings)
    and ``t/parameters`` [models]; ``t/cosine``, ``t/centred_cosine``, ``t/mse``, ``t/rank`` and
    ``t/semantic_relevance`` [models, n]; ``t/groups`` and ``t/key`` [n], where the same pair has the same key; and
    ``t/pool``, the number of answers. Of the core alone: ``t/score`` and ``t/nearest`` [n], the cosine and the place of
    the answer that it gives, and ``t/right`` [n], the place of the right one, among the ``t/pool`` answers.
    """
    tests = [test for result in results for test in result.tests]
    arrays: dict[str, NDArray[Any]] = {"tests": np.array([test.title for test in tests])}
    for number, test in enumerate(tests):
        metrics = [each.metrics for each in test.measured]
        arrays |= {
            f"{number}/models": np.array([each.model for each in test.measured]),
            f"{number}/kinds": np.array([each.kind for each in test.measured]),
            f"{number}/parameters": np.array([each.parameters for each in test.measured]),
            f"{number}/cosine": torch.stack([each.cosines for each in metrics]).numpy(),
            f"{number}/centred_cosine": torch.stack(
                [each.values("centred_cosine").float() for each in metrics]
            ).numpy(),
            f"{number}/mse": torch.stack([each.squared_errors for each in metrics]).numpy(),
            f"{number}/rank": torch.stack([each.ranks for each in metrics]).numpy(),
            f"{number}/semantic_relevance": torch.stack([each.relevances for each in metrics]).numpy(),
            f"{number}/groups": test.cube.metrics.groups.numpy(),
            f"{number}/key": test.metadata.keys,
            f"{number}/pool": np.array(test.cube.metrics.pool),
            f"{number}/score": test.retrieved.scores.numpy(),
            f"{number}/nearest": test.retrieved.places.numpy(),
            f"{number}/right": test.right.numpy(),
        }
    return arrays
