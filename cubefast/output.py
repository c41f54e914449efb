"""Text on its way to a person: characters that would act on a terminal or a page are shown instead.

A text of a data set, a file's name or a fingerprint may hold ESC sequences (they clear a screen, set its title, fill
the clipboard) or characters that turn the direction of what follows them, so that a reader sees something else than
there is (Boucher and Anderson 2021, "Trojan Source"). All commands print through :func:`visible_output`, reports are
passed through :func:`visible`, and JSON through :func:`json_text`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from .errors import DiskError

# C0 without newline and tab, DEL and C1; line and paragraph separators; embeddings, overrides and isolates of the
# bidirectional algorithm (not the marks of Hebrew and Arabic, which only order their neighbors); half surrogates.
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""``text`` with an ESC as ``\x1b``, a right-to-left override as ``\u202e``; newlines and tabs stay."""
    text = text.replace("\r\n", "\n")
    return _ACTING.sub(lambda found: _code(found, "\\x{:02x}" if found[0] < "\u0100" else "\\u{:04x}"), text)


def json_text(content: Any, **options: Any) -> str:
    r"""``content`` as JSON that is readable in all languages; the same characters are ``\uXXXX`` in it, of equal value.

    ``options`` are those of ``json.dumps``.
    """
    text = json.dumps(content, ensure_ascii=False, **options)
    return _ACTING.sub(lambda found: _code(found, "\\u{:04x}"), text)


_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")
_AT_THE_START = re.compile(r"^(-{3,}|={3,}|[-+]|\d+[.)])(?=\s|$)")  # a rule, a list


def markdown(text: str) -> str:
    """``text`` such that Markdown shows it as it is, on one line: no markup, HTML or link comes of it."""
    line = _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))
    return _AT_THE_START.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", line)


def markdown_code(text: str) -> str:
    """``text`` as a span of code in Markdown, on one line, whatever backticks it has."""
    line = visible(" ".join(text.split()))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    room = " " if line[:1] == "`" or line[-1:] == "`" else ""
    return f"{fence}{room}{line}{room}{fence}" if line else ""


def _code(found: re.Match[str], form: str) -> str:
    return form.format(ord(found[0]))


class VisibleStream:
    """A stream for text that writes it :func:`visible`; what its encoding does not have becomes an escape, too.

    Everything but writing is the stream's own.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write ``text``; how many characters of it, which are all."""
        encoding = self.stream.encoding or "utf-8"  # StringIO has none
        with _writing():
            self.stream.write(visible(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Have what was written on its way."""
        with _writing():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # who read it has had enough
        raise
    except OSError as error:
        raise DiskError(f"the output cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def visible_output() -> Iterator[None]:
    """Inside, whatever is printed is :func:`visible`. A standard stream that is closed is an empty one, and who cannot
    be shown anything is told so where there is still a way.
    """
    with contextlib.ExitStack() as stack:
        closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
        for name in closed:
            # Also keeps the next file that is opened from getting the number of a standard stream.
            empty = stack.enter_context(Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))
            setattr(sys, name, empty)
            stack.callback(setattr, sys, name, None)
        stack.enter_context(contextlib.redirect_stdout(cast(TextIO, VisibleStream(sys.stdout))))
        stack.enter_context(contextlib.redirect_stderr(cast(TextIO, VisibleStream(sys.stderr))))
        if "stdout" in closed:
            print("note: the standard output is closed, so nothing is shown", file=sys.stderr)
        yield


def unfiltered(stream: TextIO) -> TextIO:
    """The stream below, for a line that is drawn again and again (it needs carriage returns) and shows no data."""
    return stream.stream if isinstance(stream, VisibleStream) else stream
