"""A core inside LangChain: embeddings whose queries go through it. Needs the extra ``langchain``."""

from __future__ import annotations

from ..core import CubicCore
from ..data.embeddings.vectors import Preparation
from .vector_adapter import VectorAdapter

try:
    from langchain_core.embeddings import Embeddings
except ImportError as error:
    raise ImportError(f"CubeEmbeddings needs langchain-core ({error}); pip install 'cubefast[langchain]'") from error


class CubeEmbeddings(Embeddings):
    """Wraps any LangChain embeddings with a core, for a vector store or a retriever.

    Queries go through the core. Documents stay as ``base`` embeds them, so a store that was filled with ``base`` need
    not be filled again. With a core of ``sides="both"`` documents go through the core's map of answers, and the store
    must be filled with these embeddings.

    Args:
        base: embeds the texts, with the model that the core was trained for.
        core: a trained core, such as ``CubicCore.from_pretrained("runs/NAME/refit")``.
        prepare: for a run of ``data.centre=true`` or ``data.normalize=false``: what training did to every embedding
            before the core. It is then done to documents too. None: queries are scaled to unit length first.

    Embedding raises InputError where ``base`` gives vectors of another size than the core's D, NaN or Inf.
    """

    def __init__(self, base: Embeddings, core: CubicCore, *, prepare: Preparation | None = None) -> None:
        self.base = base
        self._adapter = VectorAdapter(core, prepare)

    def embed_query(self, text: str) -> list[float]:
        """The embedding of a query: D numbers."""
        return self._adapter.query(self.base.embed_query(text))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The embeddings of documents, D numbers each."""
        return self._adapter.documents(self.base.embed_documents(texts))

    async def aembed_query(self, text: str) -> list[float]:
        """The same as :meth:`embed_query`; the event loop goes on while ``base`` embeds."""
        return self._adapter.query(await self.base.aembed_query(text))

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """The same as :meth:`embed_documents`; the event loop goes on while ``base`` embeds."""
        return self._adapter.documents(await self.base.aembed_documents(texts))
