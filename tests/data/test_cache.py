import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cubefast import EmbeddingCache, HashingEncoder
from cubefast.data.cache import default_folder
from cubefast.errors import InputError

TEXTS = [f"text number {i}" for i in range(50)]


class CountingEncoder(HashingEncoder):
    """Counts the texts it was really asked for."""

    asked = 0

    def encode(self, texts):
        self.asked += len(texts)
        return super().encode(texts)


def test_a_text_is_encoded_once(tmp_path):
    encoder = CountingEncoder(32)
    first = EmbeddingCache(tmp_path).encode(encoder, TEXTS[:30])
    cache = EmbeddingCache(tmp_path)  # another process, in effect
    both = cache.encode(encoder, TEXTS)
    assert encoder.asked == 50
    assert (cache.statistics.hits, cache.statistics.misses) == (30, 20)
    np.testing.assert_array_equal(both[:30], first)
    np.testing.assert_array_equal(both, HashingEncoder(32).encode(TEXTS))


def test_encoders_do_not_share_vectors(tmp_path):
    cache = EmbeddingCache(tmp_path)
    assert cache.encode(HashingEncoder(32), TEXTS).shape == (50, 32)
    assert cache.encode(HashingEncoder(48), TEXTS).shape == (50, 48)
    assert cache.statistics.hits == 0


def test_progress_is_told(tmp_path):
    done = []
    EmbeddingCache(tmp_path).encode(HashingEncoder(32), TEXTS, batch_size=20, progress=done.append)
    assert done == [0, 20, 40, 50]


def test_a_damaged_vector_is_noticed_and_encoded_again(tmp_path):
    wanted = EmbeddingCache(tmp_path).encode(HashingEncoder(32), TEXTS)
    (shard,) = tmp_path.glob("*.f32")
    raw = bytearray(shard.read_bytes())
    raw[32 * 4 * 7 + 5] ^= 0xFF  # in row 7
    shard.write_bytes(raw)
    cache = EmbeddingCache(tmp_path)
    with pytest.warns(UserWarning, match="1 cached embeddings in .* were damaged; they are encoded again"):
        np.testing.assert_array_equal(cache.encode(HashingEncoder(32), TEXTS), wanted)
    assert cache.statistics.damaged == 1
    assert EmbeddingCache(tmp_path).encode(HashingEncoder(32), TEXTS) is not None  # mended: no warning now


@pytest.mark.parametrize("cut", [0, 32 * 4 * 10 + 3])
def test_a_truncated_file_is_noticed_and_filled_again(tmp_path, cut):
    wanted = EmbeddingCache(tmp_path).encode(HashingEncoder(32), TEXTS)
    (shard,) = tmp_path.glob("*.f32")
    os.truncate(shard, cut)
    with pytest.warns(UserWarning, match="damaged"):
        np.testing.assert_array_equal(EmbeddingCache(tmp_path).encode(HashingEncoder(32), TEXTS), wanted)
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).encode(HashingEncoder(32), TEXTS), wanted)


def test_what_a_killed_job_had_committed_is_kept_and_whole(tmp_path):
    code = (
        "import sys, time; from cubefast import EmbeddingCache, HashingEncoder\n"
        "EmbeddingCache(sys.argv[1]).encode(HashingEncoder(32), [f'text number {i}' for i in range(100000)],\n"
        "    batch_size=8, progress=lambda done: print(done, flush=True))"
    )
    for _ in range(5):
        job = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        line = job.stdout.readline()
        time.sleep(0.05)
        job.send_signal(signal.SIGKILL)
        job.wait()
        job.stdout.close()
        assert line
        cache = EmbeddingCache(tmp_path)
        np.testing.assert_array_equal(cache.encode(HashingEncoder(32), TEXTS), HashingEncoder(32).encode(TEXTS))
        assert cache.statistics.damaged == 0


def test_two_processes_may_write_at_once(tmp_path):
    code = (
        "import sys; from cubefast import EmbeddingCache, HashingEncoder\n"
        "a, b = map(int, sys.argv[2:])\n"
        "texts = [f'text number {i}' for i in range(a, b)]\n"
        "EmbeddingCache(sys.argv[1]).encode(HashingEncoder(32), texts, batch_size=4)"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(a), str(b)]) for a, b in [(0, 200), (100, 300)]
    ]
    assert [job.wait(120) for job in jobs] == [0, 0]
    cache = EmbeddingCache(tmp_path)
    texts = [f"text number {i}" for i in range(300)]
    np.testing.assert_array_equal(cache.encode(HashingEncoder(32), texts), HashingEncoder(32).encode(texts))
    assert (cache.statistics.hits, cache.statistics.damaged) == (300, 0)


def test_a_place_that_cannot_be_used_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"cache .*file cannot be used.*Set cache=FOLDER"):
        EmbeddingCache(tmp_path / "file")
    (tmp_path / "index.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(InputError, match=r"cannot be used: file is not a database"):
        EmbeddingCache(tmp_path)


def test_the_default_place_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("CUBEFAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "cubefast"
    monkeypatch.setenv("CUBEFAST_CACHE", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"
