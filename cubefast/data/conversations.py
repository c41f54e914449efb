"""Conversations of several turns: chat records with messages, and the YAML corpora of ChatterBot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from .formats import Record, name_field, read_lines, reading, shown, text_field

MESSAGES = "messages"
_ROLES = ("user", "assistant", "system")
# The base loader leaves every scalar as it is written: the turns "yes", "42" and "1.0" stay texts.
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_MOST_DEPTH = 100  # of lists in lists: loading has no limit of its own, and 200,000 crash the interpreter


@dataclass(frozen=True)
class Conversation:
    """What was said in one conversation.

    Attributes:
        turns: the texts, oldest first.
        replies: which of them answer the turn before.
        domain: what it is about, or "".
        group: its name; without one, a hash of its turns.
        row: its number in the file, or in all files of the folder, from 0.
    """

    turns: tuple[str, ...]
    replies: tuple[int, ...]
    domain: str
    group: str
    row: int


def chat_conversations(records: Iterator[Record], domain: str, group: str) -> Iterator[Conversation]:
    """Records with ``messages``: [{"role": "user" | "assistant" | "system", "content": text}, ...].

    Every assistant's turn after a user's is a reply. System messages are passed over, and messages of one role that
    follow each other are one turn, joined by a line break. A content may be a list of {"type": "text", "text": text}.

    Args:
        domain: the field of the domain, if there is one.
        group: the field of the conversation's name; without one, the field ``id``.

    Raises InputError naming the record and the message that is not so.
    """
    for row, record in enumerate(records):
        turns: list[str] = []
        roles: list[str] = []
        for role, text in _messages(record):
            if roles and roles[-1] == role:
                turns[-1] += "\n" + text
            else:
                roles.append(role)
                turns.append(text)
        replies = tuple(i for i, role in enumerate(roles) if i > 0 and role == "assistant")
        name = name_field(record.fields.get(group), record.where, group)
        name = name or name_field(record.fields.get("id"), record.where, "id")
        about = name_field(record.fields.get(domain), record.where, domain)
        yield Conversation(tuple(turns), replies, about, name or _hash(turns), row)


def _messages(record: Record) -> Iterator[tuple[str, str]]:
    if MESSAGES not in record.fields:
        have = ", ".join(record.fields) or "no fields"
        raise InputError(f'{record.where}: the field "{MESSAGES}" of a chat is missing; there are {have}')
    messages = record.fields[MESSAGES]
    if not isinstance(messages, list):
        raise InputError(f'{record.where}: "{MESSAGES}" must be a list; got {shown(messages)}')
    for number, message in enumerate(messages, start=1):
        where = f"{record.where}, message {number}"
        if not isinstance(message, dict):
            raise InputError(f"{where}: expected an object with role and content; got {shown(message)}")
        role = message.get("role")
        if role not in _ROLES:
            raise InputError(f'{where}: "role" must be one of {", ".join(_ROLES)}; got {shown(role)}')
        if role != "system":
            yield role, _content(message.get("content"), where)


def _content(content: object, where: str) -> str:
    if not isinstance(content, list):
        return text_field(content, where, "content")
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InputError(f'{where}: a part must be {{"type": "text", "text": ...}}; got {shown(part)}')
    return text_field("\n".join(part["text"] for part in content), where, "content")


def chatterbot_conversations(path: Path) -> Iterator[Conversation]:
    """A file of ChatterBot's (``categories``, ``conversations``: lists of turns), or a folder of them, also nested.

    As in ChatterBot's own training, every turn answers the one before: a list of three turns has two replies. A blank
    turn answers nothing and has no answer. The domain is the first category, or else the file's name.

    Raises InputError naming the file and the conversation that is not so.
    """
    row = 0
    for file in _yaml_files(path):
        corpus = _corpus(file)
        categories = corpus.get("categories")
        first = categories[0] if isinstance(categories, list) and categories else categories
        domain = first.strip() if isinstance(first, str) else ""
        for number, each in enumerate(_conversations(corpus, file), start=1):
            turns, replies = _chain(each, f"{file}, conversation {number}")
            yield Conversation(turns, replies, domain or file.name.split(".")[0], _hash(turns), row)
            row += 1


def _yaml_files(path: Path) -> list[Path]:
    with reading(path):
        if not path.is_dir():
            return [path]
        files = [file for file in path.rglob("*") if file.suffix in (".yml", ".yaml") and file.is_file()]
    if not files:
        raise InputError(f"the data file {path} cannot be read: it is a folder without ChatterBot YAML (.yml, .yaml)")
    return sorted(files, key=lambda file: file.relative_to(path).as_posix())


def _corpus(file: Path) -> dict[str, Any]:
    text = "".join(read_lines(file))
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_DEPTH:
                raise InputError(f"{file}: lists inside lists, more than {_MOST_DEPTH} deep; a corpus needs 3")
        corpus: object = yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{file}{place}: not YAML ({getattr(error, 'problem', None) or str(error).splitlines()[0]})"
        ) from None
    if not isinstance(corpus, dict) or "conversations" not in corpus:
        have = ", ".join(map(str, corpus)) if isinstance(corpus, dict) else shown(corpus)
        raise InputError(f"{file}: a ChatterBot corpus has the keys categories and conversations; got {have}")
    return corpus


def _conversations(corpus: dict[str, Any], file: Path) -> list[object]:
    conversations = corpus["conversations"] or []  # nothing after the colon is ""
    if not isinstance(conversations, list):
        raise InputError(f"{file}: conversations must be a list of lists of turns; got {shown(conversations)}")
    return conversations


def _chain(turns: object, where: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The turns that are not blank, and which of them follow another one directly."""
    texts: list[str] = []
    replies = []
    follows = False
    # A text in place of a list is one turn; ChatterBot's own corpus has some, where the indentation is wrong.
    for number, turn in enumerate([turns] if isinstance(turns, str) else _listed(turns, where), start=1):
        if not isinstance(turn, str):
            raise InputError(
                f"{where}, turn {number}: expected a text, got {shown(turn)}. "
                'Put a text that has ": " or starts with "- " in quotes'
            )
        if turn.strip():
            if follows:
                replies.append(len(texts))
            texts.append(text_field(turn, where, f"turn {number}"))
        follows = bool(turn.strip())
    return tuple(texts), tuple(replies)


def _listed(turns: object, where: str) -> list[object]:
    if not isinstance(turns, list):
        raise InputError(f"{where}: expected a list of turns, got {shown(turns)}")
    return turns


def _hash(turns: list[str] | tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(turns).encode()).hexdigest()[:16]
