"""A report as a list of blocks, from which Markdown and HTML are both made: nothing is written twice.

Text is plain: whatever stands in it is shown as it is, and each form escapes it in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Strong:
    """Text that stands out."""

    text: str


@dataclass(frozen=True)
class Code:
    """A command, a key or a file."""

    text: str


Inline = str | Strong | Code
Text = Inline | tuple[Inline, ...]


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; ``remark`` for remarks."""

    text: Text
    remark: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[Text]


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first ``words`` columns are words, the others numbers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Text]]
    words: int = 1


@dataclass(frozen=True)
class Figure:
    """A picture: the name of a PNG, what it shows to who cannot see it, and what stands below it."""

    name: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Card:
    """One case: what it is called, and its fields."""

    title: str
    fields: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cards:
    """Several cases."""

    cards: Sequence[Card]


Block = Heading | Paragraph | Bullets | Table | Figure | Cards


@dataclass(frozen=True)
class Document:
    """A title, which is the first line, and blocks."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def pieces(text: Text) -> tuple[Inline, ...]:
    """A text as its parts."""
    return text if isinstance(text, tuple) else (text,)
