"""Pictures of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.drawing import BLUE, FAINT, GREEN, GREY, ORANGE, PURPLE, draw


def training_curves(
    records: Sequence[Mapping[str, Any]], metric: str, metric_name: str, lines: Mapping[str, float], form: str
) -> bytes:
    """The metric of validation beside baselines, the loss with the learning rate, and the norm of the gradient, one
    above the other, narrow enough for a telephone.

    Args:
        records: one per epoch, with epoch, loss, lr, gradient_norm and ``val_METRIC``.
        metric, metric_name: what is drawn of validation, and what it is called there.
        lines: the value of the metric for each baseline, by name, drawn as a horizontal line.
        form: png or svg.
    """
    epochs = [record["epoch"] for record in records]

    def paint(figure: Any) -> None:
        validation, loss, gradient = figure.subplots(3, 1, height_ratios=(1.5, 1, 1), sharex=True)
        _draw_validation(validation, epochs, [record[f"val_{metric}"] for record in records], lines)
        validation.set(title=f"Validation {metric_name}")
        validation.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.04))
        loss.plot(epochs, [record["loss"] for record in records], color=BLUE, marker=".")
        loss.set(title="Training loss")
        rate = loss.twinx()
        rate.step(epochs, [record["lr"] for record in records], where="mid", color=GREY, lw=1)
        rate.set_ylabel("learning rate (grey)", fontsize="small")
        rate.set_yscale("log")
        rate.grid(visible=False)
        rate.tick_params(axis="y", which="both", labelsize="small")
        gradient.plot(epochs, [record["gradient_norm"] for record in records], color=BLUE, marker=".")
        gradient.set(title="Norm of the gradient", xlabel="epoch")

    return draw(paint, 4.8, 5.5 + 0.17 * len(lines), form)


def _draw_validation(axes: Any, epochs: Sequence[int], values: Sequence[float], lines: Mapping[str, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.plot(epochs, values, color=BLUE, marker=".", label="the cube")
    colors, styles = (FAINT, ORANGE, GREEN, PURPLE, GREY), ("--", "-.", ":")
    for i, (model, value) in enumerate(lines.items()):
        style = styles[i // len(colors) % len(styles)]
        axes.axhline(value, color=colors[i % len(colors)], ls=style, lw=1.2, label=f"{model} ({value:.3f})")
    # A baseline far below is in the legend alone: what matters is small beside its distance.
    shown = [value for value in (*values, *lines.values()) if value > min(values) - 0.1]
    margin = max(0.01, 0.1 * (max(shown) - min(shown)))
    axes.set_ylim(min(shown) - margin, max(shown) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
