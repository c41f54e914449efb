"""Which field of a record is the question and which the answer, whatever people have called them."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ...config.data import ColumnsConfig, LimitsConfig
from ...config.parsing import as_override
from ...errors import InputError
from ...utils.messages import named
from .conversations import MESSAGES
from .records import Record, text_field

TEXT = "text"  # what a column of texts is called if nobody says

# What stands in for a default: of the first group of which a file has any, it must have one alone. The later group is
# of names that often mean something else beside one of the first. All wrong answers count, also in numbered columns.
_OTHER_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "question": (
        ("questions", "query", "queries", "prompt", "prompts", "q", "anchor"),
        ("input", "inputs", "instruction", "user", "human"),
    ),
    "answer": (
        ("answers", "response", "responses", "reply", "replies", "completion", "a", "positive", "positives", "pos"),
        ("output", "outputs", "chosen", "assistant", "bot", "document", "passage"),
    ),
    "negative": (("negatives", "neg", "hard_negative", "hard_negatives", "rejected"),),
}
_LONGEST_NAME = 40  # characters; a longer one is a text, of a file without a header


_NUMBER = re.compile(r"_?\d+$")
_VECTOR = re.compile(r"_?(embeddings?|embs?|vectors?|vecs?)$")


def _form(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


class Columns:
    """Finds the fields that settings name.

    A name that is set finds the field of exactly that name, else one that differs in case, blanks or hyphens. A default
    (question, answer, negative) also finds the usual other names: query and prompt, response and positive.

    Args:
        config, limits: the settings; None: the defaults.
        settable: whether whoever reads a message can change them.
    """

    def __init__(
        self, config: ColumnsConfig | None = None, limits: LimitsConfig | None = None, *, settable: bool = True
    ) -> None:
        self.config, self.limits = config or ColumnsConfig(), limits or LimitsConfig()
        self.settable = settable
        self._fields_of = lru_cache(maxsize=1000)(self._find)  # most records of a file have the same names

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of a file's columns that may be looked at."""
        fields = ColumnsConfig.model_fields
        wanted = {*filter(None, (getattr(self.config, role) for role in fields)), TEXT, *MESSAGES, "id"}
        forms = {_form(name) for name in wanted}
        for role, others in _OTHER_NAMES.items():
            if getattr(self.config, role) == fields[role].default:
                forms.update(*others)
        numbered = set(self._find("negative", names))
        return [name for name in names if _form(name) in forms or name in numbered]

    def find(self, role: str, record: Record) -> str | None:
        """The name of the field for a role, a key of the settings; None where the record has none.

        Raises InputError where it has several.
        """
        found = self._fields_of(role, tuple(record.fields))
        if len(found) > 1:
            example = next(name for name in found if name != ColumnsConfig.model_fields[role].default)
            raise InputError(
                f"{record.where}: the {role} may be any of the fields {named(found)}. "
                + (f"Say which, such as {_setting(role, example)}" if self.settable else "Keep only one of them")
            )
        return found[0] if found else None

    def name_of(self, role: str, record: Record) -> str:
        """The domain or the group of a record, as ``role`` says; "" if it has none."""
        field = self.find(role, record)
        return "" if field is None else record.name(field)

    def negatives(self, record: Record) -> list[object]:
        """The wrong answers of a record, from all its fields of that role: texts, where they are what they must be."""
        found: list[object] = []
        for name in self._fields_of("negative", tuple(record.fields)):
            value = record.fields[name]
            if value is None or (isinstance(value, float) and math.isnan(value)):
                continue
            values = _several(value, name)
            found += [value] if values is None else values
        return [value for value in found if value != ""]

    def _find(self, role: str, names: Sequence[str]) -> list[str]:
        """Those of a record's names that may be meant by a role."""
        wanted = getattr(self.config, role) or (TEXT if role == "text" else None)
        if wanted is None:
            return []
        is_default = wanted == ColumnsConfig.model_fields[role].default
        if not is_default and wanted in names:
            return [str(wanted)]
        groups = ((_form(wanted),), *(_OTHER_NAMES.get(role, ()) if is_default else ()))
        if role == "negative":  # all of them count, also under a number: "negative_2" is a "negative" too
            known: set[str] = set().union(*groups)
            return [name for name in names if not known.isdisjoint({_form(name), _NUMBER.sub("", _form(name))})]
        for forms in groups:
            if found := [name for name in names if _form(name) in forms]:
                return found
        return []

    def texts(self, role: str, record: Record) -> list[str]:
        """The texts of the field for a role: one, or several answers.

        Raises InputError where the field is missing, or holds something else.
        """
        field = self._required(role, record)
        value = record.fields[field]
        values = answers_of(value, record.where, field) if role == "answer" else [value]
        return [text_field(each, record.where, field, self.limits) for each in values]

    def _required(self, role: str, record: Record) -> str:
        """The name of the field for a role; if it is missing, the error says what to type, for a column without another
        meaning.
        """
        name = self.find(role, record)
        if name is not None:
            return name
        names = tuple(record.fields)
        taken = {
            each for other in ColumnsConfig.model_fields if other != role for each in self._fields_of(other, names)
        }
        free, advice = [each for each in names if each not in taken], ""
        if any(len(each) > _LONGEST_NAME or each.endswith(("?", ".")) for each in names):
            free, advice = [], ". If these are texts, put a first line with the names before them: question,answer"
        roles = [role]
        if role == "question" and not self._fields_of("answer", names):
            roles.append("answer")  # would be missed next
        settings = " ".join(itertools.starmap(_setting, zip(roles, free or ["NAME"], strict=False)))
        say = f"Say what it is called, such as {settings}{advice}"
        wanted = getattr(self.config, role) or TEXT
        raise InputError(
            f'{record.where}: the field "{wanted}" is missing; there are {named(names) or "no fields"}. '
            + (say if self.settable else f'Rename the right one "{wanted}"')
        )


