"""The encoder behind an address, against a server on this machine."""

import json
import pickle
import socket
import threading
import time
from email.utils import formatdate

import numpy as np
import pytest

from cubefast import HashingEncoder, OpenAIEncoder, TextEncoder
from cubefast.data.cache.embedding_cache import EmbeddingCache
from cubefast.data.create_datasets import create_dialogue_dataset
from cubefast.data.encoding.create_encoder import create_encoder
from cubefast.data.encoding.encoders import ConcatEncoder
from cubefast.errors import EncoderUnavailableError, InputError

from ...embeddings_server import KEY, Failure

TEXTS = ["How do vaccines work?", "The capital of Peru is Lima.", "Warum ist der Himmel blau? 空"]


def test_the_vectors_are_those_of_the_texts_in_their_order(api):
    encoder = create_encoder("openai:some-model")
    assert isinstance(encoder, OpenAIEncoder)
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, HashingEncoder(64).encode(TEXTS), atol=1e-6)
    assert api.requests == [{"model": "some-model", "input": TEXTS}]
    assert api.keys == [f"Bearer {KEY}"]
    assert api.paths == ["/v1/embeddings"]
    assert encoder.dim == 64
    assert len(api.requests) == 1, "the size is known from the first answer"
    assert encoder.fingerprint == "openai-v1-some-model-64"
    assert isinstance(encoder, TextEncoder)
    assert encoder.encode([]).shape == (0, 64)


def test_many_texts_are_asked_for_in_batches(api):
    encoder = OpenAIEncoder("m", batch_size=2)
    texts = [f"text {i}" for i in range(5)]
    np.testing.assert_allclose(encoder.encode(texts), HashingEncoder(64).encode(texts), atol=1e-6)
    assert [asked["input"] for asked in api.requests] == [texts[:2], texts[2:4], texts[4:]]
    long = ["a " * 150_000, "b " * 150_000, "c"]
    api.requests.clear()
    OpenAIEncoder("m").encode(long)
    assert [len(asked["input"]) for asked in api.requests] == [1, 2]


def test_a_name_in_a_config_may_have_options_and_stand_beside_others(api):
    encoder = create_encoder("openai:a:b?dimensions=32&batch_size=1&timeout=9&retries=0")
    assert (encoder.model, encoder.dimensions, encoder.batch_size, encoder.timeout) == ("a:b", 32, 1, 9)
    assert encoder.dim == 32
    assert not api.requests
    assert encoder.encode(TEXTS).shape == (3, 32)
    assert api.requests[0]["dimensions"] == 32
    both = create_encoder("hashing:8+openai:m")
    assert isinstance(both, ConcatEncoder)
    assert both.encode(TEXTS).shape == (3, 72)
    for name, message in [
        ("openai:m?size=3", "openai:m.size=3: the options after the question mark are batch_size, dimensions, retries"),
        ("openai:m?timeout=no", "timeout must be a whole number below 1,000,000; got 'no'"),
        ("openai:m?batch_size=0", "openai:m: batch_size must be more than 0; got 0"),
        ("openai:", "openai:MODEL, or several.*got 'openai:'"),
        ("openai:  ", "OpenAIEncoder needs the name of a model"),
    ]:
        with pytest.raises(InputError, match=message):
            create_encoder(name)


def test_an_address_may_end_in_a_slash_or_be_whole(api, monkeypatch):
    for end in ("/", "/embeddings", "?api-version=1"):
        monkeypatch.setenv("OPENAI_BASE_URL", api.url + end)
        assert OpenAIEncoder("m").dim == 64
    assert api.paths == ["/v1/embeddings", "/v1/embeddings", "/v1/embeddings?api-version=1"]


