"""Jinja templates of the package: the texts of reports and model cards, in Markdown, HTML or plain text.

Whatever a template is given is escaped for its format, so that it is shown as it is; only what is of the type
``Markup`` is markup.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .output import markdown, markdown_code, visible

ESCAPES: dict[str, Callable[[str], str]] = {"md": markdown, "html": html.escape, "txt": str}
"""How plain text is escaped, by the suffix of the file that is made."""


def render(template: str, form: str, /, **content: Any) -> str:
    """The text of a template.

    Args:
        template: its path within the package, such as ``reporting/templates/report.jinja``.
        form: the format, one of ESCAPES.
        content: the template's variables. In the template, ``form`` is the format too.

    Returns:
        Text in which every character that would act on a terminal or a page is shown as an escape.
    """
    return visible(_environment(ESCAPES[form]).get_template(template).render(content, form=form))


def _environment(escape: Callable[[str], str]) -> Environment:
    def escaped(value: Any) -> Markup:
        return value if isinstance(value, Markup) else Markup(escape(str(value)))

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "best_of": _best_of,
        "capital": lambda text: text[:1].upper() + text[1:],
        "code": lambda text: Markup(markdown_code(text)),
        "fixed": "{:.3f}".format,
        "literal": partial(json.dumps, ensure_ascii=False),
        "number": "{:,}".format,
        "paragraph": lambda text: Markup(" ".join(text.split()) + "\n"),
        "percent": "{:.0%}".format,
        "signed": partial(_signed, digits=3),
        "signed4": partial(_signed, digits=4),
    }
    return environment


def _best_of(value: float, values: Iterable[float]) -> Markup:
    """The value in Markdown, bold where none of the values is shown as more."""
    shown, most = round(value, 3), max(round(each, 3) for each in values)
    return Markup(f"**{shown:.3f}**" if shown == most else f"{shown:.3f}")


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}"
