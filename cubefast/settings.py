"""What all validated settings share: where they are read from, and how their mistakes are told.

Every mistake is found before anything starts, and all of them are told at once, each with its dotted path, what was
got, what is allowed and, for a key that does not exist, the nearest one that does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ConfigError


class Section(BaseModel):
    """A group of keys: immutable, no key beyond those named, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


AnySection = TypeVar("AnySection", bound=Section)


def validated(model: type[AnySection], values: Mapping[str, Any]) -> AnySection:
    """``values`` as a ``model``. Raises ConfigError with everything that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_in_words(model, each) for each in error.errors())) from None


def read_mapping(source: str | Path, others: str = "") -> dict[str, Any]:
    """The mapping of keys in a YAML or JSON file (JSON is YAML).

    Raises ConfigError; ``others`` says what else could have been given.
    """
    try:
        text = Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError(f"config {source}: {reason}. Give a YAML file{others}") from None
    return parse_mapping(text, source)


def parse_mapping(text: str, source: str | Path) -> dict[str, Any]:
    """The same from a file's text."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {source} is not YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"config {source} must be a mapping of keys; got {type(values).__name__}")
    return values


def override(values: dict[str, Any], items: Sequence[str]) -> None:
    """Put ``key=value`` items with dotted keys into ``values``; each value is read as YAML.

    A key given whole (data=FILE) before some of its parts (data.columns...) keeps what it named as ``path``.
    Raises ConfigError naming every item that is not key=value.
    """
    problems = []
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key:
            problems.append(f"{item!r}: expected key=value, such as training.lr=1e-3")
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        *sections, last = key.split(".")
        inner = values
        for section in sections:
            below = inner.get(section)
            if isinstance(below, str):
                below = {"path": below}
            inner[section] = below = below if isinstance(below, dict) else {}
            inner = below
        if isinstance(inner.get(last), dict) and isinstance(value, str):
            inner[last] = {**inner[last], "path": value}
        else:
            inner[last] = value
    if problems:
        raise ConfigError("\n".join(problems))


def keys_of(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every key with its dotted path, its default and its meaning."""
    for name, field in section.model_fields.items():
        path = prefix + name
        if isinstance(field.default, BaseModel):
            yield from keys_of(type(field.default), path + ".")
        else:
            yield path, field.default, field.description or ""


def describe_keys(section: type[BaseModel]) -> str:
    """The same as text, a line each: for --help."""
    lines = []
    for path, default, meaning in keys_of(section):
        value = yaml.safe_dump(_plain(default), default_flow_style=True).split("\n")[0]
        value = value.replace(", ", ",")  # one word, as a shell takes it
        lines.append(f"  {path + '=' + value:<36} {meaning}")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _in_words(model: type[BaseModel], error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    got = error["input"]
    if error["type"] == "extra_forbidden":
        return f"{path}: no such key; {_instead(model, error['loc'])}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not path:
        return message
    return f"{path}: {message[0].lower() + message[1:]}; got {got!r}"


def _instead(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """What may have been meant by an unknown key: one of nearly that name, here or elsewhere, or any that is here."""
    section, path = model, ""
    for name in place[:-1]:
        section, path = type(section.model_fields[str(name)].default), f"{path}{name}."
    wanted = str(place[-1])
    if near := difflib.get_close_matches(wanted, section.model_fields, n=1):
        return f"did you mean {path}{near[0]}?"
    keys = sorted((key for key, _, _ in keys_of(model)), key=lambda key: -key.count("."))
    elsewhere = {key.split(".")[-1]: key for key in keys}  # of several, the one in the fewest sections
    if near := difflib.get_close_matches(wanted, elsewhere, n=1, cutoff=0.8):
        return f"did you mean {elsewhere[near[0]]}?"
    return f"the keys{' of ' + path[:-1] if path else ''} are {', '.join(section.model_fields)}"
