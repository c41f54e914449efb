"""A search space is valid before the first trial, or every mistake in it is reported."""

import json

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from cubefast import TrainingConfig
from cubefast.config.settings import keys_of
from cubefast.errors import ConfigError
from cubefast.training.training_state import SETTINGS_NOT_COMPARED
from cubefast.tuning.space import DEFAULT_SPACE, SearchSpace, value_at, with_values

BASE = TrainingConfig()


def test_the_default_space_holds_and_the_default_config_lies_in_it():
    space = SearchSpace.load(None, BASE)
    assert space.mapping.keys() == yaml.safe_load(DEFAULT_SPACE).keys()
    assert {key.split(".")[0] for key in space.mapping} == {"core", "training"}
    given = space.values_of(space.params_of(BASE))
    assert given == {key: value_at(BASE, key) for key in space.mapping}


def test_values_are_as_the_config_reads_them():
    mapping = {
        "training.lr": {"low": "3e-4", "high": 1, "log": True},
        "core.steps": {"low": 8, "high": 24, "step": 4.0},
        "core.hidden_size": {"low": 8, "high": 64, "log": True},
        "core.shape": [None, [8, 8, 4]],
        "training.ema": [None, "9e-1"],
        "core.residual": [True, False],
    }
    space = SearchSpace(mapping, BASE)
    assert space.distributions == {
        "training.lr": FloatDistribution(3e-4, 1.0, log=True),
        "core.steps": IntDistribution(8, 24, step=4),
        "core.hidden_size": IntDistribution(8, 64, log=True),
        "core.shape": CategoricalDistribution(["null", "[8, 8, 4]"]),
        "training.ema": CategoricalDistribution(["null", "0.9"]),
        "core.residual": CategoricalDistribution(["true", "false"]),
    }
    assert space.values_of({"core.shape": "[8, 8, 4]", "core.steps": 12}) == {"core.shape": [8, 8, 4], "core.steps": 12}
    assert SearchSpace(yaml.safe_load(space.to_yaml()), BASE).mapping == space.mapping


def test_values_go_into_the_config_and_come_out_again():
    values = {"training.lr": 1e-5, "core.shape": [8, 8, 4], "training.ema": None, "core.io": "faces"}
    config = with_values(BASE, values)
    assert {key: value_at(config, key) for key in values} == values
    assert config.training.lr == 1e-5
    assert config.core.shape == (8, 8, 4)
    with pytest.raises(ConfigError, match="core.steps: input should be greater than or equal to 1; got 0"):
        with_values(BASE, {"core.steps": 0})


def test_values_of_the_config_outside_the_space_are_left_out():
    mapping = {
        "training.lr": {"low": 0.1, "high": 1.0},
        "core.steps": {"low": 3, "high": 23, "step": 5},
        "core.state_size": {"low": 8, "high": 24, "step": 8},
        "training.batch_size": [8, 32],
        "training.ema": {"low": 0.5, "high": 0.9},
    }
    assert SearchSpace(mapping, BASE).params_of(BASE) == {"core.state_size": 8}


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("training.lrr", [1, 2], "training.lrr: no such key; did you mean training.lr?"),
        ("lr", [1, 2], "lr: no such key; did you mean training.lr?"),
        ("core", [1, 2], "core: is a group of keys; give those in it by their whole names, such as core.shape"),
        ("data", ["a", "b"], "data: is a group of keys"),
        ("data.path", ["a", "b"], "data.path: stays the same in a study; keys of core and training, and mix"),
        ("seed", [0, 1], "seed: stays the same in a study"),
        ("training.metric", ["cosine", "mrr"], "training.metric: stays the same in a study"),
        ("training.threads", [1, 2], "training.threads: changes no weight, so there is nothing to tune"),
        ("training.lr", 3, r"training.lr: must be a list of choices, or \{low: ..., high: ...\}; got 3"),
        ("training.lr", {"low": 1}, r"training.lr.high: field required"),
        ("training.lr", {"low": 1, "high": 2, "lgo": True}, "training.lr.lgo: no such key; did you mean log?"),
        ("training.lr", {"low": 0, "high": 1}, "training.lr: input should be greater than 0; got 0"),
        ("training.lr", {"low": 1, "high": 0.5}, "training.lr: low must be below high; got 1 and 0.5"),
        (
            "training.losses.mse",
            {"low": 0, "high": 1, "log": True},
            "training.losses.mse: log needs a low above 0; got",
        ),
        ("training.lr", {"low": 1, "high": 3, "log": True, "step": 1}, "training.lr: takes log or step, not both"),
        ("core.steps", {"low": 1.5, "high": 4}, "core.steps: input should be a valid integer"),
        ("core.steps", {"low": 1, "high": 4, "step": 2}, "core.steps: steps of 2 do not lead from 1 to 4"),
        ("core.steps", {"low": 1, "high": 4, "step": 0.5}, "core.steps: steps of 0.5 do not lead from 1 to 4"),
        ("core.io", {"low": 1, "high": 4}, "core.io: input should be 'volume' or 'faces'"),
        ("core.residual", {"low": 0, "high": 1}, "core.residual: takes no range, for it is no number"),
        ("core.io", ["volume", "face", "top"], "core.io: .* got 'face'\nsearch space: core.io: .* got 'top'"),
        ("core.steps", [8], r"core.steps: needs two or more different choices; got \[8\]"),
        ("training.lr", [1e-3, "1e-3"], "training.lr: needs two or more different choices"),
    ],
)
def test_what_is_not_valid_is_refused(key, values, message):
    with pytest.raises(ConfigError, match=f"^search space: {message}"):
        SearchSpace({key: values}, BASE)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigError) as error:
        SearchSpace({"training.lr": [-1, 1], "core.stepps": [1, 2], "core.io": 3}, BASE)
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == ["training.lr", "core.stepps", "core.io"]
    with pytest.raises(ConfigError, match="no key to tune"):
        SearchSpace({}, BASE)


def test_the_keys_that_change_no_weight_exist():
    assert {key for key, _, _ in keys_of(TrainingConfig)} >= SETTINGS_NOT_COMPARED


def test_a_file_that_is_no_space_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none.yaml: no such file\. Give a YAML file of keys and values"):
        SearchSpace.load(tmp_path / "none.yaml", BASE)
    (tmp_path / "list.yaml").write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match="must be a mapping of keys; got list"):
        SearchSpace.load(tmp_path / "list.yaml", BASE)
