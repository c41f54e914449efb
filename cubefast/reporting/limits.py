"""What a run cannot do, each sentence with its figure; the threshold; and the reliability curve of its scores."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core import CubicCore, predict
from ..decoding import RetrievalDecoder, calibrate_threshold
from ..evaluation.baselines import CUBE
from ..training.progress import METRIC_NAMES
from .analysis import Analysis
from .results import VERDICT_METRICS, TaskResult, TestResult
from .run_data import RunData

BINS = 10  # of the reliability curve


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
        scores, right: for each tenth of the queries (by score), the mean score and the share that is right.
        queries: the number of queries in each tenth.
        separation: how likely a right answer scores more than a wrong one (the area under the ROC curve); None where
            all are right or all wrong.
    """

    scores: list[float]
    right: list[float]
    queries: list[int]
    separation: float | None


def reliability_curve(test: TestResult, model: str = CUBE) -> ReliabilityCurve:
    """The reliability curve of a model of ``test.retrieved``."""
    found = test.retrieved[model]
    scores = found.scores.double().numpy()
    correct = (found.places == test.right).numpy()
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, min(BINS, len(order))) if len(part)]
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
    """Sentences on what the run cannot do, each with its figure; those that do not hold are left out."""
    lines = []
    for result in results:
        for test in result.tests:
            if test.enough_groups:  # that others have too few groups is the verdict on them
                lines += [line for metric in VERDICT_METRICS for line in _not_better(test, metric)]
    for title, analysis in analyses.items():
        worse = [b for b in analysis.buckets if b.kind == "domain" and b.identity_outcome == "worse"]
        for bucket in worse:
            difference, low, high = bucket.against_identity
            lines.append(
                f"{title}: in the domain {bucket.name} its outputs are less similar to the right answers than the "
                f"questions are: {difference:+.3f} in cosine against identity, interval {low:+.3f} to {high:+.3f} "
                f"({bucket.queries} queries)."
            )
    lines += _unseen_domains(results[0])
    if threshold is not None:
        for title, share in threshold.answered.items():
            right = threshold.right[title]
            if threshold.threshold is None:
                lines.append(
                    f"Its score does not show when it is wrong: no threshold reaches {threshold.precision:.0%} right "
                    "answers on validation."
                )
                break
            of_others = "" if right is None else f"; of the others {right:.0%} get the right one"
            lines.append(
                f"{title}: {1 - share:.0%} of the questions score below {threshold.threshold:.3f}, the threshold "
                f"found on validation for {threshold.precision:.0%} right{of_others} (among all "
                f"{threshold.answers:,} answers of the bank)."
            )
    head = results[0].main_test
    if results[0].task.mode == "dialogue":
        lines.append(
            "It writes no text: it finds one of the answers it is given. Here the right one was looked for among all "
            f"{head.cube.metrics.pool:,} of them, trained and new; among more answers ranks are worse."
        )
    lines.append("This is one run with one seed; the intervals do not cover what another seed would change.")
    return lines


def _not_better(test: TestResult, metric: str) -> list[str]:
    found: dict[str, list[str]] = {"worse than": [], "not distinguishable from": []}
    for other in test.measured[1:]:
        verdict = test.verdict(metric, other.model)
        if verdict.outcome in ("worse", "not distinguishable"):
            found[verdict.words].append(f"{other.model} ({verdict.difference:+.3f})")
    return [
        f"{test.title}: in {METRIC_NAMES[metric]} it is {words} {', '.join(names)}."
        for words, names in found.items()
        if names
    ]


def _unseen_domains(result: TaskResult) -> list[str]:
    known = Counter(result.task.train.domains or ())
    lines = []
    for title, items in result.task.tests.items():
        new = Counter(domain for domain in items.domains or () if domain and domain not in known)
        if known and new:
            named = ", ".join(f"{name} ({count})" for name, count in new.most_common(5))
            more = f" and {len(new) - 5} more" if len(new) > 5 else ""
            lines.append(f"{title}: nothing was trained of the domains {named}{more}.")
    return lines
