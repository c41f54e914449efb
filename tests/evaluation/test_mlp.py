"""The residual MLP: the loss a core has, its size, and the same bits for the same seed."""

import pytest
import torch

from cubefast import EmbeddingPairs, PairDataset
from cubefast.config import LossConfig
from cubefast.data.config import NoiseConfig
from cubefast.errors import InputError
from cubefast.evaluation import mlp
from cubefast.evaluation.baselines import ridge
from cubefast.evaluation.metrics import cosine
from cubefast.evaluation.mlp import hidden_within, residual_mlp
from cubefast.training.losses import Memory, total_loss


def bent_pairs(count, seed, dim=8):
    """What no linear map can do: add the size of each number to its neighbor."""
    inputs = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) / dim**0.5
    return EmbeddingPairs.of(inputs, inputs + 2 * inputs.roll(1, dims=1).abs())


def test_it_learns_what_no_linear_map_can():
    train, validation, test = bent_pairs(1000, 0), bent_pairs(200, 1), bent_pairs(200, 2)
    network = residual_mlp(train, validation, 2000)
    linear = ridge(train, validation)
    scores = [float(cosine(model.predict(test.inputs), test.targets).mean()) for model in (network, linear)]
    assert scores[0] > 0.97 > scores[1] + 0.05


def test_its_loss_is_a_core_s_with_the_weights_it_states():
    predicted, targets = torch.randn(12, 8), torch.randn(12, 8)
    ids = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5, 5, 6, 7, 8])
    weights = LossConfig(mse=0, contrast=0.1, crossfit=0)
    wanted, _ = total_loss(weights, predicted, predicted, targets, ids, Memory(0, 8))
    assert float(mlp._loss(predicted, targets, ids)) == pytest.approx(float(wanted), rel=1e-6)


def test_it_starts_as_the_identity():
    inputs = torch.randn(5, 8)
    assert torch.equal(mlp._ResidualMLP(8, 4)(inputs), inputs)


def test_it_has_at_most_the_parameters_it_is_given():
    train = bent_pairs(70, 0)
    for budget in (25, 100, 117):
        model = residual_mlp(train, train, budget)
        hidden = hidden_within(budget, 8)
        assert f"hidden {hidden}, lr " in model.name
        assert model.parameters == (2 * 8 + 1) * hidden + 8 <= budget < (2 * 8 + 1) * (hidden + 1) + 8
        assert model.tried == len(mlp.RATES)
    with pytest.raises(InputError, match="a residual MLP on 8 numbers needs 25 parameters at least; got 24"):
        residual_mlp(train, train, 24)


def test_the_seed_decides_and_nothing_else_is_touched():
    train, validation = bent_pairs(100, 0), bent_pairs(40, 1)
    torch.manual_seed(7)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first = residual_mlp(train, validation, 300, seed=3).predict(validation.inputs)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.manual_seed(8)
    assert torch.equal(residual_mlp(train, validation, 300, seed=3).predict(validation.inputs), first)
    assert not torch.equal(residual_mlp(train, validation, 300, seed=4).predict(validation.inputs), first)


def test_it_stops_without_progress_and_keeps_the_best_epoch(monkeypatch):
    train, validation = bent_pairs(130, 0), bent_pairs(40, 1)
    hopeless = EmbeddingPairs(validation.inputs, validation.inputs, validation.target_ids)  # only ever gets worse
    monkeypatch.setattr(mlp, "RATES", (3e-3,))
    seen = []
    validate = mlp._Fit.validate

    def watched(fit, pairs, epoch):
        validate(fit, pairs, epoch)
        with torch.no_grad():
            seen.append(float(cosine(fit.model(pairs.inputs), pairs.targets).mean()))

    monkeypatch.setattr(mlp._Fit, "validate", watched)
    model = residual_mlp(train, hopeless, 300)
    assert len(seen) == 1 + mlp._PATIENCE
    found = float(cosine(model.predict(hopeless.inputs), hopeless.targets).mean())
    assert found == pytest.approx(max(seen), abs=1e-6)


def test_the_noise_is_drawn_anew_in_every_epoch_and_the_pairs_are_left_as_they_were(monkeypatch):
    clean = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    train = PairDataset.from_pairs(EmbeddingPairs.of(clean, clean), NoiseConfig(levels=(0.4,)))
    first = []
    step = mlp._Fit.step

    def watched(fit, inputs, targets, ids):
        first.append(inputs[ids == 0])
        step(fit, inputs, targets, ids)

    monkeypatch.setattr(mlp._Fit, "step", watched)
    monkeypatch.setattr(mlp, "RATES", (1e-3,))
    residual_mlp(train, train.pairs(noisy=True, seed=1), 100)
    seen = torch.cat(first)
    assert len(seen) > 5
    assert len(seen.unique(dim=0)) == len(seen)
    assert train.epoch == 0
