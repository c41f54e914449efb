"""Matplotlib in one style, without a display: SVG that follows a dark page, or PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

# Okabe and Ito's palette (2008), for readers who do not see all colours; the greys are those of reports and pages.
INK, FAINT, GRID, PAPER = "#1b1f24", "#5a636e", "#dfe3e8", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#aa4499", "#777d85"
_DARK = {
    INK: "#e6e9ed",
    FAINT: "#a3adb8",
    GRID: "#363d46",
    PAPER: "#15181c",
    BLUE: "#56b4e9",
    ORANGE: "#f0904d",
    GREEN: "#3fcfa3",
    PURPLE: "#dd9fd0",
    GREY: "#a3adb8",
}
_STYLE: Any = {
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "svg.fonttype": "none",  # letters stay letters: to be read aloud, searched and copied
    "svg.hashsalt": "cubefast",  # the same picture is the same bytes
}


def draw(paint: Callable[[Any], object], width: float, height: float, form: str = "svg") -> bytes:
    """A picture.

    Args:
        paint: called with an empty matplotlib Figure, which it fills. What should follow a dark page takes its colours
            from the constants of this module.
        width, height: in inches.
        form: svg or png.
    """
    import matplotlib  # a second of import, wanted only here
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        content = io.BytesIO()
        metadata = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
        figure.savefig(content, format=form, dpi=120, metadata=metadata)
    return content.getvalue() if form == "png" else _with_dark_scheme(content.getvalue())


def _with_dark_scheme(svg: bytes) -> bytes:
    """The colours of the style change where the reader prefers dark; the font becomes the reader's own.

    Matplotlib has set the text in DejaVu Sans, which is wider than nearly all others, so nothing overlaps.
    """
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in _DARK.items()
        for what in ("fill", "stroke")
    )
    style = f"<style>@media screen and (prefers-color-scheme: dark){{{rules}}}</style>"
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg.decode())
    return re.sub(r"(<svg [^>]*>)", rf"\1{style}", text, count=1).encode()
