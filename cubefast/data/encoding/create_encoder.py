"""Creates an encoder from its name in a config, or from whatever else people give for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.encoder_names import JOINT, OPTIONS, is_model_path, model_and_options
from ...errors import InputError
from ...utils.messages import shown
from .base import TextEncoder
from .encoders import ConcatEncoder, FunctionEncoder, HashingEncoder, StaticEncoder
from .openai_encoder import OpenAIEncoder
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
    if kind in OPTIONS and rest:
        model, options = model_and_options(kind, rest)
        return SentenceTransformerEncoder(model, **options) if kind == "st" else OpenAIEncoder(model, **options)
    if kind not in _SIZED or not (rest == "" or (rest.isdecimal() and len(rest) < 20)):
        hint = f". Did you mean {shown(f'st:{part}')}?" if is_model_path(part) else ""
        raise InputError(
            f"encoder must be {' or '.join(_SIZED)}, with a size after a colon if wanted (static:128), or "
            "st:NAME_OR_FOLDER, or openai:MODEL, or several of these joined with a plus "
            f"(static+st:all-MiniLM-L6-v2); got {shown(name)}{hint}"
        )
    return _SIZED[kind](int(rest)) if rest else _SIZED[kind]()
