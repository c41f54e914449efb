"""Readers of file formats, which yield the records of a file one by one with their place in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from ...config.data import HUB, Format, LimitsConfig
from ...errors import InputError
from ...utils.messages import named, shown
from .delimited import csv_records, tsv_records
from .lines import is_gzipped, read_lines, read_whole, reading
from .parquet import parquet_records
from .records import Record

Chosen = Callable[[Sequence[str]], list[str]]
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

_WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


def file_format(path: str, format: str) -> str:
    """The format of a source: ``hub``, or one of FORMATS other than ``auto`` and ``chat``.

    ``auto`` goes by the suffix (under .gz, if there is one); a folder is ChatterBot's. ``chat`` is in JSON lines unless
    the suffix is .json or .parquet.

    Raises InputError for a file that is not there, a suffix or format that is not known, a folder instead of a file.
    """
    if format not in FORMATS:
        raise InputError(f"format {shown(format)} is not known; it must be one of {', '.join(FORMATS)}")
    if path.startswith(HUB):
        if format not in ("auto", "chat"):
            raise InputError(f"{path}: data.format={format} is for files; leave it at auto, or chat")
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
    suffix = suffix_of(file)
    if format == "chat":
        return SUFFIXES[suffix] if suffix in (".json", ".parquet") else "jsonl"
    if suffix in _WORKBOOKS:
        raise InputError(f'{path} is a workbook, which is not read: save the sheet as "CSV UTF-8", and give that')
    if suffix not in SUFFIXES:
        said = f"its suffix {suffix} is not known" if suffix else "it has no suffix"
        raise InputError(
            f"the format of {path} is unclear: {said}. Known are {', '.join(SUFFIXES)} (also with .gz); "
            f"or set data.format to one of {', '.join(FORMATS[1:])}"
        )
    return SUFFIXES[suffix]


def suffix_of(path: str | Path) -> str:
    """The suffix of a file name in lower case, without a ``.gz`` after it."""
    file = Path(path)
    return Path(file.stem if is_gzipped(file) else file.name).suffix.lower()


def read_records(path: str, kind: str, chosen: Chosen, limits: LimitsConfig) -> Iterator[Record]:
    """Read the records of a file, or a ``hub`` name, of a kind that :func:`file_format` gives (no text, no ChatterBot).

    ``chosen`` gives those of the fields' names that will be looked at. Parquet and the hub read only these; the others
    are then None.

    Raises InputError (while iterating) naming the file and the line or record that cannot be read.
    """
    if kind == "hub":
        records = _hub_rows(path, chosen)
    elif kind == "parquet":
        records = parquet_records(Path(path), chosen, limits)
    else:
        records = _READERS[kind](Path(path), limits)
    for number, record in enumerate(records, start=1):
        if number > limits.records:
            raise InputError(f"{path} has more than {limits.records:,} records; raise data.limits.records, or cut it")
        yield record


def _json_lines(path: Path, limits: LimitsConfig) -> Iterator[Record]:
    for number, line in enumerate(read_lines(path, limits), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        yield Record(where, _object(_json(line, where, "Each line must be one object"), where))


def _json_list(path: Path, limits: LimitsConfig) -> Iterator[Record]:
    text = read_whole(path, limits)
    if not text.strip():
        return
    records = _json(text, str(path), "It must be a list of objects; for an object on each line set data.format=jsonl")
    if isinstance(records, dict):
        raise InputError(
            f"{path}: expected a list of JSON objects, got dict of {named(records)}. Give the list of records alone "
            "(with pandas: to_json(path, orient='records'))"
        )
    if not isinstance(records, list):
        raise InputError(f"{path}: expected a list of JSON objects, got {type(records).__name__}")
    for number, record in enumerate(records, start=1):
        where = f"{path}, record {number}"
        yield Record(where, _object(record, where))


def _json(text: str, where: str, advice: str) -> object:
    try:
        value: object = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:  # ValueError: also for numbers of thousands of digits
        raise InputError(f"{where}: not JSON ({error}). {advice}") from None
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different; json itself would keep the last of several values of one name."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {shown(twice)} is there twice in one object")
    return fields


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


_READERS: dict[str, Callable[[Path, LimitsConfig], Iterator[Record]]] = {
    "jsonl": _json_lines,
    "json": _json_list,
    "csv": csv_records,
    "tsv": tsv_records,
}


def _hub_rows(path: str, chosen: Chosen) -> Iterator[Record]:
    name, _, split = path.removeprefix(HUB).partition(":")
    if not name:
        raise InputError(f"{shown(path)} must be {HUB}NAME or {HUB}NAME:SPLIT, as {HUB}squad or {HUB}squad:validation")
    split = split or "train"
    try:
        import datasets
    except ImportError:
        raise InputError(f"{path}: data sets of the hub need datasets: pip install 'cubefast[hub]'") from None
    try:
        rows = datasets.load_dataset(name, split=split)
        names = rows.column_names
        rows = rows.select_columns(chosen(names))
    except Exception as error:  # it passes on whatever its network and file libraries raise
        reason = str(error).split("\n", 1)[0].rstrip(".") or type(error).__name__
        raise InputError(
            f'the split "{split}" of {name} cannot be had from the hub: {reason}. '
            "Check the name, the split and the network, or give a file"
        ) from None
    for number, fields in enumerate(rows, start=1):
        yield Record(f"{path}, record {number}", dict.fromkeys(names) | fields)
