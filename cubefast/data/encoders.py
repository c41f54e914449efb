"""Frozen encoders: text in, embeddings out. Nothing here is ever trained."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files import is_folder
from ..untrusted import shown
from .arrays import real_array

Embeddings = NDArray[np.float32]

_PADDED_CHARS = 65_536  # of texts that are encoded together: some 16,000 tokens, of English or German
_MOST_DIM = 16_384


@runtime_checkable
class TextEncoder(Protocol):
    """The interface of an encoder."""

    @property
    def dim(self) -> int:
        """The size of the embeddings."""
        ...

    @property
    def fingerprint(self) -> str:
        """A name that changes with anything that changes the vectors."""
        ...

    def encode(self, texts: list[str]) -> Embeddings:
        """Embed texts: float32 [n, dim], each row of unit length."""
        ...


class HashingEncoder:
    """An encoder for tests: signed hashing of words and their 3-letter pieces, without weights.

    Args:
        dim: numbers per embedding, 8 to 16,384.
    """

    def __init__(self, dim: int = 256) -> None:
        if not 8 <= dim <= _MOST_DIM:
            raise InputError(f"HashingEncoder needs a dim of 8 to {_MOST_DIM:,}; got {shown(dim)}")
        self.dim = dim
        self.fingerprint = f"hashing-v1-{dim}"

    def encode(self, texts: list[str]) -> Embeddings:
        """Embed texts: float32 [n, dim], unit rows. Raises InputError for a text without a letter or digit."""
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", text.lower())
            pieces = [f"<{word}>"[i : i + 3] for word in words for i in range(len(word))]
            for piece in words + pieces:
                digest = hashlib.blake2b(piece.encode(), digest_size=8).digest()
                number = int.from_bytes(digest, "little")
                vectors[row, (number >> 1) % self.dim] += 1.0 if number & 1 else -1.0
        return unit_rows(vectors, texts)


class StaticEncoder:
    """WordLlama: the mean of static token vectors, whose 256-d weights are in its package. Works offline.

    Args:
        dim: 64, 128 or 256 (the vectors can be cut).
    """

    def __init__(self, dim: int = 256) -> None:
        if dim not in (64, 128, 256):
            raise InputError(f"StaticEncoder has dim 64, 128 or 256; got {shown(dim)}")
        self.dim = dim
        version = importlib.metadata.version("wordllama")
        self.fingerprint = f"wordllama-{version}-l2_supercat-{dim}"
        self._model: Any = None  # loaded at the first text that has to be encoded

    def encode(self, texts: list[str]) -> Embeddings:
        """Embed texts: float32 [n, dim], unit rows. Raises InputError for a text without a token."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        if self._model is None:
            self._model = _load_wordllama(self.dim)
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows in batches_by_length(texts, 64, _PADDED_CHARS):
            vectors[rows] = self._model.embed([texts[row] for row in rows])
        return unit_rows(vectors, texts)


def _load_wordllama(dim: int) -> Any:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    import wordllama  # half a second, and it configures the root logger

    root.handlers = handlers
    root.setLevel(level)
    # WordLlama looks for its packaged tokenizer in the wrong folder; as a cache folder it finds it.
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, trunc_dim=None if dim == 256 else dim, disable_download=True)


