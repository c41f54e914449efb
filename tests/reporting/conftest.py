"""One small run, trained once: what every test of a report reads."""

import json

import pytest

from cubefast import CubeTrainer, TrainingConfig
from cubefast.data.create_datasets import open_dataset
from cubefast.pipeline import save_answers, save_threshold
from cubefast.reporting.evaluate_run import evaluate_run
from cubefast.reporting.report import write_report
from cubefast.reporting.run_data import open_run_data
from cubefast.training.run_folder import RunFolder

SMALL = {
    "encoder": "hashing:24",
    "core": {"state_size": 4, "hidden_size": 8, "steps": 3},
    "training": {"epochs": 2, "batch_size": 128},
}


def train_small(folder, name, **changed):
    """A run as `cubefast train` leaves it, as far as an evaluation reads it."""
    config = TrainingConfig.load({**SMALL, "cache": str(folder / "cache"), **changed})
    run = RunFolder.create(folder, name, name)
    run.write("config.yaml", config.to_yaml())
    dataset = open_dataset(config.data, config.mode, encoder=config.encoder, cache=config.cache, seed=config.seed)
    run.write_json("data.json", dataset.stats().as_dict())
    mode = "autoencoder" if config.mode == "autoencoder" else "dialogue"
    parts = dataset.split(mode, config.seed) if hasattr(dataset, "dialogues") else dataset.split()
    if parts.answers:
        save_answers(run, dataset.fingerprint, parts)
    result = CubeTrainer(config, run).fit(parts.train, parts.validations, bank=parts.bank)
    if parts.bank is not None:
        save_threshold(run, result.core, parts)
    run.close()
    return run.path


def evaluated(path, *overrides):
    """The evaluation of a run, written beside it."""
    run_data = open_run_data(path, overrides)
    evaluation = evaluate_run(run_data)
    folder = path if run_data.source is None else path / "evaluations" / "other"
    folder.mkdir(parents=True, exist_ok=True)
    write_report(evaluation, folder)
    return evaluation


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory):
    """Of a dialogue run on the built-in set; the files are in ``evaluation.run_data.run.path``."""
    return evaluated(train_small(tmp_path_factory.mktemp("report"), "small"))


@pytest.fixture(scope="session")
def folder(evaluation):
    return evaluation.run_data.run.path


@pytest.fixture(scope="session")
def report(folder):
    return json.loads((folder / "report.json").read_text())
