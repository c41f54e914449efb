"""The section ``training`` of a config: losses, curriculum and optimization."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from . import bounds
from .settings import Count, Section

PASSES = 4
"""The number of epochs, unless more are needed for ``training.min_steps``."""

Factor = Annotated[float, Field(ge=0, le=bounds.FACTOR)]
"""A factor of a loss, a rate or noise."""

Epochs = Annotated[int, Field(ge=1, le=bounds.EPOCHS)]

BatchSize = Annotated[int, Field(ge=1, le=bounds.BATCH_SIZE)]

LOSSES = ("cosine", "mse", "l1", "contrast", "triplet", "relational", "preservation", "distill", "crossfit")

MARGINS = ("contrast", "triplet")
"""The losses that compare a pair's own target with others."""


class LossConfig(Section):
    """The weights of the losses, which are added up; 0 leaves one out. See cubefast.training.losses."""

    cosine: Factor = Field(0.0, description="1 - cosine to the target")
    mse: Factor = Field(0.0, description="squared distance to the target, without which any length will do")
    l1: Factor = Field(0.0, description="absolute distance to the target, by the root of the dimension")
    contrast: Factor = Field(1.0, description="InfoNCE: nearer to the own target than to others")
    triplet: Factor = Field(0.0, description="the hardest other target at least a margin further away")
    relational: Factor = Field(0.0, description="similarities within a batch as among the targets")
    preservation: Factor = Field(0.0, description="similarities within a batch as among the inputs")
    distill: Factor = Field(0.0, description="similarities within a batch as further teachers see the targets'")
    crossfit: Factor = Field(
        0.0,
        description="1 - cosine to what kernel ridge regression, fitted on other pairs, expects; autoencoder: nothing",
    )
    temperature: float = Field(0.05, gt=0, le=bounds.FACTOR, description="temperature of the contrast loss")
    margin: Factor = Field(0.2, description="margin of the triplet loss, in cosine")
    memory: int = Field(
        0, ge=0, le=bounds.CORE["memory"], description="targets of past batches kept as further negatives"
    )
    hard_negatives: int = Field(
        8,
        ge=0,
        le=bounds.HARD_NEGATIVES,
        description="of each pair, answers to the questions most like its own, as further negatives, beside the wrong "
        "answers that the data has; autoencoder: none",
    )

    @model_validator(mode="after")
    def _has_a_loss(self) -> LossConfig:
        if not any(getattr(self, name) for name in LOSSES):
            raise ValueError(f"one of {', '.join(LOSSES)} must be more than 0")
        return self

    @property
    def takes_negatives(self) -> bool:
        """Whether one of the losses compares predictions with further negatives."""
        return self.contrast > 0 or self.triplet > 0


class CurriculumConfig(Section):
    """The curriculum, which trains on easy pairs first; see cubefast.training.curriculum."""

    order: Literal["none", "cosine", "length", "loss"] = Field(
        "none",
        description="what is easy; none: no curriculum | cosine: alike pairs | length: short ones | loss: what the "
        "core does well already",
    )
    pacing: Literal["linear", "root", "step"] = Field(
        "linear", description="how the harder ones join in: linear, root, step"
    )
    start: float = Field(0.3, gt=0, le=1, description="share of the pairs, the easiest, in the first epoch")
    epochs: Epochs = Field(10, description="epochs until all pairs are in")


class OptimizationConfig(Section):
    """The settings of the optimization, the key ``training``."""

    epochs: Epochs | None = Field(
        None, description=f"passes over the training pairs at most; null: {PASSES}, or as many as make min_steps"
    )
    min_steps: Count = Field(240, description="steps of the optimizer at least, where epochs is null")
    batch_size: BatchSize = Field(64, description="pairs per batch")
    accumulate: BatchSize = Field(1, description="batches per step of the optimizer")
    optimizer: Literal["muon", "adamw"] = Field(
        "adamw", description="adamw: AdamW for all | muon: Muon for the shared matrices, AdamW for the rest"
    )
    lr: float = Field(1e-3, gt=0, le=bounds.RATE, description="the learning rate at the start")
    weight_decay: Factor = Field(
        0.01, description="decoupled weight decay of the shared matrices, times the learning rate"
    )
    clip: float = Field(1.0, gt=0, le=bounds.FACTOR, description="largest norm of the gradient")
    input_noise: Factor = Field(0.0, description="Gaussian noise on the inputs of question -> answer pairs")
    state_noise: Factor = Field(0.0, description="Gaussian noise that the states start with, in training only")
    cell_dropout: float = Field(0.0, ge=0, lt=1, description="share of the cells whose drive is zero, in training only")
    losses: LossConfig = LossConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    schedule: Literal["plateau", "cosine", "one_cycle"] = Field(
        "cosine",
        description="cosine: warm up, then half a cosine | plateau: halve the rate without progress | one_cycle: up "
        "and down once",
    )
    plateau: Epochs = Field(3, description="epochs without progress until the rate is halved (plateau)")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the rate rises (not plateau)")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="decay per step of an average of the weights, which is what is kept; null: none"
    )
    metric: Literal["cosine", "recall_at_1", "mrr"] = Field(
        "mrr",
        description="metric of validation by which the best epoch is chosen and progress is judged: mrr, recall_at_1, "
        "cosine",
    )
    keep: Epochs = Field(2, description="checkpoints kept in the run's folder, one per epoch")
    log_every: Count = Field(50, description="batches per line of metrics.jsonl, beside one per epoch")
    workers: int = Field(
        0, ge=0, le=bounds.WORKERS, description="processes that prepare batches; 0: the training's own"
    )
    threads: Annotated[int, Field(ge=1, le=bounds.THREADS)] | None = Field(
        None,
        description="threads of torch in each process; null: torch's own, or under torchrun the cores, divided evenly",
    )
    early_stopping: Epochs | None = Field(20, description="epochs without progress until training stops; null: never")
    refit: bool = Field(
        True, description="train once more on all pairs, for as many steps as validation chose: what is served"
    )

    def epochs_of(self, pairs: int) -> int:
        """The largest number of epochs over so many training pairs."""
        if self.epochs is not None:
            return self.epochs
        steps = math.ceil(math.ceil(pairs / self.batch_size) / self.accumulate)
        return max(PASSES, math.ceil(self.min_steps / steps))
