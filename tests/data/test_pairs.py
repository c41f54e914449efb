import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cubefast import EmbeddingPairs
from cubefast.config.data import NoiseConfig
from cubefast.data.embeddings.vectors import ArrayVectors, Preparation, StackedVectors
from cubefast.data.noise import add_noise
from cubefast.data.pairs import PairDataset
from cubefast.errors import InputError

VECTORS = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)


def dataset(noise=None, seed=0) -> PairDataset:
    rows = np.arange(40)
    return PairDataset(ArrayVectors(VECTORS), rows, rows + 10, rows % 7, noise=noise, seed=seed)


@pytest.mark.parametrize(
    ("inputs", "targets", "ids", "message"),
    [
        (torch.zeros(2, 3), torch.ones(2, 3), None, r"row 0 of inputs is all zeros \(2 such rows\); remove them"),
        (torch.ones(2, 3), torch.full((2, 3), float("nan")), None, "row 0 of targets is NaN or Inf"),
        (torch.ones(2, 3), torch.ones(2, 4), None, r"inputs \[2, 3\] and targets \[2, 4\] must have one shape"),
        (torch.ones(0, 3), torch.ones(0, 3), None, r"inputs must be \[n, D\] with n and D of at least 1; got \[0, 3\]"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.zeros(3), r"target_ids must be \[2\]; got \[3\]"),
    ],
)
def test_pairs_that_cannot_be_trained_on_are_refused(inputs, targets, ids, message):
    with pytest.raises(InputError, match=message):
        EmbeddingPairs.of(inputs, targets, ids)


def test_equal_targets_are_one_answer():
    pairs = EmbeddingPairs.of(torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]]))
    assert pairs.target_ids[0] == pairs.target_ids[2] != pairs.target_ids[1]


def test_pairs_in_memory_come_back_as_they_are():
    pairs = EmbeddingPairs.of(torch.randn(5, 3), torch.randn(5, 3))
    again = PairDataset.from_pairs(pairs).pairs()
    assert all(torch.equal(a, b) for a, b in zip(vars(pairs).values(), vars(again).values(), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_the_same_batches_with_any_number_of_workers(workers):
    noise = NoiseConfig(kinds=("gaussian", "dropout"), levels=(0.1, 0.3))

    def batches(epoch):
        data = dataset(noise)
        data.set_epoch(epoch)
        return list(data.loader(16, seed=3, workers=workers))

    reference = dataset(noise)
    reference.set_epoch(1)
    wanted = list(reference.loader(16, seed=3))
    got = batches(1)
    assert [len(batch[0]) for batch in got] == [16, 16, 8]
    for ours, theirs in zip(got, wanted, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(batches(2)[0][0], got[0][0])


def test_items_batches_and_negative_numbers_agree():
    data = dataset()
    inputs, targets, ids = data.batch([3, 39])
    assert torch.equal(inputs[1], data[-1][0])
    assert torch.equal(targets[0], data[3][1])
    assert ids.tolist() == [3, 39 % 7]
    with pytest.raises(IndexError, match="item 40 of 40"):
        data[40]


def test_a_subset_is_over_the_same_embeddings():
    part = dataset().subset([5, 9])
    assert torch.equal(part.batch([1])[0], dataset().batch([9])[0])
    assert len(part) == 2


def test_noise_has_the_level_it_says_and_leaves_targets_alone():
    clean = np.zeros((400, 200), np.float32)
    for kind in ("gaussian", "uniform"):
        noisy = add_noise(clean, np.arange(400), NoiseConfig(kinds=(kind,), levels=(0.3,)), 0, 0)
        assert noisy.std() == pytest.approx(0.3, rel=0.01)
        assert abs(noisy.mean()) < 0.005
    ones = np.ones((400, 200), np.float32)
    dropped = add_noise(ones, np.arange(400), NoiseConfig(kinds=("dropout",), levels=(0.25,)), 0, 0)
    assert (dropped == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert dropped.max() == pytest.approx(4 / 3)
    data = dataset(NoiseConfig(levels=(0.5,)))
    assert torch.equal(data[0][1], dataset()[0][1])


@given(st.permutations(list(range(12))), st.integers(0, 5), st.integers(0, 3))
def test_an_items_noise_does_not_depend_on_its_company(order, seed, epoch):
    noise = NoiseConfig(kinds=("gaussian", "uniform", "dropout"), levels=(0.0, 0.2))
    alone = [add_noise(VECTORS[i : i + 1], np.array([i]), noise, seed, epoch)[0] for i in range(12)]
    together = add_noise(VECTORS[order], np.array(order), noise, seed, epoch)
    assert all(np.array_equal(together[at], alone[i]) for at, i in enumerate(order))


def test_stacked_vectors_count_on():
    both = StackedVectors((ArrayVectors(VECTORS[:20]), ArrayVectors(VECTORS[20:].astype(np.float64))))
    rows = np.array([0, 19, 20, 49, 3])
    assert np.array_equal(both.gather(rows), VECTORS[rows])
    assert (len(both), both.dim) == (50, 8)


def test_preparation_centres_and_then_scales():
    mean = VECTORS.mean(axis=0)
    ready = Preparation(mean)(VECTORS)
    assert np.allclose(np.linalg.norm(ready, axis=1), 1, atol=1e-6)
    assert np.allclose(ready[0], (VECTORS[0] - mean) / np.linalg.norm(VECTORS[0] - mean), atol=1e-6)
    assert np.array_equal(Preparation(mean)(mean[None]), np.zeros((1, 8)))
    assert np.array_equal(Preparation(normalize=False)(VECTORS), VECTORS)
