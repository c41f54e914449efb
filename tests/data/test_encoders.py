import logging

import numpy as np
import pytest

from cubefast import HashingEncoder, StaticEncoder, TextEncoder
from cubefast.data.encoders import ConcatEncoder, create_encoder
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
        ("static:x", "got 'static:x'"),
        ("static+bert", r"joined with a plus \(static\+st:all-MiniLM-L6-v2\); got 'static\+bert'"),
        ("static+", r"got 'static\+'"),
        ("", "got ''"),
        ("static:100", "StaticEncoder has dim 64, 128 or 256; got 100"),
        ("hashing:2", "at least 8; got 2"),
    ]:
        with pytest.raises(InputError, match=message):
            create_encoder(name)