def test_a_server_of_ones_own_needs_no_key(api, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert OpenAIEncoder("m").dim == 64
    assert api.keys == [None]
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(InputError, match="openai:m needs a key: set OPENAI_API_KEY, or OPENAI_BASE_URL to the address"):
        _ = OpenAIEncoder("m").dim


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_asked_for_again(api, status):
    api.failures += [Failure(status, b"busy", {"Retry-After": "0"})] * 3
    assert OpenAIEncoder("m").encode(TEXTS).shape == (3, 64)
    assert len(api.requests) == 4


def test_a_broken_connection_is_tried_again(api):
    cut = Failure(body=b'{"data"', headers={"Content-Length": "9999"})
    api.failures += [Failure(hang_up=True), cut]
    began = time.monotonic()
    assert OpenAIEncoder("m").encode(TEXTS).shape == (3, 64)
    assert len(api.requests) == 3
    assert time.monotonic() - began >= 1.5, "it waits longer from try to try"


def test_it_waits_as_long_as_the_server_says(api):
    api.failures += [Failure(429, b"", {"Retry-After": "0.3"}), Failure(429, b"", {"Retry-After": formatdate(0)})]
    began = time.monotonic()
    assert OpenAIEncoder("m").dim == 64
    assert 0.3 <= time.monotonic() - began < 3, "a date that is over is no wait"
    api.failures.append(Failure(429, b"", {"Retry-After": "7200"}))
    with pytest.raises(
        EncoderUnavailableError, match="answers 429 Too Many Requests. It asks to wait 7,200 s: try again"
    ):
        _ = OpenAIEncoder("m").dim


def error(message):
    return json.dumps({"error": {"message": message, "type": "invalid_request_error"}}).encode()


AWAY = EncoderUnavailableError
NO_DATA = "its answer has no list of embeddings under data but is"


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (Failure(401, error("Wrong key.")), AWAY, "answers 401 Unauthorized: Wrong key. Check OPENAI_API_KEY"),
        (
            Failure(404, b'{"detail": "No such page"}'),
            AWAY,
            "404 Not Found: No such page. Check the model's name and OPENAI_BASE_URL, which most often ends in /v1",
        ),
        (
            Failure(400, error("The maximum is 8192 tokens")),
            InputError,
            "400 Bad Request: The maximum is 8192 tokens. If a text is too long, drop it with data.quality.max_chars",
        ),
        (Failure(413, b'{"message": "256 > 32"}'), InputError, "256 > 32. If .*openai:MODEL.batch_size=32"),
        (
            Failure(302, b"", {"Location": "https://elsewhere.invalid/"}),
            InputError,
            "302 Found: moved to https://elsewhere.invalid/. Check OPENAI_BASE_URL",
        ),
        (Failure(503, b"<h1>\x1b[2J down</h1>"), AWAY, "503 Service Unavailable: <h1>"),
        (Failure(200, b"<html>hello"), InputError, "its answer is not JSON but '<html>hello'"),
        (Failure(200, b"[" * 100_000), InputError, "its answer is not JSON"),
        (Failure(200, b'{"error": "no"}'), InputError, NO_DATA + " {'error': 'no'}"),
        (Failure(200, b'{"data": [3]}'), InputError, NO_DATA),
    ],
)
def test_a_refusal_is_passed_on_in_words(api, failure, kind, message):
    api.failures.append(failure)
    with pytest.raises(InputError, match=message) as refused:
        OpenAIEncoder("m", retries=0).encode(TEXTS)
    assert type(refused.value) is kind
    assert str(refused.value).startswith("openai:m")
    assert len(api.requests) == 1


def of_first(**change):
    def changed(answer):
        answer["data"][-1] = {**answer["data"][-1], **change}  # the first text's, which comes last
        return answer

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda answer: {**answer, "data": answer["data"][1:]}, "it gives 2 embeddings for 3 texts"),
        (of_first(index=1), r"the index of its embeddings must be each of 0 to 2 once; got \[2, 1, 1\]"),
        (of_first(index="0"), r"must be each of 0 to 2 once; got \[2, 1, '0'\]"),
        (of_first(index=3), r"got \[2, 1, 3\]"),
        (of_first(embedding="AAAA"), "an embedding must be a list of numbers; got 'AAAA'"),
        (of_first(embedding=[[1.0]] * 64), "an embedding must be a list of numbers; got"),
        (of_first(embedding=["x"] * 64), "an embedding must be a list of numbers; got"),
        (of_first(embedding=[1.0, 2.0]), "it gives vectors of 2 and of 64 numbers in one answer"),
        (of_first(embedding=[float("nan")] * 64), "no vector for the text 'How do vaccines work.'; remove it"),
        (of_first(embedding=[None] * 64), "no vector for the text 'How do vaccines work.'; remove it"),
        (of_first(embedding=[1e300] * 64), "no vector for the text 'How do vaccines work.'; remove it"),
        (of_first(embedding=[0.0] * 64), "no vector for the text 'How do vaccines work.'; remove it"),
    ],
)
def test_what_are_no_vectors_of_the_texts_is_refused(api, change, message):
    api.change = change
    with pytest.raises(InputError, match=message):
        OpenAIEncoder("m").encode(TEXTS)


def shortened(answer):
    return {**answer, "data": [{**each, "embedding": each["embedding"][:16]} for each in answer["data"]]}


def turned_round(answer):
    return {**answer, "data": [{**each, "embedding": each["embedding"][::-1]} for each in answer["data"]]}


def test_a_model_that_changes_its_size_is_refused(api):
    encoder = OpenAIEncoder("m")
    assert encoder.dim == 64
    api.dim = 32
    with pytest.raises(InputError, match="openai:m: it gives vectors of 32 and of 64 numbers; they must have one size"):
        encoder.encode(TEXTS)
    api.change = shortened
    with pytest.raises(InputError, match="vectors of 16 and of 32 numbers"):
        OpenAIEncoder("m", dimensions=32).encode(TEXTS)


