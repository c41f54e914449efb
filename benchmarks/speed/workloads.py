"""Workloads to time: the sizes of a rollout, its tensors, and the number of its useful operations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cubefast.lattice import Topology


@dataclass(frozen=True)
class Workload:
    """A rollout of ``batch`` samples.

    With ``inputs`` > 0 each cell has that many external inputs, and their product with their weights is timed too.
    """

    name: str
    shape: tuple[int, int, int] = (8, 8, 12)
    batch: int = 64
    state_size: int = 16
    hidden_size: int = 64
    steps: int = 32
    inputs: int = 0
    activation: str = "tanh"
    update: str = "residual"
    neighborhood: str = "von_neumann"
    boundary: str = "walls"
    dtype: torch.dtype = torch.float32
    checkpoint_every: int | None = None

    @property
    def topology(self) -> Topology:
        """The lattice of the workload."""
        return Topology(self.shape, neighborhood=self.neighborhood, boundary=self.boundary)

    @property
    def cell_steps(self) -> int:
        """Updates of one cell in a forward: samples x cells x steps."""
        return self.batch * self.topology.cells * self.steps

    @property
    def forward_flops(self) -> int:
        """Useful operations of a forward: samples x cells x steps x (2*K*S*H + 2*H*S), for K neighborhood slots, S
        state and H hidden numbers. A forward and backward has three times as many.
        """
        return self.cell_steps * 2 * self.hidden_size * self.state_size * (self.topology.slots + 1)

    def gflops(self, seconds: float, backward: bool) -> float:
        """Useful GFLOP/s of a forward, or of a forward and backward, that took ``seconds``."""
        return self.forward_flops * (3 if backward else 1) / seconds / 1e9

    def tensors(self) -> list[Tensor]:
        """Random state, drive, w_perceive, w_update and b_update, all with requires_grad; states stay about 1.

        With external inputs, three tensors stand in place of the drive: inputs [B, N, E], weights [H, E], bias [H].
        """
        random = torch.Generator().manual_seed(0)
        cells, width = self.topology.cells, self.topology.slots * self.state_size

        def draw(*shape: int, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(shape, generator=random)).to(self.dtype).requires_grad_()

        drive = [draw(self.batch, cells, self.hidden_size)]
        if self.inputs:
            drive = [
                draw(self.batch, cells, self.inputs),
                draw(self.hidden_size, self.inputs, scale=self.inputs**-0.5),
                draw(self.hidden_size, scale=0.1),
            ]
        return [
            draw(self.batch, cells, self.state_size, scale=0.5),
            *drive,
            draw(self.hidden_size, width, scale=width**-0.5),
            draw(self.state_size, self.hidden_size, scale=self.hidden_size**-0.5 / self.steps**0.5),
            draw(self.state_size, scale=0.1),
        ]


W1 = Workload("W1")
W1_CHECKPOINTED = replace(W1, name="W1, checkpoint_every=6", checkpoint_every=6)
ONE_SAMPLE = replace(W1, name="one sample of W1", batch=1)
ORIGINAL = Workload("original cell", batch=32, state_size=8, hidden_size=16, steps=10, inputs=12, update="tanh")
LARGE = Workload("64x64x64", shape=(64, 64, 64), batch=1, steps=16, checkpoint_every=4)
TINY = Workload("2x2x2, one step", shape=(2, 2, 2), batch=1, steps=1)
SMALL = Workload("small, for a quick look", shape=(4, 4, 6), batch=8, steps=6)
