"""The page, and the Content-Security-Policy that allows its own style and script and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources


def load_page() -> tuple[str, str]:
    """The HTML of the page and its Content-Security-Policy, which allows script and style by their hash, so that
    injected code cannot run.
    """
    page = (resources.files("cubefast.serving") / "page.html").read_text("utf-8")
    style, script = (_hash(re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)) for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hash(element: re.Match[str] | None) -> str:
    assert element is not None, "page.html has one style and one script"
    digest = hashlib.sha256(element[1].encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
