import hashlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
import traceback
import tracemalloc
import warnings
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cubefast import EmbeddingCache
from cubefast.data.cache.embedding_cache import default_folder
from cubefast.data.cache.shards import ShardFolder
from cubefast.errors import InputError

# The children forked here only encode and leave, so threads of this process are no danger to them.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

TEXTS = [f"text number {i}" for i in range(3000)]


class TableEncoder:
    """The vector of "text number 7" is row 7 of a table. Counts what it is asked for."""

    def __init__(self, dim=32):
        self.dim = dim
        self.fingerprint = f"table-{dim}"
        self.table = np.random.default_rng(dim).standard_normal((len(TEXTS), dim), dtype=np.float32)
        self.asked = 0

    def encode(self, texts):
        self.asked += len(texts)
        return self.table[[int(text.rsplit(" ", 1)[1]) for text in texts]]


ROW = 4 * 32  # bytes of a vector of TableEncoder()


@pytest.fixture
def encoder():
    return TableEncoder()


def forked(work):
    """Run ``work`` in a child; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check_what_the_index_names(folder, encoder):
    """By the letter of the layout, with none of the cache's code; how many vectors there are."""
    number_of = {hashlib.sha256(text.encode()).digest(): i for i, text in enumerate(TEXTS)}
    if not (folder / "index.sqlite").exists():
        return 0
    with closing(sqlite3.connect(folder / "index.sqlite")) as index:
        if index.execute("PRAGMA user_version").fetchone() == (0,):
            return 0  # killed before the tables were made
        assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        entries = index.execute("SELECT key, shard, row, crc FROM vector ORDER BY shard, row").fetchall()
        rows = dict(index.execute("SELECT id, rows FROM shard").fetchall())
    files = {shard: (folder / f"vectors-{shard:06d}.f32").read_bytes() for shard in {entry[1] for entry in entries}}
    for key, shard, row, crc in entries:
        raw = files[shard][row * ROW : (row + 1) * ROW]
        assert row < rows[shard]
        assert raw == encoder.table[number_of[key]].tobytes()
        assert crc == zlib.crc32(raw)
    return len(entries)


def shards(folder):
    return sorted(folder.glob("vectors-*.f32"))


def test_a_text_is_encoded_once(tmp_path, encoder):
    first = EmbeddingCache(tmp_path).encode(encoder, TEXTS[:30])
    cache = EmbeddingCache(tmp_path)  # another process, in effect
    both = cache.encode(encoder, TEXTS[:50])
    assert encoder.asked == 50
    statistics = cache.statistics
    assert (statistics.hits, statistics.misses, statistics.damaged) == (30, 20, 0)
    assert (statistics.bytes_read, statistics.bytes_written) == (30 * ROW, 20 * ROW)
    assert statistics.encoding_seconds > 0
    np.testing.assert_array_equal(both[:30], first)
    np.testing.assert_array_equal(both, encoder.table[:50])
    assert both.dtype == np.float32


def test_a_text_that_comes_twice_is_encoded_once(tmp_path, encoder):
    cache = EmbeddingCache(tmp_path)
    texts = [TEXTS[i] for i in (5, 3, 5, 5, 8, 3)]
    done = []
    np.testing.assert_array_equal(
        cache.encode(encoder, texts, batch_size=2, progress=done.append), encoder.table[[5, 3, 5, 5, 8, 3]]
    )
    assert encoder.asked == 3
    assert (cache.statistics.hits, cache.statistics.misses) == (3, 3)
    assert done == [0, 5, 6]


def test_encoders_do_not_share_vectors(tmp_path):
    cache = EmbeddingCache(tmp_path)
    assert cache.encode(TableEncoder(32), TEXTS[:50]).shape == (50, 32)
    assert cache.encode(TableEncoder(48), TEXTS[:40]).shape == (40, 48)
    assert cache.statistics.hits == 0
    assert [(c.fingerprint, c.dim, c.vectors, c.bytes) for c in cache.contents()] == [
        ("table-32", 32, 50, 50 * 128),
        ("table-48", 48, 40, 40 * 192),
    ]


def test_progress_is_told(tmp_path, encoder):
    done = []
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:50], batch_size=20, progress=done.append)
    assert done == [0, 20, 40, 50]


