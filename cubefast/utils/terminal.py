"""How wide the window is that a person reads in, and text laid out for it."""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata

_NARROWEST = 20  # columns; in a window below that, lines are as long as this


def columns() -> int | None:
    """Columns of the window that the standard output is shown in; None where it is no terminal."""
    return max(shutil.get_terminal_size().columns, _NARROWEST) if sys.stdout.isatty() else None


def cells(text: str) -> int:
    """Columns that a text takes: two for each wide character (Chinese, Japanese, Korean, emoji), none for accents."""
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> str:
    """The words of ``text`` in lines of at most ``width`` columns, broken between words, or within one that is longer.

    Args:
        text: any; its own line breaks count as a blank, and two blanks or more as two.
        width: columns.
        first, rest: what the first line and the others begin with.
    """
    width = max(width, cells(rest) + 2, cells(first) + 2)
    lines, line, empty = [], first, True
    for gap, whole in re.findall(r"(\s*)(\S+)", text):
        word, joint = whole, " " * min(len(gap), 2) if set(gap) == {" "} else " "
        if not empty and cells(line + joint + word) <= width:
            line += joint + word
            continue
        if not empty or cells(rest + word) <= width < cells(line + word):
            lines.append(line.rstrip())
            line = rest
        while cells(line) + cells(word) > width:
            end = _fitting(word, width - cells(line))
            lines.append(line + word[:end])
            line, word = rest, word[end:]
        line, empty = line + word, False
    return "\n".join([*lines, line.rstrip() if empty else line])


def _fitting(word: str, width: int) -> int:
    """How many characters from the beginning of a word take at most so many columns."""
    taken = 0
    for end, character in enumerate(word):
        taken += _cells(character)
        if taken > width:
            return end
    return len(word)


def labelled(label: str, text: str) -> str:
    """A line with a label in front: "data        794 pairs"; in a window, wrapped beside the label."""
    return paragraph(text, f"{label:<12}", " " * 12)


def paragraph(text: str, first: str = "", rest: str = "") -> str:
    """``text`` wrapped to the window; as one line where there is none, so that programs can read it."""
    width = columns()
    return first + text if width is None else wrapped(text, width, first, rest)
