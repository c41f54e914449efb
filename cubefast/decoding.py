"""Embedding -> text: the answers of a bank that lie nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from .errors import InputError


@dataclass(frozen=True)
class Answer:
    """An answer of the bank and its cosine to the embedding asked with."""

    text: str
    score: float


class RetrievalDecoder:
    """Exact search by cosine.

    Args:
        texts: the bank's n answers.
        vectors: their embeddings [n, D].

    Raises InputError for an empty bank or when the two do not match.
    """

    def __init__(self, texts: Sequence[str], vectors: Tensor | NDArray[np.floating]) -> None:
        bank = torch.as_tensor(vectors).to(torch.float32)
        if bank.dim() != 2 or len(bank) != len(texts) or len(texts) == 0:
            raise InputError(
                f"a bank needs at least one answer and a vector [D] for each; got {len(texts)} answers "
                f"and vectors {list(bank.shape)}"
            )
        self.texts = list(texts)
        self.vectors = normalize(bank, dim=1)

    def decode(self, embeddings: Tensor | NDArray[np.floating], count: int = 5) -> list[list[Answer]]:
        """The ``count`` nearest answers of each embedding [n, D], best first.

        Raises InputError for embeddings of another dimension.
        """
        queries = torch.as_tensor(embeddings).detach().to(torch.float32)
        if queries.dim() != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise InputError(f"embeddings must be [n, {self.vectors.shape[1]}]; got {list(queries.shape)}")
        scores = normalize(queries, dim=1) @ self.vectors.T
        top = scores.topk(min(count, len(self.texts)), dim=1)
        return [
            [Answer(self.texts[i], s) for s, i in zip(row, places, strict=True)]
            for row, places in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]
