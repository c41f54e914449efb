"""A hook of mkdocs: roles such as :class:`Topology`, which docstrings have for Sphinx, become plain code."""

import re

_ROLE = re.compile(r":(?:class|func|meth|mod|attr):<code>~?(?:[\w.]+\.)?(\w+)</code>")


def on_page_content(html: str, **_: object) -> str:
    """The page with roles as plain names."""
    return _ROLE.sub(r"<code>\1</code>", html)
