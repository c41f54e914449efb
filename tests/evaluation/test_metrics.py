"""Each metric on a case done by hand, and beside another's implementation of it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cubefast.evaluation import metrics
from cubefast.evaluation.metrics import (
    centred_cosine,
    cosine,
    mean_reciprocal_rank,
    nearest,
    recall_at,
    retrieval_ranks,
    semantic_preservation,
    semantic_relevance,
    spearman,
    squared_error,
    unique_targets,
)


def rows(count, dim=8, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def rotation(dim, seed):
    return torch.linalg.qr(rows(dim, dim, seed).double()).Q


# Cosine and squared error


def test_cosine_by_hand():
    predicted = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0]])
    target = torch.tensor([[4.0, 3.0], [0.0, 2.0], [-5.0, 0.0]])
    assert cosine(predicted, target).tolist() == pytest.approx([24 / 25, 0, -1])


def test_cosine_is_scikit_learns():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    a, b = rows(20, seed=1), rows(20, seed=2)
    assert torch.allclose(cosine(a, b), torch.from_numpy(pairwise.cosine_similarity(a, b)).diagonal(), atol=1e-6)


def test_centred_cosine_by_hand():
    mean = torch.tensor([1.0, 1.0])
    predicted, target = torch.tensor([[2.0, 1.0], [1.0, 1.0]]), torch.tensor([[2.0, 2.0], [3.0, 1.0]])
    # (1, 0) and (1, 1); then the mean itself, which says nothing about any target
    assert centred_cosine(predicted, target, mean).tolist() == pytest.approx([0.5**0.5, 0])


def test_squared_error_is_scikit_learns():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    a, b = rows(20, seed=1), rows(20, seed=2)
    assert squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])).tolist() == [2.5]
    assert float(squared_error(a, b).mean()) == pytest.approx(sklearn_metrics.mean_squared_error(b, a), rel=1e-5)


# Semantic preservation


def test_spearman_gives_ties_their_mean_rank():
    # ranks 1, 2.5, 2.5, 4 and 2, 1, 3, 4, less 2.5: their product is 3, their squares 4.5 and 5
    found = spearman(torch.tensor([1.0, 5.0, 5.0, 9.0]), torch.tensor([0.2, 0.1, 0.3, 0.4]))
    assert found == pytest.approx(3 / (4.5 * 5) ** 0.5)


def test_spearman_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    for levels in (4, 1000):  # many ties, few
        a, b = random.integers(levels, size=200), random.integers(levels, size=200)
        b = b + a
        assert spearman(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_preservation_is_the_rank_correlation_of_the_similarities():
    stats = pytest.importorskip("scipy.stats")
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    target = rows(40)
    predicted = target + 0.7 * rows(40, seed=1)
    upper = np.triu_indices(40, k=1)
    ours, theirs = (pairwise.cosine_similarity(x)[upper] for x in (predicted, target))
    assert semantic_preservation(predicted, target) == pytest.approx(stats.spearmanr(ours, theirs).statistic, abs=1e-4)


def test_preservation_is_whole_for_a_rotation_and_none_for_the_mean_answer():
    target = rows(50)
    assert semantic_preservation((target.double() @ rotation(8, 3)).float(), target) == pytest.approx(1, abs=1e-4)
    assert semantic_preservation(target.mean(dim=0).expand_as(target), target) == 0
    assert semantic_preservation(target[:2], target[:2]) == 0  # one pair has no order


def test_preservation_of_many_rows_is_that_of_a_seeded_sample():
    target = rows(600)
    predicted = target + rows(600, seed=1)
    whole = semantic_preservation(predicted, target)
    sample = semantic_preservation(predicted, target, rows=200, seed=4)
    assert sample == semantic_preservation(predicted, target, rows=200, seed=4)
    assert sample != semantic_preservation(predicted, target, rows=200, seed=5)
    assert sample == pytest.approx(whole, abs=0.05)


# Retrieval


def test_ranks_on_a_case_done_by_hand():
    pool = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    queries = torch.tensor([[5.0, 0.1], [0.1, 0.2], [1.0, 0.9]])
    # cosines to the pool: 1.00 .02 .72 | .45 .89 .95 | .74 .67 1.00
    assert retrieval_ranks(queries, pool, torch.tensor([0, 1, 1])).tolist() == [1, 2, 3]


def test_a_tie_counts_against_the_model():
    pool = torch.ones(4, 3)
    assert retrieval_ranks(torch.ones(1, 3), pool, torch.tensor([0])).tolist() == [4]


def test_what_float32_cannot_tell_apart_is_a_tie():
    pool = rows(1, 384).repeat(7, 1) * torch.linspace(0.1, 7, 7)[:, None]  # one direction, rounded in seven ways
    ranks = retrieval_ranks(rows(50, 384, seed=1), pool, torch.arange(50) % 7)
    assert ranks.tolist() == [7] * 50


def test_a_prediction_that_is_no_number_comes_last():
    queries = torch.full((1, 8), float("nan"))
    assert retrieval_ranks(queries, rows(9), torch.tensor([3])).tolist() == [9]


def test_ranks_do_not_depend_on_the_blocks(monkeypatch):
    queries, pool = rows(150, seed=0), rows(40, seed=1)
    right = torch.randint(40, (150,), generator=torch.Generator().manual_seed(2))
    ranks, (best, places) = retrieval_ranks(queries, pool, right), nearest(queries, pool)
    monkeypatch.setattr(metrics, "_QUERIES", 7)
    monkeypatch.setattr(metrics, "_CANDIDATES", 11)
    assert torch.equal(retrieval_ranks(queries, pool, right), ranks)
    assert torch.equal(nearest(queries, pool)[1], places)
    assert torch.allclose(nearest(queries, pool)[0], best, atol=1e-6)


def test_a_large_pool_is_never_scored_whole(monkeypatch):
    sizes = []
    blocks = metrics._score_blocks

    def watched(queries, pool):
        for rows_, begin, scores in blocks(queries, pool):
            sizes.append(scores.numel())
            yield rows_, begin, scores

    monkeypatch.setattr(metrics, "_score_blocks", watched)
    retrieval_ranks(rows(1500, 2), rows(40_000, 2, seed=1), torch.zeros(1500, dtype=torch.int64))
    assert sum(sizes) == 1500 * 40_000
    assert max(sizes) <= 1 << 24


def test_ranks_recall_and_mrr_are_scikit_learns():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    queries, pool = rows(60, 16, seed=0).double(), rows(25, 16, seed=1).double()
    right = torch.arange(60) % 25
    pool[24] = pool[0]  # ties, for which scikit-learn takes the largest rank too
    scores = pairwise.cosine_similarity(queries, pool).round(9)
    wanted = np.eye(25)[right]
    ranks = retrieval_ranks(queries, pool, right)
    assert float(ranks.double().mean()) == pytest.approx(sklearn_metrics.coverage_error(wanted, scores))
    mrr = sklearn_metrics.label_ranking_average_precision_score(wanted, scores)
    assert mean_reciprocal_rank(ranks) == pytest.approx(mrr)
    untied = (right != 0) & (right != 24)
    for k in (1, 5, 10):
        recall = sklearn_metrics.top_k_accuracy_score(right[untied], scores[untied], k=k, labels=range(25))
        assert recall_at(ranks[untied], k) == pytest.approx(recall, abs=1e-9)


def test_recall_and_reciprocal_rank_on_a_case_done_by_hand():
    ranks = torch.tensor([1, 2, 4, 20])
    assert recall_at(ranks, 1) == 0.25
    assert recall_at(ranks, 10) == 0.75
    assert mean_reciprocal_rank(ranks) == pytest.approx((1 + 0.5 + 0.25 + 0.05) / 4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100))
def test_nothing_but_the_angles_counts(seed, scale):
    """Cosines and ranks stay when everything is rotated, and when predictions are made longer or shorter."""
    predicted, pool = rows(12, 6, seed).double(), rows(15, 6, seed + 1).double()
    right = torch.arange(12)
    turn = rotation(6, seed + 2)
    turned, turned_pool = scale * predicted @ turn, pool @ turn
    assert torch.allclose(cosine(turned, turned_pool[right]), cosine(predicted, pool[right]), atol=1e-9)
    assert torch.equal(retrieval_ranks(turned, turned_pool, right), retrieval_ranks(predicted, pool, right))
    assert torch.equal(nearest(turned, turned_pool)[1], nearest(predicted, pool)[1])


def test_the_pool_has_each_answer_once():
    targets = torch.tensor([[1.0], [1.0], [2.0], [3.0]])
    pool, right = unique_targets(targets, torch.tensor([7, 7, 5, 9]))
    assert pool.squeeze(1)[right].tolist() == [1, 1, 2, 3]
    assert len(pool) == 3


# Relevance


def test_relevance_is_that_of_the_answer_that_would_be_given():
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    predicted = torch.tensor([[2.0, 0.1], [0.1, 3.0], [0.5, 0.9]])  # nearest: 0, 1, 2
    target = bank[[0, 2, 0]]
    assert nearest(predicted, bank)[1].tolist() == [0, 1, 2]
    assert semantic_relevance(predicted, target, bank).tolist() == pytest.approx([1, 0.8, 0.6])
