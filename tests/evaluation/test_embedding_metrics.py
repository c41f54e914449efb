"""All metrics at once: what a stranger with two arrays gets, and what is refused."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from cubefast.errors import InputError
from cubefast.evaluation.embedding_metrics import METRICS, EmbeddingMetrics


def pairs(count=50, dim=8, noise=0.8):
    random = np.random.default_rng(0)
    target = random.normal(size=(count, dim)).astype(np.float32)
    return target + noise * random.normal(size=(count, dim)).astype(np.float32), target


def test_two_arrays_are_enough():
    predicted, target = pairs()
    found = EmbeddingMetrics.of(predicted, target)
    same = EmbeddingMetrics.of(torch.from_numpy(predicted), torch.from_numpy(target).double())
    assert found.as_dict() == same.as_dict()
    cosines = (predicted * target).sum(1) / np.linalg.norm(predicted, axis=1) / np.linalg.norm(target, axis=1)
    assert np.allclose(found.cosines, cosines, atol=1e-6)
    assert (found.queries, found.pool, found.centred_cosine) == (50, 50, None)
    assert found.mse == pytest.approx(((predicted - target) ** 2).mean(), rel=1e-5)
    assert found.median_rank == np.median(found.ranks)


def test_a_perfect_prediction_and_the_opposite():
    _, target = pairs()
    right, wrong = EmbeddingMetrics.of(target, target), EmbeddingMetrics.of(-target, target)
    for name in ("cosine", "recall_at_1", "mrr", "semantic_relevance", "semantic_preservation"):
        assert right.as_dict()[name] == pytest.approx(1)
    assert (right.mse, right.median_rank) == (0, 1)
    assert wrong.cosine == pytest.approx(-1)
    assert wrong.ranks.tolist() == [50] * 50
    assert wrong.semantic_preservation == pytest.approx(1)  # the structure is there, in the wrong place


def test_every_mean_is_the_mean_of_its_values():
    predicted, target = pairs()
    found = EmbeddingMetrics.of(predicted, target, centre=target.mean(axis=0))
    for name in METRICS:
        assert found.values(name).shape == (50,)
        assert float(found.values(name).mean()) == pytest.approx(found.as_dict()[name])


def test_the_dictionary_is_json_and_has_the_spread():
    predicted, target = pairs()
    conversations = ["a"] * 25 + ["b"] * 25
    found = EmbeddingMetrics.of(predicted, target, groups=conversations, conversations=conversations)
    saved = json.loads(json.dumps(found.as_dict()))
    assert saved == found.as_dict()
    assert saved["groups"] == 2
    assert saved["dialogue_coherence"]["count"] == 48
    assert saved["context_preservation"] is None
    low, middle, high = np.quantile(found.cosines.double(), [0.05, 0.5, 0.95])
    assert [saved["cosine_p5"], saved["cosine_median"], saved["cosine_p95"]] == pytest.approx([low, middle, high])


def test_ndcg_is_what_its_definition_gives():
    _, target = pairs()
    found = dataclasses.replace(EmbeddingMetrics.of(target, target), ranks=torch.tensor([1, 2, 3, 10, 11, 50]))
    expected = [1, *(1 / math.log2(1 + rank) for rank in (2, 3, 10)), 0, 0]
    assert found.values("ndcg_at_10").tolist() == pytest.approx(expected)
    assert found.ndcg_at_10 == pytest.approx(sum(expected) / 6)


def test_equal_targets_are_one_answer_and_ids_may_be_names():
    target = torch.eye(3)[[0, 0, 1, 2]]
    assert EmbeddingMetrics.of(target, target).pool == 3
    named = EmbeddingMetrics.of(target, target, ["yes", "yes", "no", "why"])
    assert (named.pool, named.recall_at_1) == (3, 1)
    apart = EmbeddingMetrics.of(target, target, [1, 2, 3, 4])
    assert (apart.pool, apart.ranks.tolist()) == (4, [2, 2, 1, 1])  # two answers that look the same: a tie


def test_the_pool_may_be_larger_than_the_targets():
    pool = torch.eye(5)
    predicted = torch.tensor([[1.0, 0.5, 0, 0, 0], [0, 0, 0, 1.0, 2.0]])
    found = EmbeddingMetrics.of(predicted, pool[[0, 3]], [0, 3], pool=pool)
    assert (found.pool, found.ranks.tolist(), found.relevances.tolist()) == (5, [1, 2], [1, 0])


def test_a_memory_mapped_pool_is_read_without_a_warning(tmp_path):
    np.save(tmp_path / "pool.npy", np.eye(5, dtype=np.float32))
    pool = np.load(tmp_path / "pool.npy", mmap_mode="r")
    assert EmbeddingMetrics.of(pool[:2], pool[:2], [0, 1], pool=pool).recall_at_1 == 1


def test_it_can_be_read():
    predicted, target = pairs()
    context = np.where(np.arange(50)[:, None] % 2, target, 0)
    text = str(
        EmbeddingMetrics.of(predicted, target, centre=target.mean(0), conversations=np.arange(50) // 5, context=context)
    )
    assert [line[:22].strip() for line in text.splitlines()] == [
        "queries",
        "cosine",
        "centred cosine",
        "MSE",
        "semantic preservation",
        "retrieval",
        "semantic relevance",
        "context preservation",
        "dialogue coherence",
    ]
    assert "of 50 answers" in text
    assert "(true answers 1.000; 25 of them)" in text
    plain = EmbeddingMetrics.of(predicted, target)
    assert "centred" not in str(plain)
    assert repr(plain).startswith("<EmbeddingMetrics of 50 queries: cosine 0.")


ONES = np.ones((3, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predicted": ONES[0]}, r"predicted must be \[n, D\] and not empty; got \[4\]"),
        ({"predicted": ONES[:0]}, r"predicted must be \[n, D\] and not empty; got \[0, 4\]"),
        ({"predicted": ONES[:2]}, r"predicted \[2, 4\] and target \[3, 4\] must have one shape"),
        ({"predicted": ONES * np.nan}, "predicted has NaN or Inf"),
        ({"target": np.diag([1, 0, 1])}, "row 1 of target is all zeros .1 such rows.: it has no direction"),
        ({"target": [["a"]]}, "target must be real numbers; got an array of <U1"),
        ({"target_ids": [1, 2]}, r"target_ids must be 3 labels, one for each row; got \[2\]"),
        ({"pool": ONES}, "with a pool, target_ids must say which row of it"),
        ({"pool": ONES, "target_ids": [0, 1, 3]}, "target_ids must be 3 whole numbers from 0 to 2, rows of the pool"),
        ({"pool": ONES, "target_ids": ["a", "b", "c"]}, "target_ids must be 3 whole numbers"),
        ({"pool": ONES[:, :3], "target_ids": [0, 1, 2]}, r"pool is \[3, 3\] and target \[3, 4\]"),
        ({"pool": ONES * [[1], [1], [0]], "target_ids": [0, 1, 2]}, "row 2 of pool is all zeros"),
        ({"centre": ONES}, r"centre must be \[4\]; got \[3, 4\]"),
        ({"context": ONES[:2]}, r"context must be \[3, 4\]; got \[2, 4\]"),
        ({"groups": ["a"]}, r"groups must be 3 labels, one for each row; got \[1\]"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        EmbeddingMetrics.of(**{"predicted": ONES, "target": ONES, **arguments})


def test_a_metric_that_is_not_there_is_refused():
    found = EmbeddingMetrics.of(ONES, ONES)
    with pytest.raises(InputError, match="metric must be one of cosine, .*; got 'accuracy'"):
        found.values("accuracy")
    with pytest.raises(InputError, match="there is no centred_cosine: no centre was given"):
        found.mean("centred_cosine")
