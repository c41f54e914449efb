"""Rollouts to compare: the tensors of one, and its result with every gradient."""

from dataclasses import dataclass, field

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
    drive_form: str = "batch"  # see DRIVES
    dtype: torch.dtype = torch.float64
    seed: int = 0
    filters: str | None = None  # shared [F, K] | depthwise [F, K, S]
    filter_count: int = 3
    options: dict = field(default_factory=dict)  # more keywords of lattice_rollout

    DRIVES = ("batch", "shared", "one", "each sample", "all", "number")

    def tensors(self) -> list[torch.Tensor]:
        """State, drive, w_perceive, w_update, b_update and, if there are some, filters, each wanting its gradient."""
        random = torch.Generator().manual_seed(self.seed)

        def draw(*shape: int, scale: float = 1.0) -> torch.Tensor:
            values = scale * torch.randn(*shape, generator=random, dtype=torch.float64)
            return values.to(self.dtype).requires_grad_()

        cells, slots = self.topology.cells, self.topology.slots
        drive_shape = {
            "batch": (self.batch, cells, self.hidden_size),
            "shared": (cells, self.hidden_size),
            "one": (1, cells, self.hidden_size),
            "each sample": (self.batch, 1, self.hidden_size),
            "all": (1, 1, self.hidden_size),
            "number": (self.hidden_size,),
        }[self.drive_form]
        if self.options.get("drive_per_step"):
            drive_shape = (self.steps, *drive_shape)
        width = (slots if self.filters is None else self.filter_count) * self.state_size
        tensors = [
            draw(self.batch, cells, self.state_size),
            draw(*drive_shape),
            draw(self.hidden_size, width, scale=width**-0.5),
            draw(self.state_size, self.hidden_size, scale=self.hidden_size**-0.5),
            draw(self.state_size),
        ]
        if self.filters is not None:
            each = () if self.filters == "shared" else (self.state_size,)
            tensors.append(draw(self.filter_count, slots, *each, scale=slots**-0.5))
        return tensors

    def run(self, tensors: list[torch.Tensor], backend: str, checkpoint_every: int | None = None) -> torch.Tensor:
        """What lattice_rollout returns: the final state, or with return_states both."""
        return lattice_rollout(
            *tensors[:5],
            topology=self.topology,
            steps=self.steps,
            activation=self.activation,
            update=self.update,
            filters=tensors[5] if self.filters else None,
            backend=backend,
            checkpoint_every=checkpoint_every,
            **self.options,
        )

    def results(self, backend: str, checkpoint_every: int | None = None) -> list[torch.Tensor]:
        """The final state, the states on the way if there are some, and the gradients of a random weighting of them."""
        tensors = self.tensors()
        outputs = self.run(tensors, backend, checkpoint_every)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        random = torch.Generator().manual_seed(7)
        weights = [torch.randn(output.shape, generator=random, dtype=torch.float64) for output in outputs]
        loss = sum((output * weight.to(self.dtype)).sum() for output, weight in zip(outputs, weights, strict=True))
        return [
            *(output.detach() for output in outputs),
            *torch.autograd.grad(loss, tensors, materialize_grads=True),
        ]


def assert_agree(got: list[torch.Tensor], wanted: list[torch.Tensor], relative: float) -> None:
    """Each tensor within ``relative`` of the largest number of the one wanted."""
    for place, (a, b) in enumerate(zip(got, wanted, strict=True)):
        assert a.shape == b.shape
        error = (a.double() - b.double()).abs().max().item() if a.numel() else 0.0
        scale = b.abs().max().item() if a.numel() else 0.0
        assert error <= relative * max(scale, 1e-3), f"result {place}: off by {error:.3g}, the largest is {scale:.3g}"