def _setting(role: str, name: str) -> str:
    """What to type for a role's column to be the one of that name."""
    return as_override(f"data.columns.{role}", name)


def array_of(role: str, names: Sequence[str], where: str) -> str:
    """Which of the arrays, or columns, of a file are the embeddings of questions or of answers: called like the texts,
    also with "embedding", "vector" or the like after it.

    Raises InputError where none or several may be.
    """
    if role in names:
        return role
    for forms in ((role,), *_OTHER_NAMES[role]):
        if found := [name for name in names if _VECTOR.sub("", _form(name)) in forms]:
            if len(found) > 1:
                raise InputError(
                    f"{where}: the embeddings of {role}s may be any of {named(found)}. Rename the right one {role}, "
                    "or keep only one"
                )
            return found[0]
    raise InputError(
        f"{where} holds no array {role!r} of {role}s; it holds {named(names) or 'none'}. Rename the right one {role}"
    )


def answers_of(value: object, where: str, field: str) -> list[object]:
    """The answers in a field: a text is one; a list, and the ``text`` of an object as SQuAD has it, are several.

    Raises InputError for none at all.
    """
    if isinstance(value, dict) and "text" in value:
        value = value["text"]
    values = _several(value, field)
    if values is None:
        return [value]
    if not values:
        raise InputError(
            f'{where}: "{field}" has no text: a question without an answer, as in SQuAD 2. Leave the record out'
        )
    return values


def _several(value: object, field: str) -> list[object] | None:
    """The different values of a list, also of one that a table holds as JSON under a name that says so ("negatives");
    None for anything else.
    """
    if isinstance(value, str) and value.lstrip().startswith("[") and _form(field).endswith("s"):
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            return None  # a text that begins with a bracket
        value = read if isinstance(read, list) and all(isinstance(each, str) for each in read) else None
    if isinstance(value, np.ndarray):  # as pandas has a list that was read from Parquet
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return None
    return list(dict.fromkeys(value)) if all(isinstance(each, str) for each in value) else list(value)
