"""Conversations of several turns: chat records with messages, and the YAML corpora of ChatterBot."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml

from ...config.data import LimitsConfig
from ...errors import InputError
from ...utils.messages import named, shown
from ...utils.safe_yaml import load_yaml
from .lines import read_whole, reading
from .records import Record, name_field, text_field

MESSAGES = ("messages", "conversations", "conversation")
"""The names of the field with the list of turns; the last two are ShareGPT's."""

# Whose turns there are, by the names of OpenAI, ShareGPT and others. None: not said to anybody, and passed over.
_ROLES: dict[str, str | None] = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot"), "assistant"),
    **dict.fromkeys(("system", "developer", "tool", "function", "observation"), None),
}
# The base loader leaves every scalar as it is written: the turns "yes", "42" and "1.0" stay texts.
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_MOST_VALUES, _MOST_DEPTH = 20_000_000, 100


@dataclass(frozen=True)
class Conversation:
    """The turns of one conversation."""

    turns: tuple[str, ...]  # oldest first
    replies: tuple[int, ...]  # which of them answer the turn before
    domain: str  # what it is about, or ""
    group: str  # its name; without one, a hash of its turns
    row: int  # its number in the file, or in all files of the folder, from 0


def messages_field(record: Record) -> str | None:
    """The name of the field that holds the turns of a chat, or None."""
    forms = {name.strip().casefold(): name for name in record.fields}
    return next((forms[name] for name in MESSAGES if name in forms), None)


def chat_conversations(
    records: Iterator[Record], name_of: Callable[[str, Record], str], limits: LimitsConfig
) -> Iterator[Conversation]:
    """Read chats from records with ``messages``: [{"role": "user" | "assistant" | "system", "content": text}, ...], or
    with ShareGPT's ``conversations``: [{"from": "human" | "gpt", "value": text}, ...].

    Every assistant's turn after a user's is a reply. What no one says to the other is passed over: system, developer
    and tool messages, and an assistant's that has no content because it calls a tool. Messages of one role that follow
    each other are one turn, joined by a line break. A content may be a list of {"type": "text", "text": text}.

    ``name_of`` gives the domain and the group of a record, "" if it has none; the group is else its ``id``, or a hash
    of its turns. Raises InputError naming the record and the message that is not so.
    """
    for row, record in enumerate(records):
        by_role = itertools.groupby(_messages(record, limits), itemgetter(0))
        turns = [(role, "\n".join(text for _, text in said)) for role, said in by_role]
        texts = tuple(text for _, text in turns)
        replies = tuple(i for i, (role, _) in enumerate(turns) if i > 0 and role == "assistant")
        group = name_of("group", record) or record.name("id") or _hash(texts)
        yield Conversation(texts, replies, name_of("domain", record), group, row)


def _messages(record: Record, limits: LimitsConfig) -> Iterator[tuple[str, str]]:
    field = messages_field(record)
    if field is None:
        have = named(record.fields) or "no fields"
        raise InputError(f'{record.where}: the field "{MESSAGES[0]}" of a chat is missing; there are {have}')
    messages = record.fields[field]
    if not isinstance(messages, list):
        raise InputError(f'{record.where}: "{field}" must be a list; got {shown(messages)}')
    for number, message in enumerate(messages, start=1):
        where = f"{record.where}, message {number}"
        if not isinstance(message, dict):
            raise InputError(f"{where}: expected an object with role and content; got {shown(message)}")
        key = "from" if "from" in message and "role" not in message else "role"
        given = message.get(key)
        if not isinstance(given, str) or given.strip().casefold() not in _ROLES:
            others = [name for name in _ROLES if name not in ("user", "assistant", "system")]
            raise InputError(
                f'{where}: "{key}" must be one of user, assistant or system, or {", ".join(others)}; got {shown(given)}'
            )
        role = _ROLES[given.strip().casefold()]
        if role is None:
            continue
        content = message.get("content", message.get("value"))
        calls_a_tool = message.get("tool_calls") or message.get("function_call")
        if role == "assistant" and (content is None or (calls_a_tool and content in ("", []))):
            continue
        yield role, _content(content, where, limits)


def _content(content: object, where: str, limits: LimitsConfig) -> str:
    if not isinstance(content, list):
        return text_field(content, where, "content", limits)
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InputError(f'{where}: a part must be {{"type": "text", "text": ...}}; got {shown(part)}')
    return text_field("\n".join(part["text"] for part in content), where, "content", limits)


def chatterbot_conversations(path: Path, limits: LimitsConfig) -> Iterator[Conversation]:
    """Read a ChatterBot file (``categories``, and ``conversations`` as lists of turns), or a folder of such files, also
    nested.

    As in ChatterBot's own training, every turn answers the one before: a list of three turns has two replies. A blank
    turn answers nothing and has no answer. The domain is the first category, or else the file's name.

    Raises InputError naming the file and the conversation that is not so.
    """
    rows = itertools.count()
    for file in _yaml_files(path):
        corpus = _corpus(file, limits)
        categories = corpus.get("categories")
        first = categories[0] if isinstance(categories, list) and categories else categories
        domain = name_field(first, str(file), "categories") if isinstance(first, str) else ""
        conversations = corpus["conversations"] or []  # nothing after the colon is ""
        if not isinstance(conversations, list):
            raise InputError(f"{file}: conversations must be a list of lists of turns; got {shown(conversations)}")
        for number, each in enumerate(conversations, start=1):
            turns, replies = _chain(each, f"{file}, conversation {number}", limits)
            yield Conversation(turns, replies, domain or file.name.split(".")[0], _hash(turns), next(rows))


def _yaml_files(path: Path) -> list[Path]:
    with reading(path):
        if not path.is_dir():
            return [path]
        files = [file for file in path.rglob("*") if file.suffix.lower() in (".yml", ".yaml") and file.is_file()]
    if not files:
        raise InputError(f"the data file {path} cannot be read: it is a folder without ChatterBot YAML (.yml, .yaml)")
    return sorted(files, key=lambda file: file.relative_to(path).as_posix())


def _corpus(file: Path, limits: LimitsConfig) -> dict[str, Any]:
    text = read_whole(file, limits)
    try:
        corpus: object = load_yaml(
            text, _LOADER, most_values=_MOST_VALUES, most_depth=_MOST_DEPTH, most_chars=len(text)
        )
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{file}{place}: not YAML ({getattr(error, 'problem', None) or str(error).splitlines()[0]})"
        ) from None
    if not isinstance(corpus, dict) or "conversations" not in corpus:
        have = named(corpus) if isinstance(corpus, dict) else shown(corpus)
        raise InputError(f"{file}: a ChatterBot corpus has the keys categories and conversations; got {have}")
    return corpus


def _chain(turns: object, where: str, limits: LimitsConfig) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The turns that are not blank, and which of them directly follow another one."""
    if isinstance(turns, str):
        turns = [turns]  # ChatterBot's own corpus has some, where the indentation is wrong
    if not isinstance(turns, list):
        raise InputError(f"{where}: expected a list of turns, got {shown(turns)}")
    texts: list[str] = []
    replies = []
    follows = False
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, str):
            raise InputError(
                f"{where}, turn {number}: expected a text, got {shown(turn)}. "
                'Put a text that has ": " or starts with "- " in quotes'
            )
        if turn.strip():
            if follows:
                replies.append(len(texts))
            texts.append(text_field(turn, where, f"turn {number}", limits))
        follows = bool(turn.strip())
    return tuple(texts), tuple(replies)


def _hash(turns: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(turns).encode()).hexdigest()[:16]
