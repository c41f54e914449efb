"""The trainer, on a map that is known: targets are a fixed rotation of the inputs towards their neighbors."""

import json
import sys

import numpy as np
import pytest
import torch

from cubefast import CubeTrainer, CubicCore, EmbeddingPairs
from cubefast.data.pairs import PairDataset
from cubefast.errors import InputError
from cubefast.training.crossfit import cross_fit
from cubefast.training.progress import Progress
from cubefast.training.run_folder import RunFolder
from cubefast.training.trainer import DivergenceError

SMALL = {
    "purpose": "decode",
    "core": {"state_size": 4, "hidden_size": 16, "steps": 4, "code_size": 4},
    "training": {"epochs": 4, "batch_size": 32, "lr": 1e-2},
}


def pairs(count: int, seed: int, dim: int = 24) -> EmbeddingPairs:
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, dim, generator=random)
    return EmbeddingPairs.of(inputs, inputs + inputs.roll(1, dims=1))


def config(**training) -> dict:
    return {**SMALL, "training": {**SMALL["training"], **training}}


def test_it_learns_what_the_identity_does_not_know():
    train, validation = pairs(400, 0), pairs(100, 1)
    result = CubeTrainer(config(epochs=15)).fit(train, validation)
    identity = torch.cosine_similarity(validation.inputs, validation.targets).mean().item()
    assert result.val_cosine > identity + 0.1
    assert result.records[-1]["loss"] < 0.6 * result.records[0]["loss"]


def test_the_result_holds_the_best_epoch(tmp_path):
    run = RunFolder.create(tmp_path, "r", "x")
    trainer = CubeTrainer(config(), run)
    validation = pairs(100, 1)
    result = trainer.fit(pairs(200, 0), validation)
    run.close()
    assert trainer.evaluate(validation).cosine == pytest.approx(result.val_cosine, abs=1e-6)
    saved = CubicCore.from_pretrained(run.path / "best")
    assert torch.equal(saved(validation.inputs), result.core(validation.inputs))
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    expected, *lines = lines
    assert expected["event"] == "crossfit"
    assert lines == result.records
    assert max(line["val_cosine"] for line in lines) == result.val_cosine
    assert {"epoch", "step", "loss", "val_cosine", "lr", "gradient_norm", "pairs_per_second"} <= set(lines[0])


def test_metrics_have_a_line_for_so_many_batches_too(tmp_path):
    run = RunFolder.create(tmp_path, "r", "x")
    result = CubeTrainer(config(epochs=1, batch_size=10, log_every=4), run).fit(pairs(100, 0), pairs(20, 1))
    run.close()
    _, first, second, epoch = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["event"], line["epoch"], line["step"]) for line in (first, second)] == [
        ("steps", 1, 4),
        ("steps", 1, 8),
    ]
    assert {"loss", "loss_cosine", "loss_contrast", "gradient_norm", "lr", "pairs_per_second"} <= set(first)
    assert epoch == result.records[0]
    assert min(first["loss"], second["loss"]) < epoch["loss"] < max(first["loss"], second["loss"]) + 0.1


def test_what_other_pairs_let_expect_is_followed_and_recorded(tmp_path):
    """The targets have noise of their own, which nothing can expect."""
    train, validation = pairs(400, 0), pairs(100, 1)
    noise = torch.randn(400, 24, generator=torch.Generator().manual_seed(2))
    noisy = EmbeddingPairs.of(train.inputs, train.targets + noise)
    expected = cross_fit(PairDataset.from_pairs(noisy)).targets.float()
    near = {}
    for crossfit in (0, 1):
        losses = {"cosine": 1 - crossfit, "mse": 0, "contrast": 0, "crossfit": crossfit}
        run = RunFolder.create(tmp_path, f"r{crossfit}", "x")
        core = CubeTrainer(config(epochs=15, losses=losses), run).fit(noisy, validation).core
        run.close()
        with torch.no_grad():
            near[crossfit] = float(torch.cosine_similarity(core(noisy.inputs), expected).mean())
    assert near[1] > near[0] + 0.003
    told, *others = [json.loads(line) for line in (tmp_path / "r1" / "metrics.jsonl").read_text().splitlines()]
    assert {"event": "crossfit", "epoch": 0, "step": 0}.items() <= told.items()
    assert 0.5 < told["cosine"] < 1
    assert {line["event"] for line in others} == {"steps", "epoch"}
    assert "crossfit" not in (tmp_path / "r0" / "metrics.jsonl").read_text()


def test_the_number_of_workers_changes_no_bit():
    noisy = {"mode": "autoencoder", "core": config()["core"]}
    results = []
    for workers in (0, 2):
        training = {"epochs": 2, "batch_size": 16, "workers": workers}
        results.append(CubeTrainer({**noisy, "training": training}).fit(pairs(100, 0), pairs(20, 1)))
    ours, theirs = (result.core.state_dict() for result in results)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_training_leaves_torchs_own_generator_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    CubeTrainer(config(epochs=1, state_noise=0.1, cell_dropout=0.1)).fit(pairs(50, 0), pairs(20, 1))
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("metric", ["cosine", "recall_at_1", "mrr"])
def test_the_chosen_metric_of_validation_decides(metric):
    result = CubeTrainer(config(epochs=4, metric=metric)).fit(pairs(100, 0), pairs(100, 1))
    values = [record[f"val_{metric}"] for record in result.records]
    assert result.best_value == values[result.best_epoch - 1] >= max(values) - 1e-4
    assert result.val_cosine == result.records[result.best_epoch - 1]["val_cosine"]


