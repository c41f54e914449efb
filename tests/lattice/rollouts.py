"""Rollouts to compare: the tensors of one, and its result with every gradient."""

from dataclasses import dataclass

import torch

from cubefast import Topology, lattice_rollout


@dataclass
class Problem:
    """The arguments of a rollout, drawn from a seed."""

    topology: Topology
    steps: int = 4
    batch: int = 3
    state_size: int = 5
    hidden_size: int = 7
    activation: str = "tanh"
    update: str = "residual"
    drive_form: str = "batch"  # batch [B, N, H] | shared [N, H] | one [1, N, H]
    dtype: torch.dtype = torch.float64
    seed: int = 0

    def tensors(self) -> list[torch.Tensor]:
        """State, drive, w_perceive, w_update, b_update, each wanting its gradient."""
        random = torch.Generator().manual_seed(self.seed)

        def draw(*shape: int, scale: float = 1.0) -> torch.Tensor:
            values = scale * torch.randn(*shape, generator=random, dtype=torch.float64)
            return values.to(self.dtype).requires_grad_()

        cells, slots = self.topology.cells, self.topology.slots
        drive_shape = {
            "batch": (self.batch, cells, self.hidden_size),
            "shared": (cells, self.hidden_size),
            "one": (1, cells, self.hidden_size),
        }[self.drive_form]
        return [
            draw(self.batch, cells, self.state_size),
            draw(*drive_shape),
            draw(self.hidden_size, slots * self.state_size, scale=(slots * self.state_size) ** -0.5),
            draw(self.state_size, self.hidden_size, scale=self.hidden_size**-0.5),
            draw(self.state_size),
        ]

    def run(self, tensors: list[torch.Tensor], backend: str, checkpoint_every: int | None = None) -> torch.Tensor:
        """The final state."""
        return lattice_rollout(
            *tensors,
            topology=self.topology,
            steps=self.steps,
            activation=self.activation,
            update=self.update,
            backend=backend,
            checkpoint_every=checkpoint_every,
        )

    def results(self, backend: str, checkpoint_every: int | None = None) -> list[torch.Tensor]:
        """The final state and the five gradients of a random weighting of it."""
        tensors = self.tensors()
        final = self.run(tensors, backend, checkpoint_every)
        weights = torch.randn(final.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        loss = (final * weights.to(self.dtype)).sum()
        return [final.detach(), *torch.autograd.grad(loss, tensors, materialize_grads=True)]


NAMES = ("final", "dstate", "ddrive", "dw_perceive", "dw_update", "db_update")


def assert_agree(got: list[torch.Tensor], wanted: list[torch.Tensor], relative: float) -> None:
    """Each tensor within ``relative`` of the largest number of the one wanted."""
    for name, a, b in zip(NAMES, got, wanted, strict=True):
        error = (a.double() - b.double()).abs().max().item()
        scale = b.abs().max().item()
        assert error <= relative * max(scale, 1e-3), f"{name}: off by {error:.3g} where the largest is {scale:.3g}"
