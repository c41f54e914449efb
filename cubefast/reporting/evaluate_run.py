"""The evaluation of a run: every figure, computed once. The report only puts them into words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..data.create_datasets import ProgressFactory
from ..utils.templates import capital
from .analysis import Analysis, analyse
from .cases import CaseGroup, list_cases
from .caveats import ReliabilityCurve, ThresholdResult, apply_threshold, list_limits
from .performance import measure_performance
from .run_data import RunData
from .task_results import VERDICT_METRICS, TaskResult, TestResult, evaluate_task


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that there is to report of a run.

    Attributes:
        run_data: the run and its data.
        results: for each task, all models on all tests.
        analyses: by the test's title; of an autoencoder, of the main test alone.
        cases: by the same titles, queries to read.
        calibration: by the same titles, how often the core's answer is right, by its score.
        threshold: the effect of the threshold below which nothing is answered; None where there is no threshold.
        limits: sentences on what the run cannot do.
        performance: sizes, times and memory; the times differ from one evaluation to the next.
    """

    run_data: RunData
    results: list[TaskResult]
    analyses: dict[str, Analysis]
    cases: dict[str, list[CaseGroup]]
    calibration: dict[str, ReliabilityCurve]
    threshold: ThresholdResult | None
    limits: list[str]
    performance: dict[str, Any]

    @property
    def main(self) -> TaskResult:
        """The result that a report begins with: of a mixed run, that on questions."""
        return self.results[0]

    @property
    def analysed_tests(self) -> list[TestResult]:
        """The tests that are looked into, in the order of the headline."""
        return [test for test in self.main.tests if test.title in self.analyses]

    @property
    def verdict(self) -> str:
        """The verdict on each test, in a sentence; of an autoencoder, on the main test alone."""
        return capital("; ".join(str(each) for each in self.main.verdicts if each.test in self.analyses))

    @property
    def tests(self) -> list[TestResult]:
        """The tests of all tasks."""
        return [test for result in self.results for test in result.tests]

    def as_dict(self) -> dict[str, Any]:
        """For ``report.json``; all but ``performance`` is the same from one evaluation to the next."""
        return {
            "headline": self.main.headline,
            "verdict": {"sentence": self.verdict, "regimes": [each.as_dict() for each in self.main.verdicts]},
            "run": {
                "mode": self.run_data.config.mode,
                "seed": self.run_data.config.seed,
                "data": self.run_data.source or self.run_data.config.data.path,
                "held_out": self.run_data.source is None,
                "fingerprint": self.run_data.fingerprint,
                "notes": self.run_data.notes,
            },
            "config": self.run_data.config.model_dump(mode="json"),
            "scores": [each.score.as_dict() for test in self.tests for each in test.measured],
            "validation": [
                {"model": model, **metrics} for result in self.results for model, metrics in result.validation.items()
            ],
            "measured": [each.as_dict() for test in self.tests for each in test.measured],
            "verdicts": [
                {"test": test.title, **test.verdict(metric, other.model).as_dict()}
                for test in self.tests
                for metric in VERDICT_METRICS
                for other in test.measured[1:]
            ],
            "calibration": {title: asdict(each) for title, each in self.calibration.items()},
            "threshold": self.threshold and asdict(self.threshold),
            "analysis": {title: each.as_dict() for title, each in self.analyses.items()},
            "limits": self.limits,
            "cases": {title: list(map(asdict, groups)) for title, groups in self.cases.items()},
            "performance": self.performance,
        }


def evaluate_run(
    run_data: RunData, report: Callable[[str], Any] = lambda text: None, counting: ProgressFactory | None = None
) -> Evaluation:
    """Score a run and its baselines, compare them, analyse parts of the tests, and measure times.

    Args:
        run_data: the run and its data.
        report: called with the name of each step.
        counting: see :func:`~cubefast.reporting.task_results.evaluate_task`.
    """
    report("fitting the baselines on the training part")
    results = [evaluate_task(task, run_data.core, run_data.config, counting) for task in run_data.tasks]
    main = results[0]
    report("analysing parts of the tests and single queries")
    tests = main.tests if main.task.mode == "dialogue" else [main.main_test]
    analyses = {test.title: analyse(main, test) for test in tests}
    threshold = apply_threshold(run_data, main)
    report("measuring times")
    return Evaluation(
        run_data=run_data,
        results=results,
        analyses=analyses,
        cases={test.title: list_cases(test) for test in tests},
        calibration={test.title: ReliabilityCurve.of(test.scores, test.correct) for test in tests},
        threshold=threshold,
        limits=list_limits(main, analyses, threshold),
        performance=measure_performance(run_data, main),
    )
