"""benchmarks/quality: the studies of what settings are worth."""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from cubefast import TrainingConfig

QUALITY = Path(__file__).parents[1] / "benchmarks" / "quality"
STUDIES = list(yaml.safe_load((QUALITY / "studies.yaml").read_text()))
TINY = ["core.steps=2", "core.hidden_size=2", "core.state_size=2", "training.epochs=1", "training.threads=1"]


@pytest.fixture
def study():
    spec = importlib.util.spec_from_file_location("study", QUALITY / "study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_of_a_study_is_a_training_of_its_own(study, name):
    rows = study.rows_of(name)
    configs = [TrainingConfig.load("dialogue", settings).model_dump_json() for _, settings in rows]
    assert len(set(configs)) == len(rows), "a row that changes nothing, or what another changes"
    assert configs[0] == TrainingConfig.load("dialogue", ["seed=0"]).model_dump_json(), "the first is the default"


def test_a_study_compares_its_rows_with_the_first_and_goes_on_where_it_was(study, tmp_path, monkeypatch, capsys):
    changes = {"the default": [], "relu": ["core.activation=relu"]}
    rows = [(name, [*changed, f"seed={seed}"]) for name, changed in changes.items() for seed in (0, 1)]
    monkeypatch.setattr(study, "rows_of", lambda name: rows)
    monkeypatch.setattr(sys, "argv", ["study.py", "default", *TINY, "--into", str(tmp_path)])
    study.main()
    printed = capsys.readouterr().out
    assert printed.count("python -m cubefast.train") == 4
    first, second = printed.rstrip().splitlines()[-2:]
    assert first.startswith("| the default | ")
    assert second.startswith("| relu | ")
    assert second.endswith(" | `core.activation=relu` |")
    assert second.count(" to ") == 2

    monkeypatch.setattr(study, "measure", lambda settings: pytest.fail("trained again"))
    study.main()
    assert capsys.readouterr().out.rstrip().splitlines()[-2:] == [first, second]
