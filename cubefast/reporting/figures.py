"""The pictures of a report, as PNGs in one style: readable in print, in grey, and to who does not see all colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..evaluation.baselines import CUBE
from ..evaluation.verdict import paired_bootstrap
from ..output import visible
from .analysis import RESAMPLES, Analysis
from .limits import reliability_curve
from .results import TaskResult, TestResult

# Okabe and Ito's palette (2008), and a line style each, so that colour is not all there is.
_COLORS = {"cube": "#0072B2", "ridge": "#D55E00", "identity": "#666666"}
_LINES = {"cube": "-", "ridge": "--", "identity": ":"}
_SUMMARY_NAMES = {"identity": "identity (before)", "cube": "cube (after)"}
_MOST_RIVALS = 5  # in the summary
_RANKS = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 50), (51, None))


def file_of(kind: str, title: str | None) -> str:
    """The name of a figure's file, such as ranks.png or ranks-unseen-paraphrase.png.

    Args:
        kind: similarity, ranks, calibration, difficulty or errors.
        title: of the test; None for the headline test.
    """
    return f"{kind}.png" if title is None else f"{kind}-{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}.png"


def draw(test: TestResult, analysis: Analysis, title: str | None = None) -> dict[str, bytes]:
    """The PNG of each figure of one test, by its file's name; ``title`` as of :func:`file_of`."""
    found = {
        "similarity": _figure(lambda axes: _similarity(axes, test)),
        "ranks": _figure(lambda axes: _ranks(axes, test)),
        "calibration": _figure(lambda axes: _calibration(axes, test)),
        "difficulty": _figure(lambda axes: _difficulty(axes, test)),
        "errors": _figure(lambda axes: _errors(axes, analysis), 1.2 + 0.27 * max(4, len(analysis.buckets))),
    }
    return {file_of(kind, title): picture for kind, picture in found.items()}


SUMMARY = "summary.png"


def draw_summary(result: TaskResult, tests: Sequence[TestResult]) -> bytes:
    """The PNG that a report begins with: each test before and after, and the best rivals, with 95% intervals."""
    models = summary_models(result)
    height = (0.9 + 0.3 * len(models)) * len(tests) + 0.4

    def paint(axes: Any) -> None:
        for each, test in zip(np.atleast_1d(axes), tests, strict=True):
            _summary(each, test, models, result.summary_metric)

    return _figure(paint, height, rows=len(tests))


def summary_models(result: TaskResult) -> list[str]:
    """The names of the models in the summary: identity, the cube, and the rivals that are the best on validation."""
    cube, identity = result.cube.name, result.tests[0].identity.model
    metric = "mrr" if result.summary_metric == "recall_at_1" else result.summary_metric
    rivals = [name for name in result.validation if name not in (cube, identity)]
    rivals.sort(key=lambda name: -result.validation[name][metric])
    return [identity, cube, *rivals[:_MOST_RIVALS]]


def _summary(axes: Any, test: TestResult, models: Sequence[str], metric: str) -> None:
    for place, name in enumerate(models[::-1]):
        model = test.of(name)
        values = model.metrics.values(metric)
        mean, low, high = paired_bootstrap(values, torch.zeros_like(values), model.metrics.groups, resamples=RESAMPLES)
        color = _COLORS.get(model.kind, _COLORS["ridge"])
        marker = {"cube": "o", "identity": "D"}.get(model.kind, "s")
        if test.enough_groups:  # an interval of fewer would be too narrow
            axes.plot([low, high], [place, place], color=color, lw=1.8, solid_capstyle="round")
        axes.plot(mean, place, marker=marker, color=color, ms=6)
        axes.annotate(f"{mean:.3f}", (mean, place), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    axes.set_yticks(range(len(models)), [_SUMMARY_NAMES.get(name, name) for name in models[::-1]])
    axes.set_ylim(-0.6, len(models) - 0.3)
    axes.set(title=test.title, xlabel="R@1" if metric == "recall_at_1" else metric)
    axes.grid(axis="y", visible=False)


def _figure(paint: Callable[[Any], None], height: float = 3.8, rows: int = 1) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8.2, height), layout="constrained", facecolor="white")
        paint(figure.subplots(rows))
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=130, metadata={"Software": None})
    return picture.getvalue()


