"""A checkpoint is looked at before a training goes on from it; what no training wrote is refused in words."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from cubefast import CubeTrainer, EmbeddingPairs
from cubefast.errors import ArtifactError
from cubefast.training.run_folder import RunFolder


def pairs(count, seed):
    inputs = torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))
    return EmbeddingPairs.of(inputs, inputs + inputs.roll(1, dims=1))


def fit(run, epochs, optimizer="adamw", resume=False):
    training = {"epochs": epochs, "batch_size": 16, "ema": 0.9, "optimizer": optimizer, "schedule": "plateau"}
    training["losses"] = {"contrast": 1.0, "memory": 20}
    config = {"core": {"state_size": 4, "hidden_size": 8, "steps": 3, "code_size": 2}, "training": training}
    return CubeTrainer(config, run).fit(pairs(60, 0), pairs(20, 1), resume=resume)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = RunFolder.create(tmp_path_factory.mktemp("runs"), "r", "r")
    fit(made, 2)
    made.close()
    return made


def refused(run, message="the checkpoint .*epoch-0002 cannot be read: .*Delete it to go on from the one before"):
    with pytest.raises(ArtifactError, match=message):
        fit(run, 2, resume=True)


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


def records(**change):
    return lambda numbers: {"records": [{**numbers["records"][0], **change}, numbers["records"][1]]}


CHANGES = [
    *({"records": value} for value in (5, [], [1, 2], None, [{}], "x")),
    *({"epoch": value} for value in ("3", -1, 0, 2.5, True, None, 10**30, 1)),
    *({"step": value} for value in (-1, "x", None, 10**9)),
    *({"best_epoch": value} for value in (0, 3, -1, "x")),
    *({"best_objective": value} for value in (math.nan, math.inf, "x", None)),
    *({"identity": value} for value in ([], None, 5)),
    *({"epochs": value} for value in (0, -5, "2", None)),
    {"without_progress": -3},
    {"without_progress": 10**9},
    {"further": 1},
    records(epoch=-1),
    records(loss=math.nan),
    records(val_mrr="high"),
    records(event="steps"),
    records(step=None),
    lambda numbers: {"records": [without(record, "val_cosine") for record in numbers["records"]]},
    lambda numbers: {"param_groups": numbers["param_groups"][:1]},
    *(
        lambda numbers, bad=bad: {"param_groups": [{**group, "lr": bad} for group in numbers["param_groups"]]}
        for bad in ("fast", math.nan, None, [0.1])
    ),
    lambda numbers: {"param_groups": [{**group, "betas": [0.9]} for group in numbers["param_groups"]]},
    {"param_groups": {}},
    {"scheduler": 5},
    {"scheduler": []},
    lambda numbers: {"scheduler": {**numbers["scheduler"], "num_bad_epochs": "many"}},
    lambda numbers: {"scheduler": {**numbers["scheduler"], "factor": None}},
]


@pytest.mark.parametrize("change", CHANGES)
def test_numbers_of_wrong_types_are_refused(run, change):
    path = run.checkpoints / "epoch-0002" / "state.json"
    good = path.read_text()
    numbers = json.loads(good)
    path.write_text(json.dumps(numbers | (change(numbers) if callable(change) else change)))
    try:
        refused(run)
    finally:
        path.write_text(good)


@pytest.mark.parametrize(
    "content", ["", "{", "[" * 100_000, "\0" * 100, "[]", "7", "\ud800", '{"checkpoint_version": "2"}']
)
def test_what_is_no_description_is_refused(run, content):
    path = run.checkpoints / "epoch-0002" / "state.json"
    good = path.read_text()
    path.write_text(content, errors="surrogatepass")
    try:
        refused(run)
    finally:
        path.write_text(good)


def only(name, change):
    return lambda tensors: {**tensors, name: change(tensors[name])}


TENSORS = [
    only("core.codes", lambda tensor: tensor * math.nan),
    only("core.codes", lambda tensor: tensor[:1]),
    only("core.codes", torch.Tensor.double),
    only("best.readout", lambda tensor: tensor * math.inf),
    only("best.readout", lambda tensor: tensor[..., :1]),
    only("averaged.n_averaged", torch.Tensor.float),
    only("optimizer.0.exp_avg", lambda tensor: tensor[:1]),
    only("optimizer.0.exp_avg_sq", lambda tensor: tensor - 1),
    only("optimizer.0.step", lambda tensor: tensor - 10**6),
    only("queue.ids", torch.Tensor.float),
    only("queue.vectors", lambda tensor: tensor[:3]),
    only("queue.vectors", lambda tensor: torch.cat([tensor] * 3)),
    only("order", lambda tensor: tensor[:-1]),
    only("order", torch.zeros_like),
    *(
        lambda tensors, name=name: without(tensors, name)
        for name in ("core.codes", "best.codes", "averaged.n_averaged", "optimizer.0.exp_avg", "queue.ids", "order")
    ),
    lambda tensors: {**tensors, "optimizer.99.step": torch.zeros(())},
    lambda tensors: {**tensors, "optimizer.x.step": torch.zeros(())},
    lambda tensors: {**tensors, "core.further": torch.zeros(3)},
]


@pytest.mark.parametrize("change", TENSORS)
def test_tensors_that_do_not_fit_are_refused(run, change):
    path = run.checkpoints / "epoch-0002" / "state.safetensors"
    good = path.read_bytes()
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path)
    try:
        refused(run)
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_was_written_is_gone_on_with_also_by_another_torch(tmp_path, optimizer):
    """Which may know fewer or other options of an optimizer, or of a schedule."""
    run = RunFolder.create(tmp_path, "r", "r")
    fit(run, 2, optimizer)
    path = run.checkpoints / "epoch-0002" / "state.json"
    numbers = json.loads(path.read_text())
    for group in numbers["param_groups"]:
        del group["maximize"]
        group["of_tomorrow"] = True
    path.write_text(json.dumps(numbers))
    assert len(fit(run, 3, optimizer, resume=True).records) == 3
    run.close()


@pytest.mark.parametrize(
    "line",
    [
        *("\0\0\0", "", "{}", "[" * 100_000, "7", '{"event": "epoch", "epoch": 1}'),
        '{"event": "steps", "epoch": -1, "step": 1}',
        '{"event": "steps", "epoch": "1", "step": 1}',
        '{"event": "steps", "epoch": 1, "step": 1, "loss": "low"}',
        '{"event": "boom", "epoch": 1, "step": 1}',
    ],
)
def test_a_line_of_the_metrics_that_no_training_writes_is_refused(run, line):
    path = run.path / "metrics.jsonl"
    good = path.read_text()
    path.write_text(line + "\n" + good)
    try:
        refused(run, "metrics.jsonl, line 1, is none that a training writes: .*Delete the line")
        path.write_text(good + '{"event": "ep')  # cut by a kill
        assert len(fit(run, 2, resume=True).records) == 2
        assert path.read_text() == good
    finally:
        path.write_text(good)
