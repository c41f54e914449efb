"""What :class:`~cubefast.EmbeddingCache` keeps on the disk: an index, and shards of vectors.

``index.sqlite`` (SQLite, WAL) says which row of which shard holds the vector of a key, and its CRC; the shards,
``vectors-000001.f32`` and on, are rows of float32 that are only ever appended to, each file of one encoder. What
keeps them right, whoever is killed and whenever:

- whoever writes holds ``lock`` (flock: it dies with its process), and writes the rows to the disk before the
  transaction that names them. A killed writer leaves bytes that nobody names, which the next one overwrites;
- a row that was there is read and held against its CRC before it is handed out;
- a shard's number is never given twice, so a file is always what the index means or not there at all;
- an index that cannot be read is moved to ``quarantine/``, with the shards that only it could explain. Another process
  may have it open: it sees at its next transaction that the file is a different one, and begins again.

Why not one SQLite file with a row for each vector: written out it was as long, and for 50,000 to a million vectors of
384 numbers it wrote 1.7 to 1.9 times the bytes, took up to twice the CPU time to store, and needed a copy in memory of
what a call has found, where that is to outlive evictions as it does here. Why not LMDB: a file that was cut short ended
the process that read it (SIGBUS).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..encoding.base import Embeddings

Keys = NDArray[np.void]  # [n], 32 bytes each
Places = NDArray[np.int64]  # [n]

LAYOUT = 1  # of the index and the shards; PRAGMA user_version. 0: an empty index, or that of the first layout
_SCHEMA = f"""
BEGIN;
CREATE TABLE encoder (id INTEGER PRIMARY KEY, fingerprint TEXT, dim INTEGER, UNIQUE (fingerprint, dim));
CREATE TABLE shard (id INTEGER PRIMARY KEY AUTOINCREMENT, encoder INTEGER, rows INTEGER);
CREATE TABLE vector (encoder INTEGER, key BLOB, shard INTEGER, row INTEGER, crc INTEGER, PRIMARY KEY (encoder, key))
    WITHOUT ROWID;
PRAGMA user_version = {LAYOUT};
COMMIT;
"""
T = TypeVar("T")
_ATTEMPTS = 10  # with an index that is damaged each time
_WAIT_S = 60  # for another process's lock on the folder or the index


def _tables_of(index: sqlite3.Connection) -> set[tuple[object, ...]]:
    """All that an index is made of. More than the tables, such as a trigger or a view, would be run when it is used."""
    return set(index.execute("SELECT type, name, sql FROM sqlite_master"))


def _made() -> set[tuple[object, ...]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as index:
        index.executescript(_SCHEMA)
        return _tables_of(index)


_TABLES = _made()


class IndexDamagedError(Exception):
    """The index that was opened, of this inode, cannot be used, or is no longer the folder's."""

    def __init__(self, why: str, inode: int) -> None:
        super().__init__(why)
        self.inode = inode


@dataclass
class CacheStatistics:
    """What one cache object has seen."""

    hits: int = 0  # texts that were there, or came twice in a call
    misses: int = 0  # texts that were encoded
    damaged: int = 0  # vectors that did not match their CRC, or whose shard was cut or gone
    bytes_read: int = 0  # of vectors, while texts were looked up
    bytes_written: int = 0
    encoding_seconds: float = 0.0  # spent in the encoder


@dataclass(frozen=True)
class EncoderContents:
    """What a cache holds of one encoder; bytes are those of its shards."""

    fingerprint: str
    dim: int
    vectors: int
    bytes: int


@dataclass(frozen=True)
class CachedEmbeddings:
    """n embeddings in the memory-mapped shards of a cache. None of them is in memory until it is asked for.

    Stays valid, in this process and in those forked from it, when the cache evicts its shards or is deleted.
    """

    dim: int
    maps: list[Embeddings]  # of the shards, each float32 [rows, dim]
    shards: Places  # which map holds an embedding
    rows: Places  # and which of its rows

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, rows: NDArray[np.integer]) -> Embeddings:
        """float32 [len(rows), dim], a copy."""
        shards, places = self.shards[rows], self.rows[rows]
        found = np.empty((len(rows), self.dim), np.float32)
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            found[here] = self.maps[shard][places[here]]
        return found


