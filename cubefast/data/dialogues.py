"""Question/answer data as text: the built-in set, and files of many formats."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .columns import Columns, answers_of
from .config import BUILTIN, MOST_NEGATIVES, MOST_TURNS, ColumnsConfig, Format, LimitsConfig
from .conversations import Conversation, chat_conversations, chatterbot_conversations, messages_field
from .formats import file_format, read_records
from .lines import read_lines
from .records import Record, name_field, text_field


@dataclass(frozen=True)
class Dialogue:
    """One question and its answer.

    Attributes:
        question: what is asked.
        answer: what it is answered.
        domain: what it is about, or "".
        group: what must stay on one side of a split (the conversation, or else the record's first answer in normal
            form).
        context: the turns before the question, oldest first; of many, the last 100.
        row: which record of the source it is from, from 0; all dialogues of one conversation have the same.
        negatives: wrong answers; of many, the first 100.
    """

    question: str
    answer: str
    domain: str
    group: str
    context: tuple[str, ...] = ()
    row: int = 0
    negatives: tuple[str, ...] = ()


def load_dialogues(
    path: str | Path,
    format: Format = "auto",
    columns: ColumnsConfig | None = None,
    limits: LimitsConfig | None = None,
) -> list[Dialogue]:
    """Read a data set of dialogues, in the order of the source, repetitions and all.

    Args:
        path: ``"builtin"``; a file of pairs (JSON lines, JSON, CSV, TSV, Parquet), of chats or of ChatterBot's YAML,
            which may be gzipped; a folder of the latter; or ``"hub:NAME"``, ``"hub:NAME:SPLIT"`` (split ``train``).
        format: the format of the file; ``auto``: by its suffix, and chats by a field ``messages`` of the first record.
        columns: the names of the fields; None: question, answer and, if they are there, domain and group.
        limits: the limits on the size of the file, its lines and texts; None: the defaults.

    Raises:
        InputError: the source is missing, unreadable, beyond the limits, has no pairs, or a record is not as said; the
            message names it.
    """
    limits = limits or LimitsConfig()
    with _source(path) as source:
        kind = file_format(source, format)
        if kind == "text":
            raise InputError(
                f"{path}: a text per line has no questions and answers; it is for mode=autoencoder. For a table, set "
                "data.format=tsv or csv, whatever its suffix"
            )
        if kind == "chatterbot":
            dialogues = _of_conversations(chatterbot_conversations(Path(source), limits))
        else:
            fields = Columns(columns or ColumnsConfig())
            records = read_records(source, kind, fields.chosen, limits)
            dialogues = dialogues_of(records, str(path), format, fields, limits)
    if not dialogues:
        raise InputError(f"{path} has no conversation in which a turn is answered")
    return dialogues


def dialogues_of(
    records: Iterator[Record], source: str, format: Format, columns: Columns, limits: LimitsConfig
) -> list[Dialogue]:
    """The dialogues of records of pairs or chats. Raises InputError if there are none, like :func:`load_dialogues`."""
    first, records = _peek(records)
    if _is_chat(first, format):
        config = columns.config
        return _of_conversations(chat_conversations(records, config.domain, config.group, limits))
    dialogues = [each for row, record in enumerate(records) for each in _dialogues(record, row, columns, limits)]
    if not dialogues:
        raise InputError(f"{source} has no question/answer pairs")
    return dialogues


def load_texts(
    path: str | Path,
    format: Format = "auto",
    columns: ColumnsConfig | None = None,
    limits: LimitsConfig | None = None,
) -> list[str]:
    """Read texts, in the order of the source, repetitions and all.

    Args:
        path: a plain text file with one text per line (blank lines are passed over), or any source of
            :func:`load_dialogues`. The texts of records are those of the column ``columns.text``; if that is not set,
            the questions and answers if the first record has both, else the column "text". Those of conversations are
            all turns.
        format: the format of the file as in :func:`load_dialogues`, or ``text`` for one text per line.
        columns, limits: see :func:`load_dialogues`.

    Raises InputError as :func:`load_dialogues` does.
    """
    limits = limits or LimitsConfig()
    with _source(path) as source:
        kind = file_format(source, format)
        if kind == "text":
            lines = enumerate(read_lines(Path(source), limits), start=1)
            texts = [text_field(line, f"{path}, line {i}", "text", limits) for i, line in lines if line.strip()]
        elif kind == "chatterbot":
            texts = [turn for each in chatterbot_conversations(Path(source), limits) for turn in each.turns]
        else:
            fields = Columns(columns or ColumnsConfig())
            first, records = _peek(read_records(source, kind, fields.chosen, limits))
            if _is_chat(first, format):
                config = fields.config
                conversations = chat_conversations(records, config.domain, config.group, limits)
                texts = [turn for each in conversations for turn in each.turns]
            elif first is not None and _are_pairs(first, fields):
                pairs = (each for record in records for each in _dialogues(record, 0, fields, limits))
                texts = [text for each in pairs for text in (each.question, each.answer)]
            else:
                texts = [_text(record, "text", fields, limits) for record in records]
    if not texts:
        raise InputError(f"{path} has no texts")
    return texts


def load_side(
    path: str | Path,
    role: Literal["question", "answer"],
    columns: ColumnsConfig | None = None,
    limits: LimitsConfig | None = None,
) -> list[str]:
    """Read the different questions, or the different answers, of a file, in its order.

    Args:
        path: anything of :func:`load_dialogues`; a table that has the column of the role, or else "text", and no other;
            a plain text file with one text per line.
        role: which side.
        columns, limits: as there.

    Raises InputError as :func:`load_dialogues` does.
    """
    limits = limits or LimitsConfig()
    with _source(path) as source:
        kind = file_format(source, "auto")
        if kind == "text":
            return list(dict.fromkeys(load_texts(path, limits=limits)))
        if kind != "chatterbot":
            fields = Columns(columns or ColumnsConfig(), settable=False)
            first, records = _peek(read_records(source, kind, fields.chosen, limits))
            if first is not None and not _is_chat(first, "auto"):
                used = "text" if fields.find(role, first) is None and fields.find("text", first) is not None else role
                return list(dict.fromkeys(text for record in records for text in _texts(record, used, fields, limits)))
    dialogues = load_dialogues(path, columns=columns, limits=limits)
    return list(dict.fromkeys(each.answer if role == "answer" else each.question for each in dialogues))


@contextmanager
def _source(path: str | Path) -> Iterator[str]:
    if str(path) != BUILTIN:
        yield str(path)
        return
    with resources.as_file(resources.files("cubefast.data") / "samples" / "dialogues.jsonl") as sample:
        yield str(sample)


def _peek(records: Iterator[Record]) -> tuple[Record | None, Iterator[Record]]:
    first = next(records, None)
    return first, records if first is None else itertools.chain([first], records)


def _is_chat(first: Record | None, format: str) -> bool:
    return format == "chat" or (format == "auto" and first is not None and messages_field(first) is not None)


def _are_pairs(first: Record, columns: Columns) -> bool:
    if columns.config.text is not None:
        return False
    return all(columns.find(role, first) is not None for role in ("question", "answer"))


def _dialogues(record: Record, row: int, columns: Columns, limits: LimitsConfig) -> Iterator[Dialogue]:
    """Yield the dialogues of a record, one for each of its answers, all in one group."""
    where = record.where
    question = _text(record, "question", columns, limits)
    answers = _texts(record, "answer", columns, limits)
    domain, group = (_name(record, role, columns) for role in ("domain", "group"))
    wrong = columns.negatives(record)[:MOST_NEGATIVES]
    negatives = tuple(text_field(value, where, "negative", limits) for value in wrong)
    for answer in answers:
        yield Dialogue(question, answer, domain, group or normalize(answers[0]), (), row, negatives)


def _text(record: Record, role: str, columns: Columns, limits: LimitsConfig) -> str:
    field = columns.required(role, record)
    return text_field(record.fields[field], record.where, field, limits)


def _texts(record: Record, role: str, columns: Columns, limits: LimitsConfig) -> list[str]:
    """The texts of a field, of which an answer may have several."""
    field = columns.required(role, record)
    values = answers_of(record.fields[field], record.where, field) if role == "answer" else [record.fields[field]]
    return [text_field(value, record.where, field, limits) for value in values]


def _name(record: Record, role: str, columns: Columns) -> str:
    field = columns.find(role, record)
    return "" if field is None else name_field(record.fields[field], record.where, field)


def _of_conversations(conversations: Iterator[Conversation]) -> list[Dialogue]:
    dialogues = []
    for each in conversations:
        for i in each.replies:
            before = each.turns[max(0, i - 1 - MOST_TURNS) : i - 1]
            dialogues.append(Dialogue(each.turns[i - 1], each.turns[i], each.domain, each.group, before, each.row))
    return dialogues


def with_all_negatives(kept: Sequence[Dialogue], read: Sequence[Dialogue]) -> list[Dialogue]:
    """The kept dialogues with the wrong answers of their repetitions too: a table of triplets repeats a pair for each
    of its wrong answers.
    """
    negatives_of: dict[tuple[str, ...], dict[str, None]] = {}
    for each in read:
        if each.negatives:
            negatives_of.setdefault(_form_of(each), {}).update(dict.fromkeys(each.negatives))
    if not negatives_of:
        return list(kept)
    all_negatives = [tuple(negatives_of.get(_form_of(each), ()))[:MOST_NEGATIVES] for each in kept]
    return [replace(each, negatives=negatives) for each, negatives in zip(kept, all_negatives, strict=True)]


def _form_of(dialogue: Dialogue) -> tuple[str, ...]:
    return tuple(map(normalize, (dialogue.question, dialogue.answer, *dialogue.context)))


def normalize(text: str) -> str:
    """The normal form by which two texts count as equal: Unicode NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
