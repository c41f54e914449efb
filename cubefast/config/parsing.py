"""How settings are read: a YAML or JSON file, or key=value on the command line."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..errors import ConfigError, InputError
from ..utils.files import open_regular, why
from ..utils.messages import shown
from ..utils.safe_yaml import load_yaml

T = TypeVar("T")

_LONGEST_NAME = 300  # characters of a path in a message
_MOST_TOLD = 20  # mistakes

# Of a file of settings, far beyond what any has: what takes long to read or to tell of is no such file.
MOST_BYTES, MOST_VALUES, MOST_DEPTH, MOST_CHARS = 1_000_000, 10_000, 50, 10_000

_COMMENT = re.compile(r"(?:^|\s)#")  # where YAML takes the rest for one
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def told(mistakes: Sequence[T], tell: Callable[[T], str]) -> str:
    """The first of the mistakes as lines, each as ``tell`` has it, and how many more there are."""
    more = [f"and {len(mistakes) - _MOST_TOLD:,} more mistakes"] if len(mistakes) > _MOST_TOLD else []
    return "\n".join([*map(tell, mistakes[:_MOST_TOLD]), *more])


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

    A mapping needs braces, and without quotes or brackets nothing is a comment: the prompt ``query: ``, or a path with
    such a colon or with a ``#``, is a text. After ``data=FILE``, ``data.columns...`` adds to it: the file becomes
    ``data.path``. Raises ConfigError naming every item that is not key=value, and every key that is given twice.
    """
    problems = []
    given: dict[str, str] = {}  # the item of each key
    texts: set[str] = set()  # the keys whose value is a text
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
        texts |= {key} if isinstance(value, str) else set()
        short = key.removesuffix(".path")  # data=FILE is short for data.path=FILE
        if short in texts and f"{short}.path" in given:
            problems.append(f"the file is given twice, by {short} and by {short}.path, as {shown(item)}; leave one out")
            continue
        _put(values, key, value, problems)
    if problems:
        raise ConfigError(told(problems, str))


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
