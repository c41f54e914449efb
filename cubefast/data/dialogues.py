"""Question/answer data as text: the built-in set, and JSONL files."""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import InputError

BUILTIN = "builtin"


@dataclass(frozen=True)
class Dialogue:
    """One question and its answer.

    ``group``: what must stay on one side of a split (the answer itself when the file does not say).
    """

    question: str
    answer: str
    domain: str
    group: str


def load_dialogues(path: str | Path) -> list[Dialogue]:
    """Read a data set of dialogues, dropping exact repetitions.

    Args:
        path: ``"builtin"``, or a JSONL file (also gzipped) whose lines have the fields ``question`` and ``answer``,
            and may have ``domain`` and ``group``.

    Raises:
        InputError: the file is missing, unreadable, empty, or a line is not as said; the message names the line.
    """
    if str(path) == BUILTIN:
        sample = resources.files("cubefast.data") / "samples" / "dialogues.jsonl"
        return _parse(sample.read_text(encoding="utf-8").splitlines(), "the built-in set")
    path = Path(path)
    try:
        if not path.exists():
            raise InputError(
                f"no data file {path}. Give a JSONL file with question and answer on each line, or data={BUILTIN}"
            )
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise InputError(f"the data file {path} cannot be read: {error}") from None
    return _parse(_decoded_lines(raw, path), str(path))


def _decoded_lines(raw: bytes, path: Path) -> Iterator[str]:
    # Only \n ends a line of JSONL: str.splitlines would also cut at U+2028 inside a text.
    for number, line in enumerate(raw.split(b"\n"), start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}). Convert the file to UTF-8"
            ) from None


def _parse(lines: list[str] | Iterator[str], source: str) -> list[Dialogue]:
    dialogues: dict[tuple[str, str], Dialogue] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({error}). Each line must be one object") from None
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object, got {type(record).__name__}")
        question, answer = (_text(record, field, where) for field in ("question", "answer"))
        domain = str(record.get("domain") or "")
        group = str(record.get("group") or normalize(answer))
        key = (normalize(question), normalize(answer))
        dialogues.setdefault(key, Dialogue(question, answer, domain, group))
    if not dialogues:
        raise InputError(f"{source} has no question/answer pairs; it needs one JSON object per line")
    return list(dialogues.values())


def _text(record: dict[str, object], field: str, where: str) -> str:
    value = record.get(field)
    if value is None:
        have = ", ".join(record) or "no fields"
        raise InputError(f'{where}: the field "{field}" is missing; the line has {have}')
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'{where}: "{field}" must be a text that is not blank; got {value!r}')
    return value.strip()


def normalize(text: str) -> str:
    """The form in which two texts count as the same: Unicode NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
