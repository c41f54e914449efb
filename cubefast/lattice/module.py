"""A lattice as a layer: the shared weights of its cells and the rollout over them."""

from __future__ import annotations

import math
from typing import Any, overload

import torch
from torch import Tensor, nn

from .checks import (
    ACTIVATIONS,
    MOST_NUMBERS,
    MOST_PER_CELL,
    MOST_STEPS,
    UPDATES,
    check_alive,
    check_choice,
    check_count,
    check_rate,
)
from .functional import lattice_rollout
from .topology import Topology

PERCEPTIONS = ("dense", "sobel", "depthwise")
"""dense: all that the neighbors hold. sobel: the cell and its differences. depthwise: learned filters."""

INITS = ("uniform", "zero")
"""How the last layer starts: as ``torch.nn.Linear`` does, or so that no cell changes at first."""


class Lattice3D(nn.Module):
    """A lattice of cells, in three dimensions or two, that share one small network, run for a number of steps.

    Args:
        shape: (X, Y, Z) or (H, W) cells, or a ready :class:`Topology`, which then sets neighborhood and boundary too.
        state_size: S, numbers of state per cell.
        hidden_size: H, hidden numbers per cell.
        steps: T, how many steps one forward takes.
        neighborhood, boundary: see :class:`Topology`.
        activation, update, checkpoint_every: see :func:`lattice_rollout`.
        bias: whether a learned bias [H] is added to the drive of every cell.
        perception: ``"dense"`` reads the states of all slots. ``"sobel"``, with the Moore neighborhood, reads each
            number of the state itself and its Sobel differences along each axis, as the growing automaton does
            (Mordvintsev et al., 2020). ``"depthwise"`` reads it through ``filters`` learned filters of its own, as
            M3D-NCA does (Kalkhof et al., 2023).
        filters: F, for depthwise perception; the first starts as the cell itself.
        fire_rate, alive: see :func:`lattice_rollout`. The chance is drawn from torch's generator at each forward,
            unless that is given a seed.
        init: ``"zero"`` starts ``w_update`` with zeros, so that a residual lattice does nothing at first: automata that
            run for many steps explode otherwise.

    Parameters: ``w_perceive`` [H, K*S], or [H, F*S] through filters, and ``bias`` [H], uniform within 1 / sqrt of its
    columns as in ``torch.nn.Linear``; ``w_update`` [S, H] the same within 1/sqrt(H); ``b_update`` [S], zeros; with
    depthwise perception ``filters`` [F, K, S].

    A state dict remembers the topology, and weights that were learned on another one are refused.

    Example::

        lattice = Lattice3D((8, 8, 12))
        state = torch.zeros(32, 768, 16)             # [B, N, S]
        drive = torch.randn(32, 768, 64)             # [B, N, H]: the input of each cell
        after = lattice(state, drive)                # [B, N, S]
    """

    bias: Tensor | None
    filters: Tensor | None

    def __init__(
        self,
        shape: tuple[int, int, int] | tuple[int, int] | Topology,
        state_size: int = 16,
        hidden_size: int = 64,
        steps: int = 16,
        *,
        neighborhood: str = "von_neumann",
        boundary: str = "walls",
        activation: str = "tanh",
        update: str = "residual",
        bias: bool = True,
        perception: str = "dense",
        filters: int = 3,
        fire_rate: float | None = None,
        alive: tuple[int, float] | None = None,
        init: str = "uniform",
        checkpoint_every: int | None = None,
    ) -> None:
        super().__init__()
        state_size = check_count("state_size", state_size, 1, MOST_PER_CELL)
        hidden_size = check_count("hidden_size", hidden_size, 1, MOST_PER_CELL)
        steps = check_count("steps", steps, 0, MOST_STEPS)
        if checkpoint_every is not None:
            checkpoint_every = check_count("checkpoint_every", checkpoint_every, 1, MOST_STEPS)
        check_choice("activation", activation, ACTIVATIONS)
        check_choice("update", update, UPDATES)
        check_choice("perception", perception, PERCEPTIONS)
        check_choice("init", init, INITS)
        filters = check_count("filters", filters, 1, MOST_PER_CELL)
        self.topology = shape if isinstance(shape, Topology) else Topology(shape, neighborhood, boundary)
        self.state_size = state_size
        self.hidden_size = hidden_size
        self.steps = steps
        self.activation = activation
        self.update = update
        self.perception = perception
        self.fire_rate = None if fire_rate is None else check_rate("fire_rate", fire_rate)
        self.alive = None if alive is None else check_alive(alive, state_size)
        self.init = init
        self.checkpoint_every = checkpoint_every
        slots = self.topology.slots
        if perception == "sobel":
            self.register_buffer("filters", self.topology.filters("identity", "sobel"), persistent=False)
        elif perception == "depthwise":
            self.filters = nn.Parameter(torch.empty(filters, slots, state_size))
        else:
            self.filters = None
        parts = slots if self.filters is None else len(self.filters)
        if hidden_size * parts * state_size > MOST_NUMBERS:
            raise ValueError(
                f"w_perceive may have 2^31 numbers at most; {hidden_size} hidden numbers, {parts} slots or filters and "
                f"a state of {state_size} are more. Use smaller sizes"
            )
        self.w_perceive = nn.Parameter(torch.empty(hidden_size, parts * state_size))
        self.w_update = nn.Parameter(torch.empty(state_size, hidden_size))
        self.b_update = nn.Parameter(torch.empty(state_size))
        if bias:
            self.bias = nn.Parameter(torch.empty(hidden_size))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, as the class docstring says."""
        bound = 1 / math.sqrt(self.w_perceive.shape[1])
        nn.init.uniform_(self.w_perceive, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)
        bound = 1 / math.sqrt(self.hidden_size)
        nn.init.uniform_(self.w_update, -bound, bound)
        if self.init == "zero":
            nn.init.zeros_(self.w_update)
        nn.init.zeros_(self.b_update)
        if isinstance(self.filters, nn.Parameter):
            bound = 1 / math.sqrt(self.topology.slots)
            nn.init.uniform_(self.filters, -bound, bound)
            with torch.no_grad():
                self.filters[0] = 0
                self.filters[0, -1] = 1

    @overload
    def forward(
        self,
        state: Tensor,
        drive: Tensor | None = ...,
        *,
        steps: int | None = ...,
        seed: int | Tensor | None = ...,
        first_step: int = ...,
        return_states: None = ...,
        drive_per_step: bool = ...,
    ) -> Tensor: ...
    @overload
    def forward(
        self,
        state: Tensor,
        drive: Tensor | None = ...,
        *,
        steps: int | None = ...,
        seed: int | Tensor | None = ...,
        first_step: int = ...,
        return_states: int,
        drive_per_step: bool = ...,
    ) -> tuple[Tensor, Tensor]: ...
    def forward(
        self,
        state: Tensor,
        drive: Tensor | None = None,
        *,
        steps: int | None = None,
        seed: int | Tensor | None = None,
        first_step: int = 0,
        return_states: int | None = None,
        drive_per_step: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run the lattice.

        Args:
            state: [B, N, S] or [B, X, Y, Z, S]; on a plane [B, H, W, S].
            drive: as for :func:`lattice_rollout`, added to the bias; with None there is only the bias.
            steps: instead of the lattice's own number of steps.
            seed, first_step, return_states, drive_per_step: see :func:`lattice_rollout`.

        Returns:
            The state after the steps, in the shape that came in; with ``return_states`` also the states on the way.
            Errors are those of :func:`lattice_rollout`.
        """
        if drive is None:
            if drive_per_step:
                raise ValueError(
                    "drive_per_step needs a drive [T, ...]; got none. Leave drive_per_step out to run on the bias alone"
                )
            drive = state.new_zeros(self.hidden_size) if self.bias is None else self.bias
        elif self.bias is not None:
            drive = drive + self.bias
        return lattice_rollout(
            state,
            drive,
            self.w_perceive,
            self.w_update,
            self.b_update,
            topology=self.topology,
            steps=self.steps if steps is None else steps,
            activation=self.activation,
            update=self.update,
            filters=self.filters,
            fire_rate=self.fire_rate,
            seed=seed,
            first_step=first_step,
            alive=self.alive,
            return_states=return_states,  # type: ignore[arg-type, misc]  # the overloads do not see that both are served
            drive_per_step=drive_per_step,
            checkpoint_every=self.checkpoint_every,
        )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):  # beside the tensors, which stay what they are to other programs
            destination._metadata[prefix[:-1]]["topology"] = (str(self.topology), self.topology.checksum)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing: Any,
        unexpected: Any,
        errors: Any,
    ) -> None:
        known, checksum = local_metadata.get("topology", ("", None))
        if checksum is not None and checksum != self.topology.checksum:
            errors.append(
                f"the weights {prefix or 'of this lattice'} were learned on {known} and this lattice is "
                f"{self.topology}; make a lattice of that topology"
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    def extra_repr(self) -> str:
        """What ``print(lattice)`` shows."""
        options = {"fire_rate": self.fire_rate, "alive": self.alive}
        more = "".join(f", {name}={value!r}" for name, value in options.items() if value is not None)
        if self.perception != "dense":
            more = f", perception={self.perception!r}{more}"
        return (
            f"{self.topology}, state_size={self.state_size}, hidden_size={self.hidden_size}, "
            f"steps={self.steps}, activation={self.activation!r}, update={self.update!r}{more}"
        )
