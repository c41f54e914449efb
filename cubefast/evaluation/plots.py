"""Pictures of a run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any


def training_curves(
    records: Sequence[Mapping[str, Any]], metric: str, metric_name: str, lines: Mapping[str, float]
) -> bytes:
    """A PNG: the loss and the learning rate, the norm of the gradient, and a metric of validation beside baselines.

    Args:
        records: one per epoch, with epoch, loss, lr, gradient_norm and ``val_METRIC``.
        metric, metric_name: what is drawn of validation, and what it is called there.
        lines: what each baseline comes to in it, drawn as a flat line.
    """
    from matplotlib.figure import Figure  # a second of import, wanted only here
    from matplotlib.ticker import MaxNLocator

    epochs = [record["epoch"] for record in records]
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 0.8, 1.2))

    left.plot(epochs, [record["loss"] for record in records], color="C0", marker=".")
    left.set(title="Training loss", xlabel="epoch")
    rate = left.twinx()
    rate.step(epochs, [record["lr"] for record in records], where="mid", color="0.6", lw=1)
    rate.set_ylabel("learning rate", color="0.5")
    rate.set_yscale("log")
    rate.tick_params(axis="y", which="both", colors="0.5", labelsize="small")

    middle.plot(epochs, [record["gradient_norm"] for record in records], color="C0", marker=".")
    middle.set(title="Norm of the gradient", xlabel="epoch")

    values = [record[f"val_{metric}"] for record in records]
    right.plot(epochs, values, color="C0", marker=".", label="cube")
    for i, (name, value) in enumerate(lines.items()):
        right.axhline(value, color=f"C{i + 1}", ls="--", lw=1.2, label=f"{name} ({value:.3f})")
    right.set(title=f"Validation {metric_name}", xlabel="epoch")
    # A baseline far below is in the legend alone: what matters is small beside its distance.
    shown = [value for value in (*values, *lines.values()) if value > min(values) - 0.1]
    margin = max(0.01, 0.1 * (max(shown) - min(shown)))
    right.set_ylim(min(shown) - margin, max(shown) + margin)
    right.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    for axes in (left, middle, right):
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