def test_rows_are_gathered_from_the_disk(tmp_path, encoder):
    cache = EmbeddingCache(tmp_path, shard_bytes=100 * ROW)
    embeddings = cache.rows(encoder, TEXTS, batch_size=70)
    assert [path.stat().st_size for path in shards(tmp_path)] == [100 * ROW] * 30
    assert (len(embeddings), embeddings.dim) == (3000, 32)
    rows = np.random.default_rng(0).integers(-3000, 3000, 500)
    gathered = embeddings.gather(rows)
    np.testing.assert_array_equal(gathered, encoder.table[rows])
    gathered[:] = 0  # a copy
    np.testing.assert_array_equal(embeddings.gather(rows), encoder.table[rows])
    with pytest.raises(IndexError):
        embeddings.gather(np.array([3000]))


def test_no_texts_have_no_vectors(tmp_path, encoder):
    cache = EmbeddingCache(tmp_path)
    assert cache.encode(encoder, []).shape == (0, 32)
    assert cache.rows(encoder, []).gather(np.arange(0)).shape == (0, 32)
    assert cache.contents() == []


def test_rows_never_holds_all_vectors_in_memory(tmp_path):
    encoder = TableEncoder(2048)  # 24 MB
    cache = EmbeddingCache(tmp_path)
    for _ in range(2):  # encoded, then found
        tracemalloc.start()
        cache.rows(encoder, TEXTS, batch_size=64)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6e6


def test_rows_serve_forked_workers(tmp_path, encoder):
    embeddings = EmbeddingCache(tmp_path).rows(encoder, TEXTS)

    def work():
        np.testing.assert_array_equal(embeddings.gather(np.arange(3000)), encoder.table)

    assert [exit_code(child) for child in [forked(work), forked(work)]] == [0, 0]


@pytest.mark.parametrize("text", ["", "\ud800 alone", "ключ 🔑"])
def test_any_text_has_a_key(tmp_path, text):
    encoder = TableEncoder()
    encoder.encode = lambda texts: encoder.table[: len(texts)]
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).encode(encoder, [text]), encoder.table[:1])


# What is refused


def bad(encoder, name):
    return {
        "NaN": lambda texts: np.where(np.arange(len(texts))[:, None] == 2, np.nan, 1) * np.ones((len(texts), 32)),
        "too large": lambda texts: np.where(np.arange(len(texts))[:, None] == 2, 1e300, 1) * np.ones((len(texts), 32)),
        "shape": lambda texts: np.ones((len(texts), 31)),
        "count": lambda texts: np.ones((1, 32)),
        "ragged": lambda texts: [[1.0] * (i + 1) for i in range(len(texts))],
    }[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NaN", "table-32 gave NaN or infinity for the text 'text number 12'; remove the text"),
        ("too large", "NaN or infinity for the text 'text number 12'"),
        ("shape", r"gave an array \[10, 31\] for 10 texts from 'text number 10' on; expected \[10, 32\]"),
        ("count", r"gave an array \[1, 32\] for 10 texts"),
        ("ragged", "gave no array of numbers"),
    ],
)
def test_bad_output_of_an_encoder_is_refused_before_it_is_written(tmp_path, encoder, name, message):
    cache = EmbeddingCache(tmp_path)
    cache.encode(encoder, TEXTS[:10])
    encoder.encode = bad(encoder, name)
    with pytest.raises(InputError, match=message):
        cache.encode(encoder, TEXTS[:20])
    assert check_what_the_index_names(tmp_path, encoder) == 10


def test_an_encoders_own_error_is_passed_on(tmp_path, encoder):
    def fail(texts):
        raise OSError("no network")

    encoder.encode = fail
    with pytest.raises(OSError, match="^no network$"):
        EmbeddingCache(tmp_path).encode(encoder, TEXTS[:2])


def test_bad_arguments_are_refused(tmp_path, encoder):
    for arguments in ({"limit_bytes": 0}, {"shard_bytes": 0}):
        with pytest.raises(InputError, match="must be at least 1"):
            EmbeddingCache(tmp_path, **arguments)
    with pytest.raises(InputError, match="batch_size must be at least 1; got 32 and 0"):
        EmbeddingCache(tmp_path).rows(encoder, TEXTS, batch_size=0)
    with pytest.raises(InputError, match=r"texts to encode must be str; got 7 \(int\)"):
        EmbeddingCache(tmp_path).rows(encoder, [7])


def test_a_place_that_cannot_be_used_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"cache .*file cannot be used.*set cache=FOLDER"):
        EmbeddingCache(tmp_path / "file")


def test_an_index_of_a_newer_layout_is_refused_and_left_alone(tmp_path, encoder):
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:10])
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as index:
        index.execute("PRAGMA user_version = 2")
    with pytest.raises(InputError, match=r"written by a newer cubefast \(layout 2; this one knows 1\): upgrade"):
        EmbeddingCache(tmp_path)
    assert len(shards(tmp_path)) == 1


