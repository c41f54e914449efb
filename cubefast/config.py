"""The one validated model of a training run: defaults < YAML file < key=value on the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from . import bounds
from .data.config import BUILTIN, HUB, DatasetConfig
from .data.encoders import absolute_encoder
from .settings import Section, override, parse_mapping, read_mapping, validated

PASSES = 4
"""Over the training pairs, where these are so many that no more are needed."""

Factor = Annotated[float, Field(ge=0, le=bounds.FACTOR)]
"""Of what is multiplied with a loss, a rate or noise."""

LOSSES = ("cosine", "mse", "l1", "contrast", "triplet", "relational", "preservation", "distill", "crossfit")
MARGINS = ("contrast", "triplet")
"""Those that compare the own target with others."""


class CoreConfig(Section):
    """The lattice and what surrounds it; see CubicCore."""

    shape: tuple[int, int, int] | None = Field(
        None, description="cells along x, y, z; null: the most cubic box for the embedding"
    )
    state_size: int = Field(8, ge=1, le=bounds.STATE_SIZE, description="numbers of state per cell")
    hidden_size: int = Field(32, ge=1, le=bounds.HIDDEN_SIZE, description="hidden numbers per cell")
    steps: int = Field(4, ge=1, le=bounds.STEPS, description="steps of one rollout")
    code_size: int = Field(32, ge=0, le=bounds.CODE_SIZE, description="learnt numbers that tell a cell which one it is")
    summary_size: int = Field(
        32, ge=0, le=bounds.SUMMARY_SIZE, description="numbers of a summary of the embedding that every cell is given"
    )
    linear_rank: Annotated[int, Field(ge=0, le=bounds.SUMMARY_SIZE)] | None = Field(
        None, description="of the linear map beside the lattice; 0: none; null: an eighth of the embedding's numbers"
    )
    output_scale: float = Field(
        0.2,
        ge=0,
        le=bounds.FACTOR,
        description="what the lattice adds is multiplied by it; 0: the linear map alone, to compare with",
    )
    prototypes: int = Field(
        64,
        ge=0,
        le=bounds.PROTOTYPES,
        description="of the training questions, far from which the core is trusted less; 0: trusts all",
    )
    memory: int = Field(
        8192,
        ge=0,
        le=bounds.MEMORY,
        description="answers of training that a core may remember, to keep questions of new topics away from them, "
        "where validation says so; 0: none",
    )
    normalize: bool = Field(True, description="outputs of unit length")
    phases: int = Field(
        2,
        ge=1,
        le=bounds.PHASES,
        description="parts of the rollout with cell weights of their own; at most one for two steps",
    )
    dilations: Annotated[
        tuple[Annotated[int, Field(ge=1, le=bounds.SIDE)], ...], Field(min_length=1, max_length=bounds.PHASES)
    ] = Field((1, 2), description="how many cells away the neighbors are, phase by phase in turn")
    placement: Literal["principal", "order"] = Field(
        "principal", description="lay the embedding by its principal axes, or as it comes"
    )
    io: Literal["volume", "faces"] = Field(
        "volume",
        description="each cell hears and answers a number, or in at the front, out at the back",
    )
    residual: bool = Field(True, description="add what the lattice answers to its input")
    neighborhood: Literal["von_neumann", "moore"] = Field("von_neumann", description="6 or 26 neighbors")
    boundary: Literal["walls", "periodic", "reflecting", "absorbing"] | None = Field(
        None, description="what stands beyond the edge; null: periodic, or walls with io=faces"
    )
    activation: Literal["tanh", "relu", "silu", "sigmoid"] = Field("tanh", description="of the hidden layer")
    update: Literal["tanh", "residual", "residual_tanh"] = Field(
        "residual", description="how a state takes up its change"
    )
    checkpoint_every: Annotated[int, Field(ge=1, le=bounds.STEPS)] | None = Field(
        None, description="keep only every so many states: less memory, more time"
    )

    @field_validator("shape")
    @classmethod
    def _sides_are_positive(cls, shape: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if shape is not None and min(shape) < 1:
            raise ValueError("every side must be at least 1")
        if shape is not None and (max(shape) > bounds.SIDE or math.prod(shape) > bounds.CELLS):
            raise ValueError(f"every side must be at most {bounds.SIDE:,}, and all cells at most {bounds.CELLS:,}")
        return shape


class LossConfig(Section):
    """The weights of the losses, which are added up; 0 leaves one out. See cubefast.training.losses."""

    cosine: Factor = Field(0.0, description="1 - cosine to the target")
    mse: float = Field(
        0.0, ge=0, le=bounds.FACTOR, description="squared distance to the target, without which any length will do"
    )
    l1: float = Field(
        0.0, ge=0, le=bounds.FACTOR, description="absolute distance to the target, by the root of the dimension"
    )
    contrast: Factor = Field(1.0, description="InfoNCE: nearer to the own target than to others")
    triplet: float = Field(
        0.0, ge=0, le=bounds.FACTOR, description="the hardest other target at least a margin further away"
    )
    relational: float = Field(
        0.0, ge=0, le=bounds.FACTOR, description="similarities within a batch as among the targets"
    )
    preservation: float = Field(
        0.0, ge=0, le=bounds.FACTOR, description="similarities within a batch as among the inputs"
    )
    distill: float = Field(
        0.0, ge=0, le=bounds.FACTOR, description="similarities within a batch as further teachers see the targets'"
    )
    crossfit: Factor = Field(
        0.0,
        description="1 - cosine to what kernel ridge regression, fitted on other pairs, expects; autoencoder: nothing",
    )
    temperature: float = Field(0.05, gt=0, le=bounds.FACTOR, description="of contrast")
    margin: Factor = Field(0.2, description="of triplet, in cosine")
    memory: int = Field(0, ge=0, le=bounds.MEMORY, description="targets of past batches kept as further negatives")
    hard_negatives: int = Field(
        8,
        ge=0,
        le=bounds.HARD_NEGATIVES,
        description="of each pair, answers to the questions most like its own, as further negatives, beside the wrong "
        "answers that the data has; autoencoder: none",
    )

    @model_validator(mode="after")
    def _pulls_on_something(self) -> LossConfig:
        if not any(getattr(self, name) for name in LOSSES):
            raise ValueError(f"one of {', '.join(LOSSES)} must be more than 0")
        return self

    @property
    def takes_negatives(self) -> bool:
        """Whether one of the losses compares with other answers than the batch's own."""
        return self.contrast > 0 or self.triplet > 0


