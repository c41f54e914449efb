"""The interface of an encoder, and what those that follow it share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

Embeddings = NDArray[np.float32]


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
