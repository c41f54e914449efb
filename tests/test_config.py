import pytest
import yaml

from cubefast import TrainingConfig
from cubefast.config import named_configs
from cubefast.errors import ConfigError
from cubefast.settings import describe_keys


def test_defaults_yaml_and_command_line_in_that_order(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("seed: 3\ntraining: {lr: 0.5, epochs: 7}\n")
    config = TrainingConfig.load(path, ["training.lr=1e-3", "core.shape=[2,2,2]", "training.early_stopping=null"])
    assert (config.seed, config.training.epochs, config.training.lr) == (3, 7, 1e-3)
    assert config.core.shape == (2, 2, 2)
    assert config.training.early_stopping is None
    assert config.training.batch_size == TrainingConfig().training.batch_size


def test_a_config_survives_its_own_yaml(tmp_path):
    config = TrainingConfig.load(None, ["core.shape=[4,4,4]", "data=x.jsonl", "training.clip=0.5"])
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    assert TrainingConfig.load(tmp_path / "c.yaml") == config


def test_data_may_be_a_path_or_a_mapping():
    assert TrainingConfig.load({"data": "a.jsonl"}).data.path == "a.jsonl"
    assert TrainingConfig.load({"data": {"path": "a.jsonl"}}).data.path == "a.jsonl"
    assert TrainingConfig.load({"data": "a.jsonl"}, ["data.path=b.jsonl"]).data.path == "b.jsonl"


@pytest.mark.parametrize("name", named_configs())
def test_every_named_config_holds(name):
    assert isinstance(TrainingConfig.load(name), TrainingConfig)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.learning_rate=1"], "training.learning_rate: no such key"),
        (["training.epoch=1"], "training.epoch: no such key; did you mean training.epochs?"),
        (["lr=1"], "lr: no such key; did you mean training.lr?"),
        (["epochs=1"], "epochs: no such key; did you mean training.epochs?"),
        (["core.hidden=1"], "core.hidden: no such key; did you mean core.hidden_size?"),
        (["zzz=1"], "zzz: no such key; the keys are name, runs, mode, .* data, core, training$"),
        (
            ["training.losses.zzz=1"],
            "zzz: no such key; the keys of training.losses are cosine, mse, .*, hard_negatives$",
        ),
        (["training.lr=-1"], "training.lr: input should be greater than 0; got -1"),
        (["training.lr=fast"], "training.lr: input should be a valid number.*got 'fast'"),
        (["training.lr=.inf"], "training.lr: input should be a finite number; got inf"),
        (["training.epochs=2.5"], "training.epochs: input should be a valid integer.*got 2.5"),
        (["mode=chat"], "mode: input should be 'dialogue', 'autoencoder' or 'mixed'; got 'chat'"),
        (["core.shape=[1,2]"], "core.shape"),
        (["core.shape=[0,2,2]"], r"core.shape: every side must be at least 1; got \[0, 2, 2\]"),
        (["training.epochs"], "'training.epochs': expected key=value, such as training.lr=1e-3"),
        (["name=a/b"], "name: must be a plain folder name; got 'a/b'"),
        (["name=.."], "name: must be a plain folder name"),
        (["training=3"], "training: input should be a valid dictionary"),
        (["mode=autoencoder", "data.noise.levels=[0]"], r"mode=autoencoder with data.noise.levels=\[0\] is void"),
    ],
)
def test_a_mistake_is_told_with_its_path_and_what_is_allowed(overrides, message):
    with pytest.raises(ConfigError, match=message):
        TrainingConfig.load(None, overrides)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.load({"training": {"lr": 0, "epochz": 1}, "core": {"io": "x"}})
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "message"), [("- 1\n", "must be a mapping of keys; got list"), ("a: [", "is not YAML")]
)
def test_a_file_that_is_no_config_is_refused(tmp_path, content, message):
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        TrainingConfig.load(tmp_path / "c.yaml")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(
        ConfigError,
        match="no such file. Give a YAML file, or one of: autoencoder, decode, dialogue, distill, mixed, quick",
    ):
        TrainingConfig.load(tmp_path / "none.yaml")


def test_loading_changes_no_mapping_that_was_given():
    given = {"training": {"epochs": 1}}
    TrainingConfig.load(given, ["training.epochs=2"])
    assert given == {"training": {"epochs": 1}}


def leaves(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_every_key_is_described():
    text = describe_keys(TrainingConfig)
    for path in leaves(TrainingConfig().model_dump(mode="json")):
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {path}=")]
        shown, _, meaning = line.strip().partition("=")[2].partition(" ")
        assert meaning.strip(), f"{path} has no description"
        assert shown == "" or yaml.safe_load(shown) is not ...
