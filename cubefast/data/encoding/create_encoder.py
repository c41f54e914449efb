"""Creates an encoder from its name in a config, or from whatever else people give for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from ...config.encoder_names import JOINT
from ...errors import InputError
from ...utils.messages import shown
from .api import OpenAIEncoder
from .base import TextEncoder
from .encoders import ConcatEncoder, FunctionEncoder, HashingEncoder, StaticEncoder
from .transformer import SentenceTransformerEncoder

_SIZED: dict[str, type[StaticEncoder] | type[HashingEncoder]] = {"static": StaticEncoder, "hashing": HashingEncoder}


def create_encoder(name: str) -> TextEncoder:
    """Create an encoder from its name in a config.

    ``static``, ``static:128``, ``hashing:64``: StaticEncoder and HashingEncoder, their size after the colon.

    ``st:NAME_OR_FOLDER``: SentenceTransformerEncoder. Options follow the first ``?``, joined with ``&``:
    ``st:intfloat/e5-small-v2?prompt=query: &max_length=128``. They are batch_size, device, max_length, normalize,
    offline, progress and prompt; in their values ``%26`` stands for ``&``, ``%2B`` for ``+`` and ``%25`` for ``%``.

    ``openai:MODEL``: OpenAIEncoder, an embeddings API. Its options are batch_size, dimensions, retries and timeout:
    ``openai:text-embedding-3-large?dimensions=256``.

    ``static+st:NAME``: ConcatEncoder of several. A plus joins where static, hashing, st: or openai: follows; a folder
    with such a plus or a question mark in its name can be given in Python only, to SentenceTransformerEncoder.

    Raises InputError for another name.
    """
    encoders = [_create_single(part, name) for part in JOINT.split(name)]
    return encoders[0] if len(encoders) == 1 else ConcatEncoder(encoders)


def as_encoder(given: str | TextEncoder | Callable[[list[str]], Any]) -> TextEncoder:
    """What people give where an encoder is asked for: one, its name in a config, or a function that embeds a list of
    texts. Raises InputError for anything else.
    """
    if isinstance(given, str):
        return create_encoder(given)
    if hasattr(type(given), "encode"):
        encoder: Any = given
        return encoder  # type: ignore[no-any-return]
    if not callable(given):
        raise InputError(
            f"an encoder must be one, the name of one (openai:MODEL), or a function that embeds a list of texts; got "
            f"{shown(given)}"
        )
    return FunctionEncoder(given, getattr(given, "__name__", type(given).__name__))


def is_known_by_name(encoder: TextEncoder) -> bool:
    """Whether an encoder's fingerprint is but a name, behind which its vectors may change."""
    parts = encoder.encoders if isinstance(encoder, ConcatEncoder) else (encoder,)
    return any(getattr(part, "known_by_name", False) for part in parts)


def _create_single(part: str, name: str) -> TextEncoder:
    kind, _, rest = part.partition(":")
    if kind in _OPTIONS and rest:
        model, options = _model_and_options(kind, rest)
        return SentenceTransformerEncoder(model, **options) if kind == "st" else OpenAIEncoder(model, **options)
    if kind not in _SIZED or not (rest == "" or (rest.isdecimal() and len(rest) < 20)):
        raise InputError(
            f"encoder must be {' or '.join(_SIZED)}, with a size after a colon if wanted (static:128), or "
            "st:NAME_OR_FOLDER, or openai:MODEL, or several of these joined with a plus "
            f"(static+st:all-MiniLM-L6-v2); got {shown(name)}"
        )
    return _SIZED[kind](int(rest)) if rest else _SIZED[kind]()


def _model_and_options(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """A model's name, and the options that follow it after a question mark."""
    model, _, written = text.partition("?")
    known, options = _OPTIONS[kind], dict[str, Any]()
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


_OPTIONS: dict[str, dict[str, Callable[[str], Any]]] = {
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