class CurriculumConfig(Section):
    """Easy pairs first; see cubefast.training.curriculum."""

    order: Literal["none", "cosine", "length", "loss"] = Field(
        "none", description="what is easy: alike pairs | short ones | what the core does well already"
    )
    pacing: Literal["linear", "root", "step"] = Field("linear", description="how the harder ones join in")
    start: float = Field(0.3, gt=0, le=1, description="share of the pairs, the easiest, in the first epoch")
    epochs: int = Field(10, ge=1, le=bounds.EPOCHS, description="epochs until all pairs are in")


class OptimizationConfig(Section):
    """How it is learnt: the key ``training``."""

    epochs: Annotated[int, Field(ge=1, le=bounds.EPOCHS)] | None = Field(
        None, description=f"passes over the training pairs at most; null: {PASSES}, or as many as make min_steps"
    )
    min_steps: int = Field(
        240, ge=1, le=bounds.MANY, description="steps of the optimizer at least, where epochs is null"
    )
    batch_size: int = Field(64, ge=1, le=bounds.BATCH_SIZE, description="pairs per batch")
    accumulate: int = Field(1, ge=1, le=bounds.BATCH_SIZE, description="batches per step of the optimizer")
    optimizer: Literal["muon", "adamw"] = Field(
        "adamw", description="Muon for the shared matrices and AdamW for the rest | AdamW for all"
    )
    lr: float = Field(1e-3, gt=0, le=bounds.RATE, description="the learning rate at the start")
    weight_decay: float = Field(
        0.01, ge=0, le=bounds.FACTOR, description="of the shared matrices, in parts of the learning rate"
    )
    clip: float = Field(1.0, gt=0, le=bounds.FACTOR, description="largest norm of the gradient")
    input_noise: float = Field(
        0.0, ge=0, le=bounds.FACTOR, description="Gaussian noise on the inputs of question -> answer pairs"
    )
    state_noise: float = Field(
        0.0, ge=0, le=bounds.FACTOR, description="Gaussian noise that the states start with, in training only"
    )
    cell_dropout: float = Field(0.0, ge=0, lt=1, description="share of the cells that hear nothing, in training only")
    losses: LossConfig = LossConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    schedule: Literal["plateau", "cosine", "one_cycle"] = Field(
        "cosine", description="halve the rate without progress | warm up, then half a cosine | one cycle"
    )
    plateau: int = Field(
        3, ge=1, le=bounds.EPOCHS, description="epochs without progress until the rate is halved (plateau)"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the rate rises (not plateau)")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="decay per step of an average of the weights, which is what is kept; null: none"
    )
    metric: Literal["cosine", "recall_at_1", "mrr"] = Field(
        "mrr", description="of validation, by which the best epoch is chosen and progress is judged"
    )
    keep: int = Field(2, ge=1, le=bounds.EPOCHS, description="checkpoints kept in the run's folder, one per epoch")
    log_every: int = Field(
        50, ge=1, le=bounds.MANY, description="batches per line of metrics.jsonl, beside one per epoch"
    )
    workers: int = Field(
        0, ge=0, le=bounds.WORKERS, description="processes that prepare batches; 0: the training's own"
    )
    threads: Annotated[int, Field(ge=1, le=bounds.THREADS)] | None = Field(
        None, description="of each process; null: torch's, or under torchrun the machine's cores divided evenly"
    )
    early_stopping: Annotated[int, Field(ge=1, le=bounds.EPOCHS)] | None = Field(
        20, description="epochs without progress until training stops; null: never"
    )
    refit: bool = Field(
        True, description="train once more on all pairs, for as many steps as validation chose: what is served"
    )

    def epochs_of(self, pairs: int) -> int:
        """How many passes over so many training pairs there are at most."""
        if self.epochs is not None:
            return self.epochs
        steps = math.ceil(math.ceil(pairs / self.batch_size) / self.accumulate)
        return max(PASSES, math.ceil(self.min_steps / steps))


