"""How an encoder is written in a config: the parts of its name, which of them are folders, and where these are."""

from __future__ import annotations

import re
from pathlib import Path

from ..utils.files import is_folder

# A plus joins only where a known kind follows it, so that a folder's name may hold others.
JOINT = re.compile(r"\+(?=st:|openai:|(?:static|hashing)(?=[:+]|$))")


def absolute_encoder(name: str) -> str:
    """The name of an encoder with the absolute path of a model folder."""

    def absolute(part: str) -> str:
        kind, _, rest = part.partition(":")
        model, mark, options = rest.partition("?")
        if kind != "st" or not is_folder(model):
            return part
        return f"{kind}:{Path(model).absolute()}{mark}{options}"

    return "+".join(map(absolute, JOINT.split(name)))


def is_model_path(model: str) -> bool:
    """Whether the name of a model is the path of a folder, and not a name on the hub."""
    return model.startswith((".", "~", "/")) or model.count("/") > 1 or "\\" in model or is_folder(model)