def _models(test: TestResult) -> list[tuple[str, str, Any]]:
    """The three of every picture: which, what it is called, its metrics."""
    return [
        ("identity", "identity (before)", test.identity.metrics),
        ("ridge", test.ridge.model, test.ridge.metrics),
        ("cube", "cube (after)", test.cube.metrics),
    ]


def _similarity(axes: Any, test: TestResult) -> None:
    everything = np.concatenate([metrics.cosines.numpy() for _, _, metrics in _models(test)])
    bins = min(40, max(8, int(1.5 * len(test.inputs) ** 0.5)))
    edges = np.linspace(float(everything.min()), float(everything.max()) + 1e-6, bins + 1)
    for which, name, metrics in _models(test):
        values = metrics.cosines.double().numpy()
        counts, _ = np.histogram(values, edges)
        label = f"{name}: median {np.median(values):.3f}"
        axes.stairs(counts / len(values), edges, color=_COLORS[which], ls=_LINES[which], lw=1.8, label=label)
        if which == "cube":
            axes.stairs(counts / len(values), edges, color=_COLORS[which], alpha=0.15, fill=True)
        axes.axvline(float(np.median(values)), color=_COLORS[which], ls=_LINES[which], lw=1)
    axes.set(title="Similarity to the right answer", xlabel="cosine", ylabel="share of the queries")
    axes.legend(loc="upper left")
    axes.margins(y=0.15)


def _ranks(axes: Any, test: TestResult) -> None:
    pool = test.cube.metrics.pool
    bins = [(low, min(high or pool, pool)) for low, high in _RANKS if low <= pool]
    names = [str(low) if low == high else f"{low:,} to {high:,}" for low, high in bins]
    width = 0.27
    for place, (which, name, metrics) in enumerate(_models(test)):
        ranks = metrics.ranks.numpy()
        shares = [float(((ranks >= low) & (ranks <= high)).mean()) for low, high in bins]
        hatch = {"cube": "", "ridge": "///", "identity": "..."}[which]
        bars = axes.bar(
            np.arange(len(bins)) + (place - 1) * width, shares, width, color=_COLORS[which], label=name, hatch=hatch,
            edgecolor="white", linewidth=0,
        )  # fmt: skip
        axes.bar_label(bars, [f"{share:.0%}" for share in shares], fontsize=8, padding=2)
    axes.set_xticks(range(len(bins)), names)
    axes.set(
        title="Where the right answer is found",
        xlabel=f"rank among all {pool:,} answers",
        ylabel="share of the queries",
    )
    axes.grid(axis="x", visible=False)
    axes.legend()
    axes.margins(y=0.1)


def _calibration(axes: Any, test: TestResult) -> None:
    for which, model in (("ridge", test.ridge.model), ("cube", CUBE)):
        found = reliability_curve(test, model)
        separation = "" if found.separation is None else f": area under the ROC curve {found.separation:.2f}"
        axes.plot(
            found.scores, found.right, color=_COLORS[which], ls=_LINES[which], marker="o", ms=5, lw=1.6,
            label=f"{model}{separation}",
        )  # fmt: skip
    axes.set(
        title="Does the score show whether the answer is right?",
        xlabel="cosine of the output and the nearest answer (each point a tenth of the queries)",
        ylabel="share that is right",
        ylim=(-0.03, 1.03),
    )
    axes.legend(loc="lower right", fontsize="small")


