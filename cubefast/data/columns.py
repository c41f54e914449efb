"""Which field of a record is the question and which the answer, whatever people have called them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import InputError
from ..untrusted import named, shown
from .config import ColumnsConfig
from .conversations import MESSAGES
from .records import Record

TEXT = "text"  # what a column of texts is called if nobody says

# In place of a default; one of them must be there alone.
_OTHER_NAMES = {
    "question": ("questions", "query", "queries", "prompt", "q", "anchor"),
    "answer": ("answers", "response", "reply", "completion", "a", "positive", "positives", "pos"),
    "negative": ("negatives", "neg", "hard_negative", "hard_negatives"),
}


def _form(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


class Columns:
    """Finds the fields that settings name.

    A name that is set finds the field of exactly that name, else one that differs in case, blanks or hyphens. A default
    (question, answer, negative) also finds the usual other names: query and prompt, response and positive.

    Args:
        config: the settings.
    """

    def __init__(self, config: ColumnsConfig) -> None:
        self.config = config
        self._known: dict[tuple[str, tuple[str, ...]], str | None] = {}

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of a file's columns that may be looked at."""
        fields = ColumnsConfig.model_fields
        wanted = {*filter(None, (getattr(self.config, role) for role in fields)), TEXT, *MESSAGES, "id"}
        forms = {_form(name) for name in wanted}
        for role, others in _OTHER_NAMES.items():
            if getattr(self.config, role) == fields[role].default:
                forms.update(others)
        return [name for name in names if _form(name) in forms]

    def find(self, role: str, record: Record) -> str | None:
        """The name of the field for a role, a key of the settings; None where the record has none.

        Raises InputError where it has several.
        """
        key = role, tuple(record.fields)
        if key not in self._known:
            if len(self._known) > 1000:  # records of ever other fields
                self._known.clear()
            self._known[key] = self._find(role, record)
        return self._known[key]

    def _find(self, role: str, record: Record) -> str | None:
        wanted = getattr(self.config, role) or (TEXT if role == "text" else None)
        if wanted is None:
            return None
        is_default = wanted == ColumnsConfig.model_fields[role].default
        if not is_default and wanted in record.fields:
            return str(wanted)
        for forms in ([_form(wanted)], _OTHER_NAMES.get(role, ()) if is_default else ()):
            found = [name for name in record.fields if _form(name) in forms]
            if len(found) > 1:
                raise InputError(
                    f"{record.where}: the {role} may be any of the fields {named(found)}. Set columns.{role} to one"
                )
            if found:
                return found[0]
        return None

    def required(self, role: str, record: Record) -> str:
        """The same, which must be there."""
        name = self.find(role, record)
        if name is None:
            raise missing(role, getattr(self.config, role) or TEXT, record.where, record.fields)
        return name


def missing(role: str, name: str, where: str, names: Collection[str]) -> InputError:
    """What is said of a record without a field."""
    return InputError(
        f'{where}: the field "{name}" is missing; there are {named(names) or "no fields"}. '
        f"Set columns.{role} to what it is called"
    )


def answers_of(value: object, where: str, field: str) -> list[object]:
    """The answers in a field: a text is one; a list, and the ``text`` of an object as SQuAD has it, are several.

    Raises InputError for none at all.
    """
    if isinstance(value, dict) and "text" in value:
        value = value["text"]
    if not isinstance(value, (list, tuple)):
        return [value]
    if not value:
        raise InputError(
            f'{where}: "{field}" has no text: a question without an answer, as in SQuAD 2. Leave the record out'
        )
    return list(dict.fromkeys(value)) if all(isinstance(each, str) for each in value) else list(value)


def check_negatives(columns: Columns, record: Record) -> None:
    """Raise InputError for a record with wrong answers, which would be lost without a word."""
    name = columns.find("negative", record)
    value = record.fields.get(name) if name is not None else None
    if value is not None and value != "" and value != []:
        raise InputError(
            f'{record.where}: the field "{name}" has wrong answers ({shown(value)}), which are not read: training '
            "finds hard negatives among the answers (training.losses.hard_negatives). Set columns.negative=null to go "
            "on without them"
        )
