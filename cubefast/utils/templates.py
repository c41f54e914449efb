"""Jinja templates of the package: the texts of reports and model cards, in Markdown, HTML or plain text.

Whatever a template is given is escaped for its format, so that it is shown as it is; only what is of the type
``Markup`` is markup. ``Strong`` text stands out, and a tuple is its pieces with spaces between them.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .escaping import markdown, markdown_code, visible
from .terminal import wrapped

_WIDTH = 110  # of plain text without a window


class Strong(str):
    """Text that is emphasized."""


class _Form(NamedTuple):
    """The markup of plain text, emphasized text and commands in one format."""

    escape: Callable[[str], str]
    strong: str
    code: Callable[[str], str]


_FORMS = {
    "md": _Form(markdown, "**{}**", markdown_code),
    "html": _Form(html.escape, "<strong>{}</strong>", lambda text: f"<code>{html.escape(text)}</code>"),
    "txt": _Form(str, "{}", str),
}


def render(template: str, form: str, /, **content: Any) -> str:
    """Render a template.

    Args:
        template: its path within the package, such as ``reporting/templates/report.jinja``.
        form: the format: md, html or txt.
        content: the template's variables. In the template, ``form`` is the format too.

    Returns:
        Text in which every character that would act on a terminal or a page is shown as an escape. At most one line in
        a row is empty, and it ends with a newline.
    """
    text = environment(form).get_template(template).render(content, form=form)
    return visible(re.sub("\n{3,}", "\n\n", text).strip() + "\n")


def environment(form: str) -> Environment:
    """The environment of all templates in one format: md, html or txt."""
    escape, strong, code = _FORMS[form]

    def escaped(value: Any) -> Markup:
        if isinstance(value, Markup):
            return value
        if isinstance(value, tuple):
            return Markup(" ").join(map(escaped, value))
        text = escape(str(value))
        return Markup(strong.format(text) if isinstance(value, Strong) else text)

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1]),
        autoescape=True,
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals["columns"] = None
    templates.filters |= {
        "aligned": _aligned,
        "base64": lambda content: base64.b64encode(content).decode("ascii"),
        "best_of": _best_of,
        "capital": capital,
        "code": lambda text: Markup(code(text)),
        "fill": lambda text, columns: Markup(wrapped(text, columns or _WIDTH)),
        "fixed": "{:.3f}".format,
        "literal": partial(json.dumps, ensure_ascii=False),
        "number": "{:,}".format,
        "paragraph": lambda text: Markup(" ".join(text.split()) + "\n"),
        "percent": "{:.0%}".format,
        "strong": lambda text: escaped(Strong(text)),
    }
    return templates


def capital(text: str) -> str:
    """The text with a capital at its beginning, and the rest as it is."""
    return text[:1].upper() + text[1:]


def _best_of(value: float, values: Iterable[float]) -> str:
    """The value with three digits, emphasized if no other value is shown as larger."""
    shown, most = round(value, 3), max(round(each, 3) for each in values)
    return Strong(f"{shown:.3f}") if shown == most else f"{shown:.3f}"


def _aligned(table: Any, columns: int | None) -> str:
    """The columns and rows of a :class:`~cubefast.reporting.tables.Table`, in columns of spaces.

    Where the window has fewer columns than that takes, each cell has a line, with the name of its column before it.
    """
    rows = [table.columns, *table.rows]
    whole = [row for row in rows if len(row) == len(table.columns)]
    widths = [max(len(cell) for cell in column) for column in zip(*whole, strict=True)]
    lines = []
    if columns is not None and sum(widths) + 2 * len(widths) > columns:
        room = max(map(len, table.columns[1:]), default=0)
        for name, *cells in table.rows:
            if len(cells) + 1 < len(table.columns):  # the heading of the rows below it
                lines += ["", wrapped(name, columns)]
                continue
            lines.append(wrapped(name, columns, "  ", "    "))
            for column, cell in zip(table.columns[1:], cells, strict=True):
                if cell and room < columns // 2:
                    lines.append(wrapped(cell, columns, f"    {column:<{room}}  ", " " * (room + 6)))
                elif cell:
                    lines.append(wrapped(f"{column}: {cell}", columns, "    ", "      "))
        return "\n".join(lines)
    for row in rows:
        if len(row) < len(widths):  # the heading of the rows below it
            lines += ["", row[0]]
            continue
        cells = [
            cell.ljust(width) if place < table.words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)