@pytest.mark.parametrize("regulariser", [{"state_noise": 0.3}, {"cell_dropout": 0.3}])
def test_noise_in_the_cells_is_in_training_only_and_still_learns(regulariser):
    train, validation = pairs(200, 0), pairs(100, 1)
    plain = CubeTrainer(config()).fit(train, validation)
    trainer = CubeTrainer(config(**regulariser))
    result = trainer.fit(train, validation)
    assert result.records[0]["loss"] != plain.records[0]["loss"]
    assert result.val_cosine > result.records[0]["val_cosine"]
    assert torch.equal(result.core(validation.inputs), result.core(validation.inputs)), "no noise outside of training"


def test_tensorboard_gets_the_same_numbers(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = RunFolder.create(tmp_path, "r", "x")
    settings = {**config(epochs=2, batch_size=10, log_every=4), "tensorboard": True}
    result = CubeTrainer(settings, run).fit(pairs(100, 0), pairs(20, 1))
    run.close()
    events = event_accumulator.EventAccumulator(str(run.path / "tensorboard")).Reload()
    seen = [(event.step, event.value) for event in events.Scalars("epoch/val_cosine")]
    assert seen == [(r["step"], pytest.approx(r["val_cosine"])) for r in result.records]
    assert [event.step for event in events.Scalars("steps/loss")] == [4, 8, 12, 16, 20]


def test_without_tensorboard_it_is_said_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'cubefast\[track\]'"):
        CubeTrainer({"tensorboard": True})


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    def weights(seed):
        core = CubeTrainer({**config(epochs=2), "seed": seed}).fit(pairs(100, 0), pairs(40, 1)).core
        return torch.cat([p.flatten() for p in core.parameters()])

    torch.manual_seed(1)
    first = weights(5)
    torch.manual_seed(2)  # the run's seed decides, not the process's
    assert torch.equal(weights(5), first)
    assert not torch.equal(weights(6), first)


def test_arrays_are_enough_no_text_needed():
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 12)).astype(np.float64)
    result = CubeTrainer(config(epochs=1)).fit((x, -x), (x, -x))
    assert result.core.dim == 12


def test_early_stopping_and_the_plateau():
    noise = EmbeddingPairs.of(torch.randn(100, 24), torch.randn(100, 24))
    result = CubeTrainer(config(epochs=30, schedule="plateau", early_stopping=4, plateau=1)).fit(noise, pairs(50, 2))
    assert result.stopped == "no more progress"
    assert len(result.records) == result.best_epoch + 4
    assert result.records[-1]["lr"] < result.records[0]["lr"]


def test_autoencoder_mode_learns_to_denoise():
    random = torch.Generator().manual_seed(3)
    basis = torch.randn(4, 24, generator=random)

    def clean(count):
        rows = torch.nn.functional.normalize(torch.randn(count, 4, generator=random) @ basis, dim=1)
        return EmbeddingPairs.of(rows, rows)

    result = CubeTrainer({**config(epochs=15), "mode": "autoencoder", "data": {"noise": {"levels": [0.15]}}}).fit(
        clean(400), clean(100)
    )
    assert result.val_cosine > 1 / (1 + 24 * 0.15**2) ** 0.5 + 0.05


def test_a_loss_that_is_no_number_stops_in_words():
    with pytest.raises(DivergenceError, match=r"loss became nan at epoch 1, step \d.*Lower training.lr"):
        CubeTrainer(config(lr=1e30)).fit(pairs(200, 0), pairs(50, 1))


def test_ctrl_c_after_an_epoch_returns_what_there_is():
    class Impatient(Progress):
        def epoch(self, record, best_epoch, objective):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

    result = CubeTrainer(config(epochs=9), progress=Impatient()).fit(pairs(100, 0), pairs(50, 1))
    assert result.stopped == "interrupted"
    assert len(result.records) == 2

    class VeryImpatient(Progress):
        def step(self, loss):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CubeTrainer(config(), progress=VeryImpatient()).fit(pairs(100, 0), pairs(50, 1))


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        (3, 4, "expected a PairDataset, EmbeddingPairs or .*; got int"),
        (
            (torch.ones(4, 5), torch.ones(4, 5)),
            (torch.ones(4, 6), torch.ones(4, 6)),
            "train has 5 numbers per row, val",
        ),
        ((torch.ones(4, 5), torch.zeros(4, 5)), (torch.ones(4, 5), torch.ones(4, 5)), "row 0 of targets is all zeros"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(train, validation, message):
    with pytest.raises(InputError, match=message):
        CubeTrainer(SMALL).fit(train, validation)


def test_a_core_that_does_not_fit_the_data_is_refused():
    with pytest.raises(InputError, match="core does not fit embeddings of 24 numbers: shape 2x2x2 has 8 cells"):
        CubeTrainer({"core": {"shape": [2, 2, 2]}}).fit(pairs(20, 0), pairs(20, 1))


def test_evaluating_before_training_is_refused():
    with pytest.raises(RuntimeError, match="nothing is trained yet; call fit first"):
        CubeTrainer().evaluate(pairs(20, 0))
