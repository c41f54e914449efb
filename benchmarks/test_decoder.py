"""The search for the nearest of a million answers of 384 numbers (1.5 GB, memory-mapped), and of 100,000 by usearch.

The million are random; exact search takes the same time for any. An approximate index finds what lies in groups and
misses much of what is random, so the 100,000 lie around 2,000 centres. Building their index takes minutes.
"""

import time
import tracemalloc

import numpy as np
import pytest

from cubefast import RetrievalDecoder

DIM = 384
TARGET_MS = 150


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def quick(request):
    return request.config.getoption("benchmark_disable")


@pytest.fixture(scope="module")
def bank(quick, tmp_path_factory):
    """A memory-mapped file of unit vectors."""
    count = 20_000 if quick else 1_000_000
    path = tmp_path_factory.mktemp("bank") / "bank.npy"
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, DIM))
    rng = np.random.default_rng(0)
    for begin in range(0, count, 10_000):
        file[begin : begin + 10_000] = unit(rng.standard_normal((10_000, DIM), dtype=np.float32))
    file.flush()
    yield np.load(path, mmap_mode="r")
    path.unlink()  # pytest keeps temporary folders for a while


@pytest.mark.parametrize("queries", [1, 64])
def test_exact_top_10(benchmark, bank, queries):
    began = time.perf_counter()
    decoder = RetrievalDecoder([str(row) for row in range(len(bank))], bank)
    built = time.perf_counter() - began
    rows = np.random.default_rng(1).integers(0, len(bank), queries)
    near = bank[rows] + 0.01 * np.random.default_rng(2).standard_normal((queries, DIM), dtype=np.float32)
    tracemalloc.start()
    found = decoder.decode(near, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [int(answers[0].text) for answers in found] == rows.tolist()
    benchmark.group = f"exact top 10 of {len(bank):,}"
    benchmark.pedantic(decoder.decode, (near, 10), rounds=15, warmup_rounds=2)
    benchmark.extra_info["peak MB above the bank"] = round(peak / 1e6, 1)
    benchmark.extra_info["first look at the bank s"] = round(built, 2)
    if queries == 1:
        benchmark.extra_info["target ms"] = TARGET_MS


@pytest.mark.parametrize("index", ["exact", "usearch"])
def test_approximate_top_10(benchmark, quick, index):
    pytest.importorskip("usearch")
    centres, members = (20, 50) if quick else (2000, 50)
    rng = np.random.default_rng(0)
    middle = unit(rng.standard_normal((centres, DIM), dtype=np.float32))
    spread = np.float32(0.04)  # a number's; the length of all together is 0.8 of a centre's
    grouped = np.repeat(middle, members, axis=0)
    grouped += spread * rng.standard_normal(grouped.shape, dtype=np.float32)
    queries = middle[:200] + spread * rng.standard_normal(middle[:200].shape, dtype=np.float32)
    began = time.perf_counter()
    decoder = RetrievalDecoder([str(row) for row in range(len(grouped))], grouped, index=index)
    benchmark.extra_info["build s"] = round(time.perf_counter() - began, 1)
    recall = decoder.recall_against_exact(queries, 10)
    assert recall > 0.8
    benchmark.extra_info["recall at 10"] = round(recall, 3)
    benchmark.group = f"top 10 of {len(grouped):,}, one query"
    benchmark.pedantic(decoder.decode, (queries[:1], 10), rounds=30, warmup_rounds=3)