def _difficulty(axes: Any, test: TestResult) -> None:
    before = test.identity.metrics.cosines.double().numpy()
    order = np.argsort(before, kind="stable")
    parts = [part for part in np.array_split(order, min(8, len(order))) if len(part)]
    cube = test.cube.metrics.cosines.double().numpy()
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(600, len(order))).astype(int))]
    axes.scatter(before[shown], cube[shown], s=7, color=_COLORS["cube"], alpha=0.22, lw=0, label="cube, single queries")
    places = [float(before[part].mean()) for part in parts]
    for which, name, metrics in _models(test):
        values = metrics.cosines.double().numpy()
        means = [float(values[part].mean()) for part in parts]
        marker = "" if which == "identity" else "o"
        axes.plot(places, means, color=_COLORS[which], ls=_LINES[which], marker=marker, ms=5, lw=1.8, label=name)
    axes.set(
        title="Hard and easy questions",
        xlabel="cosine of question and answer as they are (left: hard)",
        ylabel="cosine to the right answer",
    )
    axes.legend(fontsize="small")


def _errors(axes: Any, analysis: Analysis) -> None:
    buckets = analysis.buckets[::-1]
    for place, bucket in enumerate(buckets):
        color = {"better": _COLORS["cube"], "worse": _COLORS["ridge"]}.get(bucket.outcome, "#666666")
        marker = {"better": "o", "worse": "s"}.get(bucket.outcome, "D")
        axes.plot([bucket.low, bucket.high], [place, place], color=color, lw=1.8, solid_capstyle="round")
        axes.plot(bucket.difference, place, marker=marker, color=color, ms=6)
    axes.axvline(0, color="#222222", lw=1)
    axes.set_yticks(range(len(buckets)), [f"{_short(b.kind, b.name)}  ({b.queries})" for b in buckets])
    axes.set_ylim(-0.7, len(buckets) - 0.3)
    axes.set(
        title="Better or worse than ridge, and where",
        xlabel="difference in cosine (cube - ridge), with its 95% interval (left of 0: ridge is better)",
    )
    axes.grid(axis="y", visible=False)
    if not buckets:
        axes.text(0.5, 0.5, "too few queries to be cut into parts", ha="center", transform=axes.transAxes)


def _short(kind: str, name: str) -> str:
    name = name if kind == "domain" else f"{kind}: {name.split(' (')[0]}"
    name = visible(" ".join(name.split())).replace("$", r"\$")
    return name if len(name) <= 40 else name[:39] + "…"


def captions(test: TestResult, analysis: Analysis) -> Sequence[tuple[str, str, str]]:
    """Of each figure: its kind, what it shows in words (for who cannot see it), and the caption below it."""
    medians = ", ".join(
        f"{name} {float(np.median(metrics.cosines.double().numpy())):.3f}" for _, name, metrics in _models(test)
    )
    firsts = ", ".join(f"{name} {metrics.recall_at_1:.0%}" for _, name, metrics in _models(test))
    found = reliability_curve(test)
    worst = min(analysis.buckets, key=lambda bucket: bucket.difference, default=None)
    return [
        (
            "similarity",
            f"Histogram of the cosine to the right answer before and after; medians: {medians}.",
            f"{test.title}: cosine to the right answer, before the cube (identity) and after it. Thin upright "
            "lines are the medians.",
        ),
        (
            "ranks",
            f"Bars of the share of queries by the rank of the right answer; at rank 1: {firsts}.",
            f"{test.title}: the rank of the right answer among all {test.cube.metrics.pool:,} answers; ties count "
            "against the model.",
        ),
        (
            "calibration",
            f"Share of right answers against the score, from {found.right[0]:.0%} in the lowest tenth to "
            f"{found.right[-1]:.0%} in the highest.",
            f"{test.title}: whether the nearest answer is right, by its score. A line that climbs means that a "
            "threshold can separate right answers from wrong ones.",
        ),
        (
            "difficulty",
            "Mean cosine to the right answer over the cosine of question and answer as they are, for cube, ridge and "
            "identity.",
            f"{test.title}: eight parts of equal size, from hard to easy. Identity is the diagonal: above it, "
            "something is gained.",
        ),
        (
            "errors",
            "Difference to ridge with intervals in each part of the test"
            + (
                f"; the lowest: {worst.kind} {worst.name}, {worst.difference:+.3f}."
                if worst
                else "; none is large enough."
            ),
            f"{test.title}: circles are better than ridge, squares worse, diamonds not "
            "distinguishable or of too few groups; in brackets the number of queries.",
        ),
    ]
