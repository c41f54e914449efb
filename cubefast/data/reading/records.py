"""The records of a file, whatever its format, and the checks of their fields."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from ...config.data import LimitsConfig
from ...errors import InputError
from ...utils.messages import is_utf8, shown

# What programs write for a missing value where the column is one of texts.
_MISSING = frozenset({"", "nan", "none", "null", "<na>", "nat"})


@dataclass(frozen=True)
class Record:
    """One record of a file.

    ``where``: its place, for messages ("pairs.csv, line 7"). ``fields``: by the names the file gives them.
    """

    where: str
    fields: dict[str, Any]

    def name(self, field: str) -> str:
        """The :func:`name_field` of this name; "" if there is none."""
        return name_field(self.fields.get(field), self.where, field)


def text_field(value: object, where: str, field: str, limits: LimitsConfig) -> str:
    """The value of a text field, without surrounding blanks.

    Raises InputError unless it is a text that is not blank, that UTF-8 can hold, and within the limits.
    """
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'{where}: "{field}" must be a text that is not blank; got {shown(value)}')
    text = value.strip()
    if len(text) > (most := limits.text_chars):
        raise InputError(
            f'{where}: "{field}" has {len(text):,} characters, more than {most:,}; raise data.limits.text_chars, or '
            "divide it"
        )
    if not is_utf8(value):
        # JSON can say "\\ud800", half of a pair; no encoder nor file could take it later.
        raise InputError(f'{where}: "{field}" has half a surrogate pair: {shown(value)}')
    return text


def name_field(value: object, where: str, field: str) -> str:
    """The value of a domain or group field as a text, which is the same whatever the format and type of its column.

    A number that is whole is written so: tables turn 7 into 7.0 where another row's number is missing. What is missing
    is "": None, NaN, and what programs write for these in a column of texts, such as "nan" and "None".

    Raises InputError for anything but a text or a number, for infinity, and for half a surrogate pair.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return ""
    if isinstance(value, str):
        if not is_utf8(value):
            raise InputError(f'{where}: "{field}" has half a surrogate pair: {shown(value)}')
        name = unicodedata.normalize("NFC", value.strip())
        whole, point, rest = name.partition(".")
        if point and rest and not rest.strip("0") and whole.removeprefix("-").isdecimal():
            name = whole
        return "" if name.casefold() in _MISSING else name
    if isinstance(value, (float, Decimal)):
        if math.isnan(value):
            return ""
        if math.isinf(value):
            raise InputError(f'{where}: "{field}" is {value}; give a text or a finite number')
        return str(int(value)) if value == int(value) else str(value)
    if isinstance(value, int):
        return shown(value) if value.bit_length() > 1024 else str(value)
    raise InputError(f'{where}: "{field}" must be a text or a number; got {shown(value)}')
