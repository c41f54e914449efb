"""A lattice as a layer: the shared weights of its cells and the rollout over them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .checks import ACTIVATIONS, MOST_NUMBERS, MOST_PER_CELL, MOST_STEPS, UPDATES, check_choice, check_count
from .functional import lattice_rollout
from .topology import Topology


class Lattice3D(nn.Module):
    """A 3D lattice of cells that share one small network, run for a number of steps.

    Args:
        shape: (X, Y, Z) cells, or a ready :class:`Topology`, which then sets neighborhood and boundary too.
        state_size: S, numbers of state per cell.
        hidden_size: H, hidden numbers per cell.
        steps: T, how many steps one forward takes.
        neighborhood, boundary: see :class:`Topology`.
        activation, update, checkpoint_every: see :func:`lattice_rollout`.
        bias: whether every cell hears a learnt bias [H] beside its drive.

    Parameters: ``w_perceive`` [H, K*S] and ``bias`` [H], uniform within 1/sqrt(K*S) as in ``torch.nn.Linear``;
    ``w_update`` [S, H] the same within 1/sqrt(H); ``b_update`` [S], zeros.

    Example::

        lattice = Lattice3D((8, 8, 12))
        state = torch.zeros(32, 768, 16)             # [B, N, S]
        drive = torch.randn(32, 768, 64)             # [B, N, H]: what each cell hears from outside
        after = lattice(state, drive)                # [B, N, S]
    """

    bias: Tensor | None

    def __init__(
        self,
        shape: tuple[int, int, int] | Topology,
        state_size: int = 16,
        hidden_size: int = 64,
        steps: int = 16,
        *,
        neighborhood: str = "von_neumann",
        boundary: str = "walls",
        activation: str = "tanh",
        update: str = "residual",
        bias: bool = True,
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
        if isinstance(shape, Topology):
            self.topology = shape
        else:
            self.topology = Topology(shape, neighborhood, boundary)
        self.state_size = state_size
        self.hidden_size = hidden_size
        self.steps = steps
        self.activation = activation
        self.update = update
        self.checkpoint_every = checkpoint_every
        if hidden_size * self.topology.slots * state_size > MOST_NUMBERS:
            raise ValueError(
                f"w_perceive may have 2^31 numbers at most; {hidden_size} hidden numbers, {self.topology.slots} slots "
                f"and a state of {state_size} are more. Use smaller sizes"
            )
        self.w_perceive = nn.Parameter(torch.empty(hidden_size, self.topology.slots * state_size))
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
        nn.init.zeros_(self.b_update)

    def forward(self, state: Tensor, drive: Tensor | None = None, *, steps: int | None = None) -> Tensor:
        """Run the lattice.

        Args:
            state: [B, N, S] or [B, X, Y, Z, S].
            drive: [B, N, H], [1, N, H] or [N, H], added to the bias; None hears the bias alone.
            steps: instead of the lattice's own number of steps.

        Returns:
            The state after the steps, in the shape that came in. Errors are those of :func:`lattice_rollout`.
        """
        if drive is None:
            quiet = state.new_zeros(self.hidden_size) if self.bias is None else self.bias
            drive = quiet.expand(self.topology.cells, self.hidden_size)
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
            checkpoint_every=self.checkpoint_every,
        )

    def extra_repr(self) -> str:
        """What ``print(lattice)`` shows."""
        return (
            f"{self.topology}, state_size={self.state_size}, hidden_size={self.hidden_size}, "
            f"steps={self.steps}, activation={self.activation!r}, update={self.update!r}"
        )