def test_the_default_place_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("CUBEFAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "cubefast"
    monkeypatch.setenv("CUBEFAST_CACHE", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"


# What is damaged


def test_a_damaged_vector_is_noticed_and_encoded_again(tmp_path, encoder):
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:50])
    (shard,) = shards(tmp_path)
    raw = bytearray(shard.read_bytes())
    raw[ROW * 7 + 5] ^= 0xFF  # in row 7
    shard.write_bytes(raw)
    cache = EmbeddingCache(tmp_path)
    with pytest.warns(UserWarning, match="1 cached embeddings in .*000001.f32 were damaged; they are encoded again"):
        np.testing.assert_array_equal(cache.encode(encoder, TEXTS[:50]), encoder.table[:50])
    assert (cache.statistics.damaged, encoder.asked) == (1, 51)
    assert shard.read_bytes()[: len(raw)] == raw  # kept, to be looked at
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:50])  # mended: no warning now
    assert check_what_the_index_names(tmp_path, encoder) == 50


@pytest.mark.parametrize("cut", [None, 0, ROW * 10 + 3])
def test_a_cut_or_missing_shard_is_noticed_and_filled_again(tmp_path, encoder, cut):
    EmbeddingCache(tmp_path, shard_bytes=30 * ROW).encode(encoder, TEXTS[:50])
    shard = shards(tmp_path)[1]
    if cut is None:
        shard.unlink()
    else:
        os.truncate(shard, cut)
    with pytest.warns(UserWarning, match="(10|20) cached embeddings in .*000002.f32 were damaged"):
        np.testing.assert_array_equal(EmbeddingCache(tmp_path).encode(encoder, TEXTS[:50]), encoder.table[:50])
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:50])
    assert check_what_the_index_names(tmp_path, encoder) == 50


def old_layout(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as index:
        index.execute("CREATE TABLE encoder (id INTEGER PRIMARY KEY, fingerprint TEXT UNIQUE, dim INTEGER)")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.write_bytes(b"this is no database, whatever its name says" * 100), "not a database"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "malformed"),
        (lambda path: os.truncate(path, 100), ""),
        (lambda path: os.truncate(path, 0), "names none of the shards"),
        (lambda path: path.unlink(), "names none of the shards"),
        (old_layout, "older layout"),
    ],
    ids=["garbage", "half", "header", "empty", "gone", "old"],
)
def test_a_damaged_index_is_put_aside_and_all_is_encoded_again(tmp_path, encoder, damage, why):
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:500])
    damage(tmp_path / "index.sqlite")
    with pytest.warns(UserWarning, match=f"index.sqlite of the embedding cache cannot be used: .*{why}.*moved to .*"):
        np.testing.assert_array_equal(EmbeddingCache(tmp_path).encode(encoder, TEXTS[:500]), encoder.table[:500])
    assert encoder.asked == 1000
    (aside,) = (tmp_path / "quarantine").iterdir()
    assert {"index.sqlite", "vectors-000001.f32"} <= {path.name for path in aside.iterdir()}
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:500])
    assert check_what_the_index_names(tmp_path, encoder) == 500


def test_whatever_happens_to_an_index_no_vector_is_wrong(tmp_path, encoder):
    EmbeddingCache(tmp_path / "whole", shard_bytes=100 * ROW).encode(encoder, TEXTS[:500])
    rng = random.Random(0)
    for round_ in range(60):
        folder = tmp_path / str(round_)
        shutil.copytree(tmp_path / "whole", folder)
        raw = bytearray((folder / "index.sqlite").read_bytes())
        for _ in range(rng.choice([1, 10, 100, 1000])):
            raw[rng.randrange(100, len(raw))] = rng.randrange(256)  # not in the header: a version is refused
        (folder / "index.sqlite").write_bytes(raw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cache = EmbeddingCache(folder, shard_bytes=100 * ROW, limit_bytes=600 * ROW)
            np.testing.assert_array_equal(cache.encode(encoder, TEXTS[100:700]), encoder.table[100:700])
            cache.contents()


def test_processes_that_meet_a_damaged_index_put_it_aside_once(tmp_path, encoder):
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:500])
    os.truncate(tmp_path / "index.sqlite", 3 * 4096)

    def work():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(EmbeddingCache(tmp_path).encode(encoder, TEXTS), encoder.table)

    assert [exit_code(child) for child in [forked(work) for _ in range(4)]] == [0] * 4
    assert len(list((tmp_path / "quarantine").iterdir())) == 1
    assert check_what_the_index_names(tmp_path, encoder) == 3000


