"""The cache of embeddings on the disk: an SQLite index beside append-only shards of float32."""

from .embedding_cache import EmbeddingCache

__all__ = ["EmbeddingCache"]
