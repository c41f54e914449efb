"""The core and all baselines on every test of a task, with what is needed to look into single queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config.run_config import TrainingConfig
from ..core import CubicCore
from ..data.create_datasets import ProgressFactory
from ..evaluation.baseline_comparison import Comparison
from ..evaluation.baselines import CUBE, IDENTITY, Baseline, as_baseline, wiener
from ..evaluation.headline import title_in_words
from ..evaluation.metrics import nearest
from ..evaluation.paired_bootstrap import Verdict, compare
from ..evaluation.score_table import HeldOutTest, ModelResult
from ..training.progress import METRIC_NAMES
from ..training.trainer import CubeTrainer
from ..training.validation import Validation, validate_models, validated_headline
from .run_data import PairMetadata, TaskData

VERDICT_METRICS = ("mrr", "cosine")
"""The metrics of a verdict: how well the model retrieves, and how close its outputs are to the right answers."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TestResult(HeldOutTest):
    """The core and the baselines on one test of n pairs.

    Attributes:
        metadata: the texts and keys of its pairs.
        measured: the core first, then the baselines.
        nearest: int64 [n], the place in the pool (all answers that the right one is ranked among) of the answer that is
            nearest to the core's output.
        scores: float32 [n], the cosine of that answer to the core's output.
        right: int64 [n], the place of the right answer in the pool.
        pool_texts: of the pool, or None.
        strongest: for each metric of VERDICT_METRICS, the baseline that was best on validation.
    """

    __test__ = False  # it is no test of pytest's

    metadata: PairMetadata
    measured: list[ModelResult]
    nearest: Tensor
    scores: Tensor
    right: Tensor
    pool_texts: list[str] | None
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
    def correct(self) -> Tensor:
        """bool [n]: whether the answer that the core gives is the right one."""
        return self.nearest == self.right

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
        headline: R@1 before and after in each test, in a sentence or two; empty for an autoencoder.
    """

    task: TaskData
    cube: Baseline
    comparison: Comparison
    tests: list[TestResult]
    validation: dict[str, dict[str, float]]
    headline: str

    @property
    def main_test(self) -> TestResult:
        """The test that is analysed first: of new groups, if there is one, and with a noise that was trained on."""
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

    def best_rivals(self, metric: str) -> list[str]:
        """The names of all models but the core and identity, the best on validation first."""
        rivals = [name for name in self.validation if name not in (CUBE, IDENTITY)]
        return sorted(rivals, key=lambda name: -self.validation[name][metric])

    @property
    def verdicts(self) -> list[RegimeVerdict]:
        """Of each test, by :attr:`verdict_metric`."""
        found = [(test, test.verdict(self.verdict_metric)) for test in self.tests]
        return [RegimeVerdict(test.title, verdict, test.of(verdict.baseline).kind) for test, verdict in found]


def evaluate_task(
    task: TaskData, core: CubicCore, config: TrainingConfig, counting: ProgressFactory | None = None
) -> TaskResult:
    """Fit the baselines on the task's training part and score them beside the core on its tests.

    The adapters are trained on the same batches and losses as the core; ``counting`` shows how far that is, see
    :meth:`~cubefast.training.trainer.CubeTrainer.rivals`.
    """
    cube, parts = as_baseline(core), task.parts
    trainer = CubeTrainer(config.model_copy(update={"mode": task.mode, "tensorboard": False}))
    comparison = Comparison(
        parts,
        task.mode,
        config.data.noise,
        all_baselines=True,
        rivals=trainer.rivals(parts.train, parts.validations, bank=parts.bank, counting=counting),
        structures={name: each.structure for name, each in task.tests.items()},
        bank=task.bank,
    )
    baselines = comparison.baselines
    if comparison.denoise:  # they meet the core under the noise of training, which PCA-Wiener is given
        levels = comparison.noise.levels
        typical = math.sqrt(sum(level**2 for level in levels) / len(levels))
        baselines = [*baselines, wiener(comparison.moments, typical)]
    held_out = Validation.of_parts(parts)
    validation = validate_models([cube, *baselines], held_out)
    strongest = {
        metric: max((each.name for each in baselines), key=lambda name: validation[name][metric])
        for metric in VERDICT_METRICS
    }
    tests = []
    for test in comparison.tests():
        answers, right = test.answers()
        ids = test.pairs.target_ids.unique().tolist() if test.bank is None else range(len(test.bank))
        scores, places = nearest(cube.predict(test.pairs.inputs), cube.stored(answers))
        tests.append(
            TestResult(
                **vars(test),
                metadata=task.tests[test.part],
                measured=comparison.measure(cube, test),
                nearest=places,
                scores=scores,
                right=right,
                pool_texts=None if task.texts is None else [task.texts[each] for each in ids],
                strongest=strongest,
            )
        )
    sentence = ""
    if task.mode == "dialogue":
        lines = [each.score for test in tests for each in test.measured]
        sentence = validated_headline(cube, comparison.baselines, held_out, validation, lines)
    return TaskResult(task, cube, comparison, tests, validation, sentence)


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
        tensors = {
            "cosine": torch.stack([each.cosines for each in metrics]),
            "centred_cosine": torch.stack([each.values("centred_cosine").float() for each in metrics]),
            "mse": torch.stack([each.squared_errors for each in metrics]),
            "rank": torch.stack([each.ranks for each in metrics]),
            "semantic_relevance": torch.stack([each.relevances for each in metrics]),
            "parameters": torch.tensor([each.parameters for each in test.measured]),
            "groups": test.cube.metrics.groups,
            "pool": torch.tensor(test.cube.metrics.pool),
            "score": test.scores,
            "nearest": test.nearest,
            "right": test.right,
        }
        arrays |= {f"{number}/{name}": tensor.numpy() for name, tensor in tensors.items()}
        arrays[f"{number}/models"] = np.array([each.model for each in test.measured])
        arrays[f"{number}/kinds"] = np.array([each.kind for each in test.measured])
        arrays[f"{number}/key"] = test.metadata.keys
    return arrays
