"""A document as one HTML file: style and pictures are inside, so it needs no network, no script, and can be printed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from importlib import resources

from ..output import visible
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


def to_html(document: Document, pictures: Mapping[str, bytes]) -> str:
    """The whole page.

    Args:
        document: what it says.
        pictures: the PNG of each figure, by its name.
    """
    style = (resources.files("cubefast.reporting") / "report.css").read_text("utf-8")
    body = "\n".join(_block(block, pictures) for block in document.blocks)
    title = escape(document.title)
    return visible(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _block(block: Block, pictures: Mapping[str, bytes]) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        kind = ' class="remark"' if block.remark else ""
        return f"<p{kind}>{_text(block.text)}</p>"
    if isinstance(block, Bullets):
        return "<ul>\n" + "\n".join(f"<li>{_text(item)}</li>" for item in block.items) + "\n</ul>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        data = base64.b64encode(pictures[block.name]).decode("ascii")
        return (
            f'<figure><img src="data:image/png;base64,{data}" alt="{escape(block.alt)}">\n'
            f"<figcaption>{escape(block.caption)}</figcaption></figure>"
        )
    return _cards(block)


def _table(table: Table) -> str:
    def row(cells: list[str], kind: str) -> str:
        made = []
        for place, cell in enumerate(cells):
            tag = "th" if kind == "col" or place == 0 else "td"
            scope = f' scope="{"col" if kind == "col" else "row"}"' if tag == "th" else ""
            number = "" if place < table.words else ' class="number"'
            made.append(f"<{tag}{scope}{number}>{cell}</{tag}>")
        return f"<tr>{''.join(made)}</tr>"

    head = row([escape(name) for name in table.columns], "col")
    body = "\n".join(row([_text(cell) for cell in cells], "row") for cells in table.rows)
    return (
        f'<div class="wide"><table>\n<caption>{escape(table.caption)}</caption>\n<thead>{head}</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _cards(block: Cards) -> str:
    cards = []
    for card in block.cards:
        fields = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in card.fields)
        cards.append(f"<li><h4>{escape(card.title)}</h4>\n<dl>\n{fields}\n</dl></li>")
    return '<ol class="cards">\n' + "\n".join(cards) + "\n</ol>"


def _text(text: Text) -> str:
    return "".join(_inline(piece) for piece in pieces(text))


def _inline(piece: Inline) -> str:
    if isinstance(piece, Strong):
        return f"<strong>{escape(piece.text)}</strong>"
    if isinstance(piece, Code):
        return f"<code>{escape(piece.text)}</code>"
    return escape(piece)
