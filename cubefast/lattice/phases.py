"""Lattices run one after the other on the same cells, each with weights of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from .checks import MOST_PHASES, MOST_STEPS, check_count
from .fire import as_seed
from .module import Lattice3D
from .topology import Topology


class PhasedLattice(nn.Module):
    """A lattice whose steps are divided into phases. Each phase has weights of its own, shared by all cells, and a
    dilation of its own: how far away the neighbors are that a cell reads.

    Phases make a step no slower; they add weights. With a dilation of 2, information crosses the lattice in half as
    many steps.

    Args:
        shape: (X, Y, Z) cells.
        state_size, hidden_size: S and H of every phase.
        steps: in all, shared out evenly; where they do not come out even, the first phases take one more.
        phases: the largest number of phases; there are fewer where the steps are not enough for two in each. (States
            mostly start at zero. In a first phase of one step all neighbors are zeros, so the weights that read them
            would have no gradient.)
        dilations: of the phases, see :class:`Topology`; where there are more phases than dilations they repeat. A
            dilation that reaches over a whole side of the lattice is replaced by the largest that does not.
        neighborhood, boundary: see :class:`Topology`.
        activation, update, bias, perception, filters, fire_rate, alive, init, checkpoint_every: of every phase, see
            :class:`Lattice3D`.

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
        perception: str = "dense",
        filters: int = 3,
        fire_rate: float | None = None,
        alive: tuple[int, float] | None = None,
        init: str = "uniform",
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
        self.fire_rate = fire_rate
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
                perception=perception,
                filters=filters,
                fire_rate=fire_rate,
                alive=alive,
                init=init,
                checkpoint_every=checkpoint_every,
            )
            for phase in range(count)
        )
        self.phases = cast(Sequence[Lattice3D], lattices)

    def forward(
        self,
        state: Tensor,
        drive: Tensor | None = None,
        *,
        seed: int | Tensor | None = None,
        first_step: int = 0,
    ) -> Tensor:
        """Run all phases on the same drive. Each phase starts from the state in which the one before it ended.

        Args:
            state, drive: as for :meth:`Lattice3D.forward`.
            seed, first_step: of the fire rate, as for :func:`lattice_rollout`; the steps are counted through all
                phases. None draws one seed for all of them from torch's generator.

        Returns:
            The state after the last phase, in the shape that came in. Errors are those of :func:`lattice_rollout`.
        """
        if seed is None and self.fire_rate is not None:
            seed = as_seed(None)
        for phase in self.phases:
            state = phase(state, drive, seed=seed, first_step=first_step)
            first_step += phase.steps
        return state


def _within(shape: Sequence[int], dilation: int) -> int:
    """The dilation, or the largest that leads to another cell along every side of more than one."""
    return min([dilation, *(side - 1 for side in shape if side > 1)])
