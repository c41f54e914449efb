"""What an encoder is called where a person reads it; files keep its whole name and its fingerprint."""

from __future__ import annotations

import re

from ...config.encoder_names import JOINT
from .base import TextEncoder
from .encoders import ConcatEncoder, HashingEncoder, StaticEncoder

_CALLED = {"static": "WordLlama", "hashing": "hashing"}
_DEFAULT_OPTIONS = re.compile(r"-(?:max_length=None|prompt=None|normalize=True)")
_SAYING_NOTHING = ("model", "encoder")  # names of folders
_HASH = re.compile(r"[0-9a-f]{32,}")


def short_name(encoder: str | TextEncoder) -> str:
    """The model's own name: ``all-MiniLM-L6-v2`` for ``st:sentence-transformers/all-MiniLM-L6-v2``, ``WordLlama`` for
    ``static``; of several encoders, their names joined with a plus.

    Args:
        encoder: its name in a config, or the encoder itself.
    """
    if isinstance(encoder, str):
        return " + ".join(map(_short_part, JOINT.split(encoder)))
    if isinstance(encoder, ConcatEncoder):
        return " + ".join(map(short_name, encoder.encoders))
    if isinstance(encoder, (StaticEncoder, HashingEncoder)):
        kind = "static" if isinstance(encoder, StaticEncoder) else "hashing"
        return _short_part(kind if encoder.dim == 256 else f"{kind}:{encoder.dim}")
    name = getattr(encoder, "name", None)
    return _last_of(name) if isinstance(name, str) and name else short_fingerprint(encoder.fingerprint)


def short_fingerprint(fingerprint: str) -> str:
    """A fingerprint that a line has room for: the first 8 digits of a hash, and no option that is as by default."""
    return _HASH.sub(lambda found: found[0][:8], _DEFAULT_OPTIONS.sub("", fingerprint))


def _short_part(part: str) -> str:
    kind, _, rest = part.partition(":")
    if kind in _CALLED:
        return f"{_CALLED[kind]} {rest}".rstrip()
    return _last_of(rest.partition("?")[0]) or part


def _last_of(model: str) -> str:
    """What a model is called without its owner on the hub, or its folder's place; a folder called "model" with the one
    that it is in.
    """
    *places, name = re.split(r"[/\\]", model.rstrip("/\\"))
    return f"{places[-1]}/{name}" if places and name.casefold() in _SAYING_NOTHING else name
