"""What to try next, each with the figure that says so. A rule whose condition is not met says nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..evaluation.baselines import CUBE, IDENTITY
from ..evaluation.metrics import cosine
from ..evaluation.verdict import FEWEST_GROUPS
from ..training.progress import METRIC_NAMES
from .analysis import Analysis
from .limits import ThresholdResult
from .performance import epochs_of
from .results import VERDICT_METRICS, TaskResult
from .run_data import RunData

SAMPLE = 4096  # training pairs that are scored, evenly spread

OVERFITS = 0.05
FEW_PAIRS, FAR_BELOW = 0.5, 0.03
NEAR_DUPLICATE, MANY_DUPLICATES = 0.98, 0.02
LITTLE_ANSWERED = 0.5


@dataclass(frozen=True)
class Evidence:
    """The figures that the rules look at.

    Attributes:
        train_cosine, train_identity: mean cosine on training pairs, of the core and of identity.
        val_cosine, val_identity: the same on validation.
        val_curve: the value of training.metric after each epoch; stopped_early: before the last epoch that was set.
        metric: of the verdict that counts: mrr, or cosine where the run chose its best epoch by it.
        verdicts: of the headline test, for each metric, against identity and against the strongest on validation:
            outcome and difference.
        half_width, difference, groups: of the interval by ``metric`` against the strongest.
        near_duplicates: the share of the test's questions that have one in training at NEAR_DUPLICATE or nearer.
        domains: of each domain, pairs in training, queries, the core's cosine.
        cosine: the core's on the headline test.
        answered: the share above the threshold, on the headline test; None without a threshold.
    """

    train_cosine: float
    train_identity: float
    val_cosine: float
    val_identity: float
    val_curve: list[float]
    epochs: int
    metric: str
    verdicts: dict[str, dict[str, Any]]
    half_width: float
    difference: float
    groups: int
    near_duplicates: float
    domains: dict[str, tuple[int, int, float]]
    cosine: float
    answered: float | None


@dataclass(frozen=True)
class Recommendation:
    """What to try, and the figure and the condition it comes from."""

    rule: str
    advice: str
    because: str


def evidence_of(
    run_data: RunData, result: TaskResult, analysis: Analysis, threshold: ThresholdResult | None
) -> Evidence:
    """Gather the figures; the training pairs are scored here, up to SAMPLE of them."""
    train = result.task.parts.train
    rows = np.unique(np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).round().astype(np.int64))
    inputs, targets, _ = train.batch(rows)
    with torch.no_grad():
        predicted = torch.cat([run_data.core(part) for part in inputs.split(256)])
    head = result.main_test
    against = {}
    for metric in VERDICT_METRICS:
        own, strongest = head.verdict(metric, head.identity.model), head.verdict(metric)
        against[metric] = {
            "identity": own.outcome,
            "identity_difference": own.difference,
            "strongest": strongest.outcome,
            "strongest_name": strongest.baseline,
            "strongest_difference": strongest.difference,
        }
    chosen_by = run_data.config.training.metric
    counts = "cosine" if chosen_by == "cosine" else "mrr"
    verdict = head.verdict(counts)
    similarities = next(each.values for each in analysis.features if each.name == "nearness")
    records = epochs_of(run_data)
    known = Counter(result.task.train.domains or ())
    return Evidence(
        train_cosine=float(cosine(predicted, targets).mean()),
        train_identity=float(cosine(inputs, targets).mean()),
        val_cosine=result.validation[CUBE]["cosine"],
        val_identity=result.validation[IDENTITY]["cosine"],
        val_curve=[float(record[f"val_{chosen_by}"]) for record in records],
        epochs=run_data.config.training.epochs_of(len(train)),
        metric=counts,
        verdicts=against,
        half_width=(verdict.high - verdict.low) / 2,
        difference=verdict.difference,
        groups=verdict.groups,
        near_duplicates=float((similarities >= NEAR_DUPLICATE).mean()),
        domains={b.name: (known[b.name], b.queries, b.cube) for b in analysis.buckets if b.kind == "domain"},
        cosine=head.cube.metrics.cosine,
        answered=threshold.answered[head.title] if threshold is not None else None,
    )


def recommend(evidence: Evidence, run_data: RunData) -> list[Recommendation]:
    """The advice whose condition is met, what matters most first."""
    rules = (_rising, _other_model, _retrieval, _overfits, _domains, _duplicates, _threshold, _more_groups)
    return [found for rule in rules for found in rule(evidence, run_data)]


def _other_model(e: Evidence, run_data: RunData) -> Iterator[Recommendation]:
    found = e.verdicts[e.metric]
    if found["strongest"] != "worse":
        return
    yield Recommendation(
        "baseline is better",
        f"Use {found['strongest_name']} instead, or search for better settings with cubefast tune, before "
        "anything is built on this run.",
        f"In {METRIC_NAMES[e.metric]} it is {found['strongest_difference']:+.4f} against "
        f"{found['strongest_name']}, and the whole interval is below 0.",
    )


def _retrieval(e: Evidence, run_data: RunData) -> Iterator[Recommendation]:
    close, retrieves = e.verdicts["cosine"], e.verdicts["mrr"]
    if run_data.config.mode == "autoencoder" or close["identity"] != "better" or retrieves["identity"] != "worse":
        return
    contrast = run_data.config.training.losses.contrast
    raised = 0.1 if contrast == 0 else round(contrast * 3, 4)
    metric = run_data.config.training.metric
    also = "" if metric == "mrr" else f", and choose the best epoch by retrieval: training.metric=mrr (now {metric})"
    yield Recommendation(
        "closer, but retrieves less",
        f"Raise training.losses.contrast (now {contrast:g}, try {raised:g}){also}.",
        f"Against identity, cosine is better ({close['identity_difference']:+.3f}) while MRR is worse "
        f"({retrieves['identity_difference']:+.3f}): outputs move towards what all answers have in common.",
    )


def _overfits(e: Evidence, run_data: RunData) -> Iterator[Recommendation]:
    gap = (e.train_cosine - e.train_identity) - (e.val_cosine - e.val_identity)
    if gap <= OVERFITS:
        return
    training = run_data.config.training
    yield Recommendation(
        "overfits",
        f"Raise training.weight_decay (now {training.weight_decay:g}) or training.input_noise (now "
        f"{training.input_noise:g}), or take fewer core.steps (now {run_data.config.core.steps}); more pairs help "
        "most.",
        f"Over identity it gains {e.train_cosine - e.train_identity:+.3f} on training pairs and "
        f"{e.val_cosine - e.val_identity:+.3f} on validation: {gap:.3f} less, more than {OVERFITS:g}.",
    )


def _rising(e: Evidence, run_data: RunData) -> Iterator[Recommendation]:
    if len(e.val_curve) < e.epochs or not e.val_curve:
        return
    best = int(np.argmax(e.val_curve)) + 1
    if best < len(e.val_curve):
        return
    yield Recommendation(
        "still learning",
        f"Train longer: training.epochs={2 * e.epochs} (now {e.epochs}).",
        f"Validation {run_data.config.training.metric} was best in the last epoch that was allowed, {best} "
        f"({e.val_curve[-1]:.4f}).",
    )


def _domains(e: Evidence, run_data: RunData) -> Iterator[Recommendation]:
    if not e.domains:
        return
    middle = float(np.median([pairs for pairs, _, _ in e.domains.values()]))
    for name, (pairs, queries, value) in sorted(e.domains.items(), key=lambda item: item[1][2]):
        if pairs <= FEW_PAIRS * middle and value <= e.cosine - FAR_BELOW:
            yield Recommendation(
                "a domain with few pairs",
                f"Add training pairs of the domain {name}.",
                f"It has {pairs} of them, at most half of the median of {middle:g}, and a cosine of {value:.3f} "
                f"({queries} queries) where all have {e.cosine:.3f}, at least {FAR_BELOW:g} more.",
            )


def _duplicates(e: Evidence, run_data: RunData) -> Iterator[Recommendation]:
    if e.near_duplicates < MANY_DUPLICATES:
        return
    yield Recommendation(
        "near duplicates",
        "Set data.quality.near_duplicates=0.9 and train again, or read the figures as flattered.",
        f"{e.near_duplicates:.1%} of the test's questions have one in training with a cosine of "
        f"{NEAR_DUPLICATE:g} or more; {MANY_DUPLICATES:.0%} would be few.",
    )


def _threshold(e: Evidence, run_data: RunData) -> Iterator[Recommendation]:
    if e.answered is None or e.answered >= LITTLE_ANSWERED:
        return
    yield Recommendation(
        "says too often that it does not know",
        "Ask with a lower --threshold if a wrong answer does little harm, or show several answers (--count).",
        f"{e.answered:.0%} of the questions score above the threshold, less than {LITTLE_ANSWERED:.0%}.",
    )


def _more_groups(e: Evidence, run_data: RunData) -> Iterator[Recommendation]:
    verdict = e.verdicts[e.metric]
    if e.groups < FEWEST_GROUPS:
        yield Recommendation(
            "too few groups to tell",
            f"Hold out more groups (data.split.test_percent, now {run_data.config.data.split.test_percent}) or "
            f"collect more: {FEWEST_GROUPS} at the very least.",
            f"The test has {e.groups}, and with so few even a model that is better in each of them may be so by "
            "chance.",
        )
        return
    if verdict["strongest"] != "not distinguishable" or e.difference == 0 or e.half_width == 0:
        return
    needed = math.ceil(e.groups * (e.half_width / abs(e.difference)) ** 2)
    if needed <= e.groups:
        needed = 2 * e.groups
    yield Recommendation(
        "too few groups to tell",
        f"Hold out more groups (data.split.test_percent, now {run_data.config.data.split.test_percent}) or collect "
        f"more: about {needed:,} would be needed if the difference stays what it is."
        + (" That many say that the two are as good as equal." if needed > 100 * e.groups else ""),
        f"The difference to {verdict['strongest_name']} in {METRIC_NAMES[e.metric]} is {e.difference:+.4f}, the "
        f"interval {e.half_width:.4f} to either side, with {e.groups} groups; an interval shrinks with the root of "
        "their number.",
    )
