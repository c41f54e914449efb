"""Text for people to read: control characters are shown as escapes, so that they do not act on a terminal or a page.

A text of a data set, a file's name or a fingerprint may hold ESC sequences (they clear a screen, set its title, fill
the clipboard) or characters that turn the direction of the text after them, so that a reader sees another text than
the file holds (Boucher and Anderson 2021, "Trojan Source"). All commands print through :func:`visible_output`, reports
are passed through :func:`visible`, and JSON through :func:`json_text`.
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

from ..errors import DiskError

# C0 without newline and tab, DEL and C1; line and paragraph separators; embeddings, overrides and isolates of the
# bidirectional algorithm (not the marks of Hebrew and Arabic, which only order their neighbors); half surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""``text`` with an ESC as ``\x1b``, a right-to-left override as ``\u202e``; newlines and tabs stay."""
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub(
        lambda match: f"\\x{ord(match[0]):02x}" if match[0] < "\u0100" else f"\\u{ord(match[0]):04x}", text
    )


def json_text(content: Any, **options: Any) -> str:
    r"""``content`` as JSON with the letters of all languages; only control characters are escaped, as ``\uXXXX``.

    ``options`` are those of ``json.dumps``.
    """
    text = json.dumps(content, ensure_ascii=False, **options)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")
_AT_THE_START = re.compile(r"^(-{3,}|={3,}|[-+]|\d+[.)])(?=\s|$)")  # a rule, a list


def markdown(text: str) -> str:
    """``text`` escaped for Markdown, on one line: it shows as it is, without markup, HTML or links."""
    line = _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))
    return _AT_THE_START.sub(lambda match: f"{match[1][:-1]}\\{match[1][-1]}", line)


def markdown_code(text: str) -> str:
    """``text`` as an inline code span of Markdown, on one line, whatever backticks it contains."""
    line = visible(" ".join(text.split()))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    room = " " if line[:1] == "`" or line[-1:] == "`" else ""
    return f"{fence}{room}{line}{room}{fence}" if line else ""


class VisibleStream:
    """A wrapper of a text stream that writes text :func:`visible`, and as escapes what the encoding does not have.

    All other methods and attributes are those of the wrapped stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write ``text``; returns the number of its characters."""
        encoding = self.stream.encoding or "utf-8"  # StringIO has none
        with _writing():
            self.stream.write(visible(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the wrapped stream."""
        with _writing():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader has closed it
        raise
    except OSError as error:
        raise DiskError(f"the output cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def visible_output() -> Iterator[None]:
    """Context in which everything printed is made :func:`visible`.

    A closed standard stream (None) is replaced by an empty one; if it is stdout, a note on stderr says so.
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
    """The wrapped stream, for a progress bar, which needs carriage returns and shows no data."""
    return stream.stream if isinstance(stream, VisibleStream) else stream
