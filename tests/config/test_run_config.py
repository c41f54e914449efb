import os
import re
import time
from pathlib import Path
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import yaml

from cubefast import TrainingConfig
from cubefast.config.core import CoreConfig
from cubefast.config.run_config import named_configs
from cubefast.config.settings import Section, describe_keys, keys_of
from cubefast.errors import ConfigError
from cubefast.lattice.checks import ACTIVATIONS, UPDATES
from cubefast.lattice.topology import BOUNDARIES, NEIGHBORHOODS


def choices_of(annotation):
    """The words that a key may have, also as one of several or in place of null."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [word for each in get_args(annotation) for word in choices_of(each)]


def fields_of(section, prefix=""):
    for name, field in section.model_fields.items():
        if isinstance(field.default, Section):
            yield from fields_of(type(field.default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


CHOICES = [(path, field) for path, field in fields_of(TrainingConfig) if choices_of(field.annotation)]


@pytest.mark.parametrize(("path", "field"), CHOICES, ids=[path for path, _ in CHOICES])
def test_the_help_names_every_choice_of_a_key(path, field):
    missing = [word for word in choices_of(field.annotation) if word not in re.split(r"[^\w]+", field.description)]
    assert not missing


def test_the_help_names_every_kind_of_encoder_and_source():
    described = {path: meaning for path, _, meaning in keys_of(TrainingConfig)}
    assert all(kind in described["encoder"] for kind in ("static", "st:", "hashing"))
    assert all(source in described["data.path"] for source in ("builtin", "hub:", "file"))


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


def test_a_colon_and_a_blank_make_a_mapping_of_no_text():
    config = TrainingConfig.load(None, ["data=my: pairs.csv", "data.prompts.question=query: ", "cache=/tmp/a: b"])
    assert (config.data.path, config.data.prompts.question, config.cache) == ("my: pairs.csv", "query: ", "/tmp/a: b")
    assert TrainingConfig.load(None, ["training={lr: 0.5}", "data={path: a.csv}"]).training.lr == 0.5


def test_a_file_that_is_given_twice_is_told_once_and_a_mapping_is_no_file():
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.load(None, ["data.path=b.csv", "data=a.csv", "training.lr=1", "seed=2"])
    assert str(caught.value).count("given twice") == len(str(caught.value).splitlines()) == 1
    config = TrainingConfig.load(None, ["data={centre: true}", "data.path=b.csv", "data.normalize=false"])
    assert (config.data.path, config.data.centre, config.data.normalize) == ("b.csv", True, False)


def test_nothing_on_the_command_line_is_a_comment():
    config = TrainingConfig.load(None, ["data=my #1.csv", "cache=#2", 'data.prompts.question="a #3"'])
    assert (config.data.path, config.cache, config.data.prompts.question) == ("my #1.csv", "#2", "a #3")
    with pytest.raises(ConfigError, match=r"training.lr: .*got '0.5 #half'"):
        TrainingConfig.load(None, ["training.lr=0.5 #half"])


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
        (["name=a/b"], "name: must be a plain folder name, of at most 200 bytes; got 'a/b'"),
        (["name=.."], "name: must be a plain folder name"),
        (["training=3"], "training: input should be a valid dictionary"),
        (["mode=autoencoder", "data.noise.levels=[0]"], r"mode=autoencoder with data.noise.levels=\[0\] is void"),
    ],
)
def test_a_mistake_is_told_with_its_path_and_what_is_allowed(overrides, message):
    with pytest.raises(ConfigError, match=message):
        TrainingConfig.load(None, overrides)


HUGE = {
    "core.shape": ["[1025,1,1]", "[1024,1024,2]"],
    "core.dilations": ["[1025]", "[" + "1," * 1001 + "]"],
    "teachers": ["[" + "static," * 17 + "]"],
    "data.teacher_vectors": ["[" + "a.npz," * 17 + "]"],
    "data.noise.kinds": ["[gaussian,gaussian,gaussian,gaussian]"],
    "data.noise.levels": ["[1e7]", "[" + "0.1," * 101 + "]"],
}


@pytest.mark.parametrize("path", [path for path, _, _ in keys_of(TrainingConfig)])
def test_every_number_and_list_has_a_largest_value(path):
    """A key whose value is no number refuses these too."""
    for value in [*HUGE.get(path, ()), "1" + "0" * 40, "1.0e+300", "9" * 5000, "0x" + "f" * 9000]:
        with pytest.raises(ConfigError) as caught:
            TrainingConfig.load(None, [f"{path}={value}"])
        assert len(str(caught.value)) < 700


def test_a_batch_that_no_memory_holds_is_refused():
    with pytest.raises(ConfigError, match=r"training.batch_size=65536 with .* make one smaller"):
        TrainingConfig.load(None, ["training.batch_size=65536", "core.shape=[64,64,64]"])


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


NESTED = [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
HOSTILE = {
    "aliases of aliases": ("a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "\n".join(NESTED), "more than 10,000 values"),
    "an alias of itself": ("a: &a [*a]", "the alias \\*a stands for nothing, or for what it is itself a part of"),
    "merged mappings": (
        "a0: &a0 {k: v}\n" + "\n".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 9)),
        "more than 10,000 values",
    ),
    "deep lists": ("a: " + "[" * 5000 + "]" * 5000, "more than 50 deep"),
    "deep mappings": ("a: " + "{a: " * 5000 + "}" * 5000, "more than 50 deep"),
    "deep blocks": ("\n".join(" " * i + "a:" for i in range(1000)), "more than 50 deep"),
    "many digits": ("seed: " + "9" * 5000, "a value that cannot be read"),
    "many colons": ("seed: 1" + ":59" * 300_000, "a value of 900,001 characters; 10,000 are the most"),
    "many keys": ("\n".join(f"k{i}: 1" for i in range(100_000)), "larger than 1,000,000 bytes|more than 10,000 values"),
    "a key said twice": ("seed: 1\nseed: 2", "the key 'seed' is there twice"),
    "a key said twice inside": ("training: {lr: 1, lr: 2}", "the key 'lr' is there twice"),
    "no date": ("name: 2026-13-45", "a value that cannot be read .month must be in 1..12"),
    "no whole number": ("seed: !!int x", "a value that cannot be read"),
    "no truth": ("seed: !!bool x", "a value that cannot be read"),
    "code": ("seed: !!python/object/apply:os.system [false]", "is not YAML: could not determine a constructor"),
    "half a surrogate pair": ('name: "\\ud800"', "surrogate|not YAML"),
    "a megabyte": ("#" * 1_000_001, "larger than 1,000,000 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_config_is_refused_soon_and_in_few_words(tmp_path, case):
    content, message = HOSTILE[case]
    (tmp_path / "c.yaml").write_text(content)
    began = time.perf_counter()
    with pytest.raises(ConfigError, match=message) as caught:
        TrainingConfig.load(tmp_path / "c.yaml")
    assert time.perf_counter() - began < 5
    assert len(str(caught.value)) < 5000


def test_what_aliases_stand_for_is_read_where_it_is_little(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "core: &a {steps: 6}\ntraining: {losses: &b {mse: 1.0}}\ndata: {noise: {<<: {}}}\n"
    )
    assert TrainingConfig.load(tmp_path / "c.yaml").core.steps == 6
    (tmp_path / "d.yaml").write_text("teachers: [&a 'static:64', *a]\ntraining: {losses: {distill: 1}}\n")
    assert TrainingConfig.load(tmp_path / "d.yaml").teachers == ("static:64", "static:64")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no such device")
def test_a_config_without_an_end_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="/dev/zero: it is a pipe, a socket or a device, which may have no end"):
        TrainingConfig.load("/dev/zero")
    os.mkfifo(tmp_path / "pipe")  # which nobody ever writes to
    with pytest.raises(ConfigError, match="is a pipe, a socket or a device"):
        TrainingConfig.load(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a folder"):
        TrainingConfig.load(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data=a.csv", "data.path=b.csv"],
            "given twice, by data and by data.path, as 'data.path=b.csv'",
        ),
        (["seed=1", "seed=2"], "'seed' is given twice, as 'seed=1' and 'seed=2'; leave one out"),
        (["training=3", "training.lr=1"], "training is 3, so it has no 'training.lr'"),
        ([".".join("a" * 5000) + "=1"], "expected key=value"),
        (["core.shape=" + "[" * 5000], "more than 50 deep"),
        (["seed=" + "9" * 5000], "'seed=9+…: it has a value that cannot be read"),
    ],
)
def test_hostile_items_of_the_command_line_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        TrainingConfig.load(None, overrides)
    assert len(str(caught.value)) < 500


def test_of_very_many_mistakes_the_first_are_told():
    with pytest.raises(ConfigError, match="and 3 more mistakes"):
        TrainingConfig.load(None, [f"no{i}" for i in range(23)])
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.load({f"k{i}": i for i in range(1000)})
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 980 more mistakes"


@pytest.mark.parametrize(
    "value",
    [10**5000, [[0] * 10**5] * 10**5, {"a": "x" * 10**6}, "x" * 10**6],
    ids=["digits", "lists", "mapping", "text"],
)
def test_a_value_is_shown_in_few_words_however_large_it_is(value):
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.load({"seed": value})
    assert len(str(caught.value)) < 200


def test_values_of_numpy_and_paths_are_taken_for_what_they_stand_for():
    given = {
        "data": Path("q.jsonl"),
        "seed": np.int64(3),
        "training": {"lr": np.float32(0.5), "refit": np.bool_(False)},
    }
    config = TrainingConfig.load({**given, "core": {"shape": np.array([2, 2, 2]), "dilations": (np.int64(1),)}})
    assert (config.data.path, config.seed, config.core.shape, config.core.dilations) == ("q.jsonl", 3, (2, 2, 2), (1,))
    assert (config.training.lr, config.training.refit) == (0.5, False)
    assert yaml.safe_load(config.to_yaml())["core"]["shape"] == [2, 2, 2]


@pytest.mark.parametrize("key", ["name", "data.path", "encoder", "runs", "cache"])
@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 10_001])
def test_a_text_that_no_file_can_be_called_is_refused(key, text):
    *sections, last = key.split(".")
    values = {last: text}
    for section in sections:
        values = {section: values}
    with pytest.raises(ConfigError, match=f"{key}: "):
        TrainingConfig.load(values)


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


def test_the_core_offers_whatever_the_lattice_knows():
    fields = CoreConfig.model_fields
    assert get_args(fields["activation"].annotation) == ACTIVATIONS
    assert get_args(fields["update"].annotation) == UPDATES
    assert get_args(fields["neighborhood"].annotation) == NEIGHBORHOODS
    assert get_args(get_args(fields["boundary"].annotation)[0]) == BOUNDARIES  # or None


def test_every_key_is_described():
    text = describe_keys(TrainingConfig)
    for path in leaves(TrainingConfig().model_dump(mode="json")):
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {path}=")]
        shown, _, meaning = line.strip().partition("=")[2].partition(" ")
        assert meaning.strip(), f"{path} has no description"
        assert shown == "" or yaml.safe_load(shown) is not ...


def test_with_absolute_paths_a_config_holds_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainingConfig.load(
        {
            "init_from": "runs/x",
            "cache": "/cache",
            "data": {"path": "q.jsonl", "vectors": "v.npz", "teacher_vectors": ["sub/../t.npz"]},
            "training": {"losses": {"distill": 0.5}},
        }
    ).with_absolute_paths()
    assert (config.init_from, config.cache, config.data.path) == (f"{tmp_path}/runs/x", "/cache", f"{tmp_path}/q.jsonl")
    assert (config.data.vectors, config.data.teacher_vectors) == (f"{tmp_path}/v.npz", (f"{tmp_path}/sub/../t.npz",))
    for name in ("builtin", "hub:squad"):
        assert TrainingConfig.load({"data": name}).with_absolute_paths().data.path == name
    assert TrainingConfig().with_absolute_paths() == TrainingConfig()
