"""The embedding cache with a million vectors of 768 (3 GB in the temporary folder, and some minutes to write them).

A look-up goes from texts to vectors: hashes, the index, the rows and their checksums. A gather is what training does:
from row numbers to vectors, out of the memory maps. Both are of 1,024 at random; nothing but that is in memory.
"""

import resource
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from cubefast import EmbeddingCache

BATCH = 1024
TARGET_MS = 20


class NumbersEncoder:
    """A text is a number, and its vector is random but always the same: a product of two tables' rows."""

    dim = 768
    fingerprint = "numbers-768"

    def __init__(self):
        self.tables = np.random.default_rng(0).standard_normal((2, 1024, self.dim), dtype=np.float32)

    def encode(self, texts):
        numbers = np.array([int(text) for text in texts])
        return self.tables[0][numbers % 1024] * self.tables[1][numbers // 1024]


@pytest.fixture(scope="module")
def filled(request, tmp_path_factory):
    """A full cache, what filled it, and how long that took."""
    count = 4000 if request.config.getoption("benchmark_disable") else 1_000_000
    cache = EmbeddingCache(tmp_path_factory.mktemp("cache"))
    texts = [str(i) for i in range(count)]
    began = time.perf_counter()
    cache.rows(NumbersEncoder(), texts, batch_size=4096)
    built = time.perf_counter() - began
    began = time.perf_counter()
    embeddings = cache.rows(NumbersEncoder(), texts)
    yield SimpleNamespace(
        cache=cache, texts=texts, embeddings=embeddings, build_s=built, again_s=time.perf_counter() - began
    )
    for path in cache.folder.iterdir():  # pytest keeps temporary folders for a while
        path.unlink()


def batches(count):
    rng = np.random.default_rng(1)
    while True:
        yield rng.integers(0, count, BATCH)


def record(benchmark, filled):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    benchmark.extra_info["vectors"] = len(filled.texts)
    benchmark.extra_info["build s"] = round(filled.build_s, 1)
    benchmark.extra_info["rows() again s"] = round(filled.again_s, 1)
    benchmark.extra_info["peak RSS MB, with the maps"] = round(peak / 1e6)
    benchmark.extra_info["target ms"] = TARGET_MS


def test_look_up(benchmark, filled):
    encoder, numbers = NumbersEncoder(), batches(len(filled.texts))

    def texts():
        return (encoder, [filled.texts[i] for i in next(numbers)]), {}

    (_, asked), _ = texts()
    np.testing.assert_array_equal(filled.cache.encode(encoder, asked), encoder.encode(asked))
    benchmark.group = f"{BATCH} cached texts"
    benchmark.pedantic(filled.cache.encode, setup=texts, rounds=50, warmup_rounds=3)
    assert filled.cache.statistics.misses == len(filled.texts)
    record(benchmark, filled)


def test_gather(benchmark, filled):
    encoder, numbers = NumbersEncoder(), batches(len(filled.texts))
    rows = next(numbers)
    np.testing.assert_array_equal(filled.embeddings.gather(rows), encoder.encode([filled.texts[i] for i in rows]))
    benchmark.group = f"{BATCH} cached texts"
    benchmark.pedantic(filled.embeddings.gather, setup=lambda: ((next(numbers),), {}), rounds=50, warmup_rounds=3)
    record(benchmark, filled)
