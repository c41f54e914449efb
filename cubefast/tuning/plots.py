"""A study as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .importance import MIN_TRIALS, within_fence
from .trial import Trial

_SLICES = 4
_KINDS = (("pruned", "x", "0.6", "pruned, at its last epoch"), ("finished", "o", "C0", "finished"))


def picture(
    trials: Sequence[Trial],
    metric: str,
    lines: Mapping[str, float],
    space: Mapping[str, Any],
    shares: Mapping[str, float] | None,
) -> bytes:
    """A PNG: the value of each trial beside flat ``lines``, what each parameter predicts of it, and the value over each
    of the four parameters that predict most.

    Args:
        trials: all of them.
        metric: what the values are.
        lines: of the baselines on validation, by name.
        space: as in ``SearchSpace.mapping``.
        shares: of the variance, by parameter, the largest first; None: too few trials.
    """
    from matplotlib.figure import Figure  # a second of import, wanted only here

    keys = list(shares or space)[:_SLICES]
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    above, below = halves
    history, bars = above.subplots(1, 2, width_ratios=(1.3, 1))
    slices = below.subplots(1, _SLICES, sharey=True)
    _draw_history(history, trials, lines)
    history.set_ylabel(f"validation {metric}")
    _draw_shares(bars, shares)
    for axes, key in zip(slices, keys, strict=False):
        _draw_slice(axes, trials, key, space[key])
    slices[0].set_ylabel(f"validation {metric}")
    for axes in slices[len(keys) :]:
        axes.axis("off")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    return drawn.getvalue()


def _draw_history(axes: Any, trials: Sequence[Trial], lines: Mapping[str, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    finished = [trial for trial in trials if trial.state == "finished"]
    if finished:
        best = np.maximum.accumulate(np.array([trial.value for trial in finished], np.float64))
        numbers = [*(trial.number for trial in finished), trials[-1].number]
        axes.step(numbers, [*best, best[-1]], where="post", color="C0", label="best so far")
    _draw_values(axes, trials, [trial.number for trial in trials])
    if failed := [trial.number for trial in trials if trial.state == "failed"]:
        on_the_edge = axes.get_xaxis_transform()
        axes.plot(failed, [0.02] * len(failed), "|", color="C3", ms=9, mew=2, transform=on_the_edge, label="failed")
    base = next((trial.value for trial in trials if trial.is_base and trial.value is not None), None)
    flat = {**({"the config as it is": base} if base is not None else {}), **lines}
    for i, (name, value) in enumerate(flat.items()):
        axes.axhline(value, color=f"C{i + 1}", ls="--", lw=1.2, label=f"{name} ({value:.3f})", zorder=1)
    axes.set(title="Trials", xlabel="trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False)


def _draw_shares(axes: Any, shares: Mapping[str, float] | None) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_title("What predicts the value")
    if shares is None:
        axes.axis("off")
        text = f"too few trials to say:\n{MIN_TRIALS} must have finished or been pruned"
        axes.text(0.5, 0.5, text, ha="center", va="center", color="0.4", transform=axes.transAxes)
        return
    bars = axes.barh(list(shares)[::-1], list(shares.values())[::-1], color="C0", alpha=0.8)
    axes.bar_label(bars, [f"{share:.0%}" for share in shares.values()][::-1], padding=3, fontsize="small")
    left = max(0.0, 1 - sum(shares.values()))
    axes.set(xlabel=f"share of its variance; {left:.0%} is not explained", xlim=(0, max(0.1, *shares.values()) * 1.15))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _draw_slice(axes: Any, trials: Sequence[Trial], key: str, values: Any) -> None:
    """The value over one parameter, which was drawn from ``values``."""
    there = [trial for trial in trials if key in trial.parameters]
    tried = [trial.parameters[key] for trial in there]
    if isinstance(values, list):
        _draw_values(axes, there, [values.index(value) for value in tried])
        axes.set_xticks(range(len(values)), ["null" if value is None else str(value) for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
    else:
        _draw_values(axes, there, tried)
        low, high = values["low"], values["high"]
        if values.get("log"):
            axes.set_xscale("log")
            ticks = [low, (low * high) ** 0.5, high]
            axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
            axes.set_xticks([], minor=True)
            margin = (high / low) ** 0.05
            axes.set_xlim(low / margin, high * margin)
        else:
            margin = 0.05 * (high - low)
            axes.set_xlim(low - margin, high + margin)
    axes.set_title(key, fontsize="medium")


def _draw_values(axes: Any, trials: Sequence[Trial], places: Sequence[float]) -> None:
    """Finished trials as dots, pruned ones as crosses, the best as a star; those far out on the edge."""
    axes.grid(alpha=0.25)
    told = [(x, trial.value, trial.state) for x, trial in zip(places, trials, strict=True) if trial.value is not None]
    if not told:
        return
    values = within_fence([value for _, value, _ in told])
    points = [(x, value, state) for (x, _, state), value in zip(told, values, strict=True)]
    for kind, marker, color, label in _KINDS:
        if some := [(x, value) for x, value, state in points if state == kind]:
            axes.plot(*zip(*some, strict=True), marker, color=color, alpha=0.7, label=label)
    if finished := [(x, value) for x, value, state in points if state == "finished"]:
        axes.plot(*max(finished, key=lambda point: point[1]), "*", color="C3", ms=13, label="best")
