"""Encoders that need nothing optional: static vectors, hashing, a function, and several encoders as one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...utils.arrays import real_array
from ...utils.messages import shown
from .base import Embeddings, TextEncoder, batches_by_length, unit_rows

_PADDED_CHARS = 65_536  # of texts that are encoded together: some 16,000 tokens, of English or German
_MOST_DIM = 16_384


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
