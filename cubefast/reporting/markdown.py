"""A document as Markdown (GitHub's, with tables)."""

from __future__ import annotations

import re

from .document import (
    Block,
    Bullets,
    Cards,
    Code,
    Document,
    Figure,
    Heading,
    Inline,
    Paragraph,
    Strong,
    Table,
    Text,
    pieces,
)

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")
_AT_THE_START = re.compile(r"^(-{3,}|={3,}|[-+]|\d+[.)])(?=\s|$)")  # a rule, a list


def to_markdown(document: Document) -> str:
    """The whole; its first line is the title."""
    blocks = [f"# {escape(document.title)}", *(_block(block) for block in document.blocks)]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return _AT_THE_START.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", line)


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {escape(block.text)}"
    if isinstance(block, Paragraph):
        return _text(block.text)
    if isinstance(block, Bullets):
        return "\n".join(f"- {_text(item)}" for item in block.items)
    if isinstance(block, Table):
        marks = ["---" if place < block.words else "---:" for place in range(len(block.columns))]
        rows = [[escape(name) for name in block.columns], marks, *([_text(cell) for cell in row] for row in block.rows)]
        return "\n".join([f"{escape(block.caption)}\n", *(f"| {' | '.join(row)} |" for row in rows)])
    if isinstance(block, Figure):
        return f"![{escape(block.alt)}]({block.name})\n\n{escape(block.caption)}"
    return "\n".join(_card(block))


def _card(block: Cards) -> list[str]:
    lines = []
    for number, card in enumerate(block.cards, start=1):
        lines.append(f"{number}. **{escape(card.title)}**")
        lines += [f"   - {escape(name)}: {escape(value)}" for name, value in card.fields]
    return lines


def _text(text: Text) -> str:
    return "".join(_inline(piece) for piece in pieces(text))


def _inline(piece: Inline) -> str:
    if isinstance(piece, Strong):
        return f"**{escape(piece.text)}**"
    if isinstance(piece, Code):
        fence = "``" if "`" in piece.text else "`"
        return f"{fence}{piece.text}{fence}"
    lead, tail = " " * piece[:1].isspace(), " " * (len(piece) > 1 and piece[-1:].isspace())
    return f"{lead}{escape(piece)}{tail}"
