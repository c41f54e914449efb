"""What a run cannot do; the threshold below which it does not answer; and whether its scores can be trusted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core import CubicCore, predict
from ..decoding import RetrievalDecoder, calibrate_threshold
from .analysis import Analysis
from .results import TaskResult, TestResult
from .run_data import RunData

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
    """The run's own threshold (threshold.json) or, without one, calibrated now on validation, and tried on the tests.

    None where answers are not those of the run's bank: another file, or an autoencoder.
    """
    parts = result.task.parts
    if run_data.source is not None or result.task.mode != "dialogue" or not parts.answers:
        return None
    decoder = RetrievalDecoder(parts.answers, run_data.core.transform_answers(parts.answer_vectors))

    def scored(core: CubicCore, inputs: torch.Tensor, ids: NDArray[np.int64]) -> tuple[Any, NDArray[np.bool_]]:
        rows, scores = decoder.nearest(predict(core, inputs), 1)
        return scores[:, 0], rows[:, 0] == ids

    found = run_data.run.threshold()
    if found is None:
        validation = parts.validation.pairs()
        found = calibrate_threshold(*scored(run_data.core, validation.inputs, validation.target_ids.numpy()))
    answered: dict[str, float] = {}
    right: dict[str, float | None] = {}
    for test in result.tests:
        scores, correct = scored(run_data.core, test.inputs, parts.tests[test.part].target_ids)
        given = scores >= found.threshold if found.threshold is not None else np.zeros(len(scores), bool)
        answered[test.title] = float(given.mean())
        right[test.title] = float(correct[given].mean()) if given.any() else None
    return ThresholdResult(found.threshold, found.precision, len(parts.answers), answered, right)


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


def reliability_curve(test: TestResult) -> ReliabilityCurve:
    """The reliability curve of the core."""
    found = test.retrieved
    scores = found.scores.double().numpy()
    correct = (found.places == test.right).numpy()
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, max(1, min(BINS, len(order) // FEWEST)))
    separation = None
    if 0 < correct.sum() < len(correct):
        above = scores[correct][:, None] - scores[~correct][None, :]
        separation = float((above > 0).mean() + 0.5 * (above == 0).mean())
    return ReliabilityCurve(
        [float(scores[part].mean()) for part in parts],
        [float(correct[part].mean()) for part in parts],
        [len(part) for part in parts],
        separation,
    )


def list_limits(
    run_data: RunData, results: list[TaskResult], analyses: dict[str, Analysis], threshold: ThresholdResult | None
) -> list[str]:
    """Sentences on what the run cannot do; those that do not hold are left out."""
    main = results[0]
    lines = _unseen_domains(main)
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
    return [f"{line[0].upper()}{line[1:]}" for line in lines]


def _unseen_domains(result: TaskResult) -> list[str]:
    known = Counter(result.task.train.domains or ())
    lines = []
    for test in result.tests:
        new = Counter(domain for domain in test.metadata.domains or () if domain and domain not in known)
        if known and new:
            named = ", ".join(f"{name} ({count})" for name, count in new.most_common(5))
            more = f" and {len(new) - 5} more" if len(new) > 5 else ""
            lines.append(f"{test.words}: nothing was trained of the domains {named}{more}.")
    return lines
