"""The texts that make an input, a question and the turns before it, and their rows: in training and in serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .config import ContextConfig


def context_texts(question: str, before: Sequence[str], context: ContextConfig, prompt: str = "") -> list[str]:
    """The texts that a question's input is made of, each behind the prompt: itself, then the turns before it, the
    latest first.

    Args:
        question: the last turn.
        before: the turns before it, the earliest first.
        context: how many of them count, and how.
        prompt: put before each text, for encoders that want one.
    """
    turns = before[-context.window :]
    texts = [question]
    if context.mode == "mean":
        texts = [question, *reversed(turns)]
    elif context.mode == "text":
        texts = ["\n".join([*turns, question])]
    return [prompt + text for text in texts]


def gather_rows(lists: Sequence[Sequence[str]], place: Mapping[str, int]) -> NDArray[np.int64]:
    """The place of every text of n lists: int64 [n, length of the longest], with -1 after the end of a list."""
    rows = np.full((len(lists), max(map(len, lists), default=0)), -1, np.int64)
    for row, texts in enumerate(lists):
        rows[row, : len(texts)] = [place[text] for text in texts]
    return rows


def context_weights(rows: NDArray[np.int64], context: ContextConfig) -> NDArray[np.float32] | None:
    """The weight of each text of an input, float32 of the shape of ``rows``: 1 for the question, and less by the factor
    ``context.decay`` for each turn further back. None where every input is one text.
    """
    if rows.ndim == 1 or rows.shape[1] == 1:
        return None
    weights = np.float32(context.decay) ** np.arange(rows.shape[1], dtype=np.float32)
    return np.broadcast_to(weights, rows.shape)
