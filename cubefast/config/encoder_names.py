"""How an encoder is written in a config: the parts of its name, the folders in them, and the options."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import InputError
from ..utils.files import is_folder
from ..utils.messages import shown

# A plus joins only where a known kind follows it, so that a folder's name may hold others.
JOINT = re.compile(r"\+(?=st:|openai:|(?:static|hashing)(?=[:+]|$))")


def transformer_models(name: str) -> list[str]:
    """The models of sentence-transformers in the name of an encoder: their names on the hub, or folders."""
    parts = (part.partition(":") for part in JOINT.split(name))
    return [rest.partition("?")[0] for kind, _, rest in parts if kind == "st"]


def map_models(name: str, function: Callable[[str], str]) -> str:
    """The name of an encoder with ``function`` applied to each of its :func:`transformer_models`."""

    def mapped(part: str) -> str:
        kind, _, rest = part.partition(":")
        model, mark, options = rest.partition("?")
        return f"{kind}:{function(model)}{mark}{options}" if kind == "st" else part

    return "+".join(map(mapped, JOINT.split(name)))


def absolute_encoder(name: str) -> str:
    """The name of an encoder with the absolute path of a model folder."""
    return map_models(name, lambda model: str(Path(model).absolute()) if is_folder(model) else model)


def is_model_path(model: str) -> bool:
    """Whether the name of a model is the path of a folder, and not a name on the hub."""
    return model.startswith((".", "~", "/")) or model.count("/") > 1 or "\\" in model or is_folder(model)


def model_and_options(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """A model's name, and the options that follow it after a question mark."""
    model, _, written = text.partition("?")
    known, options = OPTIONS[kind], dict[str, Any]()
    for option in written.split("&") if written else []:
        key, _, value = option.partition("=")
        if key not in known:
            raise InputError(
                f"{kind}:{text}: the options after the question mark are {', '.join(known)}, each as "
                f"KEY=VALUE, joined with &; got {shown(option)}"
            )
        try:
            options[key] = known[key](unquote(value))
        except ValueError as error:
            raise InputError(f"{kind}:{text}: {key} {error}; got {shown(value)}") from None
    return model, options


def _whole_number(text: str) -> int:
    if not text.isdecimal() or len(text) > 6:
        raise ValueError("must be a whole number below 1,000,000")
    return int(text)


def _true_or_false(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


OPTIONS: dict[str, dict[str, Callable[[str], Any]]] = {
    "st": {
        "batch_size": _whole_number,
        "device": str,
        "max_length": _whole_number,
        "normalize": _true_or_false,
        "offline": _true_or_false,
        "progress": _true_or_false,
        "prompt": str,
    },
    "openai": dict.fromkeys(("batch_size", "dimensions", "retries", "timeout"), _whole_number),
}
"""The options of each kind of encoder, and how their values are read."""
