"""A document as Markdown (GitHub's, with tables)."""

from __future__ import annotations

from ..output import markdown, markdown_code, visible
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


def to_markdown(document: Document) -> str:
    """The whole; its first line is the title."""
    blocks = [f"# {markdown(document.title)}", *(_block(block) for block in document.blocks)]
    return visible("\n\n".join(blocks) + "\n")


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {markdown(block.text)}"
    if isinstance(block, Paragraph):
        return _text(block.text)
    if isinstance(block, Bullets):
        return "\n".join(f"- {_text(item)}" for item in block.items)
    if isinstance(block, Table):
        marks = ["---" if place < block.words else "---:" for place in range(len(block.columns))]
        rows = [
            [markdown(name) for name in block.columns],
            marks,
            *([_text(cell) for cell in row] for row in block.rows),
        ]
        return "\n".join([f"{markdown(block.caption)}\n", *(f"| {' | '.join(row)} |" for row in rows)])
    if isinstance(block, Figure):
        return f"![{markdown(block.alt)}]({block.name})\n\n{markdown(block.caption)}"
    return "\n".join(_card(block))


def _card(block: Cards) -> list[str]:
    lines = []
    for number, card in enumerate(block.cards, start=1):
        lines.append(f"{number}. **{markdown(card.title)}**")
        lines += [f"   - {markdown(name)}: {markdown(value)}" for name, value in card.fields]
    return lines


def _text(text: Text) -> str:
    return "".join(_inline(piece) for piece in pieces(text))


def _inline(piece: Inline) -> str:
    if isinstance(piece, Strong):
        return f"**{markdown(piece.text)}**"
    if isinstance(piece, Code):
        return markdown_code(piece.text)
    lead, tail = " " * piece[:1].isspace(), " " * (len(piece) > 1 and piece[-1:].isspace())
    return f"{lead}{markdown(piece)}{tail}"
