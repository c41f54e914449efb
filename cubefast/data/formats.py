"""Readers of file formats: each gives the records of a file one by one, and says where in the file each one is."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast, get_args

from ..errors import InputError
from .config import Format

HUB = "hub:"
FORMATS: tuple[str, ...] = get_args(Format)
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".yml": "chatterbot",
    ".yaml": "chatterbot",
    ".txt": "text",
}
_BATCH = 1024  # rows of a Parquet file that are held as Python objects at once


@dataclass(frozen=True)
class Record:
    """One record of a file.

    ``where``: its place, for messages ("pairs.csv, line 7"). ``fields``: by the names the file gives them.
    """

    where: str
    fields: dict[str, Any]


def file_format(path: str, format: str) -> str:
    """How a source is to be read: ``hub``, or one of FORMATS other than ``auto`` and ``chat``.

    ``auto`` goes by the suffix (under .gz, if there is one); a folder is ChatterBot's. ``chat`` is in JSON lines unless
    the suffix is .json or .parquet.

    Raises InputError for a file that is not there, a suffix or format that is not known, a folder instead of a file.
    """
    if format not in FORMATS:
        raise InputError(f"format {format!r} is not known; it must be one of {', '.join(FORMATS)}")
    if path.startswith(HUB):
        if format not in ("auto", "chat"):
            raise InputError(f"{path}: format={format} is for files; leave it at auto, or chat")
        return "hub"
    file = Path(path)
    with reading(file):
        if not file.exists():
            raise InputError(
                f"no data file {path}. Give a file ({', '.join(SUFFIXES)}), a folder of ChatterBot YAML, "
                f"{HUB}NAME or builtin"
            )
        folder = file.is_dir()
    if folder:
        if format not in ("auto", "chatterbot"):
            raise InputError(f"the data file {path} cannot be read: it is a folder; format={format} needs a file")
        return "chatterbot"
    if format not in ("auto", "chat"):
        return format
    suffix = _suffix(file)
    if format == "chat":
        return SUFFIXES[suffix] if suffix in (".json", ".parquet") else "jsonl"
    if suffix not in SUFFIXES:
        said = f"its suffix {suffix} is not known" if suffix else "it has no suffix"
        raise InputError(
            f"the format of {path} is unclear: {said}. Known are {', '.join(SUFFIXES)} (also with .gz); "
            f"or set format to one of {', '.join(FORMATS[1:])}"
        )
    return SUFFIXES[suffix]


def _suffix(file: Path) -> str:
    return Path(file.stem if file.suffix == ".gz" else file.name).suffix.lower()


def read_records(path: str, kind: str, wanted: frozenset[str]) -> Iterator[Record]:
    """The records of a file of the kind ``jsonl``, ``json``, ``csv``, ``tsv`` or ``parquet``, or of a ``hub`` name.

    Args:
        wanted: the fields that will be looked at. Parquet and the hub read only these; the others are then None.

    Raises InputError (while iterating) naming the file and the line or record that cannot be read.
    """
    if kind == "hub":
        return _hub_rows(path, wanted)
    file = Path(path)
    if kind == "parquet":
        return _parquet_rows(file, wanted)
    if kind == "json":
        return _json_list(file)
    if kind == "jsonl":
        return _json_lines(file)
    return _csv_rows(file, "\t" if kind == "tsv" else ",")


def text_field(value: object, where: str, field: str) -> str:
    """``value`` without blanks at its ends. Raises InputError unless it is a text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'{where}: "{field}" must be a text that is not blank; got {shown(value)}')
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can say "\ud800", half of a pair; no encoder nor file could take it later.
        raise InputError(f'{where}: "{field}" has half a surrogate pair: {shown(value)}') from None
    return value.strip()


def name_field(value: object, where: str, field: str) -> str:
    """A domain or group: a text or number, as a text; "" for None. Raises InputError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, (str, int, float)):
        raise InputError(f'{where}: "{field}" must be a text or a number; got {shown(value)}')
    return str(value).strip()


def shown(value: object) -> str:
    """``repr``, cut to a length that fits into a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what the operating system or gzip says about a file into an InputError."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"the data file {path} cannot be read: {reason}") from None


