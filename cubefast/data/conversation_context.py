"""The texts of an input, which are a question and the turns before it, and their rows and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..config.data import ContextConfig


def context_texts(question: str, before: Sequence[str], context: ContextConfig, prompt: str = "") -> list[str]:
    """The texts of a question's input: the question, then the turns before it, the latest first, each after the prompt.

    ``before`` has the turns from the earliest on; ``context`` says how many of them count, and how.
    """
    turns = before[-context.window :]
    texts = [question]
    if context.mode == "mean":
        texts = [question, *reversed(turns)]
    elif context.mode == "text":
        texts = ["\n".join([*turns, question])]
    return [prompt + text for text in texts]


def gather_rows(lists: Sequence[Sequence[str]], place: Mapping[str, int]) -> NDArray[np.int64]:
    """The rows of the texts of n lists: int64 [n, length of the longest list], padded with -1."""
    rows = np.full((len(lists), max(map(len, lists), default=0)), -1, np.int64)
    for row, texts in enumerate(lists):
        rows[row, : len(texts)] = [place[text] for text in texts]
    return rows


def context_weights(rows: NDArray[np.int64], context: ContextConfig) -> NDArray[np.float32] | None:
    """The weights of the texts of an input, float32 of the shape of ``rows``: 1 for the question, less by the factor
    ``context.decay`` for each turn further back. None if every input is a single text.
    """
    if rows.ndim == 1 or rows.shape[1] == 1:
        return None
    weights = np.float32(context.decay) ** np.arange(rows.shape[1], dtype=np.float32)
    return np.broadcast_to(weights, rows.shape)
