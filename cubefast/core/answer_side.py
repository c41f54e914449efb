"""The map of stored answers of a core on both sides, as a module of its own."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, overload

from torch import Tensor, nn

from .cubic_core import SENTENCE, CubicCore, sentence_of


class AnswerSide(nn.Module):
    """A core's map of stored answers, :meth:`CubicCore.map_answers`, as a module: embeddings [..., D] -> [..., D]. In
    sentence-transformers it belongs to the route of the documents.

    Args:
        core: a core with ``sides="both"``; with any other core, answers are returned unchanged.
    """

    def __init__(self, core: CubicCore) -> None:
        super().__init__()
        self.core = core

    @overload
    def forward(self, embedding: Tensor) -> Tensor: ...
    @overload
    def forward(self, embedding: MutableMapping[str, Any]) -> MutableMapping[str, Any]: ...
    def forward(self, embedding: Any) -> Any:
        """Map embeddings [..., D] -> [..., D], or the ``sentence_embedding`` among the features of a
        sentence-transformers model. Raises ValueError and TypeError as :meth:`CubicCore.forward` does.
        """
        if not isinstance(embedding, Tensor):
            embedding[SENTENCE] = self.forward(sentence_of(embedding))
            return embedding
        if embedding.shape[-1:] != (self.core.dim,):
            raise ValueError(f"embedding must be [..., {self.core.dim}]; got {list(embedding.shape)}")
        return self.core.map_answers(embedding)

    def save(self, folder: str, safe_serialization: bool = True) -> None:
        """Save the whole core; sentence-transformers calls this to save a module."""
        self.core.save_pretrained(folder)

    @classmethod
    def load(cls, folder: str) -> AnswerSide:
        """Load a saved core; sentence-transformers calls this to load a module."""
        return cls(CubicCore.from_pretrained(folder))
