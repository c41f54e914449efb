"""Embeddings kept on the disk, so that no text is encoded twice. How they lie there is written in shards.py."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from ...errors import InputError
from ..encoding.base import Embeddings, TextEncoder
from .session import Session
from .shards import CachedEmbeddings, CacheStatistics, EncoderContents, Keys, ShardFolder

Progress = Callable[[int], None]
_SHARD_BYTES = 256 * 2**20  # a few hundred open files hold 100 GB
_ATTEMPTS = 5  # at storing what another process evicts


class EmbeddingCache:
    """A folder of cached embeddings: an SQLite index and memory-mapped files of vectors.

    An entry is found by the SHA-256 of its text and the fingerprint and dim of its encoder. Processes may share the
    folder and be killed at any moment: what is committed is kept, and whole. Damaged entries cause a warning and are
    encoded again.

    A disk that is full, or a folder that cannot be written, raises InputError rather than going on uncached. What was
    encoded before that is kept, and a folder that cannot be written still serves what it holds.

    Args:
        folder: made if it is not there. None: ``$CUBEFAST_CACHE``, else ``$XDG_CACHE_HOME/cubefast``, else
            ``~/.cache/cubefast``.
        limit_bytes: of vectors on the disk, of all encoders; the index and quarantine are not counted. Where more is
            written, the shards of which no vector was asked for the longest time are deleted, whole shards at a time.
            What one call needs stays while it runs, even if that is more. None: no limit.
        shard_bytes: of one file of vectors, at most. None: 256 MiB, or an eighth of the limit if that is less. Each
            file that a call needs stays open as long as its result, which counts against ``ulimit -n``.

    Attributes:
        folder: where it is.
        statistics: what this object has seen.

    Raises InputError when the folder cannot be used or was written by a newer cubefast.
    """

    def __init__(
        self, folder: str | Path | None = None, *, limit_bytes: int | None = None, shard_bytes: int | None = None
    ) -> None:
        for name, value in (("limit_bytes", limit_bytes), ("shard_bytes", shard_bytes)):
            if value is not None and value < 1:
                raise InputError(f"{name} of an embedding cache must be at least 1, or None; got {value}")
        if shard_bytes is None:
            shard_bytes = _SHARD_BYTES if limit_bytes is None else min(_SHARD_BYTES, max(1, limit_bytes // 8))
        self.folder = Path(folder) if folder is not None else default_folder()
        self.statistics = CacheStatistics()
        self._shards = ShardFolder(self.folder, limit_bytes, shard_bytes)
        self._shards.undamaged(self._shards.connect)[0].close()

    def encode(
        self,
        encoder: TextEncoder,
        texts: Sequence[str],
        *,
        batch_size: int = 256,
        progress: Progress = lambda done: None,
    ) -> Embeddings:
        """The embeddings of ``texts``, float32 [n, dim]: :meth:`rows`, brought into memory."""
        return self.rows(encoder, texts, batch_size=batch_size, progress=progress).gather(np.arange(len(texts)))

    def rows(
        self,
        encoder: TextEncoder,
        texts: Sequence[str],
        *,
        batch_size: int = 256,
        progress: Progress = lambda done: None,
    ) -> CachedEmbeddings:
        """The embeddings of ``texts``, left on the disk: from the cache, the rest from ``encoder``.

        What is encoded is committed batch by batch, so a stopped job goes on where it was; a text that comes twice is
        encoded once. ``progress`` is called with how many texts are done. In memory are some 200 bytes per text, and
        one batch of vectors.

        Raises InputError for output of the encoder that is not finite or not [n, dim], and when the disk fails.
        """
        if encoder.dim < 1 or batch_size < 1:
            raise InputError(f"an encoder's dim and batch_size must be at least 1; got {encoder.dim} and {batch_size}")

        def fill() -> CachedEmbeddings:
            with closing(Session(self._shards, encoder.fingerprint, encoder.dim, self.statistics)) as session:
                return self._fill(session, encoder, texts, batch_size, progress)

        return self._shards.undamaged(fill)

    def contents(self) -> list[EncoderContents]:
        """What the folder holds, by encoder: its fingerprint and dim, its vectors and their bytes."""
        return self._shards.undamaged(self._shards.contents)

    def _fill(
        self, session: Session, encoder: TextEncoder, texts: Sequence[str], batch_size: int, progress: Progress
    ) -> CachedEmbeddings:
        """Find the texts; encode, store and find those that are missing."""
        # Different texts only, in the order of their keys (the index is in that order too).
        keys, first, place, times = np.unique(_keys(texts), return_index=True, return_inverse=True, return_counts=True)
        shard, row = session.find(keys)
        done = int(times[shard >= 0].sum())
        self.statistics.hits += done
        progress(done)
        for _ in range(_ATTEMPTS):
            missing = np.flatnonzero(shard < 0)
            if len(missing) == 0:
                return session.embeddings(shard[place], row[place])
            if not self._shards.writable:
                raise self._shards.refusal(f"{len(missing)} texts are not in it, and it cannot be written")
            missing = missing[np.argsort(first[missing])]
            for begin in range(0, len(missing), batch_size):
                batch = missing[begin : begin + batch_size]
                fresh = self._encode(encoder, [texts[i] for i in first[batch]])
                shard[batch], row[batch] = session.store(keys[batch], fresh)
                others = batch[shard[batch] < 0]  # stored by another process since we looked
                shard[others], row[others] = session.find(keys[others])
                self.statistics.misses += len(batch)
                self.statistics.hits += int(times[batch].sum()) - len(batch)
                done += int(times[batch][shard[batch] >= 0].sum())
                progress(done)
        raise self._shards.refusal("other processes evict vectors as soon as they are stored; raise limit_bytes")

    def _encode(self, encoder: TextEncoder, texts: list[str]) -> Embeddings:
        """What the encoder gives, float32 [n, dim], all of it finite."""
        began = time.perf_counter()
        given = encoder.encode(texts)
        self.statistics.encoding_seconds += time.perf_counter() - began
        try:
            with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite, which is seen below
                vectors = np.ascontiguousarray(given, np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"the encoder {encoder.fingerprint} gave no array of numbers: {error}") from None
        if vectors.shape != (len(texts), encoder.dim):
            raise InputError(
                f"the encoder {encoder.fingerprint} gave an array {list(vectors.shape)} for {len(texts)} texts from "
                f"{texts[0][:60]!r} on; expected [{len(texts)}, {encoder.dim}]: mend it or its dim"
            )
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            text = texts[int(finite.argmin())]
            raise InputError(
                f"the encoder {encoder.fingerprint} gave NaN or infinity for the text {text[:60]!r}; remove the text, "
                "or mend the encoder"
            )
        return vectors


def _keys(texts: Sequence[str]) -> Keys:
    """SHA-256 of each text."""
    digests = bytearray()
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"texts to encode must be str; got {text!r:.60} ({type(text).__name__})")
        digests += hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return np.frombuffer(digests, "V32")


def default_folder() -> Path:
    """Where embeddings are cached when nobody says. Raises InputError where there is no home folder."""
    if chosen := os.environ.get("CUBEFAST_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "cubefast"
    try:
        return Path.home() / ".cache" / "cubefast"
    except RuntimeError:  # as in a container, for a user id without a name
        raise InputError(
            "there is no place for the embedding cache: the user has no home folder (HOME is not set). Set "
            "cache=FOLDER (or CUBEFAST_CACHE) to a folder that can be written"
        ) from None
