"""The one validated model of a training run: defaults < YAML file < key=value on the command line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from ..utils.files import LONGEST_NAME, is_plain_name
from . import bounds
from .core import CoreConfig
from .data import BUILTIN, HUB, DatasetConfig
from .parsing import override, parse_mapping, read_mapping
from .settings import Count, Section, validated
from .training import LOSSES, MARGINS, OptimizationConfig


class TrainingConfig(Section):
    """The config of a training run."""

    name: str | None = Field(None, description="the run's folder; null: the mode, with a number when it is taken")
    runs: str = Field("runs", description="the folder that runs are put in")
    mode: Literal["dialogue", "autoencoder", "mixed"] = Field(
        "dialogue", description="dialogue: question -> answer | autoencoder: noisy embedding -> clean one | mixed: both"
    )
    purpose: Literal["retrieve", "decode"] = Field(
        "retrieve",
        description="retrieve: the right answer comes first in an index | decode: the vector is near the answer's, for "
        "what reads it; sets other defaults, those of --config decode; always so with mode=autoencoder or mixed",
    )
    sides: Literal["query", "both"] = Field(
        "query",
        description="query: the index stays as it is | both: its vectors are put through a small map once, and more is "
        "found; nothing is encoded again",
    )
    mix: float = Field(0.3, gt=0, lt=1, description="share of noisy embeddings among the pairs (mixed)")
    init_from: str | None = Field(None, description="a run whose best core is begun from; null: a fresh core")
    encoder: str | None = Field(
        "static",
        description="the frozen encoder: static[:64|128|256] (WordLlama, offline) | st:NAME_OR_FOLDER (of "
        "sentence-transformers: st:all-MiniLM-L6-v2) | openai:MODEL (an embeddings API) | hashing[:DIM] (for tests) | "
        "several of them: static+st:NAME; with data.vectors what made them, to ask with, or null",
    )
    teachers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        max_length=bounds.TEACHERS,
        description="more frozen encoders, of any dimension, which teach by training.losses.distill",
    )
    tensorboard: bool = Field(False, description="also record for TensorBoard, in the run's folder (extra track)")
    cache: str | None = Field(None, description="folder of cached embeddings; null: the user's cache")
    cache_limit_mb: Count | None = Field(
        None, description="size of the cache, above which what was used longest ago goes; null: no limit"
    )
    seed: int = Field(0, ge=0, le=bounds.SEED, description="seed of the weights, the order and the noise")
    data: DatasetConfig = Field(DatasetConfig(), description="data=FILE is short for data.path=FILE")
    core: CoreConfig = CoreConfig()
    training: OptimizationConfig = OptimizationConfig()

    @model_validator(mode="before")
    @classmethod
    def _has_defaults_that_depend_on_other_keys(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values, data = dict(values), values.get("data")
        if (data.get("vectors") if isinstance(data, Mapping) else getattr(data, "vectors", None)) is not None:
            values.setdefault("encoder", None)  # the default has not made these vectors
        if values.get("mode") in ("autoencoder", "mixed"):
            values.setdefault("purpose", "decode")
        return _merged(_shipped("decode"), values) if values.get("purpose") == "decode" else values

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str | None) -> str | None:
        if name is not None and (":" in name or not is_plain_name(name)):
            raise ValueError(f"must be a plain folder name, of at most {LONGEST_NAME} bytes")
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingConfig:
        data, core, training = self.data, self.core, self.training
        weighted = [name for name in LOSSES if getattr(training.losses, name)]
        if self.encoder is None and data.vectors is None:
            raise ValueError("encoder may be null with data.vectors only: name one, such as static")
        if self.mode == "autoencoder" and max(data.noise.levels) == 0 and core.residual:
            raise ValueError(
                "mode=autoencoder with data.noise.levels=[0] is void: returning the input scores 1.0. Set a "
                "noise, or core.residual=false so that the lattice must carry the embedding"
            )
        if self.sides == "both":
            if self.purpose != "retrieve" or self.mode != "dialogue":
                raise ValueError("sides=both maps the vectors of an index: it needs mode=dialogue and purpose=retrieve")
            if core.linear_rank == 0 or not core.normalize:
                raise ValueError("sides=both needs core.linear_rank of at least 1, and core.normalize")
            # Others pull predictions to targets that move: both would collapse into one point.
            if others := [name for name in weighted if name not in MARGINS]:
                raise ValueError(
                    f"sides=both is trained by {' and '.join(MARGINS)} alone, which tell answers apart: set "
                    + " ".join(f"training.losses.{name}=0" for name in others)
                )
        states = core.steps + 1 if core.checkpoint_every is None else 1 + core.steps // core.checkpoint_every
        numbers = training.batch_size * math.prod(core.shape or (1,)) * (core.state_size * states + core.hidden_size)
        if numbers > bounds.NUMBERS:
            raise ValueError(
                f"training.batch_size={training.batch_size} with these core.shape, steps, state_size and hidden_size "
                f"takes {numbers:,} numbers per batch, and {bounds.NUMBERS:,} (8 GiB) are the most: make one smaller, "
                "or set core.checkpoint_every"
            )
        if self.mode == "autoencoder" and weighted == ["crossfit"]:
            raise ValueError("mode=autoencoder needs another loss than training.losses.crossfit, which expects nothing")
        if (self.teachers or data.teacher_vectors) and "distill" not in weighted:
            raise ValueError(
                "teachers and data.teacher_vectors teach by training.losses.distill, which is 0: set it, such as to "
                "0.5, or leave them out"
            )
        return self

    @classmethod
    def load(
        cls, source: str | Path | Mapping[str, Any] | None = None, overrides: Sequence[str] = ()
    ) -> TrainingConfig:
        """Load a config from a YAML file, the name of one that ships with the package, a mapping, or the defaults.

        Args:
            source: None for the defaults.
            overrides: ``key=value`` with dotted keys; values are read as YAML.

        Raises ConfigError with everything that is wrong.
        """
        if source is None:
            values: dict[str, Any] = {}
        elif isinstance(source, Mapping):
            values = _nested_copy(source)
        else:
            values = _read_yaml(source)
        override(values, overrides)
        return validated(cls, values)

    def with_absolute_paths(self) -> TrainingConfig:
        """The config with absolute paths of every file and folder that it reads, and of the cache, so that it finds
        them from any working directory. ``runs``, where new runs are put, stays as it is.
        """
        from .encoder_names import absolute_encoder

        return self.map_paths(lambda path: str(Path(path).absolute()), absolute_encoder)

    def map_paths(self, path: Callable[[str], str], encoder: Callable[[str], str]) -> TrainingConfig:
        """The config with ``path`` applied to the paths of all files and folders that it reads, or keeps embeddings in,
        and ``encoder`` to the names of all encoders, which may be folders.
        """
        data = self.data
        is_file = data.path != BUILTIN and not data.path.startswith(HUB)
        return self.model_copy(
            update={
                "cache": self.cache and path(self.cache),
                "init_from": self.init_from and path(self.init_from),
                "encoder": self.encoder and encoder(self.encoder),
                "teachers": tuple(map(encoder, self.teachers)),
                "data": data.model_copy(
                    update={
                        "path": path(data.path) if is_file else data.path,
                        "vectors": data.vectors and path(data.vectors),
                        "answer_vectors": data.answer_vectors and path(data.answer_vectors),
                        "teacher_vectors": tuple(map(path, data.teacher_vectors)),
                    }
                ),
            }
        )

    def to_yaml(self) -> str:
        """The whole config as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def named_configs() -> list[str]:
    """The names of the configs that ship with the package."""
    folder = resources.files("cubefast.config") / "named"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def _nested_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _nested_copy(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings, key by key; where both have a value, that of ``above`` is taken."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


@lru_cache
def _shipped(name: str) -> dict[str, Any]:
    """The keys of a config that ships with the package."""
    text = (resources.files("cubefast.config") / "named" / f"{name}.yaml").read_text("utf-8")
    return parse_mapping(text, name)


def _read_yaml(source: str | Path) -> dict[str, Any]:
    if str(source) in named_configs():
        return _nested_copy(_shipped(str(source)))
    return read_mapping(source, f", or one of: {', '.join(named_configs())}")
