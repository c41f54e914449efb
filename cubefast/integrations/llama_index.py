"""A core inside LlamaIndex: the adapter on the queries of an embedding model. Needs the extra ``llama-index``."""

from __future__ import annotations

from typing import Any

from ..core import CubicCore
from ..data.embeddings.vectors import Preparation
from ..errors import InputError
from .vector_adapter import VectorAdapter

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
except ImportError as error:
    raise ImportError(
        f"CubeAdapterEmbedding needs llama-index-core ({error}); pip install 'cubefast[llama-index]'"
    ) from error


class CubeAdapterEmbedding(BaseEmbedding):
    """Wraps any LlamaIndex embedding model with a core, in place of the adapter model in LlamaIndex's guide to
    fine-tuning embedding adapters.

    Queries go through the core. Texts of nodes stay as ``base`` embeds them, so an index that was built with ``base``
    need not be built again. With a core of ``sides="both"`` they go through the core's map of answers, and the index
    must be built with this model.

    Args:
        base: embeds the texts, with the model that the core was trained for.
        core: a trained core, such as ``CubicCore.from_pretrained("runs/NAME/refit")``.
        prepare: for a run of ``data.centre=true`` or ``data.normalize=false``: what training did to every embedding
            before the core. It is then done to texts of nodes too. None: queries are scaled to unit length first.
        **fields: of LlamaIndex's ``BaseEmbedding``, such as ``embed_batch_size``. ``embeddings_cache`` is refused: it
            finds vectors by the text alone, and a text has two, as a query and as a node.

    Embedding raises InputError where ``base`` gives vectors of another size than the core's D, NaN or Inf.
    """

    _base: BaseEmbedding = PrivateAttr()
    _adapter: VectorAdapter = PrivateAttr()

    def __init__(
        self, base: BaseEmbedding, core: CubicCore, *, prepare: Preparation | None = None, **fields: Any
    ) -> None:
        if fields.get("embeddings_cache") is not None:
            raise InputError(
                "embeddings_cache finds vectors by the text alone, and here a text has two, as a query and as a node; "
                "give the cache to the base model"
            )
        defaults = {"model_name": f"cubefast on {base.model_name}", "embed_batch_size": base.embed_batch_size}
        super().__init__(**{**defaults, **fields})
        self._base = base
        self._adapter = VectorAdapter(core, prepare)

    @classmethod
    def class_name(cls) -> str:
        """The name of the class for LlamaIndex."""
        return "CubeAdapterEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._adapter.query(self._base.get_query_embedding(query))

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._adapter.query(await self._base.aget_query_embedding(query))

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._adapter.documents(self._base.get_text_embedding_batch(texts))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._adapter.documents(await self._base.aget_text_embedding_batch(texts))