def test_an_index_that_is_put_aside_while_it_is_opened_is_no_failure_of_the_disk(tmp_path, encoder, monkeypatch):
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:50])
    opened = ShardFolder._open

    def put_aside(shards):
        monkeypatch.setattr(ShardFolder, "_open", opened)
        for path in [*tmp_path.glob("index.sqlite*"), *tmp_path.glob("vectors-*")]:
            path.unlink()
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(ShardFolder, "_open", put_aside)
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).encode(encoder, TEXTS[:50]), encoder.table[:50])
    assert check_what_the_index_names(tmp_path, encoder) == 50


def test_a_job_goes_on_when_its_index_is_put_aside_under_it(tmp_path, encoder):
    cache = EmbeddingCache(tmp_path)

    def sabotage(done):
        if done == 20 and not (tmp_path / "elsewhere").exists():
            (tmp_path / "index.sqlite").rename(tmp_path / "elsewhere")

    with pytest.warns(UserWarning, match="names none of the shards that are there.*moved to"):
        found = cache.encode(encoder, TEXTS[:50], batch_size=10, progress=sabotage)
    np.testing.assert_array_equal(found, encoder.table[:50])
    assert check_what_the_index_names(tmp_path, encoder) == 50


# Limits


def test_the_shards_used_the_longest_time_ago_are_evicted(tmp_path, encoder):
    cache = EmbeddingCache(tmp_path, limit_bytes=300 * ROW, shard_bytes=100 * ROW)
    for begin in (0, 100, 200):
        cache.encode(encoder, TEXTS[begin : begin + 100])
    for age, path in zip((20, 30, 10), shards(tmp_path), strict=True):
        os.utime(path, (time.time() - age,) * 2)
    cache.encode(encoder, TEXTS[110:111])  # so the first is now the oldest
    cache.encode(encoder, TEXTS[300:310])
    assert [path.name[-6:-4] for path in shards(tmp_path)] == ["02", "03", "04"]
    encoder.asked = 0
    cache.encode(encoder, TEXTS[100:310])
    assert encoder.asked == 0
    assert sum(each.bytes for each in cache.contents()) <= 300 * ROW


def test_shards_that_a_killed_process_did_not_delete_are_deleted(tmp_path, encoder):
    cache = EmbeddingCache(tmp_path, shard_bytes=100 * ROW)
    cache.encode(encoder, TEXTS[:100])
    (tmp_path / "vectors-000099.f32").write_bytes(b"evicted")
    cache.encode(encoder, TEXTS[:150])
    assert [path.name[-6:-4] for path in shards(tmp_path)] == ["01", "02"]


def test_a_limit_is_divided_into_several_shards(tmp_path, encoder):
    EmbeddingCache(tmp_path, limit_bytes=800 * ROW).encode(encoder, TEXTS[:250])
    assert [path.stat().st_size // ROW for path in shards(tmp_path)] == [100, 100, 50]


def test_what_a_call_needs_is_not_evicted_by_it(tmp_path, encoder):
    cache = EmbeddingCache(tmp_path, limit_bytes=200 * ROW, shard_bytes=50 * ROW)
    cache.encode(encoder, TEXTS[:100])
    embeddings = cache.rows(encoder, TEXTS[:1000], batch_size=30)
    assert encoder.asked == 1000
    assert check_what_the_index_names(tmp_path, encoder) == 1000
    cache.encode(encoder, TEXTS[1000:1010])
    assert check_what_the_index_names(tmp_path, encoder) <= 200
    np.testing.assert_array_equal(embeddings.gather(np.arange(1000)), encoder.table[:1000])  # deleted, and still there
    shutil.rmtree(tmp_path)
    np.testing.assert_array_equal(embeddings.gather(np.arange(1000)), encoder.table[:1000])


@pytest.mark.parametrize("size", [1_000, 20_000, 50_000, 100_000, 150_000, 400_000])
def test_a_full_disk_is_said_and_harms_nothing(tmp_path, encoder, size):
    # No file may grow beyond the size: at first the index cannot, with the larger sizes the shard cannot.
    EmbeddingCache(tmp_path).encode(encoder, TEXTS[:100])

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        with pytest.raises(InputError, match=r"cannot be used: .* free space on its disk, or set cache=FOLDER"):
            EmbeddingCache(tmp_path).rows(TableEncoder(), TEXTS, batch_size=50)

    assert exit_code(forked(work)) == 0
    kept = check_what_the_index_names(tmp_path, encoder)
    assert 100 <= kept < 3000
    assert size < 150_000 or kept > 100  # what was encoded before is kept
    encoder.asked = 0
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).encode(encoder, TEXTS), encoder.table)
    assert encoder.asked == 3000 - kept


