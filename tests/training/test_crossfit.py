"""Cross-fitted targets: exact kernel ridge regression where all inputs are landmarks, and blind to the own pair."""

import pytest
import torch

from cubefast.data.pairs import EmbeddingPairs, PairDataset
from cubefast.errors import InputError
from cubefast.training import crossfit
from cubefast.training.crossfit import FOLDS, cross_fit
from cubefast.utils.threads import torch_threads


def pairs(count=60, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)
    targets = torch.nn.functional.normalize(inputs.roll(1, dims=1) + inputs.square(), dim=1)
    return inputs, targets


def dataset(inputs, targets):
    return PairDataset.from_pairs(EmbeddingPairs(inputs, targets, torch.arange(len(inputs))))


def test_it_is_kernel_ridge_regression_on_the_other_folds():
    inputs, targets = pairs()
    found = cross_fit(dataset(inputs, targets))
    folds = torch.randperm(60, generator=torch.Generator().manual_seed(0)) % FOLDS
    x, y = inputs.double(), targets.double()
    kernel = 0.04 * x @ x.T + torch.exp(-found.width * torch.cdist(x, x).square())
    expected = torch.empty_like(y)
    for fold in range(FOLDS):
        out, rest = folds == fold, folds != fold
        inner = kernel[rest][:, rest] + found.ridge * torch.eye(int(rest.sum()))
        expected[out] = x[out] + kernel[out][:, rest] @ torch.linalg.solve(inner, (y - x)[rest])
    torch.testing.assert_close(found.targets.double(), expected, atol=2e-3, rtol=0)  # float16, and the jitter
    assert found.cosine == pytest.approx(float(torch.cosine_similarity(expected, y).mean()), abs=1e-3)
    assert found.cosine > float(torch.cosine_similarity(x, y).mean()) + 0.05


def test_a_pair_s_own_target_has_no_say_in_what_is_expected_of_it():
    inputs, targets = pairs()
    before = cross_fit(dataset(inputs, targets))
    other = targets.clone()
    other[7] = -targets[7]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossfit, "WIDTHS", (before.width,))
        patch.setattr(crossfit, "RIDGES", (before.ridge,))
        after = cross_fit(dataset(inputs, other))
    changed = (before.targets.float() - after.targets.float()).norm(dim=1)
    assert changed[7] < 1e-3
    assert changed.max() > 1e-2


def test_it_takes_the_settings_that_predict_best():
    inputs, targets = pairs(200)
    best = cross_fit(dataset(inputs, targets))
    for width in crossfit.WIDTHS:
        for ridge in crossfit.RIDGES:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(crossfit, "WIDTHS", (width,))
                patch.setattr(crossfit, "RIDGES", (ridge,))
                assert cross_fit(dataset(inputs, targets)).cosine <= best.cosine + 1e-5


def test_fewer_landmarks_than_pairs_come_near():
    inputs, targets = pairs(600)
    exact = cross_fit(dataset(inputs, targets))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossfit, "LANDMARKS", 150)
        near = cross_fit(dataset(inputs, targets))
    assert near.cosine == pytest.approx(exact.cosine, abs=0.01)


def test_repeated_inputs_and_chunks_do_no_harm(monkeypatch):
    inputs, targets = pairs()
    inputs, targets = inputs.repeat(2, 1), targets.repeat(2, 1)
    whole = cross_fit(dataset(inputs, targets))
    monkeypatch.setattr(crossfit, "_CHUNK", 7)
    assert torch.isfinite(whole.targets).all()
    torch.testing.assert_close(cross_fit(dataset(inputs, targets)).targets, whole.targets, atol=2e-3, rtol=0)


def test_the_same_seed_gives_the_same_bits_and_draws_no_other_number():
    data = dataset(*pairs())
    before = torch.get_rng_state()
    first, second = cross_fit(data, seed=3), cross_fit(data, seed=3)
    assert torch.equal(first.targets, second.targets)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(cross_fit(data, seed=4).targets, first.targets)


def test_the_number_of_threads_changes_no_bit():
    """Linear algebra on several threads has other last bits than on one, and now and then than itself."""
    data = dataset(*pairs(1000, 32))
    found = []
    for count in (1, 2):
        with torch_threads(count):
            found.append(cross_fit(data))
            assert torch.get_num_threads() == count
    assert torch.equal(found[0].targets, found[1].targets)


def test_too_few_pairs_are_refused():
    inputs, targets = pairs(4)
    with pytest.raises(InputError, match="need 5 pairs at least; got 4"):
        cross_fit(dataset(inputs, targets))
