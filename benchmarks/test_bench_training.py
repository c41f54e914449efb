"""bench.py --training measures the trainer. No test here asserts a time."""

import json
import sys

import bench
import numpy as np
import pytest
import torch
from speed.targets import training_targets
from speed.training import EpochTiming, PairFiles, TrainingTiming, _KernelClock, _train, _useful_flops

from cubefast import CubicCore
from cubefast.lattice import ops

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)


@pytest.fixture
def restored_operators(monkeypatch):
    """The operators that the clock wraps are put back after the test."""
    for name in ("rollout", "rollout_backward"):
        monkeypatch.setattr(ops, name, getattr(ops, name))


def measured(seconds, kernel=0.9, sgemm=1e9, peak=500.0, pairs=100):
    epochs = [EpochTiming(each, each * kernel, sgemm, 0.0) for each in seconds]
    return TrainingTiming(pairs, 8, 100, 2_000_000_000, epochs, peak)


def test_an_epoch_of_40000_pairs_of_768_is_24_tflop():
    core = CubicCore(768, state_size=16, hidden_size=64, steps=16)
    assert _useful_flops(core, 40_000) == 3 * 40_000 * 768 * 16 * (2 * 7 * 16 * 64 + 2 * 64 * 16)
    assert round(_useful_flops(core, 40_000) / 1e12) == 24


def test_figures_are_those_of_the_median_epoch():
    trained = measured([2.0, 9.0, 3.0])
    assert trained.seconds == 3.0
    assert trained.gflops == pytest.approx(2 / 3)
    assert trained.times_sgemm == pytest.approx(1.5)  # 2 s of sgemm's time are useful
    assert trained.outside_percent == pytest.approx(10)


def test_an_epoch_of_a_part_is_scaled_up_in_time_only():
    whole, part = measured([3.0]), measured([3.0], pairs=800)
    assert part.seconds == 8 * whole.seconds
    assert (part.gflops, part.times_sgemm, part.outside_percent) == (
        whole.gflops,
        whole.times_sgemm,
        whole.outside_percent,
    )


def test_every_target_of_training_can_be_missed():
    kept = training_targets(measured([3.0]), measured([3.0]))
    missed = training_targets(measured([4.0], kernel=0.8, peak=900.0), measured([301.0]))
    assert [target.met for target in kept] == [True] * 4
    assert [target.met for target in missed] == [False] * 4


def test_the_clock_counts_forward_and_backward_and_changes_nothing(restored_operators):
    core, embeddings = CubicCore(24, residual=False), torch.randn(4, 24)
    (expected,) = torch.autograd.grad(core(embeddings).square().sum(), core.lattice.phases[0].w_perceive)
    clock = _KernelClock()
    with torch.no_grad():
        core(embeddings)
    without_gradients = clock.seconds
    loss = core(embeddings).square().sum()
    forward = clock.seconds
    (gradient,) = torch.autograd.grad(loss, core.lattice.phases[0].w_perceive)
    assert 0 < without_gradients < forward < clock.seconds
    assert torch.equal(gradient, expected)


@linux
def test_it_trains_on_the_training_part_of_a_file_and_its_embeddings(restored_operators, tmp_path):
    rows = [{"question": f"What is {i}?", "answer": f"It is {i}."} for i in range(60)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    question, answer = np.random.default_rng(0).standard_normal((2, 60, 24), dtype=np.float32)
    np.savez(tmp_path / "vectors.npz", question=question, answer=answer)
    trained = _train(PairFiles(str(tmp_path / "pairs.jsonl"), str(tmp_path / "vectors.npz")), 1, 64)
    assert trained.dim == 24
    assert 30 < trained.pairs < 60
    assert trained.measured == trained.pairs
    assert len(trained.epochs) == 1


@pytest.mark.slow
@linux
def test_the_command_prints_a_table_and_writes_json(tmp_path, capsys):
    assert bench.main(["--training", "--quick", "--epochs", "2", "--json", str(tmp_path / "t.json")]) == 0
    assert "256 x 64" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "t.json").read_text())["training"]
    assert len(row["epochs"]) == 2
    for epoch in row["epochs"]:
        assert 0 < epoch["kernel_seconds"] < epoch["seconds"]
        assert epoch["sgemm_flops"] > 0
    assert row["peak_mb"] > 100  # torch alone is more
