"""What the operators are given besides tensors, checked together with these at the border of the kernels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import backends
from .checks import MOST_STEPS, check_alive, check_choice, check_count, check_rate, check_rollout, check_tables


class Rule(NamedTuple):
    """As the kernels take it."""

    steps: int
    activation: str
    update: str
    checkpoint_every: int
    fire_rate: float | None = None
    seed: int = 0
    first_step: int = 0
    alive: tuple[int, float] | None = None
    return_states: int = 0

    def saved(self, save: bool) -> int:
        """How many states the trajectory holds."""
        return (self.steps - 1) // self.checkpoint_every if save and self.steps > 0 else 0

    @property
    def returned(self) -> int:
        """How many states are returned on the way."""
        return self.steps // self.return_states if self.return_states else 0

    @property
    def reads_final(self) -> bool:
        """Whether the backward needs the final state: to differentiate a tanh."""
        return self.update != "residual"


def checked_rule(
    tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    tables: tuple[Tensor, Tensor, Tensor],
    rule: tuple[int, str, str, int],
    backend: str,
    filters: Tensor | None,
    fire_rate: float | None,
    seed: Tensor | None,
    first_step: int,
    alive_channel: int,
    alive_threshold: float,
    return_states: int,
) -> Rule:
    """The rule, when all that the kernels rely on is as they take it."""
    check_tables(*tables)
    cells, degree = tables[0].shape
    steps, activation, update, checkpoint_every = rule
    per_step = tensors[1].dim() == 4
    check_rollout(
        *tensors, cells=cells, slots=degree + 1, activation=activation, update=update, filters=filters,
        drives=steps if per_step else None,
    )  # fmt: skip
    if (dtype := tensors[0].dtype) not in (torch.float32, torch.float64):
        raise TypeError(f"the tensors must be float32 or float64; got {dtype}. cubefast.lattice_rollout takes more")
    check_count("steps", steps, 0, MOST_STEPS)
    check_count("checkpoint_every", checkpoint_every, 1, MOST_STEPS)
    check_choice("backend", backend, ("cpp", "numba"))
    if problem := backends.unavailable(backend):
        raise RuntimeError(f'backend "{backend}" cannot run: {problem}')
    if backends.has_tangents(tensors if filters is None else (*tensors, filters)):
        raise RuntimeError(
            "the compiled lattice rollout has no forward-mode derivatives. Use the reference: "
            'lattice_rollout(..., backend="torch") or cubefast.use_backend("torch")'
        )
    if filters is None and fire_rate is None and alive_channel < 0 and not return_states and not per_step:
        return Rule(*rule)
    alive = None if alive_channel < 0 else check_alive((alive_channel, alive_threshold), tensors[0].shape[-1])
    check_count("first_step", first_step, 0, 2**32 - 1 - MOST_STEPS)
    check_count("return_states", return_states, 0, MOST_STEPS)
    if fire_rate is None:
        return Rule(*rule, alive=alive, return_states=return_states)
    if seed is None or seed.dim() > 0 or seed.dtype != torch.int64:
        raise ValueError("fire_rate needs a seed, an int64 tensor []")
    return Rule(*rule, check_rate("fire_rate", fire_rate), int(seed), first_step, alive, return_states)


def result_shapes(state: Tensor, rule: Rule, save: bool) -> tuple[tuple[int, ...], ...]:
    """Those of final, trajectory, states and kept."""
    batch, cells, state_size = state.shape
    kept = rule.steps if save and rule.alive is not None else 0
    on_the_way = [(batch, count, cells, state_size) for count in (rule.saved(save), rule.returned)]
    return (batch, cells, state_size), *on_the_way, (batch, kept, cells)
