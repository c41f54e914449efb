"""Values in messages: cut to what fits, however large or deep they are."""

from __future__ import annotations

import reprlib
from collections.abc import Collection
from itertools import islice
from typing import Any

MAX_VALUE_CHARS = 80  # characters of a value in a message


class _Repr(reprlib.Repr):
    """A ``repr`` that takes no longer for a large value than for a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = self.maxdeque = 30

    def repr_str(self, x: str, level: int) -> str:
        return repr(x[:MAX_VALUE_CHARS])

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[:MAX_VALUE_CHARS])

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0 and x:
            return "{...}"
        parts = [f"{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}" for k, v in islice(x.items(), self.maxdict)]
        return "{" + ", ".join(parts + ["..."] * (len(x) > self.maxdict)) + "}"  # in its own order

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write integers of more than 4,300 digits, and takes quadratic time for shorter ones.
        return repr(x) if x.bit_length() < 256 else f"an integer of {x.bit_length():,} bits"


_REPR = _Repr()


def shown(value: object) -> str:
    """``repr``, cut to a length that fits into a message, however large or deep the value is."""
    text = _REPR.repr(value)
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


def named(names: Collection[object]) -> str:
    """Names, such as those of columns, joined with commas; of many, only the first ones."""
    first = [each if len(each) <= 40 else each[:39] + "…" for each in map(str, islice(names, 20))]
    return ", ".join(first) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded: JSON and a command line can hold half a surrogate pair, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
