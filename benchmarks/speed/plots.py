"""The table of peers as a bar chart."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def bars(rows: Sequence[Mapping[str, Any]], ours: Collection[str], reference: str) -> bytes:
    """A PNG of bars: useful GFLOP/s of each row forward and forward+backward, and peak memory where it was measured.

    Args:
        rows: of the table of peers, see bench.py.
        ours: the names of this package's backends, drawn in color.
        reference: the name of the row that is drawn as a line.
    """
    from matplotlib.figure import Figure

    shown = [row for row in rows if row["name"] != reference][::-1]
    (limit,) = [row for row in rows if row["name"] == reference]
    with_memory = [row for row in shown if row["peak MB"] is not None]
    figure = Figure(figsize=(11, 0.55 * len(shown) + 1.6), layout="constrained")
    panels = figure.subplots(1, 3 if with_memory else 2, sharey=True)
    names = [row["name"] for row in shown]
    colors = ["C0" if row["name"] in ours else "0.65" for row in shown]
    for axes, kind in zip(panels, ("forward", "forward+backward"), strict=False):
        drawn = axes.barh(names, [row[kind] for row in shown], color=colors)
        axes.bar_label(drawn, [f"{row[kind]:.0f}" for row in shown], padding=3, fontsize="small")
        axes.axvline(limit[kind], color="C3", lw=1.2, ls="--", label=reference)
        axes.set(title=kind, xlabel="useful GFLOP/s (more is better)")
        axes.margins(x=0.18)
        axes.legend(fontsize="small", loc="lower right")
    if with_memory:
        axes = panels[2]
        values = [row["peak MB"] or 0 for row in shown]
        drawn = axes.barh(names, values, color=colors)
        axes.bar_label(drawn, [f"{value:.0f}" for value in values], padding=3, fontsize="small")
        axes.set(title="peak memory, forward+backward", xlabel="MB above the inputs (less is better)")
        axes.margins(x=0.18)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()
