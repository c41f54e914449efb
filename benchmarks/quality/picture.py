"""Draws the README's picture from the tables beside this file: the right answer first, on new topics of each data set.

    python benchmarks/quality/picture.py

A dot is the median of the seeds, the bar behind it their range. It writes benchmarks/figures/quality.svg.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from cubefast.utils.drawing import BLUE, FAINT, INK, ORANGE, draw

HERE = Path(__file__).resolve().parent
PICTURE = HERE.parent / "figures" / "quality.svg"
MODELS = {"identity": "before", "strongest rival on validation": "the best rival", "cube": "with the cube"}
_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"^unseen group: ([\d,]+) queries.*?\n\n(.*?)(?=\n\n)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| ([^|]+) \| [\d,]+ \| ([\d.]+)(?: \(([\d.]+) to ([\d.]+)\))?", re.MULTILINE)


class Share(NamedTuple):
    """Of the seeds: the median, least and largest share of questions whose right answer comes first."""

    median: float
    least: float
    largest: float


def new_topics(page: str) -> dict[tuple[str, str], dict[str, Share]]:
    """The R@1 of each model of MODELS, by the name of the data set and its number of questions."""
    found = {}
    for title, section in _SECTION.findall(page):
        for queries, table in _TABLE.findall(section):
            rows = {
                model: Share(*(float(each or median) for each in (median, least, largest)))
                for model, median, least, largest in _ROW.findall(table)
            }
            found[title, queries] = {model: rows[model] for model in MODELS}
    return found


def paint(figure: Any, data_sets: dict[tuple[str, str], dict[str, Share]]) -> None:
    axes = figure.subplots()
    styles = {"identity": (FAINT, "o", "white"), "strongest rival on validation": (ORANGE, "s", ORANGE)}
    for place, shares in enumerate(data_sets.values()):
        for offset, (model, name) in enumerate(MODELS.items()):
            color, marker, face = styles.get(model, (BLUE, "o", BLUE))
            share, y = shares[model], place + 0.22 * (offset - 1)
            axes.plot([share.least, share.largest], [y, y], color=color, lw=4, alpha=0.35, solid_capstyle="round")
            label = name if place == 0 else None
            axes.plot(share.median, y, marker, color=color, mfc=face, ms=6, mew=1.5, ls="", label=label)
            axes.annotate(f"{share.median:.1%}", (share.largest, y), (7, 0), textcoords="offset points", va="center",
                          fontsize=8, color=INK if model == "cube" else FAINT)  # fmt: skip
    axes.set_yticks(range(len(data_sets)), [f"{title}\n{queries} questions" for title, queries in data_sets])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.04)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.grid(visible=False, axis="y")
    axes.set_title("Right answer first, questions of new topics")
    figure.legend(loc="outside lower center", ncols=3)


def main() -> None:
    data_sets = new_topics((HERE / "README.md").read_text())
    PICTURE.write_bytes(draw(lambda figure: paint(figure, data_sets), 7.5, 4.2))
    print(f"{PICTURE.relative_to(Path.cwd())}: {len(data_sets)} data sets")


if __name__ == "__main__":
    main()
