"""Whether an encoder is the one that made some embeddings, which its name alone may not tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import InputError
from ...utils.arrays import real_array
from ..encoding.base import Embeddings
from .vectors import ArrayVectors, Preparation, Vectors

SAME_ENCODER_COSINE = 0.95
"""A cosine above which two embeddings of a text are by one encoder, but for rounding."""
_COMPARED = 4  # texts
# Of one text, two unrelated encoders have a cosine of about 0; one encoder, with another text before it, 0.5 or more.
_MIN_COSINE = 0.3


def check_encoder_agreement(
    encode: Callable[[list[str]], Embeddings],
    texts: Sequence[str],
    vectors: Vectors | Embeddings,
    prepare: Preparation,
    *,
    prompt: str = "",
    encoder: str,
    there: str,
    advice: str = "Name the encoder that made them",
    least: float = _MIN_COSINE,
) -> float:
    """The median cosine, for four of the texts, between what an encoder gives and the embeddings that there are: 1 for
    the same encoder but for rounding, less where the embeddings are of other texts than these, such as longer ones.

    Args:
        encode: a list of n texts -> [n, D]; they have the ``prompt`` before them.
        texts, vectors: n texts and their embeddings [n, D].
        prepare: what was done to the embeddings, and is to what the encoder gives.
        encoder, there: what the encoder and the embeddings are called in messages.
        advice: what to do about others.
        least: the cosine below which they must be by another encoder.

    Raises InputError for vectors of another size, and for a cosine below ``least``.
    """
    kept = vectors if isinstance(vectors, Vectors) else ArrayVectors(vectors)
    rows = np.unique(np.linspace(0, len(texts) - 1, _COMPARED).astype(np.int64))
    made = real_array(encoder, encode([prompt + texts[row] for row in rows]))
    if made.ndim != 2 or len(made) != len(rows):
        raise InputError(f"{encoder} must give an array [{len(rows)}, D] for {len(rows)} texts; got {list(made.shape)}")
    if made.shape[1] != kept.dim:
        raise InputError(
            f"{encoder} gives vectors of {made.shape[1]} numbers, and {there} have {kept.dim}: it did not make them. "
            f"{advice}"
        )
    unit = Preparation()
    mine, theirs = unit(prepare(made.astype(np.float32))), unit(kept.gather(rows))
    cosine = float(np.median((mine * theirs).sum(axis=1)))
    if not cosine >= least:  # also NaN
        raise InputError(
            f"{encoder} gives other vectors than {there}: of the same texts the cosine is {cosine:.2f}, and it must be "
            f"near 1. {advice}"
        )
    return cosine
