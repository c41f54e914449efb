"""What makes an automaton of a lattice: filters, chance, life, and states on the way. Checked, ready for a backend."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Options(NamedTuple):
    """The options of a rollout; the defaults are those of a plain lattice."""

    filters: Tensor | None = None  # [F, K] or [F, K, S]
    fire_rate: float | None = None
    seed: Tensor | None = None  # int64 []; there when fire_rate is
    first_step: int = 0
    alive: tuple[int, float] | None = None  # channel, threshold
    return_states: int = 0  # every how many steps; 0: none
    drive_per_step: bool = False  # whether the drive has a first dimension, of the steps


PLAIN = Options()