def test_nobody_at_the_address_is_said_at_once(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/v1?key={KEY}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        began = time.monotonic()
        with pytest.raises(
            EncoderUnavailableError, match=r"openai:m at http://127.* cannot be reached: .*refused"
        ) as refused:
            _ = OpenAIEncoder("m").dim
        assert time.monotonic() - began < 2
    assert KEY not in str(refused.value)


def test_a_server_that_does_not_answer_ends_in_a_message(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(EncoderUnavailableError, match="cannot be reached: .*timed out"):
            _ = OpenAIEncoder("m", timeout=0.2, retries=0).dim


def test_a_server_that_answers_drop_by_drop_ends_in_a_message(monkeypatch):
    def drip(listening):
        connection, _ = listening.accept()
        with connection:
            connection.recv(10_000)
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.01)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(EncoderUnavailableError, match=r"it took longer than 0.3 s to answer"):
            _ = OpenAIEncoder("m", timeout=0.3, retries=0).dim
        thread.join()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "OPENAI_BASE_URL",
            "file:///etc/passwd",
            "OPENAI_BASE_URL must be an address such as http://localhost:8000/v1",
        ),
        ("OPENAI_BASE_URL", "localhost:8000", "OPENAI_BASE_URL must be an address"),
        ("OPENAI_BASE_URL", "http://", "OPENAI_BASE_URL must be an address"),
        ("OPENAI_BASE_URL", "http://[::1", "OPENAI_BASE_URL is no address: Invalid IPv6 URL"),
        ("OPENAI_BASE_URL", "http://host:port/v1", "OPENAI_BASE_URL is no address"),
        ("OPENAI_BASE_URL", f"http://me:{KEY}@host/v1", "OPENAI_BASE_URL must have neither a user nor blanks"),
        ("OPENAI_BASE_URL", f"http://host/v1 {KEY}", "OPENAI_BASE_URL must have neither a user nor blanks"),
        (
            "OPENAI_API_KEY",
            f"{KEY}\nX-Other: 1",
            "OPENAI_API_KEY is no key: it has blanks, line breaks or letters beyond",
        ),
        ("OPENAI_API_KEY", f"{KEY}ü", "OPENAI_API_KEY is no key"),
    ],
)
def test_what_cannot_be_an_address_or_a_key_is_refused_without_showing_it(api, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message) as refused:
        _ = OpenAIEncoder("m").dim
    assert KEY not in str(refused.value)
    assert not api.requests


def test_the_key_is_in_no_message_nor_the_encoder(api):
    encoder = OpenAIEncoder("m", retries=0)
    for failure in (
        Failure(401, error(f"no such key: {KEY}")),
        Failure(302, b"", {"Location": f"http://elsewhere.invalid/?key={KEY}"}),
        Failure(200, f'{{"error": "{KEY}"}}'.encode()),
        Failure(200, KEY.encode()),
    ):
        api.failures.append(failure)
        with pytest.raises(InputError) as refused:
            _ = encoder.dim
        assert KEY not in str(refused.value)
        assert "***" in str(refused.value)
    assert encoder.dim == 64
    assert KEY.encode() not in pickle.dumps(encoder)
    assert KEY not in f"{encoder} {encoder!r} {vars(encoder)}"


def test_texts_are_asked_for_once_and_kept_in_the_cache(api, tmp_path):
    pairs = [(f"What is {n} squared?", f"{n} times {n} is {n * n}.") for n in range(60)]
    cache = EmbeddingCache(tmp_path / "cache")
    first = create_dialogue_dataset(pairs, encoder="openai:m", cache=cache)
    asked = sum(len(each["input"]) for each in api.requests)
    assert asked == 1 + 120, "the size, and every text"
    api.requests.clear()
    again = create_dialogue_dataset(pairs, encoder="openai:m", cache=cache)
    assert sum(len(each["input"]) for each in api.requests) == 1 + 4, "the size, and a few to compare"
    np.testing.assert_array_equal(first[7][0], again[7][0])
    assert again.cache.misses == 0


def test_another_model_under_an_old_name_is_noticed(api, tmp_path):
    pairs = [(f"What is {n} squared?", f"{n} times {n} is {n * n}.") for n in range(60)]
    create_dialogue_dataset(pairs, encoder="openai:m", cache=tmp_path / "cache")
    api.change = turned_round
    with pytest.raises(InputError, match=r"If another model has its name now, give another folder") as refused:
        create_dialogue_dataset(pairs, encoder="openai:m", cache=tmp_path / "cache")
    assert "the encoder openai-v1-m-64 gives other vectors than the cache " in str(refused.value)


def test_fewer_than_no_retries_are_refused():
    with pytest.raises(InputError, match="retries must be at least 0; got -1"):
        OpenAIEncoder("m", retries=-1)
