"""Everything that is found out about a run, computed once; the report only puts it into words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..evaluation.baselines import Baseline
from .analysis import Analysis, analyse
from .cases import Case, worst_and_median
from .limits import Threshold, calibration_of, limits_of, threshold_of
from .material import Material
from .performance import measure_performance
from .recommendations import Recommendation, evidence_of, recommend
from .results import HEADLINES, RegimeVerdict, SectionResult, TestResult, measure_section


@dataclass(frozen=True, eq=False)
class Findings:
    """What there is to report of a run.

    Attributes:
        material: the run and its data.
        results: of each section, all models on all tests.
        analyses: by the test's title, the headline test's first; of an autoencoder, of the headline test alone.
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
        """The test of new groups, whose figures come first."""
        return self.results[0].headline

    @property
    def in_short(self) -> str:
        """How often the right answer comes first, in a sentence or two; nothing for an autoencoder."""
        return self.results[0].in_short

    @property
    def verdicts(self) -> list[RegimeVerdict]:
        """Of each test of the main section: the core against the baseline that was strongest on validation."""
        return self.results[0].verdicts

    @property
    def looked_at(self) -> list[TestResult]:
        """The tests that have an analysis, cases, a calibration and figures, the headline test first."""
        return [test for test in self.tests if test.title in self.analyses]

    @property
    def verdict(self) -> str:
        """One sentence: the verdict on each regime by MRR; of an autoencoder, that on the headline test in full."""
        if self.results[0].section.mode == "dialogue":
            found = "; ".join(each.in_short for each in self.verdicts)
        else:
            found = "; ".join(str(each) for each in self.verdicts if each.test == self.headline.title)
        return f"{found[0].upper()}{found[1:]}"

    @property
    def tests(self) -> list[TestResult]:
        """Of all sections, the headline test first."""
        every = [test for result in self.results for test in result.tests]
        return sorted(every, key=lambda test: test is not self.headline)

    def as_dict(self) -> dict[str, Any]:
        """For ``report.json``; all but ``performance`` is the same from one evaluation to the next."""
        return {
            "headline": self.in_short,
            "verdict": {"sentence": self.verdict, "regimes": [each.as_dict() for each in self.verdicts]},
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
            "validation": [
                {"model": model, **metrics} for result in self.results for model, metrics in result.validation.items()
            ],
            "measured": [each.as_dict() for test in self.tests for each in test.measured],
            "verdicts": [
                {"test": test.title, **test.verdict(metric, other.model).as_dict()}
                for test in self.tests
                for metric in HEADLINES
                for other in test.measured[1:]
            ],
            "calibration": {test.title: calibration_of(test).as_dict() for test in self.looked_at},
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
    results = [measure_section(section, material.core, material.config, fitted) for section in material.sections]
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
