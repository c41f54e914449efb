import pytest
import torch

from cubefast import EmbeddingPairs
from cubefast.evaluation.baselines import Baseline, identity, mean_target, ridge, wiener
from cubefast.evaluation.metrics import cosine, mean_reciprocal_rank, recall_at, retrieval_ranks
from cubefast.evaluation.report import noisy, score, table


def test_ranks_on_a_case_done_by_hand():
    pool = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    queries = torch.tensor([[5.0, 0.1], [0.1, 0.2], [1.0, 0.9]])
    # cosines to the pool: 1.00 .02 .72 | .45 .89 .95 | .74 .67 1.00
    assert retrieval_ranks(queries, pool, torch.tensor([0, 1, 1])).tolist() == [1, 2, 3]


def test_a_tie_counts_against_the_model():
    pool = torch.ones(4, 3)
    assert retrieval_ranks(torch.ones(1, 3), pool, torch.tensor([0])).tolist() == [4]


def test_ranks_do_not_depend_on_how_the_queries_are_cut():
    random = torch.Generator().manual_seed(0)
    queries, pool = torch.randn(1500, 8, generator=random), torch.randn(40, 8, generator=random)
    right = torch.randint(40, (1500,), generator=random)
    ranks = retrieval_ranks(queries, pool, right)
    one_by_one = torch.cat([retrieval_ranks(queries[i : i + 1], pool, right[i : i + 1]) for i in range(1490, 1500)])
    assert torch.equal(ranks[1490:], one_by_one)


def test_recall_and_reciprocal_rank_on_a_case_done_by_hand():
    ranks = torch.tensor([1, 2, 4, 20])
    assert recall_at(ranks, 1) == 0.25
    assert recall_at(ranks, 10) == 0.75
    assert mean_reciprocal_rank(ranks) == pytest.approx((1 + 0.5 + 0.25 + 0.05) / 4)


def linear_pairs(count, seed):
    random = torch.Generator().manual_seed(seed)
    weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(99))
    inputs = torch.randn(count, 6, generator=random)
    return EmbeddingPairs.of(inputs, inputs @ weights + 0.5)


def test_ridge_finds_a_linear_map_and_takes_the_smallest_penalty_for_it():
    train, validation, test = (linear_pairs(200, seed) for seed in range(3))
    model = ridge(train, validation)
    assert model.name == "ridge, lambda 0.01"
    assert model.parameters == 6 * 6 + 6
    assert cosine(model.predict(test.inputs), test.targets).min() > 0.9999


def test_ridge_is_the_textbook_solution():
    train, validation = linear_pairs(50, 0), linear_pairs(20, 1)
    model = ridge(train, validation)
    penalty = float(model.name.split()[-1])
    x = train.inputs.double() - train.inputs.double().mean(0)
    y = train.targets.double() - train.targets.double().mean(0)
    rows = torch.cat([x, penalty**0.5 * torch.eye(6, dtype=torch.float64)])
    weights = torch.linalg.lstsq(rows, torch.cat([y, torch.zeros(6, 6, dtype=torch.float64)])).solution
    wanted = (validation.inputs.double() - train.inputs.double().mean(0)) @ weights + train.targets.double().mean(0)
    assert torch.allclose(model.predict(validation.inputs).double(), wanted, atol=1e-5)


def test_identity_and_mean():
    train = linear_pairs(30, 0)
    assert identity().predict(train.inputs) is train.inputs
    assert torch.allclose(mean_target(train).predict(train.inputs)[7], train.targets.mean(0), atol=1e-6)


def test_wiener_beats_the_noisy_identity_and_no_shrinking_rivals_it():
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(2000, 12, generator=random) * torch.linspace(0.05, 1, 12)
    train = EmbeddingPairs.of(rows[:1500], rows[:1500])
    clean = rows[1500:]
    dirty = noisy(clean, 0.4, seed=1)
    error = (wiener(train, 0.4).predict(dirty) - clean).square().mean()
    assert error < 0.75 * (dirty - clean).square().mean()
    for wrong in (0.1, 1.6):
        assert error < (wiener(train, wrong).predict(dirty) - clean).square().mean()


def test_score_counts_each_answer_once_in_the_pool():
    targets = torch.eye(3)[[0, 0, 1, 2]]
    pairs = EmbeddingPairs.of(targets, targets, torch.tensor([5, 5, 7, 9]))
    perfect = score("test", identity(), pairs)
    assert (perfect.queries, perfect.pool) == (4, 3)
    assert (perfect.cosine, perfect.recall_at_1, perfect.mrr) == (1, 1, 1)
    wrong = score("test", Baseline("wrong", 0, lambda x: x.roll(1, dims=1)), pairs)
    assert wrong.recall_at_1 == 0
    assert wrong.recall_at_10 == 1


def test_the_table_names_the_test_and_stars_the_best():
    pairs = EmbeddingPairs.of(torch.eye(3), torch.eye(3))
    text = table([score("unseen", identity(), pairs), score("unseen", mean_target(pairs), pairs)])
    lines = text.strip().splitlines()
    assert lines[0] == "unseen (3 queries, 3 answers to find)"
    assert lines[2].split() == ["identity", "0", "1.000*", "1.000*", "1.000*", "1.000*"]
    assert lines[3].split()[:3] == ["mean", "answer", "3"]
    assert lines[3].split()[3] == "0.577"
