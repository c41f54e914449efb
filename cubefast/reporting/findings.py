"""Everything that is found out about a run, computed once; the report only puts it into words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..evaluation.baselines import Baseline
from ..evaluation.verdict import Verdict
from .analysis import Analysis, analyse
from .cases import Case, worst_and_median
from .limits import METRIC_NAMES, Threshold, calibration_of, limits_of, threshold_of
from .material import Material
from .performance import measure_performance
from .recommendations import Recommendation, evidence_of, recommend
from .results import HEADLINES, SectionResult, TestResult, measure_section


@dataclass(frozen=True, eq=False)
class Findings:
    """What there is to report of a run.

    Attributes:
        material: the run and its data.
        results: of each section, all models on all tests.
        analyses: by the test's title; of an autoencoder, of the headline test alone.
        cases: the same tests, the ten worst and ten from the middle.
        threshold: saying "I do not know", or None.
        limits: what it cannot do.
        recommendations: what to try.
        performance: sizes, times, memory: what differs from one evaluation to the next.
    """

    material: Material
    results: list[SectionResult]
    analyses: dict[str, Analysis]
    cases: dict[str, tuple[list[Case], list[Case]]]
    threshold: Threshold | None
    limits: list[str]
    recommendations: list[Recommendation]
    performance: dict[str, Any]

    @property
    def headline(self) -> TestResult:
        """The test that the verdict is about."""
        return self.results[0].headline

    @property
    def verdict(self) -> str:
        """One sentence: the core against the baseline that was strongest on validation, by cosine and by MRR."""
        near, finds = (self.headline.verdict(metric) for metric in HEADLINES)
        words = f"{near.words[0].upper()}{near.words[1:]} {near.baseline} on {self.headline.title}"
        return (
            f"{words}: cosine {_interval(near)} (paired bootstrap over {near.groups:,} groups); {finds.words} "
            f"{finds.baseline} on {METRIC_NAMES[finds.metric]}: {_interval(finds)}"
        )

    @property
    def tests(self) -> list[TestResult]:
        """Of all sections, the headline test first."""
        every = [test for result in self.results for test in result.tests]
        return sorted(every, key=lambda test: test is not self.headline)

    def as_dict(self) -> dict[str, Any]:
        """For ``report.json``; all but ``performance`` is the same from one evaluation to the next."""
        head = self.headline
        return {
            "verdict": {
                "sentence": self.verdict,
                "test": head.title,
                **{metric: head.verdict(metric).as_dict() for metric in HEADLINES},
            },
            "run": {
                "mode": self.material.config.mode,
                "seed": self.material.config.seed,
                "data": self.material.source or self.material.config.data.path,
                "held_out": self.material.source is None,
                "fingerprint": self.material.fingerprint,
                "notes": self.material.notes,
            },
            "config": self.material.config.model_dump(mode="json"),
            "scores": [each.score.as_dict() for test in self.tests for each in test.measured],
            "validation": [each.as_dict() for result in self.results for each in result.validation],
            "measured": [each.as_dict() for test in self.tests for each in test.measured],
            "verdicts": [
                {"test": test.title, **test.verdict(metric, other.model).as_dict()}
                for test in self.tests
                for metric in HEADLINES
                for other in test.measured[1:]
            ],
            "calibration": calibration_of(head).as_dict(),
            "threshold": self.threshold.as_dict() if self.threshold is not None else None,
            "analysis": {title: each.as_dict() for title, each in self.analyses.items()},
            "limits": self.limits,
            "cases": {
                title: {"worst": [c.as_dict() for c in worst], "median": [c.as_dict() for c in median]}
                for title, (worst, median) in self.cases.items()
            },
            "recommendations": [each.as_dict() for each in self.recommendations],
            "performance": self.performance,
        }


def find_out(
    material: Material,
    fitted: Callable[[Baseline, float], None] | None = None,
    say: Callable[[str], Any] = lambda text: None,
) -> Findings:
    """Score, compare, cut into parts, and time. ``fitted`` is told each baseline, ``say`` each further step."""
    results = [
        measure_section(section, material.core, material.config.data.noise, fitted) for section in material.sections
    ]
    main = results[0]
    head = main.headline
    others = [test for test in main.tests if test is not head] if main.section.mode == "dialogue" else []
    looked_at = [head, *others]
    say("looking into parts and single queries")
    analyses = {test.title: analyse(test, main.section.parts.train, main.section.train) for test in looked_at}
    threshold = threshold_of(material, main)
    evidence = evidence_of(material, main, analyses[head.title], threshold)
    say("timing")
    return Findings(
        material=material,
        results=results,
        analyses=analyses,
        cases={test.title: worst_and_median(test) for test in looked_at},
        threshold=threshold,
        limits=limits_of(material, results, analyses, threshold),
        recommendations=recommend(evidence, material),
        performance=measure_performance(material, main),
    )


def _interval(verdict: Verdict) -> str:
    return f"{verdict.difference:+.4f}, 95% interval {verdict.low:+.4f} to {verdict.high:+.4f}"
