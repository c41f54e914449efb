"""The arguments of the operators, checked together at the border of the kernels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import backends
from .checks import MOST_STEPS, check_alive, check_choice, check_count, check_rate, check_rollout, check_tables
from .rule import Rule


class Call(NamedTuple):
    """The arguments of ``cubefast::rollout``, in the order of its schema."""

    state: Tensor
    drive: Tensor
    w_perceive: Tensor
    w_update: Tensor
    b_update: Tensor
    neighbors: Tensor
    reader_offsets: Tensor
    readers: Tensor
    steps: int
    activation: str
    update: str
    checkpoint_every: int
    save: bool
    backend: str
    filters: Tensor | None = None
    fire_rate: float | None = None
    seed: Tensor | None = None
    first_step: int = 0
    alive_channel: int = -1
    alive_threshold: float = 0.0
    return_states: int = 0

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Those that always have gradients."""
        return self[:5]

    @property
    def tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """The topology's."""
        return self[5:8]

    def checked(self) -> Rule:
        """The rule, when all that the kernels rely on is as they take it."""
        check_tables(*self.tables)
        cells, degree = self.neighbors.shape
        per_step = self.drive.dim() == 4
        check_rollout(
            *self.tensors, cells=cells, slots=degree + 1, activation=self.activation, update=self.update,
            filters=self.filters, drives=self.steps if per_step else None,
        )  # fmt: skip
        if (dtype := self.state.dtype) not in (torch.float32, torch.float64):
            raise TypeError(f"the tensors must be float32 or float64; got {dtype}. cubefast.lattice_rollout takes more")
        check_count("steps", self.steps, 0, MOST_STEPS)
        check_count("checkpoint_every", self.checkpoint_every, 1, MOST_STEPS)
        check_choice("backend", self.backend, ("cpp", "numba"))
        if problem := backends.unavailable(self.backend):
            raise RuntimeError(f'backend "{self.backend}" cannot run: {problem}')
        if backends.has_tangents(self.tensors if self.filters is None else (*self.tensors, self.filters)):
            raise RuntimeError(
                "the compiled lattice rollout has no forward-mode derivatives. Use the reference: "
                'lattice_rollout(..., backend="torch") or cubefast.use_backend("torch")'
            )
        rule = self.rule
        if rule.alive is not None:
            check_alive(rule.alive, self.state.shape[-1])
        check_count("first_step", self.first_step, 0, 2**32 - 1 - MOST_STEPS)
        check_count("return_states", self.return_states, 0, MOST_STEPS)
        if self.fire_rate is None:
            return rule
        if self.seed is None or self.seed.dim() > 0 or self.seed.dtype != torch.int64:
            raise ValueError("fire_rate needs a seed, an int64 tensor []")
        return rule._replace(fire_rate=check_rate("fire_rate", self.fire_rate), seed=int(self.seed))

    @property
    def rule(self) -> Rule:
        """The rule without its chance, and not checked."""
        alive = None if self.alive_channel < 0 else (self.alive_channel, self.alive_threshold)
        return Rule(*self[8:12], first_step=self.first_step, alive=alive, return_states=self.return_states)
