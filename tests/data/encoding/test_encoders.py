import logging

import numpy as np
import pytest

from cubefast import HashingEncoder, StaticEncoder, TextEncoder
from cubefast.config.encoder_names import absolute_encoder
from cubefast.data.encoding.base import batches_by_length
from cubefast.data.encoding.create_encoder import create_encoder
from cubefast.data.encoding.encoders import ConcatEncoder
from cubefast.errors import InputError

TEXTS = ["How do vaccines work?", "What do vaccines do in the body?", "The capital of Peru is Lima."]


@pytest.mark.parametrize(
    "encoder",
    [HashingEncoder(64), StaticEncoder(), StaticEncoder(64), ConcatEncoder([StaticEncoder(64), HashingEncoder(32)])],
    ids=["hashing", "static", "static-64", "concat"],
)
def test_encoders_give_unit_rows_and_the_same_each_time(encoder):
    assert isinstance(encoder, TextEncoder)
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (3, encoder.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(TEXTS[1:])[0], vectors[1])
    assert encoder.encode([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("encoder", [HashingEncoder(), StaticEncoder()], ids=["hashing", "static"])
def test_a_paraphrase_is_closer_than_a_stranger(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_fingerprints_tell_encoders_apart():
    names = ["hashing:64", "hashing:65", "static", "static:64", "static+hashing:64", "hashing:64+static"]
    fingerprints = {create_encoder(name).fingerprint for name in names}
    assert len(fingerprints) == len(names)


def test_loading_wordllama_leaves_the_users_logging_alone():
    before = (list(logging.getLogger().handlers), logging.getLogger().level)
    StaticEncoder().encode(["something"])
    assert (list(logging.getLogger().handlers), logging.getLogger().level) == before


@pytest.mark.parametrize("encoder", [HashingEncoder(), StaticEncoder()], ids=["hashing", "static"])
def test_a_text_without_a_vector_is_named(encoder):
    with pytest.raises(InputError, match="no vector for the text ''; remove it"):
        encoder.encode(["fine", ""])


def test_several_encoders_side_by_side_weigh_the_same():
    first, second = StaticEncoder(64), HashingEncoder(32)
    vectors = ConcatEncoder([first, second]).encode(TEXTS)
    assert vectors.shape == (3, 96)
    np.testing.assert_allclose(vectors[:, :64], first.encode(TEXTS) / 2**0.5, atol=1e-6)
    np.testing.assert_allclose(vectors[:, 64:], second.encode(TEXTS) / 2**0.5, atol=1e-6)
    with pytest.raises(InputError, match="ConcatEncoder needs at least 2 encoders; got 1"):
        ConcatEncoder([first])


def test_encoders_by_name():
    assert create_encoder("static").dim == 256
    assert create_encoder("static:128").dim == 128
    assert create_encoder("hashing:32").dim == 32
    assert create_encoder("static:128+hashing:32+static").dim == 128 + 32 + 256
    for name, message in [
        ("bert", "encoder must be static or hashing.*got 'bert'"),
        ("./models/mine", "got './models/mine'. Did you mean 'st:./models/mine'"),
        ("static:x", "got 'static:x'"),
        ("static+bert", r"joined with a plus \(static\+st:all-MiniLM-L6-v2\); got 'static\+bert'"),
        ("static+", r"got 'static\+'"),
        ("", "got ''"),
        ("static:100", "StaticEncoder has dim 64, 128 or 256; got 100"),
        ("hashing:2", "8 to 16,384; got 2"),
        ("hashing:1000000000000", "8 to 16,384; got 1000000000000"),
        ("hashing:" + "9" * 5000, "encoder must be static or hashing.*got 'hashing:999+…$"),
        ("static:" + "x" * 5000, "got 'static:x+…$"),
        ("st:x?batch_size=" + "9" * 5000, "batch_size must be a whole number below 1,000,000; got '9+…$"),
        ("st:x?max_length=1000000", "max_length must be a whole number below 1,000,000; got '1000000'"),
    ]:
        with pytest.raises(InputError, match=message):
            create_encoder(name)


class Counting(list):
    """In place of WordLlama: what is asked of it at once."""

    def embed(self, texts):
        self.append(texts)
        return np.ones((len(texts), 64), np.float32)


def test_a_long_text_makes_no_others_as_long(monkeypatch):
    """Encoded together they are all filled up to the longest: 300 short texts and one of 165 kB took 4.2 GB."""
    encoder = StaticEncoder(64)
    encoder._model = Counting()
    texts = [f"short {i}" for i in range(300)] + ["word " * 33_000, "word " * 10_000, "word " * 2_000]
    assert encoder.encode(texts).shape == (303, 64)
    assert sorted(text for batch in encoder._model for text in batch) == sorted(texts)
    for batch in encoder._model:
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= 65_536


def test_batches_by_length_hold_every_text_once():
    draw = np.random.default_rng(0)
    texts = ["x" * int(length) for length in draw.integers(0, 1000, 500)]
    batches = list(batches_by_length(texts, 16, 4000))
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    assert all(len(batch) == 1 or len(batch) * max(len(texts[row]) for row in batch) <= 4000 for batch in batches)
    assert max(map(len, batches)) <= 16
    assert list(batches_by_length([], 16, 4000)) == []
    assert len(list(batches_by_length(["x" * 10**6] * 32, 32, 4000, longest=100))) == 1, "cut, they are short"


def test_the_order_and_company_of_a_text_change_its_vector_by_no_more_than_rounding():
    texts = [*TEXTS, "water " * 20_000]
    encoder = StaticEncoder()
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(texts[::-1])[::-1], alone, atol=1e-6)


def test_the_folder_of_a_model_is_named_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert absolute_encoder("static:64+st:model?prompt=a: ") == f"static:64+st:{tmp_path}/model?prompt=a: "
    assert absolute_encoder("st:all-MiniLM-L6-v2+static") == "st:all-MiniLM-L6-v2+static"
