"""The look-ups and writes of one call of an :class:`~cubefast.EmbeddingCache` in its folder; see shards.py."""

from __future__ import annotations

import mmap
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from ...utils.files import open_regular
from ..encoding.base import Embeddings
from .shards import CachedEmbeddings, CacheStatistics, IndexDamagedError, Keys, Places, ShardFolder

_ASKED_AT_ONCE = 500  # keys in one query
_LOOKED_AT = 2**20  # bytes of vectors at once


class Session:
    """One call's view of a cache: a connection, and a map of every shard that the call needs.

    The maps also say what this call must not evict. Used in one thread; ends with :meth:`close`. The ``statistics`` are
    added to.
    """

    def __init__(self, shards: ShardFolder, fingerprint: str, dim: int, statistics: CacheStatistics) -> None:
        self._shards = shards
        self._fingerprint, self._dim = fingerprint, dim
        self._width = 4 * dim  # bytes of a vector
        self._capacity = max(1, shards.shard_bytes // self._width)  # vectors in a full shard
        self._statistics = statistics
        self._maps: dict[int, Embeddings] = {}
        self._index, self._inode = shards.connect()

    def close(self) -> None:
        """Let go of the index; what :meth:`embeddings` gave stays."""
        self._index.close()

    def find(self, keys: Keys) -> tuple[Places, Places]:
        """(shard, row) of each of the keys, all different; shard is -1 for one that is not there.

        Every row that is found has been read and matches its CRC. One that does not is dropped from the index, with
        a warning; its file is left as it is.
        """
        with self._shards.failures(self._inode):
            shard, row, crc = self._entries(keys)
            order = np.lexsort((row, shard))
            order = order[shard[order] >= 0]
            damaged: dict[int, Places] = {}
            for here in np.split(order, np.flatnonzero(np.diff(shard[order])) + 1):
                if len(here):
                    number = int(shard[here[0]])
                    bad = here[~self._read(number, row[here], crc[here])]
                    if len(bad):
                        damaged[number] = bad
                        shard[bad] = -1
            if damaged:
                self._drop(damaged, keys, row)
        return shard, row

    def store(self, keys: Keys, vectors: Embeddings) -> tuple[Places, Places]:
        """Append vectors, float32 [n, dim] in one piece, of n different keys, and commit: (shard, row) of each.

        One that another process has stored by now is left out, its shard is -1. Shards used the longest time ago are
        evicted if there are too many.
        """
        shard, row = np.full((2, len(keys)), -1, np.int64)
        with self._shards.failures(self._inode):
            with self._transaction():
                encoder = self._encoder_id()
                if encoder is None:
                    sql = "INSERT INTO encoder (fingerprint, dim) VALUES (?, ?)"
                    encoder = self._insert(sql, (self._fingerprint, self._dim))
                new = np.flatnonzero(self._entries(keys)[0] < 0)
                while len(new):
                    number, rows = self._shard_with_room(encoder)
                    some, new = np.split(new, [self._capacity - rows])
                    self._append(encoder, number, rows, keys[some], vectors[some])
                    shard[some], row[some] = number, rows + np.arange(len(some))
                evicted = self._evict()
            for number in evicted:
                self._shards.shard(number).unlink(missing_ok=True)
        return shard, row

    def embeddings(self, shard: Places, row: Places) -> CachedEmbeddings:
        """Those that were found at these places, in this order."""
        numbers, shards = np.unique(shard, return_inverse=True)
        return CachedEmbeddings(self._dim, [self._maps[int(number)] for number in numbers], shards, row)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._shards.lock():
            if self._shards.inode() != self._inode:
                raise IndexDamagedError("another process has put it aside", self._inode)
            self._index.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._index.execute("COMMIT")
            except BaseException:
                if self._index.in_transaction:  # SQLite has ended it itself when its disk was full
                    self._index.execute("ROLLBACK")
                raise

    def _encoder_id(self) -> int | None:
        query = "SELECT id FROM encoder WHERE fingerprint = ? AND dim = ?"
        found = self._numbers(query, (self._fingerprint, self._dim))
        return found[0][0] if found else None

    def _entries(self, keys: Keys) -> tuple[Places, Places, Places]:
        """(shard, row, crc) that the index has for each key, shard -1 for none."""
        entries = np.full((len(keys), 3), -1, np.int64)
        encoder = self._encoder_id()
        for begin in range(0, len(keys) if encoder is not None else 0, _ASKED_AT_ONCE):
            asked = keys[begin : begin + _ASKED_AT_ONCE].tolist()
            place = {key: begin + i for i, key in enumerate(asked)}
            marks = ",".join("?" * len(asked))
            query = f"SELECT key, shard, row, crc FROM vector WHERE encoder = ? AND key IN ({marks})"
            try:
                found = self._index.execute(query, (encoder, *asked)).fetchall()
                if found:
                    entries[[place[entry[0]] for entry in found]] = [entry[1:] for entry in found]
            except (TypeError, ValueError, OverflowError, KeyError):  # no such thing was ever written there
                raise self._malformed_entry() from None
        return entries[:, 0], entries[:, 1], entries[:, 2]

    def _read(self, number: int, rows: Places, crcs: Places) -> NDArray[np.bool_]:
        """Which of the rows of a shard (in rising order) are there and match; the shard is mapped up to the last."""
        good = np.zeros(len(rows), np.bool_)
        width = self._width
        buffer = bytearray(width)
        try:
            file = open_regular(self._shards.shard(number))
        except OSError:  # it is gone, or something else is there now
            return good
        with file:
            there = os.fstat(file.fileno()).st_size // width
            for i, (row, crc) in enumerate(zip(rows.tolist(), crcs.tolist(), strict=True)):
                if 0 <= row < there:
                    try:
                        file.seek(row * width)
                        good[i] = file.readinto(buffer) == width and zlib.crc32(buffer) == crc
                    except OSError:  # a sector that cannot be read is damage too
                        continue
            if good.any():
                self._map(number, file.fileno(), int(rows[good].max()) + 1)
                places = np.flatnonzero(good)
                step = 1 + _LOOKED_AT // width
                for some in np.split(places, range(step, len(places), step)):
                    good[some] = np.isfinite(self._maps[number][rows[some]]).all(axis=1)  # as all that is ever stored
                with suppress(OSError):  # where nothing can be written nothing is evicted
                    os.utime(file.fileno())
        self._statistics.bytes_read += len(rows) * width
        return good

    def _map(self, number: int, descriptor: int, rows: int) -> None:
        if number not in self._maps or len(self._maps[number]) < rows:
            mapped = mmap.mmap(descriptor, rows * self._width, access=mmap.ACCESS_READ)
            self._maps[number] = np.frombuffer(mapped, np.float32).reshape(rows, self._dim)

    def _drop(self, damaged: dict[int, Places], keys: Keys, row: Places) -> None:
        """Take the damaged out of the index, with a warning for each shard that was not evicted in between."""
        there = set(damaged)
        if self._shards.writable:
            with self._transaction():
                encoder = self._encoder_id()
                there &= {number for (number,) in self._numbers("SELECT id FROM shard")}
                for number, bad in damaged.items():
                    self._index.executemany(
                        "DELETE FROM vector WHERE encoder = ? AND key = ? AND shard = ? AND row = ?",
                        [(encoder, keys[i].item(), number, int(row[i])) for i in bad],
                    )
        for number in sorted(there):
            self._statistics.damaged += len(damaged[number])
            warnings.warn(
                f"{len(damaged[number])} cached embeddings in {self._shards.shard(number)} were damaged; they are "
                "encoded again",
                stacklevel=7,
            )

    def _shard_with_room(self, encoder: int) -> tuple[int, int]:
        """(number, rows in it) of the shard to append to: the newest, or a new one where that is full or cut."""
        query = "SELECT id, rows FROM shard WHERE encoder = ? ORDER BY id DESC LIMIT 1"
        for number, rows in self._numbers(query, (encoder,)):
            path = self._shards.shard(number)
            if rows < self._capacity and path.exists() and path.stat().st_size >= rows * self._width:
                return number, rows
        named = {self._shards.shard(number) for (number,) in self._numbers("SELECT id FROM shard")}
        for path in self._shards.files():  # left by writers that were killed between the index and the file
            if path not in named:
                path.unlink(missing_ok=True)
        return self._insert("INSERT INTO shard (encoder, rows) VALUES (?, 0)", (encoder,)), 0

    def _insert(self, sql: str, values: tuple[object, ...]) -> int:
        """The number of the row."""
        number = self._index.execute(sql, values).lastrowid
        assert number is not None
        return number

    def _numbers(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[int, ...]]:
        """The rows of an answer. It has to be whole numbers, but SQLite's columns do not see to that."""
        rows = self._index.execute(query, values).fetchall()
        if not all(type(value) is int for row in rows for value in row):
            raise self._malformed_entry()
        return rows

    def _malformed_entry(self) -> IndexDamagedError:
        return IndexDamagedError("it holds a value of the wrong type", self._inode)

    def _append(self, encoder: int, number: int, begin: int, keys: Keys, vectors: Embeddings) -> None:
        """Rows to the disk, then to the index."""
        path = self._shards.shard(number)
        with path.open("r+b" if begin else "w+b") as file:
            file.seek(begin * self._width)
            file.write(vectors.data)
            file.flush()
            os.fsync(file.fileno())
            self._map(number, file.fileno(), begin + len(keys))  # from here on this call has them, whoever evicts them
        self._index.executemany(
            "INSERT OR REPLACE INTO vector VALUES (?, ?, ?, ?, ?)",
            ((encoder, key, number, begin + i, zlib.crc32(vectors[i].data)) for i, key in enumerate(keys.tolist())),
        )
        self._index.execute("UPDATE shard SET rows = ? WHERE id = ?", (begin + len(keys), number))
        self._statistics.bytes_written += vectors.nbytes

    def _evict(self) -> list[int]:
        """Take the shards used the longest time ago out of the index until the rest fit; which ones, to be deleted.

        None of those that this call has found or stored vectors in.
        """
        if self._shards.limit_bytes is None:
            return []
        query = "SELECT shard.id, 4 * dim * rows FROM shard JOIN encoder ON encoder.id = shard.encoder"
        sizes = {row[0]: row[1] for row in self._numbers(query)}
        total = sum(sizes.values())
        evicted = []
        for number in sorted(sizes.keys() - self._maps.keys(), key=self._last_use):
            if total <= self._shards.limit_bytes:
                break
            total -= sizes[number]
            evicted.append(number)
        if evicted:
            gone = ",".join(map(str, evicted))
            self._index.execute(f"DELETE FROM vector WHERE shard IN ({gone})")
            self._index.execute(f"DELETE FROM shard WHERE id IN ({gone})")
        return evicted

    def _last_use(self, number: int) -> int:
        """When vectors of a shard were last found or stored, in ns; the file's time of change says so."""
        try:
            return self._shards.shard(number).stat().st_mtime_ns
        except FileNotFoundError:
            return 0
