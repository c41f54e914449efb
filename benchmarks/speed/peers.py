"""The implementations of a rollout that are compared: this package's backends, PyTorch and JAX."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv3d, linear

from cubefast.lattice import lattice_rollout
from cubefast.lattice.backends import unavailable

from .workloads import Workload

Run = Callable[[list[Tensor]], Tensor]
"""A function of the workload's tensors that returns the final state [B, N, S]."""


@dataclass(frozen=True)
class Peer:
    """One implementation of a rollout.

    Attributes:
        name: as in the tables.
        prepare: makes the function that is timed for a workload.
        missing: why it cannot run on this machine; empty when it can.
        gradients: makes the function that computes the gradients, where torch.autograd cannot.
    """

    name: str
    prepare: Callable[[Workload], Run]
    missing: str = ""
    gradients: Callable[[Workload], Callable[[list[Tensor]], list[Any]]] | None = None

    def forward(self, workload: Workload) -> Run:
        """The function that computes the final state of the workload, without gradients."""
        run = self.prepare(workload)

        def forward(tensors: list[Tensor]) -> Tensor:
            with torch.no_grad():
                return run(tensors)

        return forward

    def forward_backward(self, workload: Workload) -> Callable[[list[Tensor]], list[Any]]:
        """The function that computes the gradients of the sum of the final state, one for each tensor."""
        if self.gradients is not None:
            return self.gradients(workload)
        run = self.prepare(workload)
        return lambda tensors: list(torch.autograd.grad(run(tensors).sum(), tensors))


def _rollout(workload: Workload, backend: str) -> Run:
    topology = workload.topology

    def run(tensors: list[Tensor]) -> Tensor:
        state, *drive_inputs, w_perceive, w_update, b_update = tensors
        return lattice_rollout(
            state,
            linear(*drive_inputs) if workload.inputs else drive_inputs[0],
            w_perceive,
            w_update,
            b_update,
            topology=topology,
            steps=workload.steps,
            activation=workload.activation,
            update=workload.update,
            checkpoint_every=workload.checkpoint_every,
            backend=backend,
        )

    return run


def _compiled(workload: Workload, mode: str) -> Run:
    return torch.compile(_rollout(workload, "torch"), mode=mode, dynamic=False)


def _update(state: Tensor, change: Tensor, rule: str) -> Tensor:
    return torch.tanh(change) if rule == "tanh" else state + change


def _conv3d(workload: Workload) -> Run:
    """The von Neumann neighborhood as a 3x3x3 convolution whose other weights are zero; channels come first."""
    x, y, z = workload.shape
    places = [(0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2), (1, 1, 1)]
    taps = torch.tensor([a * 9 + b * 3 + c for a, b, c in places])

    def run(tensors: list[Tensor]) -> Tensor:
        state, *drive_inputs, w_perceive, w_update, b_update = tensors
        drive = linear(*drive_inputs) if workload.inputs else drive_inputs[0]
        hidden_size, state_size = w_update.shape[1], w_update.shape[0]
        by_tap = w_perceive.reshape(hidden_size, 7, state_size).transpose(1, 2)
        kernel = w_perceive.new_zeros(hidden_size, state_size, 27).index_copy(2, taps, by_tap)
        kernel = kernel.reshape(hidden_size, state_size, 3, 3, 3)
        grid = state.transpose(1, 2).reshape(-1, state_size, x, y, z)
        drive_grid = drive.transpose(1, 2).reshape(-1, hidden_size, x, y, z)
        for _ in range(workload.steps):
            hidden = torch.tanh(conv3d(grid, kernel, padding=1) + drive_grid)
            change = conv3d(hidden, w_update[:, :, None, None, None], b_update)
            grid = _update(grid, change, workload.update)
        return grid.flatten(2).transpose(1, 2)

    return run


def _jax_rollout(workload: Workload, remat: bool) -> Any:
    import jax
    import jax.numpy as jnp

    cells = workload.topology.cells
    neighbors = workload.topology.neighbors.numpy()
    table = jnp.concatenate([jnp.where(neighbors < 0, cells, neighbors), jnp.arange(cells)[:, None]], axis=1)

    def run(tensors: list[Any]) -> Any:
        state, *drive_inputs, w_perceive, w_update, b_update = tensors
        drive = drive_inputs[0] @ drive_inputs[1].T + drive_inputs[2] if workload.inputs else drive_inputs[0]

        def step(state: Any, _: None) -> tuple[Any, None]:
            padded = jnp.concatenate([state, jnp.zeros_like(state[:, :1])], axis=1)
            perceived = padded[:, table].reshape(*state.shape[:2], -1)
            hidden = jnp.tanh(perceived @ w_perceive.T + drive)
            change = hidden @ w_update.T + b_update
            return (jnp.tanh(change) if workload.update == "tanh" else state + change), None

        return jax.lax.scan(jax.checkpoint(step) if remat else step, state, None, length=workload.steps)[0]

    return run


def _jax(workload: Workload, remat: bool) -> Run:
    import jax

    compiled = jax.jit(_jax_rollout(workload, remat))
    return lambda tensors: torch.utils.dlpack.from_dlpack(compiled(_to_jax(tensors)).block_until_ready())


def _jax_gradients(workload: Workload, remat: bool) -> Callable[[list[Tensor]], list[Any]]:
    import jax

    run = _jax_rollout(workload, remat)
    compiled = jax.jit(jax.grad(lambda tensors: run(tensors).sum()))
    return lambda tensors: [
        torch.utils.dlpack.from_dlpack(g) for g in jax.block_until_ready(compiled(_to_jax(tensors)))
    ]


def _to_jax(tensors: list[Tensor]) -> list[Any]:
    import jax

    return [jax.dlpack.from_dlpack(t.detach()) for t in tensors]


def _missing(module: str) -> str:
    return "" if importlib.util.find_spec(module) else f"{module} is not installed (pip install {module})"


KERNEL, EAGER = "cubefast", "eager torch"

PEERS = {
    peer.name: peer
    for peer in (
        Peer(KERNEL, lambda w: _rollout(w, "cpp"), unavailable("cpp")),
        Peer("cubefast numba", lambda w: _rollout(w, "numba"), unavailable("numba")),
        Peer(EAGER, lambda w: _rollout(w, "torch")),
        Peer("torch.compile", lambda w: _compiled(w, "default")),
        Peer("torch.compile max-autotune", lambda w: _compiled(w, "max-autotune")),
        Peer("Conv3d", _conv3d),
        Peer("JAX", lambda w: _jax(w, False), _missing("jax"), lambda w: _jax_gradients(w, False)),
        Peer("JAX with remat", lambda w: _jax(w, True), _missing("jax"), lambda w: _jax_gradients(w, True)),
    )
}
OURS = (KERNEL, "cubefast numba")
"""The backends of this package among them."""
