"""benchmarks/quality: the studies of what settings are worth."""

import copy
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import yaml

from cubefast import CubicCore, TrainingConfig

QUALITY = Path(__file__).parents[1] / "benchmarks" / "quality"
STUDIES = list(yaml.safe_load((QUALITY / "studies.yaml").read_text()))
TINY = ["core.steps=2", "core.hidden_size=2", "core.state_size=2", "training.epochs=1", "training.threads=1"]


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(QUALITY)
    spec = importlib.util.spec_from_file_location("study", QUALITY / "study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_of_a_study_is_a_training_of_its_own(study, name):
    rows = study.rows_of(name)
    told = [study.variant_of(settings) for _, settings in rows]
    configs = [(variant, TrainingConfig.load("dialogue", settings).model_dump_json()) for variant, settings in told]
    assert len(set(configs)) == len(rows), "a row that changes nothing, or what another changes"
    assert configs[0] == (None, TrainingConfig.load("dialogue", ["seed=0"]).model_dump_json()), "the default is first"


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


def test_every_variant_of_the_core_learns_and_is_not_the_core_itself(study):
    embeddings, targets = torch.randn(2, 24, 16, generator=torch.Generator().manual_seed(0))

    def trained(made):
        """What it says of the embeddings after a few steps."""
        torch.manual_seed(0)
        core = made(16, (4, 2, 2), 4, 8, 6, placement="principal", code_size=4, phases=2)
        core.reshaper.fit([embeddings])
        before = torch.nn.functional.mse_loss(core(embeddings), targets)
        optimizer = torch.optim.Adam(core.parameters(), 0.01)
        for _ in range(8):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(core(embeddings), targets).backward()
            optimizer.step()
        copied = copy.deepcopy(core)(embeddings)
        torch.testing.assert_close(copied, core(embeddings), rtol=0, atol=0)
        assert torch.nn.functional.mse_loss(copied, targets) < before
        return copied

    plain = trained(CubicCore)
    told = {name: trained(made) for name, made in study.variants.VARIANTS.items()}
    for name, output in told.items():
        assert not torch.allclose(output, plain, rtol=0, atol=1e-4), f"{name} is the core itself"


@pytest.mark.parametrize("variant", ["four_regions", "by_correlation"])
def test_a_row_can_train_a_variant(study, variant):
    found = study.measure([*TINY, f"variant={variant}", "seed=0"])
    plain = study.measure([*TINY, "seed=0"])
    assert found["validation"] != plain["validation"]
