"""The base of all validated settings: how they are read, and how mistakes in them are reported.

Every mistake is found before anything starts, and all of them are reported at once, each with its dotted path, what was
got, what is allowed and, for a key that does not exist, the nearest one that does.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..errors import ConfigError, InputError
from ..utils.files import open_regular, why
from ..utils.untrusted import MOST_SHOWN, is_utf8, load_yaml, shown
from . import bounds

_LONGEST_NAME = 300  # characters of a path in a message

# Of a file of settings, far beyond what any has: what takes long to read or to tell of is no such file.
MOST_BYTES, MOST_VALUES, MOST_DEPTH, MOST_CHARS = 1_000_000, 10_000, 50, 10_000

_MOST_SHOWN = 20  # mistakes
_COMMENT = re.compile(r"(?:^|\s)#")  # where YAML takes the rest for one
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
        lines = [_in_words(model, each) for each in mistakes[:_MOST_SHOWN]]
        more = [f"and {len(mistakes) - _MOST_SHOWN:,} more mistakes"] if len(mistakes) > _MOST_SHOWN else []
        raise ConfigError("\n".join(lines + more)) from None


def read_mapping(source: str | Path, others: str = "") -> dict[str, Any]:
    """Read the mapping of keys in a YAML or JSON file (JSON is YAML).

    Raises ConfigError; ``others`` says what else could have been given.
    """
    try:
        with open_regular(Path(source)) as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(f"it is larger than {MOST_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, a NUL in the name, too large
        reason = "no such file" if isinstance(error, FileNotFoundError) else why(error)
        name = repr(str(source)[-_LONGEST_NAME:])[1:-1]  # the end of a long path says more than its beginning
        raise ConfigError(f"config {name}: {reason}. Give a YAML file{others}") from None
    return parse_mapping(text, source)


def parse_mapping(text: str, source: str | Path) -> dict[str, Any]:
    """Parse the mapping of keys in a YAML or JSON text. Raises ConfigError, which names the ``source``."""
    try:
        values = _parse(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {source} is not YAML: {error}") from None
    except InputError as error:
        raise ConfigError(f"config {source}: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"config {source} must be a mapping of keys; got {type(values).__name__}")
    return values


def _parse(text: str) -> Any:
    return load_yaml(text, _LOADER, most_values=MOST_VALUES, most_depth=MOST_DEPTH, most_chars=MOST_CHARS)


def override(values: dict[str, Any], items: Sequence[str]) -> None:
    """Put ``key=value`` items with dotted keys into ``values``; each value is read as YAML.

    A mapping needs braces, and nothing is a comment: the prompt ``query: ``, or a path with such a colon or with a
    ``#``, is a text. A key given
    whole (data=FILE) before some of its parts (data.columns...) keeps what it named as ``path``.
    Raises ConfigError naming every item that is not key=value, and every key that is given twice.
    """
    problems = []
    given: dict[str, str] = {}  # the item of each key
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key or key.count(".") > MOST_DEPTH:
            problems.append(f"{shown(item)}: expected key=value, such as training.lr=1e-3")
            continue
        if key in given:
            problems.append(f"{shown(key)} is given twice, as {shown(given[key])} and {shown(item)}; leave one out")
            continue
        given[key] = item
        try:
            value = _parse(text)
        except yaml.YAMLError:
            value = text
        except InputError as error:
            problems.append(f"{shown(item)}: {error}")
            continue
        if isinstance(value, dict) and not text.lstrip().startswith("{"):
            value = text
        if _COMMENT.search(text) and text.lstrip()[:1] not in ("{", "[", "'", '"'):
            value = text
        _put(values, key, value, problems)
    if problems:
        raise ConfigError("\n".join(problems[:_MOST_SHOWN]))


def as_override(key: str, text: str) -> str:
    """``key=text`` as it is to be typed in a shell for :func:`override` to read that very text."""
    try:
        is_read_as_it_is = _parse(text) == text
    except (yaml.YAMLError, InputError):
        is_read_as_it_is = False
    return shlex.quote(f"{key}={text if is_read_as_it_is else json.dumps(text, ensure_ascii=False)}")


def _put(values: dict[str, Any], key: str, value: Any, problems: list[str]) -> None:
    *sections, last = key.split(".")
    inner = values
    for place, section in enumerate(sections):
        below = inner.get(section)
        if isinstance(below, (str, os.PathLike)):
            below = {"path": below}
        if below is not None and not isinstance(below, dict):
            problems.append(f"{'.'.join(sections[: place + 1])} is {shown(below)}, so it has no {shown(key)}")
            return
        inner[section] = inner = {} if below is None else below
    if isinstance(inner.get(last), dict) and isinstance(value, str):
        inner[last] = {**inner[last], "path": value}
    else:
        inner[last] = value


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
    unknown = str(place[-1])[:MOST_SHOWN]
    if similar := difflib.get_close_matches(unknown, section.model_fields, n=1):
        return f"did you mean {path}{similar[0]}?"
    keys = sorted((key for key, _, _ in keys_of(model)), key=lambda key: -key.count("."))
    elsewhere = {key.split(".")[-1]: key for key in keys}  # of several, the one in the fewest sections
    if similar := difflib.get_close_matches(unknown, elsewhere, n=1, cutoff=0.8):
        return f"did you mean {elsewhere[similar[0]]}?"
    return f"the keys{' of ' + path[:-1] if path else ''} are {', '.join(section.model_fields)}"
