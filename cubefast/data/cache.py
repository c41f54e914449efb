"""Embeddings kept on the disk, so that no text is encoded twice.

An SQLite index says which row of which file holds a text's vector; the vectors lie in append-only float32 files, one
per encoder. A vector is flushed to its file before the index names it, inside one SQLite transaction, which is also
the lock between processes: a job killed at any moment leaves bytes that nobody names, and the next writer overwrites
them. Each vector's CRC is in the index; one that does not match is encoded again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .encoders import Embeddings, TextEncoder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS encoder (id INTEGER PRIMARY KEY, fingerprint TEXT UNIQUE, dim INTEGER, rows INTEGER);
CREATE TABLE IF NOT EXISTS vector (encoder INTEGER, key BLOB, row INTEGER, crc INTEGER, PRIMARY KEY (encoder, key))
    WITHOUT ROWID;
"""


@dataclass
class CacheStatistics:
    """What one :class:`EmbeddingCache` object has seen."""

    hits: int = 0
    misses: int = 0
    damaged: int = 0


class EmbeddingCache:
    """A folder of cached embeddings.

    Args:
        folder: made if it is not there. None: ``$CUBEFAST_CACHE``, else ``$XDG_CACHE_HOME/cubefast``, else
            ``~/.cache/cubefast``.

    Raises InputError when the folder cannot be written or holds something else.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self.statistics = CacheStatistics()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._connect() as index:
                index.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"the embedding cache {self.folder} cannot be used: {error}. Set cache=FOLDER, or "
                "CUBEFAST_CACHE, to a folder that can be written; a damaged one can be deleted"
            ) from None

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / "index.sqlite", timeout=60)) as index:
            index.isolation_level = None  # transactions are begun and ended by hand, below
            yield index

    def encode(
        self,
        encoder: TextEncoder,
        texts: Sequence[str],
        *,
        batch_size: int = 256,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Embeddings:
        """The embeddings of ``texts``, float32 [n, dim]: from the cache, the rest from ``encoder``.

        What is encoded is committed batch by batch, so a stopped job goes on where it was. ``progress`` is called
        with how many texts are done.
        """
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        vectors = np.empty((len(texts), encoder.dim), dtype=np.float32)
        with self._connect() as index:
            found = self._look_up(index, encoder, keys, vectors)
            missing = [i for i, hit in enumerate(found) if not hit]
            self.statistics.hits += len(texts) - len(missing)
            self.statistics.misses += len(missing)
            progress(len(texts) - len(missing))
            for begin in range(0, len(missing), batch_size):
                chunk = missing[begin : begin + batch_size]
                fresh = np.ascontiguousarray(encoder.encode([texts[i] for i in chunk]), np.float32)
                vectors[chunk] = fresh
                self._append(index, encoder, [keys[i] for i in chunk], fresh)
                progress(len(texts) - len(missing) + begin + len(chunk))
        return vectors

    def _encoder_row(self, index: sqlite3.Connection, encoder: TextEncoder) -> tuple[int, int]:
        """(id, rows) of an encoder in the index; (0, 0) when it is not there."""
        query = "SELECT id, rows FROM encoder WHERE fingerprint = ? AND dim = ?"
        row = index.execute(query, (encoder.fingerprint, encoder.dim)).fetchone()
        return (row[0], row[1]) if row else (0, 0)

    def _shard(self, encoder_id: int) -> Path:
        return self.folder / f"vectors-{encoder_id:04d}.f32"

    def _look_up(
        self, index: sqlite3.Connection, encoder: TextEncoder, keys: list[bytes], into: Embeddings
    ) -> list[bool]:
        """Fill the rows of ``into`` that are cached; which ones were."""
        encoder_id, named = self._encoder_row(index, encoder)
        shard = self._shard(encoder_id)
        width = 4 * encoder.dim
        found = [False] * len(keys)
        if named == 0:
            return found
        rows = shard.stat().st_size // width if shard.exists() else 0
        stored = np.memmap(shard, np.float32, "r", shape=(rows, encoder.dim)) if rows else into[:0]
        query = "SELECT row, crc FROM vector WHERE encoder = ? AND key = ?"
        damaged = 0
        for i, key in enumerate(keys):
            entry = index.execute(query, (encoder_id, key)).fetchone()
            if entry is None:
                continue
            row, crc = entry
            if row < rows and zlib.crc32(stored[row].tobytes()) == crc:
                into[i] = stored[row]
                found[i] = True
            else:
                damaged += 1
        if damaged:
            self.statistics.damaged += damaged
            warnings.warn(
                f"{damaged} cached embeddings in {shard} were damaged; they are encoded again",
                stacklevel=3,
            )
        return found

    def _append(self, index: sqlite3.Connection, encoder: TextEncoder, keys: list[bytes], fresh: Embeddings) -> None:
        index.execute("BEGIN IMMEDIATE")
        try:
            index.execute(
                "INSERT OR IGNORE INTO encoder (fingerprint, dim, rows) VALUES (?, ?, 0)",
                (encoder.fingerprint, encoder.dim),
            )
            encoder_id, rows = self._encoder_row(index, encoder)
            shard = self._shard(encoder_id)
            with shard.open("r+b" if shard.exists() else "w+b") as file:
                file.seek(rows * 4 * encoder.dim)
                file.write(fresh.tobytes())
                file.flush()
                os.fsync(file.fileno())
            index.executemany(
                "INSERT OR REPLACE INTO vector VALUES (?, ?, ?, ?)",
                [(encoder_id, key, rows + i, zlib.crc32(fresh[i].tobytes())) for i, key in enumerate(keys)],
            )
            index.execute("UPDATE encoder SET rows = ? WHERE id = ?", (rows + len(keys), encoder_id))
            index.execute("COMMIT")
        except BaseException:
            index.execute("ROLLBACK")
            raise


def default_folder() -> Path:
    """Where embeddings are cached when nobody says."""
    if chosen := os.environ.get("CUBEFAST_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cubefast"
