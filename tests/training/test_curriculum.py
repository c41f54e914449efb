"""What is trained on, and in what order: curricula, mixed pairs, noise on the inputs, another run's weights."""

import numpy as np
import pytest
import torch

from cubefast import CubeTrainer, CubicCore, EmbeddingPairs, TrainingConfig
from cubefast.config.data import NoiseConfig
from cubefast.config.training import CurriculumConfig
from cubefast.data.embeddings.vectors import ArrayVectors, Preparation
from cubefast.data.pairs import PairDataset
from cubefast.errors import ArtifactError, InputError
from cubefast.training.curriculum import difficulty, easiest, share_of_pairs
from cubefast.training.init_from import initialize_from

SMALL = {"state_size": 4, "hidden_size": 8, "steps": 3, "code_size": 2}


def pairs(count=80, seed=0):
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 12, generator=random)
    return EmbeddingPairs.of(inputs, inputs + inputs.roll(1, dims=1))


def trained(mode="dialogue", data=None, **training):
    config = {"mode": mode, "core": SMALL, "training": {"epochs": 3, "batch_size": 16, **training}}
    return CubeTrainer(config).fit(data or pairs(), pairs(20, 1))


@pytest.mark.parametrize("pacing", ["linear", "root", "step"])
def test_the_share_grows_from_the_start_to_all(pacing):
    curriculum = CurriculumConfig(order="cosine", pacing=pacing, start=0.2, epochs=6)
    shares = [share_of_pairs(curriculum, epoch) for epoch in range(1, 10)]
    assert shares[0] == pytest.approx(0.2)
    assert shares == sorted(shares)
    assert shares[5] < 1 == shares[6] == shares[8]
    assert len(set(shares)) == {"linear": 7, "root": 7, "step": 4}[pacing]


def test_pacings_on_cases_done_by_hand():
    assert share_of_pairs(CurriculumConfig(pacing="linear", start=0.5, epochs=4), 3) == pytest.approx(0.75)
    assert share_of_pairs(CurriculumConfig(pacing="root", start=0.5, epochs=4), 3) == pytest.approx(
        (0.25 + 0.75 / 2) ** 0.5
    )
    assert share_of_pairs(CurriculumConfig(pacing="step", start=0.4, epochs=3), 2) == pytest.approx(0.6)


def test_the_easiest_are_the_most_alike_or_what_the_core_does_best():
    data = PairDataset.from_pairs(pairs())
    core = CubicCore(12, **SMALL)
    by_cosine = difficulty(data, "cosine", core)
    assert np.allclose(by_cosine, difficulty(data, "loss", core), atol=1e-6), "a fresh core is the identity"
    chosen = easiest(by_cosine, 10)
    rest = np.setdiff1d(np.arange(80), chosen.numpy())
    assert by_cosine[chosen].max() <= by_cosine[rest].min()
    torch.nn.init.normal_(core.readout, std=0.3)
    assert not np.allclose(by_cosine, difficulty(data, "loss", core), atol=1e-3)


@pytest.mark.parametrize("order", ["cosine", "loss"])
def test_a_curriculum_shows_in_the_records(order):
    result = trained(curriculum={"order": order, "start": 0.25, "epochs": 2})
    assert [record["pairs"] for record in result.records] == [20, 50, 80]
    assert [record["step"] for record in result.records] == [2, 6, 11]


def test_length_needs_texts():
    with pytest.raises(InputError, match="curriculum.order=length needs texts; embeddings alone have no length"):
        trained(curriculum={"order": "length"})
    rows = np.arange(40)
    vectors = ArrayVectors(np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32))
    data = PairDataset(vectors, rows, rows[::-1].copy(), rows, lengths=rows[::-1] + 1)
    assert easiest(difficulty(data, "length", CubicCore(12, **SMALL)), 3).tolist() == [37, 38, 39]
    trained(data=data, curriculum={"order": "length"})


