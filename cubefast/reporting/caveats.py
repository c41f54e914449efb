"""What a run cannot do; the threshold below which it does not answer; and whether its scores can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..utils.templates import capital
from .analysis import Analysis
from .run_data import RunData
from .task_results import TaskResult

BINS, FEWEST = 10, 10  # of the reliability curve, and of queries in each
MANY_DUPLICATES = 0.02  # of a test's questions


@dataclass(frozen=True)
class ThresholdResult:
    """The effect of a threshold: questions whose best answer in the run's bank scores less are not answered.

    Attributes:
        threshold: the score, chosen on validation; None: no score reaches the precision there.
        precision: the share of right answers that the threshold was chosen for.
        answers: how many the bank has.
        answered: by the title of each test, the share of its questions that is answered.
        right: by the same titles, the share of these answers that is right; None where nothing is answered.
    """

    threshold: float | None
    precision: float
    answers: int
    answered: dict[str, float]
    right: dict[str, float | None]


def apply_threshold(run_data: RunData, result: TaskResult) -> ThresholdResult | None:
    """The run's own threshold (threshold.json), tried on the tests.

    None where the run has none, or answers are not those of its bank: another file, or an autoencoder.
    """
    found = run_data.run.load_threshold()
    if run_data.source is not None or result.task.mode != "dialogue" or found is None:
        return None
    answered: dict[str, float] = {}
    right: dict[str, float | None] = {}
    for test in result.tests:
        given = test.scores >= (math.inf if found.threshold is None else found.threshold)
        answered[test.title] = float(given.double().mean())
        right[test.title] = float(test.correct[given].double().mean()) if given.any() else None
    return ThresholdResult(found.threshold, found.precision, len(result.task.parts.answers), answered, right)


@dataclass(frozen=True)
class ReliabilityCurve:
    """A reliability diagram: how often the nearest answer is right, by its score.

    Attributes:
        scores, right: for each tenth of the queries (by score), or larger part where a tenth would have fewer than
            FEWEST, the mean score and the share that is right.
        queries: the number of queries in each part.
        separation: how likely a right answer scores more than a wrong one (the area under the ROC curve); None where
            all are right or all wrong.
    """

    scores: list[float]
    right: list[float]
    queries: list[int]
    separation: float | None

    @classmethod
    def of(cls, scores: Tensor, correct: Tensor) -> ReliabilityCurve:
        """The curve of n answers: float [n], their scores, and bool [n], whether they are right."""
        values = scores.double()
        parts = values.argsort(stable=True).tensor_split(max(1, min(BINS, len(values) // FEWEST)))
        separation = None
        if 0 < correct.sum() < len(correct):
            above = values[correct][:, None] - values[~correct][None, :]
            separation = float((above > 0).double().mean() + 0.5 * (above == 0).double().mean())
        return cls(
            [float(values[part].mean()) for part in parts],
            [float(correct[part].double().mean()) for part in parts],
            [len(part) for part in parts],
            separation,
        )


def list_limits(main: TaskResult, analyses: dict[str, Analysis], threshold: ThresholdResult | None) -> list[str]:
    """Sentences on what the run cannot do; those that do not hold are left out."""
    lines = []
    for test in main.tests:
        share = analyses[test.title].near_duplicates if test.title in analyses else 0.0
        if share >= MANY_DUPLICATES:
            lines.append(
                f"{test.words}: {share:.0%} of the questions are nearly the same as one in training, so the figures "
                "flatter. Train with data.quality.near_duplicates=0.9 to leave such pairs out."
            )
    if threshold is not None and threshold.threshold is None:
        lines.append(
            f"Its score does not show when it is wrong: no threshold reaches {threshold.precision:.0%} right answers "
            "on validation."
        )
    if main.task.mode == "dialogue":
        pool = main.main_test.cube.metrics.pool
        lines.append(f"It writes no text. It finds one of the {pool:,} answers it was given; among more, it errs more.")
    lines.append("This is one run with one seed. Another seed gives other figures, which the intervals do not cover.")
    return [capital(line) for line in lines]