@pytest.mark.parametrize("beside", [False, True], ids=["closed", "left open"])
def test_a_folder_that_cannot_be_written_serves_what_it_holds(encoder, beside):
    top = Path(tempfile.mkdtemp())  # tmp_path is closed to the ordinary user that root becomes below
    folder = top / "cache"
    EmbeddingCache(folder).encode(encoder, TEXTS[:100])

    def leave_open():
        index = sqlite3.connect(folder / "index.sqlite")
        index.execute("SELECT count(*) FROM vector").fetchone()
        EmbeddingCache(folder).encode(encoder, TEXTS[100:200])  # stays in the WAL, as its last reader is killed
        os.kill(os.getpid(), signal.SIGKILL)

    def work():
        if os.geteuid() == 0:
            os.setuid(65534)
        cache = EmbeddingCache(folder)
        known = 200 if beside else 100
        np.testing.assert_array_equal(cache.encode(encoder, TEXTS[:known]), encoder.table[:known])
        assert (cache.statistics.hits, cache.statistics.misses) == (known, 0)
        with pytest.raises(InputError, match=r"50 texts are not in it, and it cannot be written. Make it writable"):
            cache.encode(encoder, TEXTS[known - 50 : known + 50])
        with pytest.raises(InputError, match="unable to open|Permission denied"):
            EmbeddingCache(top / "another")

    try:
        if beside:
            assert exit_code(forked(leave_open)) == -signal.SIGKILL
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        top.chmod(0o555)
        assert exit_code(forked(work)) == 0
    finally:
        top.chmod(0o755)
        folder.chmod(0o755)
        shutil.rmtree(top)


# Kills, and company


def test_a_writer_killed_a_hundred_times_leaves_only_what_is_right(tmp_path, encoder):
    rng = random.Random(0)
    progressed = 0
    for round_ in range(100):
        folder = tmp_path / str(round_ // 20)  # 20 kills each, from the making of the folder on
        limit = None if round_ // 20 % 2 else 1500 * ROW  # of every other one: evictions are cut short too

        def work(folder=folder, limit=limit):
            cache = EmbeddingCache(folder, shard_bytes=150 * ROW, limit_bytes=limit)
            while True:
                for begin in range(0, 3000, 300):
                    cache.rows(encoder, TEXTS[begin : begin + 300], batch_size=7)
                if limit is None:
                    cache = EmbeddingCache(folder := folder.with_name(folder.name + "+"), shard_bytes=150 * ROW)

        child = forked(work)
        time.sleep(rng.choice([0.001, 0.01, 0.1]) * rng.random() + 0.0005)
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL
        if folder.exists():
            progressed += check_what_the_index_names(folder, encoder)
        if round_ % 20 == 19:
            cache = EmbeddingCache(folder, shard_bytes=150 * ROW)
            np.testing.assert_array_equal(cache.encode(encoder, TEXTS), encoder.table)
            assert cache.statistics.damaged == 0
            assert check_what_the_index_names(folder, encoder) == 3000
            assert not (folder / "quarantine").exists()
    assert progressed > 1000


def test_four_processes_may_write_at_once(tmp_path, encoder):
    def work(begin):
        cache = EmbeddingCache(tmp_path, shard_bytes=300 * ROW)
        np.testing.assert_array_equal(
            cache.encode(encoder, TEXTS[begin : begin + 900], batch_size=16), encoder.table[begin : begin + 900]
        )
        assert cache.statistics.damaged == 0

    children = [forked(lambda begin=begin: work(begin)) for begin in (0, 0, 300, 600)]
    assert [exit_code(child) for child in children] == [0] * 4
    assert check_what_the_index_names(tmp_path, encoder) == 1500
    (contents,) = EmbeddingCache(tmp_path).contents()
    assert contents.bytes == 1500 * ROW  # none is stored twice


def test_processes_may_evict_what_others_read(tmp_path, encoder):
    def work(seed):
        cache = EmbeddingCache(tmp_path, shard_bytes=40 * ROW, limit_bytes=300 * ROW)
        rng = np.random.default_rng(seed)
        for _ in range(25):
            rows = rng.integers(0, 1000, 60)
            np.testing.assert_array_equal(cache.encode(encoder, [TEXTS[i] for i in rows]), encoder.table[rows])
        assert cache.statistics.damaged == 0

    children = [forked(lambda seed=seed: work(seed)) for seed in range(4)]
    assert [exit_code(child) for child in children] == [0] * 4
    assert check_what_the_index_names(tmp_path, encoder) <= 1000