def batches_by_length(
    texts: Sequence[str], most_texts: int, most_chars: int, longest: int | None = None
) -> Iterator[list[int]]:
    """Yield the rows of texts of similar length, to be encoded together: one long text among short ones would else make
    all of them as long as itself.

    Padded to the longest of them, the texts of a batch have at most ``most_chars`` characters; a longer text is alone.
    The encoder cuts a text after ``longest`` characters, which count no more; None: it does not.
    """
    lengths = [len(text) if longest is None else min(len(text), longest) for text in texts]
    batch: list[int] = []
    for row in sorted(range(len(texts)), key=lengths.__getitem__):
        if batch and (len(batch) == most_texts or (len(batch) + 1) * lengths[row] > most_chars):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def unit_rows(vectors: Embeddings, texts: Sequence[str]) -> Embeddings:
    """The rows scaled to unit length. Raises InputError naming the first text whose row is zero or not finite."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = ~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0))
    if bad.any():
        text = texts[int(bad.argmax())]
        raise InputError(f"the encoder has no vector for the text {text[:60]!r}; remove it")
    return np.asarray(vectors / lengths)


class ConcatEncoder:
    """Several encoders whose unit vectors are concatenated and divided by the square root of their number.

    Args:
        encoders: at least two, in the order of their parts.
    """

    def __init__(self, encoders: Sequence[TextEncoder]) -> None:
        if len(encoders) < 2:
            raise InputError(f"ConcatEncoder needs at least 2 encoders; got {len(encoders)}")
        self.encoders = tuple(encoders)

    @property
    def dim(self) -> int:
        """The sum of the encoders' dims."""
        return sum(encoder.dim for encoder in self.encoders)

    @property
    def fingerprint(self) -> str:
        """The fingerprints of the encoders, in order."""
        return f"concat-v1({', '.join(encoder.fingerprint for encoder in self.encoders)})"

    def encode(self, texts: list[str]) -> Embeddings:
        """Embed texts: float32 [n, dim], unit rows. Raises InputError for a text that an encoder cannot embed."""
        parts = [unit_rows(encoder.encode(texts), texts) for encoder in self.encoders]
        whole: Embeddings = np.concatenate(parts, axis=1) / np.float32(len(parts) ** 0.5)
        return whole


class FunctionEncoder:
    """A function as an encoder: the client of an API, or whatever else of yours embeds texts.

    Args:
        function: takes a list of n texts, gives n embeddings: an array [n, D], a tensor, a list of lists.
        fingerprint: what the cache and a run are to know it by: a name that you change when the vectors change.
    """

    known_by_name = True

    def __init__(self, function: Callable[[list[str]], Any], fingerprint: str) -> None:
        if not callable(function) or not isinstance(fingerprint, str) or not fingerprint.strip():
            raise InputError(
                "FunctionEncoder needs a function that embeds a list of texts, and a name that stands for its vectors; "
                f"got {shown(function)} and {shown(fingerprint)}"
            )
        self.function = function
        self.name = fingerprint

    def __str__(self) -> str:
        """As it is named in messages."""
        return self.name

    @cached_property
    def dim(self) -> int:
        """Numbers per embedding. Embeds a text."""
        return int(self.encode(["dimension"]).shape[1])

    @property
    def fingerprint(self) -> str:
        """The name, and the dim."""
        return f"function-v1-{self.name}-{self.dim}"

    def encode(self, texts: list[str]) -> Embeddings:
        """float32 [n, D], unit rows.

        Raises InputError for what is no array [n, D] of real numbers, and for a text whose vector is zero or not
        finite.
        """
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        found = real_array(f"what {self.name} gives", self.function(list(texts)))
        if found.ndim != 2 or len(found) != len(texts) or not found.shape[1]:
            raise InputError(
                f"{self.name} must give an array [{len(texts)}, D] for {len(texts)} texts; got {list(found.shape)}"
            )
        with np.errstate(over="ignore"):  # what is too large becomes Inf, which is looked for
            return unit_rows(found.astype(np.float32), texts)


_SIZED: dict[str, type[StaticEncoder] | type[HashingEncoder]] = {"static": StaticEncoder, "hashing": HashingEncoder}
# A plus joins only where a known kind follows it, so that a folder's name may hold others.
JOINT = re.compile(r"\+(?=st:|openai:|(?:static|hashing)(?=[:+]|$))")


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


def is_model_path(model: str) -> bool:
    """Whether the name of a model is the path of a folder, and not a name on the hub."""
    return model.startswith((".", "~", "/")) or model.count("/") > 1 or "\\" in model or is_folder(model)


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


def absolute_encoder(name: str) -> str:
    """The name of an encoder with the absolute path of a model folder."""

    def absolute(part: str) -> str:
        kind, _, rest = part.partition(":")
        model, mark, options = rest.partition("?")
        if kind != "st" or not is_folder(model):
            return part
        return f"{kind}:{Path(model).absolute()}{mark}{options}"

    return "+".join(map(absolute, JOINT.split(name)))


def _create_single(part: str, name: str) -> TextEncoder:
    kind, _, rest = part.partition(":")
    if kind in _OPTIONS and rest:
        from .api_encoder import OpenAIEncoder  # they build on this module
        from .transformer import SentenceTransformerEncoder

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
