"""The lines of text files that anybody may have written, within the limits of a data set."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from ...config.data import LimitsConfig
from ...errors import InputError
from ...utils.files import open_regular

MB = 1_000_000
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_gzipped(path: Path) -> bool:
    """Whether the name of a file ends in ``.gz``."""
    return path.suffix.lower() == ".gz"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A context in which errors of the operating system and of gzip become an InputError that names the file."""
    try:
        yield
    except MemoryError:
        raise InputError(
            f"the data file {path} cannot be read: it takes more memory than there is. Cut it, or lower data.limits"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"the data file {path} cannot be read: {reason}") from None


def read_lines(path: Path, limits: LimitsConfig) -> Iterator[str]:
    r"""The lines of a UTF-8 text file, also gzipped, each with its end; byte order marks are passed over.

    \n, \r\n and \r end a line, as editors have it; U+2028 does not, for JSON may have it inside a text.

    Raises InputError for what is no regular file; it names a line that is too long, beyond the limits or not UTF-8.
    """
    most_line = limits.line_mb * MB
    # Every byte is a character of Latin-1: so lines can be found first, and UTF-8 is decoded line by line, to name the
    # line in an error.
    with _open(path) as file, io.TextIOWrapper(file, encoding="latin-1", newline="") as text:
        number, size = 0, 0
        while line := text.readline(most_line + 1):
            number += 1
            size += len(line)
            if len(line) > most_line:
                raise InputError(f"{path}, line {number}: longer than {limits.line_mb} MB; raise data.limits.line_mb")
            if size > limits.file_mb * MB:
                raise _too_large(path, "file_mb", limits)
            if number > limits.records:
                raise InputError(f"{path} has more than {limits.records:,} lines; raise data.limits.records, or cut it")
            yield decoded(line.encode("latin-1"), path, number)


def read_whole(path: Path, limits: LimitsConfig) -> str:
    """A UTF-8 text file, also gzipped, as one text of at most ``limits.whole_file_mb``. Raises InputError."""
    with _open(path) as file:
        content = file.read(limits.whole_file_mb * MB + 1)
    if len(content) > limits.whole_file_mb * MB:
        raise _too_large(path, "whole_file_mb", limits)
    return decoded(content, path, 1)


def _too_large(path: Path, key: str, limits: LimitsConfig) -> InputError:
    return InputError(f"{path} holds more than {getattr(limits, key):,} MB; raise data.limits.{key}, or cut it")


def decoded(raw: bytes, path: Path, number: int) -> str:
    """The text of UTF-8 lines, the first of which is line ``number`` of the file. Raises InputError naming the line."""
    if number == 1 and raw.startswith(_UTF16):
        raise InputError(
            f"{path} is UTF-16. Convert the file to UTF-8, such as with iconv -f UTF-16 -t UTF-8 (in a spreadsheet: "
            'save it as "CSV UTF-8")'
        )
    while raw.startswith(codecs.BOM_UTF8):  # also at the line where two files were joined
        raw = raw[len(codecs.BOM_UTF8) :]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        raise InputError(
            f"{path}, line {number + before.count(10)}: not UTF-8 ({error.reason} at byte "
            f"{error.start - before.rfind(10) - 1}). Convert the file to UTF-8, such as with iconv -f CP1252 -t UTF-8 "
            'for one of Windows (in a spreadsheet: save it as "CSV UTF-8")'
        ) from None


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """The file, unpacked if it is gzipped. Raises InputError where it cannot be read."""
    with reading(path), open_regular(path) as file:
        yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if is_gzipped(path) else file