class TrainingConfig(Section):
    """A whole run."""

    name: str | None = Field(None, description="the run's folder; null: the mode, with a number when it is taken")
    runs: str = Field("runs", description="the folder that runs are put in")
    mode: Literal["dialogue", "autoencoder", "mixed"] = Field(
        "dialogue", description="question -> answer | noisy embedding -> clean | both"
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
    encoder: str = Field("static", description="the frozen teacher: static[:64|128|256], hashing[:DIM]")
    teachers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        max_length=bounds.TEACHERS,
        description="more frozen encoders, of any dimension, which teach by training.losses.distill",
    )
    tensorboard: bool = Field(False, description="also record for TensorBoard, in the run's folder (extra track)")
    cache: str | None = Field(None, description="folder of cached embeddings; null: the user's cache")
    cache_limit_mb: Annotated[int, Field(ge=1, le=bounds.MANY)] | None = Field(
        None, description="size of the cache, above which what was used longest ago goes; null: no limit"
    )
    seed: int = Field(0, ge=0, le=bounds.SEED, description="of the weights, the order and the noise")
    data: DatasetConfig = Field(DatasetConfig(), description="data=FILE is short for data.path=FILE")
    core: CoreConfig = CoreConfig()
    training: OptimizationConfig = OptimizationConfig()

    @model_validator(mode="before")
    @classmethod
    def _has_the_defaults_of_its_purpose(cls, values: Any) -> Any:
        """What the purpose sets, where nothing else is said."""
        if not isinstance(values, Mapping):
            return values
        if values.get("mode") in ("autoencoder", "mixed") and "purpose" not in values:
            values = {**values, "purpose": "decode"}
        return _merged(_shipped("decode"), values) if values.get("purpose") == "decode" else values

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str | None) -> str | None:
        if name is not None and len(name.encode()) > bounds.NAME:
            raise ValueError(f"must have at most {bounds.NAME} bytes, as file systems have it")
        if name is not None and (not name.strip() or name in (".", "..") or set(name) & set("/\\:\0")):
            raise ValueError("must be a plain folder name")
        return name

    @model_validator(mode="after")
    def _is_not_void(self) -> TrainingConfig:
        if self.mode == "autoencoder" and max(self.data.noise.levels) == 0 and self.core.residual:
            raise ValueError(
                "mode=autoencoder with data.noise.levels=[0] is void: returning the input scores 1.0. Set a "
                "noise, or core.residual=false so that the lattice must carry the embedding"
            )
        return self

    @model_validator(mode="after")
    def _both_sides_are_for_an_index(self) -> TrainingConfig:
        if self.sides == "query":
            return self
        if self.purpose != "retrieve" or self.mode != "dialogue":
            raise ValueError("sides=both maps the vectors of an index: it needs mode=dialogue and purpose=retrieve")
        if self.core.linear_rank == 0 or not self.core.normalize:
            raise ValueError("sides=both needs core.linear_rank of at least 1, and core.normalize")
        # Others pull predictions to targets that move: both would collapse into one point.
        if others := [name for name in LOSSES if getattr(self.training.losses, name) and name not in MARGINS]:
            raise ValueError(
                f"sides=both is trained by {' and '.join(MARGINS)} alone, which tell answers apart: set "
                + " ".join(f"training.losses.{name}=0" for name in others)
            )
        return self

    @model_validator(mode="after")
    def _a_batch_has_a_size(self) -> TrainingConfig:
        core, training = self.core, self.training
        states = core.steps + 1 if core.checkpoint_every is None else 1 + core.steps // core.checkpoint_every
        numbers = training.batch_size * math.prod(core.shape or (1,)) * (core.state_size * states + core.hidden_size)
        if numbers > bounds.NUMBERS:
            raise ValueError(
                f"training.batch_size={training.batch_size} with these core.shape, steps, state_size and hidden_size "
                f"takes {numbers:,} numbers per batch, and {bounds.NUMBERS:,} (8 GiB) are the most: make one smaller, "
                "or set core.checkpoint_every"
            )
        return self

    @model_validator(mode="after")
    def _an_autoencoder_is_pulled_on(self) -> TrainingConfig:
        losses = self.training.losses
        if self.mode == "autoencoder" and not any(getattr(losses, name) for name in LOSSES if name != "crossfit"):
            raise ValueError("mode=autoencoder needs another loss than training.losses.crossfit, which expects nothing")
        return self

    @model_validator(mode="after")
    def _teachers_are_heard(self) -> TrainingConfig:
        if (self.teachers or self.data.teacher_vectors) and not self.training.losses.distill:
            raise ValueError(
                "teachers and data.teacher_vectors teach by training.losses.distill, which is 0: set it, such as to "
                "0.5, or leave them out"
            )
        return self

    @classmethod
    def load(
        cls, source: str | Path | Mapping[str, Any] | None = None, overrides: Sequence[str] = ()
    ) -> TrainingConfig:
        """A config from a YAML file, the name of one that ships with the package, a mapping, or the defaults.

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
        """The config with every file and folder named from the root, so that it holds wherever it is read."""
        data = self.data
        is_file = data.path != BUILTIN and not data.path.startswith(HUB)
        return self.model_copy(
            update={
                "cache": self.cache and _absolute(self.cache),
                "init_from": self.init_from and _absolute(self.init_from),
                "encoder": absolute_encoder(self.encoder),
                "teachers": tuple(map(absolute_encoder, self.teachers)),
                "data": data.model_copy(
                    update={
                        "path": _absolute(data.path) if is_file else data.path,
                        "vectors": data.vectors and _absolute(data.vectors),
                        "teacher_vectors": tuple(map(_absolute, data.teacher_vectors)),
                    }
                ),
            }
        )

    def to_yaml(self) -> str:
        """The whole config, every key."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def named_configs() -> list[str]:
    """The configs that ship with the package."""
    folder = resources.files("cubefast") / "configs"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def _nested_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _nested_copy(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, key by key; where both have a value, that of ``above``."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(dict(inner or {}), value) if both else value
    return merged


@lru_cache
def _shipped(name: str) -> dict[str, Any]:
    """The keys of a config that ships with the package."""
    text = (resources.files("cubefast") / "configs" / f"{name}.yaml").read_text("utf-8")
    return parse_mapping(text, name)


def _read_yaml(source: str | Path) -> dict[str, Any]:
    if str(source) in named_configs():
        return _nested_copy(_shipped(str(source)))
    return read_mapping(source, f", or one of: {', '.join(named_configs())}")
