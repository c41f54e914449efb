"""The base of all validated settings, and how mistakes in them are reported.

Every mistake is found before anything starts, and all of them are reported at once, each with its dotted path, what was
got, what is allowed and, for a key that does not exist, the nearest one that does.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..errors import ConfigError
from ..utils.messages import MAX_VALUE_CHARS, is_utf8, shown
from . import bounds
from .parsing import MOST_CHARS, told

Count = Annotated[int, Field(ge=1, le=bounds.MANY)]
"""A number of things, at least 1."""


class Section(BaseModel):
    """A group of settings: immutable, with no unknown keys, no NaN, and no text with a NUL or longer than MOST_CHARS.

    Numbers and arrays of numpy and paths are taken as the plain values that they stand for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=MOST_CHARS)

    @field_validator("*", mode="before")
    @classmethod
    def _as_plain_values(cls, value: Any) -> Any:
        if isinstance(value, str) and ("\0" in value or not is_utf8(value)):
            raise ValueError("must have no NUL character and no half of a surrogate pair")
        # One level only: no key is a list of lists, and what a config is given may be one of any size.
        return [_as_plain(each) for each in value] if isinstance(value, (list, tuple)) else _as_plain(value)


AnySection = TypeVar("AnySection", bound=Section)


def _as_plain(value: Any) -> Any:
    """Convert a value of numpy's, or a path, to a plain value."""
    numpy = sys.modules.get("numpy")  # who has a value of numpy's has imported it; --help does without
    if numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray)):
        return value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def validated(model: type[AnySection], values: Mapping[str, Any]) -> AnySection:
    """Validate ``values`` as a ``model``. Raises ConfigError with everything that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False)
        raise ConfigError(told(mistakes, lambda each: _in_words(model, each))) from None


def keys_of(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """The dotted path, the default and the meaning of every key."""
    for name, field in section.model_fields.items():
        path = prefix + name
        if isinstance(field.default, BaseModel):
            yield from keys_of(type(field.default), path + ".")
        else:
            yield path, field.default, field.description or ""


def describe_keys(section: type[BaseModel]) -> str:
    """The keys, defaults and meanings of a model as text, one per line, for --help."""
    lines = []
    for path, default, meaning in keys_of(section):
        value = yaml.safe_dump(default, default_flow_style=True).split("\n")[0]
        value = value.replace(", ", ",")  # one word, as a shell takes it
        lines.append(f"  {path + '=' + value:<36} {meaning}")
    return "\n".join(lines)


def _in_words(model: type[BaseModel], error: Any) -> str:
    path = ".".join(shown(str(part))[1:-1] for part in error["loc"])
    got = error["input"]
    if error["type"] == "extra_forbidden":
        return f"{path}: no such key; {_instead(model, error['loc'])}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not path:
        return message
    return f"{path}: {message[0].lower() + message[1:]}; got {shown(got)}"


def _instead(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """A suggestion for an unknown key: the most similar key, here or elsewhere, or the keys that are here."""
    section, path = model, ""
    for name in place[:-1]:
        section, path = type(section.model_fields[str(name)].default), f"{path}{name}."
    unknown = str(place[-1])[:MAX_VALUE_CHARS]
    if similar := difflib.get_close_matches(unknown, section.model_fields, n=1):
        return f"did you mean {path}{similar[0]}?"
    keys = sorted((key for key, _, _ in keys_of(model)), key=lambda key: -key.count("."))
    elsewhere = {key.split(".")[-1]: key for key in keys}  # of several, the one in the fewest sections
    if similar := difflib.get_close_matches(unknown, elsewhere, n=1, cutoff=0.8):
        return f"did you mean {elsewhere[similar[0]]}?"
    return f"the keys{' of ' + path[:-1] if path else ''} are {', '.join(section.model_fields)}"
