"""Encoders are called by a name that a line has room for."""

import pytest

from cubefast import ConcatEncoder, HashingEncoder, StaticEncoder
from cubefast.data.encoding.display_names import short_fingerprint, short_name


class Ours:
    dim = 3
    fingerprint = "ours-" + "0123456789abcdef" * 4

    def encode(self, texts):
        raise AssertionError("a name needs no embedding")


@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        ("static", "WordLlama"),
        ("static:128", "WordLlama 128"),
        (StaticEncoder(), "WordLlama"),
        (StaticEncoder(64), "WordLlama 64"),
        ("hashing:32", "hashing 32"),
        (HashingEncoder(32), "hashing 32"),
        ("st:all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("st:sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("st:intfloat/e5-small-v2?prompt=query: &max_length=128", "e5-small-v2"),
        ("st:/home/someone/models/minilm/", "minilm"),
        ("st:C:\\models\\minilm", "minilm"),
        ("st:/packages/all_minilm/model", "all_minilm/model"),
        ("static+st:a/b+c", "WordLlama + b+c"),
        (ConcatEncoder([StaticEncoder(), HashingEncoder(32)]), "WordLlama + hashing 32"),
        (Ours(), "ours-01234567"),
        ("st:/", "st:/"),
    ],
)
def test_the_short_name(encoder, name):
    assert short_name(encoder) == name


def test_a_short_fingerprint_keeps_what_is_not_as_by_default():
    begun = "sentence-transformers-v1-c4a57a7f2011f2562b4fb34246d45976"
    assert (
        short_fingerprint(f"{begun}-max_length=None-prompt=None-normalize=True") == "sentence-transformers-v1-c4a57a7f"
    )
    given = short_fingerprint(f"{begun}-max_length=64-prompt='query: '-normalize=True")
    assert given == "sentence-transformers-v1-c4a57a7f-max_length=64-prompt='query: '"
    assert short_fingerprint("hashing-v1-32") == "hashing-v1-32"