class ShardFolder:
    """A cache's folder: made, opened, put in quarantine, and what is in it.

    Its methods raise InputError when the folder cannot be used, and IndexDamagedError when its index cannot.
    """

    def __init__(self, folder: Path, limit_bytes: int | None, shard_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.shard_bytes = shard_bytes
        self._path = folder / "index.sqlite"
        with self.failures():
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def writable(self) -> bool:
        """Whether anything can be stored."""
        return os.access(self.folder, os.W_OK)

    def shard(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f"vectors-{number:06d}.f32"

    def files(self) -> list[Path]:
        """All files of shards, named by the index or not."""
        return sorted(self.folder.glob("vectors-*.f32"))

    def refusal(self, why: object) -> InputError:
        """The message when the folder fails."""
        return InputError(
            f"the embedding cache {self.folder} cannot be used: {why}. Make it writable and free space on its disk, or "
            "set cache=FOLDER (or CUBEFAST_CACHE) to another folder, and run again: what was encoded is kept"
        )

    @contextmanager
    def failures(self, inode: int = 0) -> Iterator[None]:
        """Failures of the disk become InputError; a damaged index becomes IndexDamagedError."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            # SQLite's "malformed" and "not a database" are of this very class, all else is of its subclasses.
            if type(error) is sqlite3.DatabaseError or self._was_put_aside(inode):
                raise IndexDamagedError(str(error), inode) from None
            raise self.refusal(error) from None
        except UnicodeDecodeError:  # what SQLite says of a damaged schema has the damage in it
            raise IndexDamagedError("its schema is malformed", inode) from None
        except OSError as error:
            raise self.refusal(error) from None

    def _was_put_aside(self, inode: int) -> bool:
        """Whether another process has put the index of this inode in quarantine: its files are then missing one by one,
        which SQLite calls a disk I/O error. Waits for a process that is about to.
        """
        if not inode or not self.writable:
            return False
        with suppress(OSError, InputError), self.lock():
            return self.inode() != inode
        return False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by one writer at a time, whatever the state of the index."""
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            until = time.monotonic() + _WAIT_S
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise self.refusal(f"another process has been writing into it for {_WAIT_S} s") from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(handle)

    def inode(self) -> int:
        """Of the index; 0 when there is none."""
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return 0

    def connect(self) -> tuple[sqlite3.Connection, int]:
        """A connection, to be closed, and its inode."""
        with self.failures():
            if self.writable:
                self._path.touch()  # so that it has an inode, which says later whether it is still the same
            inode = self.inode()
        with self.failures(inode), ExitStack() as stack:
            index = stack.enter_context(closing(self._open()))
            index.text_factory = lambda raw: raw.decode(errors="replace")
            self._check(index, inode)
            stack.pop_all()  # it stays open
        return index, inode

    def undamaged(self, work: Callable[[], T]) -> T:
        """The result of ``work``; where the index is damaged, it is put in quarantine and the work begins again."""
        for _ in range(_ATTEMPTS):
            try:
                return work()
            except IndexDamagedError as damage:
                self.quarantine(damage)
        raise self.refusal("its index was damaged again and again")

    def contents(self) -> list[EncoderContents]:
        """What is there, by encoder."""
        query = """
            SELECT fingerprint, dim, (SELECT count(*) FROM vector WHERE vector.encoder = encoder.id),
                4 * dim * (SELECT coalesce(sum(rows), 0) FROM shard WHERE shard.encoder = encoder.id)
            FROM encoder ORDER BY id
        """
        index, inode = self.connect()
        with closing(index), self.failures(inode):
            found = index.execute(query).fetchall()
            if any([type(value) for value in row] != [str, int, int, int] for row in found):
                raise IndexDamagedError("it holds a value of the wrong type", inode)
            return [EncoderContents(*row) for row in found]

    def _open(self) -> sqlite3.Connection:
        if self._path.exists() and not self._path.is_file():
            raise IndexDamagedError("it is no ordinary file", self.inode())
        if self.writable:
            return sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)
        # Without a place for its -wal and -shm files SQLite reads a WAL index only as one that never changes.
        beside = self._path.with_name("index.sqlite-wal")
        mode = "mode=ro" if beside.exists() and beside.stat().st_size else "immutable=1"
        uri = f"{self._path.absolute().as_uri()}?{mode}"
        return sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)

    def _check(self, index: sqlite3.Connection, inode: int) -> None:
        """Make the tables where there are none; refuse what is not ours to read."""
        (layout,) = index.execute("PRAGMA user_version").fetchone()
        if layout > LAYOUT:
            raise InputError(
                f"the embedding cache {self.folder} was written by a newer cubefast (layout {layout}; this one knows "
                f"{LAYOUT}): upgrade cubefast, or set cache=FOLDER (or CUBEFAST_CACHE) to another folder"
            )
        if layout == 0 and self.writable:
            with self.lock():
                if self.inode() != inode:
                    raise IndexDamagedError("another process has put it aside", inode)
                index.execute("PRAGMA journal_mode = WAL")
                if index.execute("PRAGMA user_version").fetchone() == (0,):  # still, now that no other can make it
                    if index.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
                        raise IndexDamagedError("it is of an older layout", inode)
                    if self.files():
                        raise IndexDamagedError("it names none of the shards that are there", inode)
                    index.executescript(_SCHEMA)
        if _tables_of(index) != _TABLES:
            raise IndexDamagedError("its tables are not those that were made", inode)
        index.execute("PRAGMA synchronous = NORMAL")  # of the WAL; a power cut may undo transactions, not halve them

    def quarantine(self, damage: IndexDamagedError) -> None:
        """Move the index and the shards aside, unless another process has done it, and warn."""
        if not self.writable:
            raise self.refusal(f"its index is damaged ({damage}) and cannot be put aside")
        with self.failures(), self.lock():
            if self.inode() != damage.inode:
                return
            (self.folder / "quarantine").mkdir(exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=self.folder / "quarantine"))
            # The WAL first: without its index it would be taken for that of the next one.
            names = ["index.sqlite-wal", "index.sqlite-shm", "index.sqlite"]
            for path in [self.folder / name for name in names] + self.files():
                with suppress(FileNotFoundError):
                    path.rename(aside / path.name)
        warnings.warn(
            f"the index {self._path} of the embedding cache cannot be used: {damage}. It and its shards were moved to "
            f"{aside}, which can be deleted; texts are encoded again",
            stacklevel=2,
        )
