"""The rule of a rollout as the kernels take it, and the shapes of what they return."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


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


def result_shapes(state: Tensor, rule: Rule, save: bool) -> tuple[tuple[int, ...], ...]:
    """Those of final, trajectory, states and kept."""
    batch, cells, state_size = state.shape
    kept = rule.steps if save and rule.alive is not None else 0
    on_the_way = [(batch, count, cells, state_size) for count in (rule.saved(save), rule.returned)]
    return (batch, cells, state_size), *on_the_way, (batch, kept, cells)
