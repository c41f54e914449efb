"""Baselines in closed form, beside the same solved in another way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cubefast import EmbeddingPairs, PairDataset
from cubefast.config.data import NoiseConfig
from cubefast.data.embeddings import vectors
from cubefast.errors import InputError
from cubefast.evaluation.baselines import (
    RIDGE_PENALTIES,
    Moments,
    identity,
    mean_target,
    nearest_question,
    procrustes,
    residual_ridge,
    ridge,
    wiener,
)
from cubefast.evaluation.metrics import cosine
from cubefast.evaluation.score_table import noisy

DIM = 6


def linear_pairs(count, seed, noise=0.0):
    random = torch.Generator().manual_seed(seed)
    weights = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(99))
    inputs = torch.randn(count, DIM, generator=random) + 0.3
    return EmbeddingPairs.of(inputs, inputs @ weights + 0.5 + noise * torch.randn(count, DIM, generator=random))


def centred(pairs):
    x, y = pairs.inputs.double(), pairs.targets.double()
    return x - x.mean(0), y - y.mean(0)


def penalised_rows(x, y, penalty):
    """Rows of which plain least squares is ridge regression: X over sqrt(lambda) I, Y over zeros."""
    zeros = torch.zeros(DIM, DIM, dtype=torch.float64)
    return torch.cat([x, penalty**0.5 * torch.eye(DIM, dtype=torch.float64)]), torch.cat([y, zeros])


def penalty_of(model):
    return float(model.name.split()[-1])


def test_identity_and_mean():
    train = linear_pairs(30, 0)
    assert identity().predict(train.inputs) is train.inputs
    assert torch.allclose(mean_target(train).predict(train.inputs)[7], train.targets.mean(0), atol=1e-6)


def test_moments_are_gathered_in_parts(monkeypatch):
    train = linear_pairs(50, 0)
    monkeypatch.setattr(vectors, "CHUNK", 7)
    found = Moments.of(PairDataset.from_pairs(train))
    x, y = centred(train)
    assert torch.allclose(found.x_mean, train.inputs.double().mean(0))
    for product, wanted in ((found.xx, x.T @ x), (found.xy, x.T @ y), (found.yy, y.T @ y)):
        assert torch.allclose(product, wanted, atol=1e-9)
    rest = EmbeddingPairs.of(train.inputs, train.targets - train.inputs)
    of_rest = found.residual()
    for name in ("x_mean", "y_mean", "xx", "xy", "yy"):
        assert torch.allclose(getattr(of_rest, name), getattr(Moments.of(rest), name), atol=1e-5)


# Ridge


def test_ridge_finds_a_linear_map_and_takes_the_smallest_penalty_for_it():
    train, validation, test = (linear_pairs(200, seed) for seed in range(3))
    model = ridge(train, validation)
    assert (model.name, model.tried) == ("ridge, lambda 0.01", len(RIDGE_PENALTIES))
    assert model.parameters == DIM * DIM + DIM
    assert cosine(model.predict(test.inputs), test.targets).min() > 0.9999


def test_ridge_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    train, validation = linear_pairs(30, 0, noise=2), linear_pairs(20, 1)
    model = ridge(train, validation)
    wanted = linear_model.Ridge(penalty_of(model)).fit(train.inputs.double(), train.targets.double())
    assert np.allclose(model.predict(validation.inputs), wanted.predict(validation.inputs.double()), atol=1e-5)


def test_ridge_takes_the_penalty_that_is_best_on_validation():
    linear_model = pytest.importorskip("sklearn.linear_model")
    train, validation = linear_pairs(8, 0, noise=3), linear_pairs(200, 1)

    def score(penalty):
        fitted = linear_model.Ridge(penalty).fit(train.inputs.double(), train.targets.double())
        predicted = torch.from_numpy(fitted.predict(validation.inputs.double()))
        return float(cosine(predicted, validation.targets.double()).mean())

    best = max(RIDGE_PENALTIES, key=score)
    assert best not in (RIDGE_PENALTIES[0], RIDGE_PENALTIES[-1])
    assert penalty_of(ridge(train, validation)) == best


# Procrustes


def test_procrustes_is_scipys():
    linalg = pytest.importorskip("scipy.linalg")
    train = linear_pairs(40, 0, noise=0.5)
    x, y = centred(train)
    turn, scale = linalg.orthogonal_procrustes(x.numpy(), y.numpy())
    wanted = x.numpy() @ turn * (scale / float(x.square().sum())) + train.targets.double().mean(0).numpy()
    assert np.allclose(procrustes(train).predict(train.inputs), wanted, atol=1e-5)


def test_procrustes_finds_a_turn_a_scale_and_a_shift():
    turn = torch.linalg.qr(torch.randn(DIM, DIM)).Q
    inputs = torch.randn(100, DIM)
    train = EmbeddingPairs.of(inputs[:60], 0.4 * inputs[:60] @ turn + 2)
    assert torch.allclose(procrustes(train).predict(inputs[60:]), 0.4 * inputs[60:] @ turn + 2, atol=1e-5)


# Residual ridge


def test_residual_ridge_is_the_truncated_fit_of_the_penalised_rows():
    train, validation = linear_pairs(60, 0, noise=1), linear_pairs(30, 1)
    model = residual_ridge(train, validation, [2])
    x, y = centred(train)
    x_rows, y_rows = penalised_rows(x, y - x, penalty_of(model))
    whole = torch.linalg.lstsq(x_rows, y_rows).solution
    axes = torch.linalg.svd(x_rows @ whole, full_matrices=False).Vh[:2]
    inputs = validation.inputs.double()
    change = (inputs - train.inputs.double().mean(0)) @ whole @ axes.T @ axes
    wanted = inputs + change + (train.targets.double() - train.inputs.double()).mean(0)
    assert torch.allclose(model.predict(validation.inputs).double(), wanted, atol=1e-5)
    assert model.parameters == 2 * DIM * 2 + DIM
    assert (model.kind, model.settings.split(",")[0]) == ("residual ridge", "rank 2")


def test_no_map_of_the_same_rank_has_less_penalised_error():
    train = linear_pairs(60, 0, noise=1)
    model = residual_ridge(train, train, [2])
    x, y = centred(train)
    x_rows, y_rows = penalised_rows(x, y - x, penalty_of(model))
    basis = torch.cat([torch.zeros(1, DIM), torch.eye(DIM)]) + train.inputs.mean(0)
    change = (model.predict(basis) - basis).double()
    weights = change[1:] - change[0]
    left, values, right = torch.linalg.svd(weights)
    assert values[2] < 1e-5 < values[1]
    error = (y_rows - x_rows @ weights).square().sum()
    for seed in range(50):
        nudge = 0.02 * torch.randn(2, DIM, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        other = (left[:, :2] * values[:2] + nudge[0]) @ (right[:2].T + nudge[1]).T
        assert (y_rows - x_rows @ other).square().sum() > error


def test_the_whole_rank_is_ridge_on_what_is_added_and_the_best_rank_is_chosen_on_validation():
    train, validation = linear_pairs(40, 0, noise=1), linear_pairs(40, 1)
    whole = residual_ridge(train, validation, [DIM])
    x, y = centred(train)
    x_rows, y_rows = penalised_rows(x, y - x, penalty_of(whole))
    weights = torch.linalg.lstsq(x_rows, y_rows).solution
    inputs = validation.inputs.double()
    mean = train.inputs.double().mean(0)
    added = (inputs - mean) @ weights + train.targets.double().mean(0) - mean
    assert torch.allclose(whole.predict(validation.inputs).double(), inputs + added, atol=1e-5)
    assert whole.parameters == DIM * DIM + DIM
    ranks = [1, 2, 4]
    scores = {r: residual_ridge(train, validation, [r]).predict(validation.inputs) for r in ranks}
    best = max(ranks, key=lambda r: float(cosine(scores[r], validation.targets).mean()))
    chosen = residual_ridge(train, validation, ranks)
    assert f"rank {best}," in chosen.name
    assert chosen.tried == 3 * len(RIDGE_PENALTIES)


def test_the_penalty_of_residual_ridge_pulls_towards_the_identity(monkeypatch):
    monkeypatch.setattr("cubefast.evaluation.baselines.RIDGE_PENALTIES", (1e9,))
    train = linear_pairs(40, 0)
    shift = train.targets.mean(0) - train.inputs.mean(0)
    residual = residual_ridge(train, train, [2]).predict(train.inputs)
    assert torch.allclose(residual, train.inputs + shift, atol=1e-4)


def test_ranks_that_are_none_are_refused():
    train = linear_pairs(20, 0)
    for ranks in ([], [0], [DIM + 1]):
        with pytest.raises(InputError, match="ranks must be from 1 to 6"):
            residual_ridge(train, train, ranks)


# Nearest training question


def test_the_nearest_question_by_hand():
    train = EmbeddingPairs.of(torch.eye(3), torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]))
    model = nearest_question(train)
    assert model.predict(torch.tensor([[0.1, 0.9, 0.3], [5.0, 1, 1]])).tolist() == [[4, 5, 6], [1, 2, 3]]
    assert model.parameters == 2 * 3 * 3


def test_the_nearest_question_does_not_depend_on_the_parts(monkeypatch):
    train, test = linear_pairs(50, 0), linear_pairs(20, 1)
    whole = nearest_question(train).predict(test.inputs)
    monkeypatch.setattr(vectors, "CHUNK", 7)
    assert torch.equal(nearest_question(PairDataset.from_pairs(train)).predict(test.inputs), whole)


def test_the_nearest_embedding_is_looked_for_among_clean_ones():
    clean = EmbeddingPairs.of(torch.eye(8), torch.eye(8))
    train = PairDataset.from_pairs(clean, NoiseConfig(levels=(50.0,)))
    assert torch.equal(nearest_question(train).predict(torch.eye(8)), torch.eye(8))


# PCA-Wiener


def test_wiener_is_the_textbook_filter():
    train = linear_pairs(50, 0)
    rows = train.targets.double()
    covariance = torch.from_numpy(np.cov(rows.numpy().T, bias=True))
    gain = torch.linalg.solve(covariance + 0.3**2 * torch.eye(DIM, dtype=torch.float64), covariance)
    wanted = (train.inputs.double() - rows.mean(0)) @ gain + rows.mean(0)
    assert torch.allclose(wiener(train, 0.3).predict(train.inputs).double(), wanted, atol=1e-5)


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


def test_moments_may_be_given_in_place_of_pairs():
    train, validation = linear_pairs(40, 0, noise=1), linear_pairs(20, 1)
    moments = Moments.of(train)
    for fit in (mean_target, procrustes, lambda pairs: ridge(pairs, validation), lambda pairs: wiener(pairs, 0.2)):
        assert torch.equal(fit(moments).predict(validation.inputs), fit(train).predict(validation.inputs))
    assert Moments.of(moments) is moments
    doubled = replace(moments, count=2 * moments.count)
    assert not torch.equal(
        wiener(doubled, 0.2).predict(validation.inputs), wiener(moments, 0.2).predict(train.inputs[:20])
    )
