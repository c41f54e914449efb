"""A core behind the embeddings of LangChain and of LlamaIndex: the real packages, their own stores, every path."""

import asyncio
import importlib
import sys

import numpy as np
import pytest

from cubefast import CubicCore
from cubefast.data.embeddings.vectors import Preparation
from cubefast.data.encoding.encoders import HashingEncoder
from cubefast.errors import InputError

from ..cores import principal, shaken

DOCUMENTS = ["Vaccines train the immune system.", "The capital of Peru is Lima.", "Boil the egg for ten minutes."]
QUERY = "How long do I boil an egg?"
ENCODER = HashingEncoder(32)


def encoded(*texts):
    return ENCODER.encode(list(texts))


def both_sides():
    return shaken(principal(linear_rank=4, sides="both", normalize=True))


def langchain_embeddings(core, **keywords):
    pytest.importorskip("langchain_core", reason="pip install 'cubefast[langchain]'")
    from langchain_core.embeddings import Embeddings

    from cubefast.integrations.langchain import CubeEmbeddings

    class Base(Embeddings):
        def embed_documents(self, texts):
            return ENCODER.encode(texts).tolist() if texts else []

        def embed_query(self, text):
            return encoded(text)[0].tolist()

    return CubeEmbeddings(Base(), core, **keywords)


def llama_model(core, **keywords):
    pytest.importorskip("llama_index.core", reason="pip install 'cubefast[llama-index]'")
    from llama_index.core.base.embeddings.base import BaseEmbedding

    from cubefast.integrations.llama_index import CubeAdapterEmbedding

    class Base(BaseEmbedding):
        def _get_query_embedding(self, query):
            return encoded(query)[0].tolist()

        async def _aget_query_embedding(self, query):
            return self._get_query_embedding(query)

        def _get_text_embedding(self, text):
            return encoded(text)[0].tolist()

    return CubeAdapterEmbedding(Base(model_name="hashing"), core, **keywords)


def langchain_vectors(core, **keywords):
    """The query's vector and those of the documents, one after the other and awaited."""
    made = langchain_embeddings(core, **keywords)
    yield made.embed_query(QUERY), made.embed_documents(DOCUMENTS)
    yield asyncio.run(made.aembed_query(QUERY)), asyncio.run(made.aembed_documents(DOCUMENTS))
    assert made.embed_documents([]) == []


def llama_vectors(core, **keywords):
    made = llama_model(core, **keywords)
    yield made.get_query_embedding(QUERY), made.get_text_embedding_batch(DOCUMENTS)
    yield made.get_query_embedding(QUERY), [made.get_text_embedding(text) for text in DOCUMENTS]
    yield asyncio.run(made.aget_query_embedding(QUERY)), asyncio.run(made.aget_text_embedding_batch(DOCUMENTS))


FRAMEWORKS = pytest.mark.parametrize("vectors", [langchain_vectors, llama_vectors])


@FRAMEWORKS
def test_queries_go_through_the_core_and_documents_do_not(vectors):
    core = shaken(principal())
    for query, documents in vectors(core):
        np.testing.assert_allclose(query, core.transform(encoded(QUERY))[0], atol=1e-6)
        np.testing.assert_array_equal(np.float32(documents), encoded(*DOCUMENTS))
    assert np.abs(query - encoded(QUERY)[0]).max() > 0.01


@FRAMEWORKS
def test_documents_go_through_the_map_of_a_core_on_both_sides(vectors):
    core = both_sides()
    for query, documents in vectors(core):
        np.testing.assert_allclose(query, core.transform(encoded(QUERY))[0], atol=1e-6)
        np.testing.assert_allclose(documents, core.transform_answers(encoded(*DOCUMENTS)), atol=1e-6)
    assert np.abs(documents - encoded(*DOCUMENTS)).max() > 0.01


@FRAMEWORKS
def test_what_training_did_before_the_core_is_done_to_queries_and_documents(vectors):
    core, prepare = shaken(principal()), Preparation(np.full(32, 0.1, np.float32))
    for query, documents in vectors(core, prepare=prepare):
        np.testing.assert_allclose(query, core.transform(prepare(encoded(QUERY)))[0], atol=1e-6)
        np.testing.assert_allclose(documents, prepare(encoded(*DOCUMENTS)), atol=1e-6)


@FRAMEWORKS
def test_a_base_of_another_size_is_refused_in_words(vectors):
    with pytest.raises(InputError, match=r"embeddings must be \[n, 16\] or \[16\]; got \[1, 32\]"):
        next(vectors(CubicCore(16)))


def test_a_store_of_langchain_finds_documents_by_adapted_queries():
    core = both_sides()
    embeddings = langchain_embeddings(core)
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(embeddings)
    store.add_texts(DOCUMENTS)
    scores = core.transform_answers(encoded(*DOCUMENTS)) @ core.transform(encoded(QUERY))[0]
    found = store.similarity_search_with_score(QUERY, k=3)
    assert [document.page_content for document, _ in found] == [DOCUMENTS[row] for row in np.argsort(-scores)]
    np.testing.assert_allclose([score for _, score in found], sorted(scores, reverse=True), atol=1e-5)


def test_an_index_of_llama_index_finds_nodes_by_adapted_queries():
    core = both_sides()
    model = llama_model(core)
    from llama_index.core import VectorStoreIndex
    from llama_index.core.schema import TextNode

    index = VectorStoreIndex([TextNode(text=text) for text in DOCUMENTS], embed_model=model)
    scores = core.transform_answers(encoded(*DOCUMENTS)) @ core.transform(encoded(QUERY))[0]
    found = index.as_retriever(similarity_top_k=3).retrieve(QUERY)
    assert [each.node.get_content() for each in found] == [DOCUMENTS[row] for row in np.argsort(-scores)]
    np.testing.assert_allclose([each.score for each in found], sorted(scores, reverse=True), atol=1e-5)


def test_a_cache_that_would_mix_queries_and_nodes_is_refused():
    with pytest.raises(InputError, match="give the cache to the base model"):
        llama_model(CubicCore(32), embeddings_cache=object())


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("langchain", "langchain_core", "langchain"), ("llama_index", "llama_index", "llama-index")],
)
def test_without_the_package_the_extra_is_named(monkeypatch, module, package, extra):
    for name in [*sys.modules]:
        if name == f"cubefast.integrations.{module}" or name.split(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'cubefast\[{extra}\]'"):
        importlib.import_module(f"cubefast.integrations.{module}")
