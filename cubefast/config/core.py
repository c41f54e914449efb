"""The section ``core`` of a config: the lattice and what surrounds it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from . import bounds
from .settings import Section

_MOST = bounds.CORE


class CoreConfig(Section):
    """The lattice and what surrounds it; see CubicCore."""

    shape: tuple[int, int, int] | None = Field(
        None, description="cells along x, y, z; null: the most cubic box for the embedding"
    )
    state_size: int = Field(8, ge=1, le=_MOST["state_size"], description="numbers of state per cell")
    hidden_size: int = Field(32, ge=1, le=_MOST["hidden_size"], description="hidden numbers per cell")
    steps: int = Field(4, ge=1, le=_MOST["steps"], description="steps of one rollout")
    code_size: int = Field(
        32, ge=0, le=_MOST["code_size"], description="learnt numbers of each cell, by which it differs from others"
    )
    summary_size: int = Field(
        32, ge=0, le=_MOST["summary_size"], description="numbers of a summary of the embedding that every cell is given"
    )
    linear_rank: Annotated[int, Field(ge=0, le=_MOST["linear_rank"])] | None = Field(
        None,
        description="rank of the linear map beside the lattice; 0: none; null: an eighth of the embedding's numbers",
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
        le=_MOST["prototypes"],
        description="prototypes kept of the training questions, far from which the core is trusted less; 0: trusts all",
    )
    memory: int = Field(
        8192,
        ge=0,
        le=_MOST["memory"],
        description="answers of training that a core may remember, to keep questions of new topics away from them, "
        "where validation says so; 0: none",
    )
    normalize: bool = Field(True, description="outputs of unit length")
    phases: int = Field(
        2,
        ge=1,
        le=_MOST["phases"],
        description="parts of the rollout with cell weights of their own; at most one for two steps",
    )
    dilations: Annotated[
        tuple[Annotated[int, Field(ge=1, le=bounds.SIDE)], ...], Field(min_length=1, max_length=_MOST["phases"])
    ] = Field((1, 2), description="how many cells away the neighbors are, phase by phase in turn")
    placement: Literal["principal", "order"] = Field(
        "principal",
        description="how the embedding is laid on the lattice; principal: by its principal axes | order: as it comes",
    )
    io: Literal["volume", "faces"] = Field(
        "volume",
        description="volume: each cell takes and gives a number | faces: in at the front, out at the back",
    )
    residual: bool = Field(True, description="add the output of the lattice to its input")
    neighborhood: Literal["von_neumann", "moore"] = Field(
        "von_neumann", description="von_neumann: 6 neighbors | moore: 26"
    )
    boundary: Literal["walls", "periodic", "reflecting", "absorbing", "replicate"] | None = Field(
        None,
        description="what is beyond the edge: walls, periodic, reflecting, absorbing, replicate; null: periodic, or "
        "walls with io=faces",
    )
    activation: Literal["tanh", "relu", "silu", "sigmoid"] = Field(
        "tanh", description="activation of the hidden layer: tanh, relu, silu, sigmoid"
    )
    update: Literal["tanh", "residual", "residual_tanh"] = Field(
        "residual",
        description="how a state s takes up its change u; tanh: tanh(u) | residual: s + u | residual_tanh: tanh(s + u)",
    )
    checkpoint_every: Annotated[int, Field(ge=1, le=_MOST["checkpoint_every"])] | None = Field(
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
