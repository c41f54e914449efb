"""CSV and TSV as programs write them: Excel's semicolons, pandas' index column, and TSV that knows no quotes."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ...config.data import LimitsConfig
from ...errors import InputError
from ...utils.messages import named, shown
from .lines import MB, read_lines
from .records import Record

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')  # the first line by which Excel is told
_QUOTED = re.compile(r'"[^"]*"')


def csv_records(path: Path, limits: LimitsConfig) -> Iterator[Record]:
    """The rows of a CSV file; the delimiter is the one its header, or a line ``sep=;`` before it, has.

    Columns without a name are passed over, and rows without a text.
    """
    lines = _Lines(path, limits)
    header = lines.header()
    if separator := _SEPARATOR.fullmatch(header):
        header = lines.header()
    # Of those as frequent outside quotes, the comma.
    delimiter = separator[1] if separator else max(_DELIMITERS, key=_QUOTED.sub("", header).count)
    return _rows(header, lines, delimiter, "CSV")


def tsv_records(path: Path, limits: LimitsConfig) -> Iterator[Record]:
    """The rows of a TSV file. Where every line has as many fields as the header, a quote is a character like others, as
    in MS MARCO: read as CSV is, a text that begins with a quote would take in those after it. Else it is read as CSV.
    """
    counts = {line.count("\t") for line in read_lines(path, limits) if line.strip()}
    lines = _Lines(path, limits)
    return _rows(lines.header(), lines, "\t", "TSV", csv.QUOTE_MINIMAL if len(counts) > 1 else csv.QUOTE_NONE)


class _Lines:
    """The lines of a file, without NULs."""

    def __init__(self, path: Path, limits: LimitsConfig) -> None:
        self.path = path
        self.number = 0  # how many were read
        self.size = 0  # of those since a record began; whoever begins one sets it to 0
        self.most = limits.line_mb * MB
        self._lines = read_lines(path, limits)

    def header(self) -> str:
        """The next line that is not blank, or ""."""
        return next((line for line in self if line.strip()), "")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self.size += len(line)
        if "\0" in line:  # the csv module of Python 3.10 refuses it, later ones let it through
            raise InputError(
                f"{self.path}, line {self.number}: a NUL byte, which no text has. Is the file UTF-16, or binary?"
            )
        if self.size > self.most:
            raise InputError(
                f"{self.path}, line {self.number}: a record of more than {self.most // MB} MB. Is a quote not closed? "
                "Else raise data.limits.line_mb"
            )
        return line


def _rows(
    header: str, lines: _Lines, delimiter: str, kind: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
) -> Iterator[Record]:
    # The module has one limit for all its readers, of 131,072 characters at first; that of the records is kept here.
    csv.field_size_limit(max(csv.field_size_limit(), lines.most))
    reader = csv.reader(itertools.chain([header], lines), delimiter=delimiter, quoting=quoting, strict=True)
    before = lines.number - 1
    names: list[str] | None = None
    while True:
        where = f"{lines.path}, line {before + reader.line_num + 1}"  # a quoted text may have line breaks
        lines.size = 0
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{where}: not {kind} ({error}). "
                'Put a text with a quote in quotes, and its quotes twice: "so ""quoted"" text"'
            ) from None
        if names is None:
            names = _names(row, where)
        elif any(map(str.strip, row)):
            if quoting == csv.QUOTE_NONE:
                row = [_unquoted(field) for field in row]
            yield _record(names, row, where, delimiter)


def _unquoted(field: str) -> str:
    """The field without quotes around it, where those within are written twice."""
    inner = field[1:-1]
    if len(field) < 2 or not field[0] == field[-1] == '"' or '"' in inner.replace('""', ""):
        return field
    return inner.replace('""', '"')


def _names(row: list[str], where: str) -> list[str]:
    names = [_unquoted(name).strip() for name in row]
    called = [name for name in names if name]
    if len(set(called)) < len(called) or (row and not called):
        raise InputError(f"{where}: the columns need different names; got {shown(names)}")
    return names


def _record(names: list[str], row: list[str], where: str, delimiter: str) -> Record:
    if len(row) != len(names):
        raise InputError(
            f"{where}: {len(row)} fields, but the header has {len(names)} ({named(names)}). "
            f"Put a text with a {_DELIMITERS.get(delimiter, repr(delimiter))} in quotes"
        )
    # A column without a name is what pandas makes of its index, and Excel of commas at the ends of lines.
    return Record(where, {name: value for name, value in zip(names, row, strict=True) if name})