def test_mixed_pairs_are_the_pairs_and_noisy_singles():
    data = PairDataset.from_pairs(pairs())
    mixed = data.mixed(0.2, NoiseConfig(levels=(0.3,)), seed=0)
    assert len(mixed) == 100
    inputs, targets, ids = mixed.batch(np.arange(100))
    assert all(torch.equal(a, b) for a, b in zip(mixed.batch(np.arange(80)), data.batch(np.arange(80)), strict=True))
    error = (inputs - targets)[80:]
    assert error.std().item() == pytest.approx(0.3, rel=0.15)
    assert not set(ids[80:].tolist()) & set(ids[:80].tolist())
    clean = mixed.batch(np.arange(100), noisy=False)
    assert torch.equal(clean[0][80:], clean[1][80:])
    assert len(trained("mixed").records) == 3


def test_mixing_keeps_contexts():
    vectors = ArrayVectors(np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32))
    inputs = np.array([[0, 1], [2, -1]])
    data = PairDataset(
        vectors,
        inputs,
        np.array([3, 4]),
        np.array([0, 1]),
        weights=np.array([[1, 0.5], [1, 0.5]], np.float32),
        prepare=Preparation(normalize=False),
    )
    mixed = data.mixed(0.5, NoiseConfig(levels=(0.1,)), seed=1)
    assert torch.equal(mixed.batch([0, 1])[0], data.batch([0, 1])[0])
    inputs, targets, _ = mixed.batch([2, 3], noisy=False)
    assert torch.equal(inputs, targets)


def test_input_noise_changes_what_is_trained_but_not_what_is_validated():
    quiet, loud = trained(), trained(input_noise=0.5)
    assert quiet.records[0]["loss"] != loud.records[0]["loss"]
    inputs = PairDataset.from_pairs(pairs()).with_noise(NoiseConfig(levels=(0.5,)), 0).pairs().inputs
    assert torch.equal(inputs, pairs().inputs), "clean unless noise is asked for"


def run_of(core, folder):
    core.save_pretrained(folder / "best")
    return str(folder)


def test_a_run_begins_from_another_ones_core(tmp_path):
    first = trained()
    config = {"core": SMALL, "training": {"epochs": 1, "lr": 1e-9}, "init_from": run_of(first.core, tmp_path)}
    second = CubeTrainer(config).fit(pairs(), pairs(20, 1))
    assert second.val_cosine == pytest.approx(first.val_cosine, abs=1e-5)


def test_another_shape_takes_the_shared_cell_alone():
    large, small = CubicCore(24, (2, 3, 4), **SMALL), CubicCore(12, (2, 2, 3), **SMALL)
    copied = initialize_from(small, large, "r")
    assert len(copied) == 6
    assert not {"codes", "readout"} & set(copied)
    assert torch.equal(small.lattice.phases[0].w_perceive, large.lattice.phases[0].w_perceive)
    assert torch.equal(small.w_input, large.w_input)
    assert small.codes.shape == (12, 2)
    again = CubicCore(12, (2, 2, 3), **SMALL)
    assert initialize_from(again, small, "r") == list(small.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), small.state_dict().values(), strict=True))


def test_a_cell_that_does_not_fit_is_refused_with_every_weight():
    with pytest.raises(ArtifactError) as caught:
        initialize_from(CubicCore(12, **{**SMALL, "state_size": 6}), CubicCore(12, **SMALL), "runs/x")
    message = str(caught.value)
    assert message.startswith(
        "init_from=runs/x: the cells do not fit: lattice.phases.0.w_perceive is [8, 28] there and [8, 42]"
    )
    assert "lattice.phases.0.b_update is [4] there and [6] here" in message
    with pytest.raises(ArtifactError, match="no saved core in"):
        CubeTrainer({"core": SMALL, "init_from": "nowhere"}).fit(pairs(), pairs(20, 1))


def test_mixed_is_a_mode_of_the_config():
    config = TrainingConfig.load("mixed", ["mix=0.5"])
    assert (config.mode, config.mix) == ("mixed", 0.5)
