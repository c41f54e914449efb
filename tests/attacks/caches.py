"""Hostile and damaged indexes and shards of the embedding cache, and clocks set back: what is given is always right."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
import warnings
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from cubefast import EmbeddingCache, HashingEncoder

from .attacker import Tally, in_child, mutated, problem_of, refused

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
STATEMENTS = [
    *(
        f"UPDATE OR REPLACE vector SET {column} = {value}"
        for column in ("shard", "row", "crc")
        for value in (-1, 2**62, "'x'", "NULL", 1.5, "zeroblob(9)")
    ),
    *(f"UPDATE shard SET rows = {value}" for value in (-1, 2**62, "'x'", "NULL", 1.5)),
    *(f"UPDATE encoder SET dim = {value}" for value in (-1, 2**62, "'x'", "NULL", 1, 64)),
    "UPDATE encoder SET fingerprint = x'ff00ff'",
    "UPDATE vector SET row = (SELECT max(row) FROM vector) - row",
    "UPDATE OR REPLACE vector SET key = zeroblob(32) WHERE row = 0",
    "UPDATE OR REPLACE vector SET key = 'text' WHERE row = 0",
    "UPDATE sqlite_sequence SET seq = -5",
    "DELETE FROM shard",
    "DELETE FROM encoder",
    "DROP TABLE vector",
    "ALTER TABLE vector ADD COLUMN further",
    f"CREATE TRIGGER t AFTER INSERT ON vector BEGIN SELECT ({ENDLESS}); END",
    f"CREATE TRIGGER t AFTER UPDATE ON shard BEGIN SELECT ({ENDLESS}); END",
    f"DROP TABLE vector; CREATE VIEW vector AS SELECT 1 encoder, x'00' key, ({ENDLESS}) shard, 0 row, 0 crc",
    "CREATE TABLE other (a DEFAULT 1)",
    "CREATE INDEX i ON vector (abs(crc))",
    "PRAGMA user_version = -1",
    "PRAGMA user_version = 0",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA application_id = 5; PRAGMA encoding = 'UTF-16'",
]


def main(rounds: int, tally: Tally) -> None:
    encoder = HashingEncoder(16)
    texts = [f"text number {number}" for number in range(300)]
    wanted = encoder.encode(texts)
    good, place = Path("good"), Path("place")
    EmbeddingCache(good, shard_bytes=4000).rows(encoder, texts[:200], batch_size=20)

    def look() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cache = EmbeddingCache(place, shard_bytes=4000, limit_bytes=random.choice([None, 10**4]))
            assert np.array_equal(cache.encode(encoder, texts), wanted)
            cache.contents()

    def attack(kind: str, change: Callable[[], object]) -> None:
        shutil.copytree(good, place)
        try:
            change()
        except (sqlite3.Error, OSError, OverflowError) as error:
            print("not tried:", error)
        else:
            tally.count(kind, problem_of(in_child(refused(look))))
        shutil.rmtree(place)

    def execute(statement: str) -> None:
        with closing(sqlite3.connect(place / "index.sqlite")) as index:
            index.executescript(f"PRAGMA writable_schema = ON; {statement}")

    for statement in STATEMENTS:
        attack("hostile indexes", lambda s=statement: execute(s))
    for name in ("index.sqlite", "index.sqlite-wal", "lock", "vectors-000001.f32", "quarantine"):
        for make in (
            os.mkfifo,
            os.mkdir,
            lambda path: path.symlink_to("/dev/zero"),
            lambda path: path.symlink_to(path),
        ):

            def replace(name: str = name, make: Callable[[Path], object] = make) -> None:
                (place / name).unlink(missing_ok=True)
                make(place / name)

            attack("pipes, folders, devices, circles", replace)
    for _ in range(rounds):
        path = place / random.choice(["index.sqlite", "index.sqlite", random.choice(list(good.glob("*.f32"))).name])
        attack("fuzzed indexes and shards", lambda p=path: p.write_bytes(mutated(p.read_bytes())))

    def infinite() -> None:
        for path in place.glob("*.f32"):
            vectors = np.frombuffer(path.read_bytes(), np.float32).reshape(-1, 16) * np.float32(0) + np.inf
            path.write_bytes(vectors.tobytes())
            with closing(sqlite3.connect(place / "index.sqlite")) as index, index:
                number = int(path.stem.split("-")[1])
                for row, vector in enumerate(vectors):
                    crc = zlib.crc32(vector.tobytes())
                    index.execute("UPDATE vector SET crc = ? WHERE shard = ? AND row = ?", (crc, number, row))

    attack("vectors of Inf with a right sum", infinite)
    for seconds in (-(10**9), 10**9, -(10**5)):

        def of_another_time(seconds: int = seconds) -> None:
            for number, path in enumerate(place.iterdir()):
                moment = time.time() + seconds * (number % 2)
                os.utime(path, (moment, moment))

        attack("clocks set back or ahead", of_another_time)
