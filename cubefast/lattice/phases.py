"""Lattices run one after the other on the same cells: steps whose weights change a few times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from .checks import MOST_PHASES, MOST_STEPS, check_count
from .module import Lattice3D
from .topology import Topology


class PhasedLattice(nn.Module):
    """A lattice whose steps are divided into phases. In each the cells share a network of that phase's own, and hear
    the neighbors that are that phase's dilation away.

    A step costs what it costs without phases; what grows is the number of weights. Phases that look two cells away
    carry what one cell knows to the others in half the steps.

    Args:
        shape: (X, Y, Z) cells.
        state_size, hidden_size: S and H of every phase.
        steps: in all, shared out evenly; where they do not come out even, the first phases take one more.
        phases: at most; there are fewer where the steps are not enough for two in each. (States mostly start at zero:
            where the first phase were one step, its cells could not learn to hear each other.)
        dilations: of the phases, in turn and over again, see :class:`Topology`. In a lattice too small for one, where
            it would lead over a whole side to the cell itself or to nothing, the phase takes the largest that is not.
        neighborhood, boundary: see :class:`Topology`.
        activation, update, bias, checkpoint_every: see :class:`Lattice3D`.

    Attributes:
        phases: a :class:`Lattice3D` each.

    Raises ValueError for no dilation, or what a :class:`Lattice3D` refuses.
    """

    phases: Sequence[Lattice3D]

    def __init__(
        self,
        shape: tuple[int, int, int],
        state_size: int = 16,
        hidden_size: int = 64,
        steps: int = 16,
        *,
        phases: int = 1,
        dilations: Sequence[int] = (1,),
        neighborhood: str = "von_neumann",
        boundary: str = "walls",
        activation: str = "tanh",
        update: str = "residual",
        bias: bool = True,
        checkpoint_every: int | None = None,
    ) -> None:
        super().__init__()
        steps = check_count("steps", steps, 0, MOST_STEPS)
        dilations = [check_count("dilation", dilation, 1) for dilation in dilations]
        phases = check_count("phases", phases, 1, MOST_PHASES)
        if len(dilations) == 0:
            raise ValueError("dilations must name one at least; got none")
        self.state_size = state_size
        self.hidden_size = hidden_size
        self.steps = steps
        count = max(1, min(phases, steps // 2))
        lattices = nn.ModuleList(
            Lattice3D(
                Topology(shape, neighborhood, boundary, _within(shape, dilations[phase % len(dilations)])),
                state_size,
                hidden_size,
                steps // count + (phase < steps % count),
                activation=activation,
                update=update,
                bias=bias,
                checkpoint_every=checkpoint_every,
            )
            for phase in range(count)
        )
        self.phases = cast(Sequence[Lattice3D], lattices)

    def forward(self, state: Tensor, drive: Tensor | None = None) -> Tensor:
        """Run all phases, each from where the one before it ended and with the same drive; arguments and result as in
        :meth:`Lattice3D.forward`.
        """
        for phase in self.phases:
            state = phase(state, drive)
        return state


def _within(shape: Sequence[int], dilation: int) -> int:
    """The dilation, or the largest that leads to another cell along every side of more than one."""
    return min([dilation, *(side - 1 for side in shape if side > 1)])
