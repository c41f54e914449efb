"""Question/answer data as text: the built-in set, and files of many formats."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...config.data import BUILTIN, MOST_NEGATIVES, MOST_TURNS, ColumnsConfig, Format, LimitsConfig
from ...errors import InputError
from .columns import Columns
from .conversations import Conversation, chat_conversations, chatterbot_conversations, messages_field
from .formats import file_format, read_records
from .lines import read_lines
from .records import Record, text_field

_SAMPLE = Path(__file__).parents[1] / "samples" / "dialogues.jsonl"  # the built-in set


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
    fields = Columns(columns, limits)
    source = _read(path, format, fields)
    if source.kind == "text":
        raise InputError(
            f"{path}: a text per line has no questions and answers; it is for mode=autoencoder. For a table, set "
            "data.format=tsv or csv, whatever its suffix"
        )
    return _dialogues_in(source, str(path), fields)


def dialogues_of(records: Iterator[Record], source: str, format: Format, columns: Columns) -> list[Dialogue]:
    """The dialogues of records of pairs or chats. Raises InputError if there are none, like :func:`load_dialogues`."""
    return _dialogues_in(_of_records(records, format, columns), source, columns)


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
    fields = Columns(columns, limits)
    source = _read(path, format, fields)
    if source.kind == "text":
        texts = list(source.items)
    elif source.kind == "conversations":
        texts = [turn for each in source.items for turn in each.turns]
    elif source.first is not None and _are_pairs(source.first, fields):
        pairs = (each for record in source.items for each in _dialogues(record, 0, fields))
        texts = [text for each in pairs for text in (each.question, each.answer)]
    else:
        texts = [text for record in source.items for text in fields.texts("text", record)]
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
    fields = Columns(columns, limits, settable=False)
    source = _read(path, "auto", fields)
    if source.kind == "text":
        texts = load_texts(path, limits=limits)
    elif source.kind == "records" and source.first is not None:
        has_role = fields.find(role, source.first) is not None
        used = role if has_role or fields.find("text", source.first) is None else "text"
        texts = [text for record in source.items for text in fields.texts(used, record)]
    else:
        dialogues = _dialogues_in(source, str(path), fields)
        texts = [each.answer if role == "answer" else each.question for each in dialogues]
    return list(dict.fromkeys(texts))


class _Source(NamedTuple):
    """What a source has: texts, conversations or records, which are read as they are gone through."""

    kind: Literal["text", "conversations", "records"]
    items: Iterator[Any]
    first: Record | None = None  # also of the items


def _read(path: str | Path, format: Format, columns: Columns) -> _Source:
    source = str(_SAMPLE if str(path) == BUILTIN else path)
    kind, limits = file_format(source, format), columns.limits
    if kind == "text":
        lines = enumerate(read_lines(Path(source), limits), start=1)
        texts = (text_field(line, f"{path}, line {i}", "text", limits) for i, line in lines if line.strip())
        return _Source("text", texts)
    if kind == "chatterbot":
        return _Source("conversations", chatterbot_conversations(Path(source), limits))
    return _of_records(read_records(source, kind, columns.chosen, limits), format, columns)


def _of_records(records: Iterator[Record], format: Format, columns: Columns) -> _Source:
    """The records, or the conversations if they are chats."""
    first = next(records, None)
    records = itertools.chain([] if first is None else [first], records)
    if format == "chat" or (format == "auto" and first is not None and messages_field(first) is not None):
        return _Source("conversations", chat_conversations(records, columns.name_of, columns.limits))
    return _Source("records", records, first)


def _dialogues_in(source: _Source, name: str, columns: Columns) -> list[Dialogue]:
    if source.kind == "conversations":
        dialogues, wanted = _of_conversations(source.items), "conversation in which a turn is answered"
    else:
        records, wanted = enumerate(source.items), "question/answer pairs"
        dialogues = [each for row, record in records for each in _dialogues(record, row, columns)]
    if not dialogues:
        raise InputError(f"{name} has no {wanted}")
    return dialogues


def _are_pairs(first: Record, columns: Columns) -> bool:
    if columns.config.text is not None:
        return False
    return all(columns.find(role, first) is not None for role in ("question", "answer"))


def _dialogues(record: Record, row: int, columns: Columns) -> Iterator[Dialogue]:
    """Yield the dialogues of a record, one for each of its answers, all in one group."""
    (question,) = columns.texts("question", record)
    answers = columns.texts("answer", record)
    domain, group = columns.name_of("domain", record), columns.name_of("group", record)
    wrong = columns.negatives(record)[:MOST_NEGATIVES]
    negatives = tuple(text_field(value, record.where, "negative", columns.limits) for value in wrong)
    for answer in answers:
        yield Dialogue(question, answer, domain, group or normalize(answers[0]), (), row, negatives)


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
            negatives_of.setdefault(form_of(each), {}).update(dict.fromkeys(each.negatives))
    if not negatives_of:
        return list(kept)
    all_negatives = [tuple(negatives_of.get(form_of(each), ()))[:MOST_NEGATIVES] for each in kept]
    return [replace(each, negatives=negatives) for each, negatives in zip(kept, all_negatives, strict=True)]


def form_of(dialogue: Dialogue) -> tuple[str, ...]:
    """The normal forms of its texts, by which two dialogues count as equal."""
    return tuple(map(normalize, (dialogue.question, dialogue.answer, *dialogue.context)))


def normalize(text: str) -> str:
    """The normal form by which two texts count as equal: Unicode NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
