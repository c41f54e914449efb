"""Question/answer data as text: the built-in set, and files of many formats."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import InputError
from .config import BUILTIN, ColumnsConfig, Format
from .conversations import MESSAGES, Conversation, chat_conversations, chatterbot_conversations
from .formats import Record, file_format, name_field, read_lines, read_records, text_field

_TEXT = "text"  # what a column of texts is called if nobody says


@dataclass(frozen=True)
class Dialogue:
    """One question and its answer.

    Attributes:
        question: what is asked.
        answer: what it is answered.
        domain: what it is about, or "".
        group: what must stay on one side of a split (the conversation, or else the answer in normal form).
        context: the turns before the question, oldest first.
        row: which record of the source it is from, from 0; all dialogues of one conversation have the same.
    """

    question: str
    answer: str
    domain: str
    group: str
    context: tuple[str, ...] = ()
    row: int = 0


def load_dialogues(path: str | Path, format: Format = "auto", columns: ColumnsConfig | None = None) -> list[Dialogue]:
    """Read a data set of dialogues, in the order of the source, repetitions and all.

    Args:
        path: ``"builtin"``; a file of pairs (JSON lines, JSON, CSV, TSV, Parquet), of chats or of ChatterBot's YAML,
            which may be gzipped; a folder of the latter; or ``"hub:NAME"``, ``"hub:NAME:SPLIT"`` (split ``train``).
        format: of the file; ``auto``: by its suffix, and chats by the field ``messages`` of the first record.
        columns: what the fields are called; None: question, answer, and domain and group if they are there.

    Raises:
        InputError: the source is missing, unreadable, has no pairs, or a record is not as said; the message names it.
    """
    columns = columns or ColumnsConfig()
    with _source(path) as source:
        kind = file_format(source, format)
        if kind == "text":
            raise InputError(f"{path}: a text per line has no questions and answers; it is for mode=autoencoder")
        if kind == "chatterbot":
            dialogues = _of_conversations(chatterbot_conversations(Path(source)))
        else:
            first, records = _peek(read_records(source, kind, _fields(columns)))
            if _is_chat(first, format):
                dialogues = _of_conversations(chat_conversations(records, columns.domain, columns.group))
            else:
                dialogues = [_dialogue(record, row, columns) for row, record in enumerate(records)]
                if not dialogues:
                    raise InputError(f"{path} has no question/answer pairs")
    if not dialogues:
        raise InputError(f"{path} has no conversation in which a turn is answered")
    return dialogues


def load_texts(path: str | Path, format: Format = "auto", columns: ColumnsConfig | None = None) -> list[str]:
    """Read texts, in the order of the source, repetitions and all.

    Args:
        path: a plain text file with one text per line (blank lines are passed over), or anything of
            :func:`load_dialogues`: there the column ``columns.text``; where that is not set, questions and answers if
            the first record has both, else the column "text"; of conversations, every turn.
        format: as there; ``text`` is one text per line.
        columns: as there.

    Raises:
        InputError: as there.
    """
    columns = columns or ColumnsConfig()
    with _source(path) as source:
        kind = file_format(source, format)
        if kind == "text":
            texts = [line.strip() for line in read_lines(Path(source)) if line.strip()]
        elif kind == "chatterbot":
            texts = [turn for each in chatterbot_conversations(Path(source)) for turn in each.turns]
        else:
            first, records = _peek(read_records(source, kind, _fields(columns)))
            if _is_chat(first, format):
                conversations = chat_conversations(records, columns.domain, columns.group)
                texts = [turn for each in conversations for turn in each.turns]
            else:
                names = _text_columns(first, columns)
                texts = [_text(record, *name) for record in records for name in names]
    if not texts:
        raise InputError(f"{path} has no texts")
    return texts


@contextmanager
def _source(path: str | Path) -> Iterator[str]:
    if str(path) != BUILTIN:
        yield str(path)
        return
    with resources.as_file(resources.files("cubefast.data") / "samples" / "dialogues.jsonl") as sample:
        yield str(sample)


def _fields(columns: ColumnsConfig) -> frozenset[str]:
    return frozenset((*filter(None, columns.model_dump().values()), _TEXT, MESSAGES, "id"))


def _peek(records: Iterator[Record]) -> tuple[Record | None, Iterator[Record]]:
    first = next(records, None)
    return first, records if first is None else itertools.chain([first], records)


def _is_chat(first: Record | None, format: str) -> bool:
    return format == "chat" or (format == "auto" and first is not None and MESSAGES in first.fields)


def _dialogue(record: Record, row: int, columns: ColumnsConfig) -> Dialogue:
    question = _text(record, columns.question, "question")
    answer = _text(record, columns.answer, "answer")
    domain = name_field(record.fields.get(columns.domain), record.where, columns.domain)
    group = name_field(record.fields.get(columns.group), record.where, columns.group)
    return Dialogue(question, answer, domain, group or normalize(answer), (), row)


def _text(record: Record, field: str, column: str) -> str:
    if field not in record.fields:
        have = ", ".join(record.fields) or "no fields"
        raise InputError(
            f'{record.where}: the field "{field}" is missing; there are {have}. '
            f"Set columns.{column} to what it is called"
        )
    return text_field(record.fields[field], record.where, field)


def _text_columns(first: Record | None, columns: ColumnsConfig) -> list[tuple[str, str]]:
    """The fields that are texts, each with its name in the settings."""
    pair = [(columns.question, "question"), (columns.answer, "answer")]
    if columns.text is None and first is not None and all(name in first.fields for name, _ in pair):
        return pair
    return [(columns.text or _TEXT, "text")]


def _of_conversations(conversations: Iterator[Conversation]) -> list[Dialogue]:
    return [
        Dialogue(each.turns[i - 1], each.turns[i], each.domain, each.group, each.turns[: i - 1], each.row)
        for each in conversations
        for i in each.replies
    ]


def normalize(text: str) -> str:
    """The form in which two texts count as the same: Unicode NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
