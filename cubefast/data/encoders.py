"""Frozen teachers: text in, embeddings out. Nothing here is ever trained."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Embeddings = NDArray[np.float32]


@runtime_checkable
class TextEncoder(Protocol):
    """What cubefast asks of a teacher."""

    @property
    def dim(self) -> int:
        """Numbers per embedding."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when anything changes that changes the vectors."""
        ...

    def encode(self, texts: list[str]) -> Embeddings:
        """float32 [n, dim], each row of unit length."""
        ...


class HashingEncoder:
    """Signed hashing of words and of their 3-letter pieces: no weights, no meaning beyond spelling. For tests.

    Args:
        dim: numbers per embedding, at least 8.
    """

    def __init__(self, dim: int = 256) -> None:
        if dim < 8:
            raise InputError(f"HashingEncoder needs a dim of at least 8; got {dim}")
        self.dim = dim
        self.fingerprint = f"hashing-v1-{dim}"

    def encode(self, texts: list[str]) -> Embeddings:
        """float32 [n, dim], unit rows. Raises InputError for a text without a letter or digit."""
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
    """WordLlama: the mean of static token vectors, whose 256-d weights come inside its package. Works offline.

    Args:
        dim: 64, 128 or 256 (the vectors can be cut).
    """

    def __init__(self, dim: int = 256) -> None:
        if dim not in (64, 128, 256):
            raise InputError(f"StaticEncoder has dim 64, 128 or 256; got {dim}")
        self.dim = dim
        version = importlib.metadata.version("wordllama")
        self.fingerprint = f"wordllama-{version}-l2_supercat-{dim}"
        self._model: Any = None  # loaded at the first text that has to be encoded

    def encode(self, texts: list[str]) -> Embeddings:
        """float32 [n, dim], unit rows. Raises InputError for a text without a token."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        if self._model is None:
            self._model = _load_wordllama(self.dim)
        return unit_rows(np.asarray(self._model.embed(list(texts)), dtype=np.float32), texts)


def _load_wordllama(dim: int) -> Any:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    from wordllama import WordLlama  # half a second, and it configures the root logger

    root.handlers, _ = before
    root.setLevel(before[1])
    # WordLlama looks for its packaged tokenizer in the wrong folder; as a cache folder it finds it.
    package = importlib.util.find_spec("wordllama")
    assert package is not None
    assert package.origin is not None
    return WordLlama.load(
        cache_dir=Path(package.origin).parent,
        trunc_dim=None if dim == 256 else dim,
        disable_download=True,
    )


def unit_rows(vectors: Embeddings, texts: Sequence[str]) -> Embeddings:
    """The rows scaled to unit length. Raises InputError naming the first text whose row is zero or not finite."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = ~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0))
    if bad.any():
        text = texts[int(bad.argmax())]
        raise InputError(f"the encoder has no vector for the text {text[:60]!r}; remove it")
    unit: Embeddings = vectors / lengths
    return unit


_ENCODERS: dict[str, type[StaticEncoder] | type[HashingEncoder]] = {
    "static": StaticEncoder,
    "hashing": HashingEncoder,
}


def create_encoder(name: str) -> TextEncoder:
    """An encoder by its name in a config: ``static``, ``static:128``, ``hashing:64``.

    Raises InputError for another name.
    """
    kind, _, dim = name.partition(":")
    if kind not in _ENCODERS or not (dim == "" or dim.isdecimal()):
        raise InputError(
            f"encoder must be {' or '.join(_ENCODERS)}, with a size after a colon if wanted (static:128); got {name!r}"
        )
    return _ENCODERS[kind](int(dim)) if dim else _ENCODERS[kind]()
