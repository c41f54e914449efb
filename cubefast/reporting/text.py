"""A document as plain text for a terminal: tables in columns."""

from __future__ import annotations

import textwrap

from .document import Block, Bullets, Document, Heading, Paragraph, Table, Text, pieces

_WIDTH = 110


def to_text(document: Document) -> str:
    """The whole. Raises TypeError for blocks that a terminal cannot show: figures and cards."""
    return "\n\n".join([_filled(document.title), *(_block(block) for block in document.blocks)])


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return block.text
    if isinstance(block, Paragraph):
        return _filled(_plain(block.text))
    if isinstance(block, Bullets):
        return "\n".join(textwrap.fill(f"- {_plain(item)}", _WIDTH, subsequent_indent="  ") for item in block.items)
    if isinstance(block, Table):
        return _table(block)
    raise TypeError(f"a terminal cannot show a {type(block).__name__}")


def _table(table: Table) -> str:
    rows = [list(table.columns), *([_plain(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < table.words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join([table.caption, *lines])


def _filled(text: str) -> str:
    return textwrap.fill(text, _WIDTH)


def _plain(text: Text) -> str:
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces(text))