def read_lines(path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 text file, also gzipped, each with its \n; a byte order mark is passed over.

    Only \n ends a line: JSON may have U+2028 inside a text. Raises InputError naming a line that is not UTF-8.
    """
    with reading(path), _open(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}). "
                    "Convert the file to UTF-8"
                ) from None
            yield line


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _json_lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        yield Record(where, _object(_json(line, where, "Each line must be one object"), where))


def _json_list(path: Path) -> Iterator[Record]:
    text = "".join(read_lines(path))
    if not text.strip():
        return
    records = _json(text, str(path), "It must be a list of objects; for an object on each line set format=jsonl")
    if not isinstance(records, list):
        raise InputError(f"{path}: expected a list of JSON objects, got {type(records).__name__}")
    for number, record in enumerate(records, start=1):
        where = f"{path}, record {number}"
        yield Record(where, _object(record, where))


def _json(text: str, where: str, advice: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also for numbers of thousands of digits
        raise InputError(f"{where}: not JSON ({error}). {advice}") from None
    return value


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def _csv_rows(path: Path, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(_without_nul(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}, line {reader.line_num + 1}"  # where the record starts: a quoted text may have line breaks
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{where}: not {'TSV' if delimiter == chr(9) else 'CSV'} ({error}). "
                'Put a text with a quote in quotes, and its quotes twice: "so ""quoted"" text"'
            ) from None
        if not row:
            continue
        if header is None:
            header = [name.strip() for name in row]
            if len(set(header)) < len(header) or "" in header:
                raise InputError(f"{where}: the columns need different names that are not blank; got {shown(header)}")
            continue
        if len(row) != len(header):
            raise InputError(
                f"{where}: {len(row)} fields, but the header has {len(header)} ({', '.join(header)}). "
                f"Put a text with a {'tab' if delimiter == chr(9) else 'comma'} in quotes"
            )
        yield Record(where, dict(zip(header, row, strict=True)))


def _without_nul(path: Path) -> Iterator[str]:
    for number, line in enumerate(read_lines(path), start=1):
        if "\0" in line:  # the csv module of Python 3.10 refuses it, later ones let it through
            raise InputError(f"{path}, line {number}: a NUL byte, which no text has. Is the file UTF-16, or binary?")
        yield line


def _parquet_rows(path: Path, wanted: frozenset[str]) -> Iterator[Record]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: Parquet files need pyarrow: pip install 'cubefast[parquet]'") from None
    with reading(path):
        if path.suffix == ".gz":
            raise InputError(f"{path}: a gzipped Parquet file is not read; gunzip it (Parquet is compressed inside)")
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                names = file.schema_arrow.names
                row = 0
                for batch in file.iter_batches(_BATCH, columns=[name for name in names if name in wanted]):
                    for fields in batch.to_pylist():
                        row += 1
                        # The names of all columns, so that a message about a missing one can list them.
                        yield Record(f"{path}, record {row}", dict.fromkeys(names) | fields)
        except pyarrow.ArrowException as error:
            raise InputError(f"{path}: not a Parquet file that can be read ({error})") from None


def _hub_rows(path: str, wanted: frozenset[str]) -> Iterator[Record]:
    name, _, split = path.removeprefix(HUB).partition(":")
    if not name:
        raise InputError(f"{path!r} must be {HUB}NAME or {HUB}NAME:SPLIT, as {HUB}squad or {HUB}squad:validation")
    split = split or "train"
    try:
        import datasets
    except ImportError:
        raise InputError(f"{path}: data sets of the hub need datasets: pip install 'cubefast[hub]'") from None
    try:
        rows = datasets.load_dataset(name, split=split)
        names = rows.column_names
        rows = rows.select_columns([each for each in names if each in wanted])
    except Exception as error:  # it passes on whatever its network and file libraries raise
        reason = str(error).split("\n", 1)[0].rstrip(".") or type(error).__name__
        raise InputError(
            f'the split "{split}" of {name} cannot be had from the hub: {reason}. '
            "Check the name, the split and the network, or give a file"
        ) from None
    for number, fields in enumerate(rows, start=1):
        yield Record(f"{path}, record {number}", dict.fromkeys(names) | fields)
