"""The search space: which keys of a config are tuned, and between which values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field

from ..config.parsing import parse_mapping, read_mapping
from ..config.run_config import TrainingConfig
from ..config.settings import Section, keys_of, validated
from ..errors import ConfigError
from ..training.training_state import SETTINGS_NOT_COMPARED

DEFAULT_SPACE = """\
# What `python -m cubefast.tune` searches: each key of a config (python -m cubefast.train --help lists them) with
# a list of choices, or low and high. log: true draws evenly by ratio; step: only every so many.
training.optimizer: [muon, adamw]
training.lr: {low: 0.0002, high: 0.01, log: true}
training.weight_decay: {low: 0.001, high: 0.3, log: true}
training.batch_size: [16, 32, 64]
training.losses.temperature: {low: 0.02, high: 0.1, log: true}
training.losses.hard_negatives: [0, 4, 8, 16]
core.output_scale: {low: 0.02, high: 1.0, log: true}
core.state_size: {low: 4, high: 16, step: 4}
core.hidden_size: {low: 16, high: 64, step: 16}
core.steps: {low: 2, high: 12, step: 2}
core.phases: {low: 1, high: 4}
core.code_size: {low: 16, high: 64, step: 16}
"""

_TUNED = ("core", "training", "mix")  # the rest is the data and its splits
_COMPARED_BY = "training.metric"


class _Range(Section):
    low: float
    high: float
    log: bool = False
    step: float | None = Field(None, gt=0)


class SearchSpace:
    """The values that a study tries for some keys of a config.

    Args:
        mapping: dotted key -> a list of choices, or a mapping with low, high and, if wanted, log or step.
        base: the config that the study is started with, in which every value must be valid.

    Attributes:
        mapping: the mapping, with the values as the config stores them.
        distributions: Optuna's distribution of each key. A choice is given as its JSON text, so that lists and null can
            be choices.

    Raises ConfigError with everything that is wrong: keys that do not exist or cannot be tuned, empty ranges, values
    that the config refuses.
    """

    def __init__(self, mapping: Mapping[str, Any], base: TrainingConfig) -> None:
        self.mapping: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        problems = [] if mapping else ["no key to tune; --print-space shows a space to begin with"]
        for key, values in mapping.items():
            try:
                _check_key(str(key), base)
                self.mapping[key], self.distributions[key] = _read(key, values, base)
            except ConfigError as error:
                problems += str(error).splitlines()
        if problems:
            raise ConfigError("\n".join(f"search space: {problem}" for problem in problems))

    @classmethod
    def load(cls, source: str | Path | None, base: TrainingConfig) -> SearchSpace:
        """Read a search space from a YAML file; None: the default space."""
        if source is None:
            return cls(parse_mapping(DEFAULT_SPACE, "space"), base)
        return cls(read_mapping(source, " of keys and values; --print-space shows one"), base)

    def to_yaml(self) -> str:
        """The search space as YAML, which :meth:`load` reads."""
        return yaml.safe_dump(self.mapping, sort_keys=False, default_flow_style=None)

    def values_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the config's keys that the parameters of an Optuna trial stand for."""
        return {
            key: json.loads(param) if isinstance(self.distributions[key], CategoricalDistribution) else param
            for key, param in params.items()
        }

    def params_of(self, config: TrainingConfig) -> dict[str, Any]:
        """The parameters of an Optuna trial that stand for the values of a config, without those outside the space."""
        params = {}
        for key, distribution in self.distributions.items():
            value = value_at(config, key)
            if isinstance(distribution, CategoricalDistribution):
                if (label := json.dumps(value)) in distribution.choices:
                    params[key] = label
            elif isinstance(distribution, (FloatDistribution, IntDistribution)) and _lies_in(distribution, value):
                params[key] = value
        return params


def value_at(config: TrainingConfig, key: str) -> Any:
    """The value of a dotted key, in JSON's types: a list for a tuple."""
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


def with_values(config: TrainingConfig, values: Mapping[str, Any]) -> TrainingConfig:
    """The config with other values for some dotted keys. Raises ConfigError if they are not valid."""
    return TrainingConfig.load(
        config.model_dump(mode="json"), [f"{key}={json.dumps(value, default=str)}" for key, value in values.items()]
    )


def _check_key(key: str, base: TrainingConfig) -> None:
    known = [path for path, _, _ in keys_of(TrainingConfig)]
    below = [path for path in known if path.startswith(f"{key}.")]
    if below:
        raise ConfigError(f"{key}: is a group of keys; give those in it by their whole names, such as {below[0]}")
    if key not in known:
        with_values(base, {key: 0})  # says which key is nearest
    if key in SETTINGS_NOT_COMPARED:
        raise ConfigError(f"{key}: changes no weight, so there is nothing to tune")
    if key.split(".")[0] not in _TUNED or key == _COMPARED_BY:
        raise ConfigError(f"{key}: stays the same in a study; keys of core and training, and mix, can be tuned")


def _read(key: str, values: Any, base: TrainingConfig) -> tuple[Any, BaseDistribution]:
    """The values of one key as the config stores them, and Optuna's distribution of them. Raises ConfigError."""
    if isinstance(values, list):
        problems, choices = [], []
        for value in values:
            try:
                choices.append(_stored_value(key, value, base))
            except ConfigError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))
        labels = [json.dumps(choice) for choice in choices]
        if len(set(labels)) != len(labels) or len(labels) < 2:
            raise ConfigError(f"{key}: needs two or more different choices; got {values}")
        return choices, CategoricalDistribution(labels)
    if not isinstance(values, dict):
        raise ConfigError(f"{key}: must be a list of choices, or {{low: ..., high: ...}}; got {values!r}")
    try:
        given = validated(_Range, values)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{key}.{line}" for line in str(error).splitlines())) from None
    low, high = (_stored_value(key, end, base) for end in (given.low, given.high))
    kind = type(low)
    if kind not in (int, float):
        raise ConfigError(f"{key}: takes no range, for it is no number; give a list of choices")
    if not low < high:
        raise ConfigError(f"{key}: low must be below high; got {low:g} and {high:g}")
    if given.log and low <= 0:
        raise ConfigError(f"{key}: log needs a low above 0; got {low:g}")
    if given.log and given.step is not None:
        raise ConfigError(f"{key}: takes log or step, not both")
    mapping = {"low": low, "high": high} | ({"log": True} if given.log else {})
    if given.step is None:
        return mapping, (IntDistribution if kind is int else FloatDistribution)(low, high, log=given.log)
    step = kind(given.step)
    if step != given.step or not _is_whole((high - low) / step):
        raise ConfigError(f"{key}: steps of {given.step:g} do not lead from {low:g} to {high:g}")
    return mapping | {"step": step}, (IntDistribution if kind is int else FloatDistribution)(low, high, step=step)


def _stored_value(key: str, value: Any, base: TrainingConfig) -> Any:
    """The value as the config stores it: 0.0003 for "3e-4". Raises ConfigError."""
    return value_at(with_values(base, {key: value}), key)


def _lies_in(distribution: FloatDistribution | IntDistribution, value: Any) -> bool:
    if not isinstance(value, (int, float)) or not distribution.low <= value <= distribution.high:
        return False
    return distribution.step is None or _is_whole((value - distribution.low) / distribution.step)


def _is_whole(number: float) -> bool:
    return math.isclose(number, round(number), abs_tol=1e-9)
