"""The pictures of a report, as SVG that follows a dark page, narrow enough for a telephone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..evaluation.baselines import CUBE, IDENTITY
from ..evaluation.paired_bootstrap import FEWEST_GROUPS, paired_bootstrap
from ..utils.drawing import BLUE, GREY, INK, ORANGE, draw
from ..utils.escaping import visible
from ..utils.templates import capital
from .analysis import PART_RESAMPLES
from .caveats import FEWEST, ReliabilityCurve
from .tables import short_name
from .task_results import TaskResult, TestResult

SUMMARY, CALIBRATION, TRAINING = "summary.svg", "calibration.svg", "training.svg"

_WIDTH = 4.8  # inches: on a telephone, letters are then hardly smaller than those of the page
_MOST_RIVALS = 3  # in the summary
_MARKS = {IDENTITY: (GREY, "D"), CUBE: (BLUE, "o")}
_RIVAL = (ORANGE, "s")


@dataclass(frozen=True)
class Dot:
    """A mean with its 95% interval.

    Attributes:
        name: what it is called.
        kind: cube, identity or any other: its colour and shape.
        mean: the value.
        interval: None where there are too few groups for one.
    """

    name: str
    kind: str
    mean: float
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, name: str, kind: str, values: torch.Tensor, groups: torch.Tensor) -> Dot:
        """The mean of values [n] in groups, int64 [n]."""
        mean, low, high = paired_bootstrap(values, torch.zeros_like(values), groups, resamples=PART_RESAMPLES)
        return cls(name, kind, mean, (low, high) if len(groups.unique()) >= FEWEST_GROUPS else None)


def draw_dots(panels: Mapping[str, Sequence[Dot]], metric: str) -> bytes:
    """Dots below each other, in one panel for each test; of R@1 as a share in per cent."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    is_share = metric == "recall_at_1"

    def paint(figure: Any) -> None:
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, dots) in zip(rows, panels.items(), strict=True):
            for place, dot in enumerate(dots[::-1]):
                color, marker = _MARKS.get(dot.kind, _RIVAL)
                if dot.interval is not None:
                    axes.plot(dot.interval, [place, place], color=color, lw=2, solid_capstyle="round")
                axes.plot(dot.mean, place, marker=marker, color=color, ms=6)
                text = f"{dot.mean:.1%}" if is_share else f"{dot.mean:.3f}"
                axes.annotate(text, (dot.mean, place), (0, 5), textcoords="offset points", ha="center", color=INK)
            axes.set_yticks(range(len(dots)), [_short(dot.name, 28) for dot in dots[::-1]])
            axes.tick_params(axis="y", length=0, labelcolor=INK)
            axes.margins(x=0.08)
            axes.set_ylim(-0.5, len(dots) - 0.25)
            axes.set_title(_short(capital(title)), x=0)
            axes.grid(axis="y", visible=False)
        if is_share:
            rows[-1].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            rows[-1].xaxis.set_major_formatter(PercentFormatter(1))
        rows[-1].set_xlabel("right answer first" if is_share else metric)

    return draw(paint, _WIDTH, 0.5 + sum(0.45 + 0.34 * len(dots) for dots in panels.values()))


def summary_dots(result: TaskResult, tests: Sequence[TestResult]) -> dict[str, list[Dot]]:
    """By test: before, with the cube, and the rivals that are the best on validation."""
    rivals = result.best_rivals(result.verdict_metric)[:_MOST_RIVALS]
    metric = result.summary_metric
    return {
        test.words: [
            Dot.of(short_name(test, each), each.kind, each.metrics.values(metric), each.metrics.groups)
            for each in (test.identity, test.cube, *map(test.of, rivals))
        ]
        for test in tests
    }


def draw_calibration(curves: Mapping[str, ReliabilityCurve]) -> bytes | None:
    """How often the answer is right, by its score: a line for each test that has enough queries; None if none has."""
    curves = {test: curve for test, curve in curves.items() if sum(curve.queries) >= FEWEST}
    if not curves:
        return None

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for (test, curve), color, line in zip(curves.items(), (BLUE, ORANGE), ("-", "--"), strict=False):
            axes.plot(curve.scores, curve.right, color=color, ls=line, marker="o", ms=5, lw=1.8, label=_short(test))
        axes.set(xlabel="score of the answer", ylabel="share that is right", ylim=(-0.03, 1.03))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        figure.legend(loc="outside lower center", ncols=2)

    return draw(paint, _WIDTH, 2.9)


def alt_text(panels: Mapping[str, Sequence[Dot]]) -> str:
    """What the picture of these dots shows, for who cannot see it; the rivals but the first are in the table."""
    return ". ".join(
        f"{title}: {', '.join(f'{dot.name} {dot.mean:.3f}' for dot in dots[:3])}" for title, dots in panels.items()
    )


def _short(name: str, most: int = 40) -> str:
    name = visible(" ".join(name.split()))
    return (name if len(name) <= most else f"{name[: most - 1]}…").replace("$", r"\$")  # or it would be mathematics
