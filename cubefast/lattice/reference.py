"""The rollout in plain torch: the definition of correct, and the backend for everything the kernels do not serve.

Any device and floating dtype, double backward, every torch transform. It keeps the hidden layer of every step for
autograd, so it is slow and hungry; the compiled kernel exists because of that.
"""

from __future__ import annotations

import torch
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from .topology import Topology

_ACTIVATE = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "sigmoid": torch.sigmoid,
}


def lattice_step(
    state: torch.Tensor,
    drive: torch.Tensor,
    w_perceive: torch.Tensor,
    w_update: torch.Tensor,
    b_update: torch.Tensor,
    table: torch.Tensor,
    activation: str,
    update: str,
) -> torch.Tensor:
    """One synchronous step: state [B, N, S] -> [B, N, S].

    ``table`` is int64 [N, K]: the cell in each slot, itself last, N (a row of zeros) where there is none.
    """
    batch, cells, state_size = state.shape
    padded = torch.cat([state, state.new_zeros(batch, 1, state_size)], dim=1)
    perceived = padded[:, table.reshape(-1)].reshape(batch, cells, table.shape[1] * state_size)
    hidden = _ACTIVATE[activation](linear(perceived, w_perceive) + drive)
    change = linear(hidden, w_update, b_update)
    if update == "tanh":
        return torch.tanh(change)
    if update == "residual":
        return state + change
    return torch.tanh(state + change)


def _hear_signals(state: torch.Tensor) -> None:
    """Let Ctrl-C be heard in the backward, which torch runs without a look at Python but for hooks like this one."""
    compiling = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if state.requires_grad and not compiling:
        state.register_hook(_nothing)


def _nothing(gradient: torch.Tensor) -> None: ...


def rollout(
    state: torch.Tensor,
    drive: torch.Tensor,
    w_perceive: torch.Tensor,
    w_update: torch.Tensor,
    b_update: torch.Tensor,
    topology: Topology,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int | None,
) -> torch.Tensor:
    """``steps`` steps from ``state`` [B, N, S]; see :func:`cubefast.lattice_rollout` for the arguments."""
    neighbors = topology.for_kernels()[0].to(state.device, torch.int64)
    itself = torch.arange(topology.cells, device=state.device)[:, None]
    table = torch.cat([neighbors, itself], dim=1)
    table = torch.where(table < 0, topology.cells, table)

    def several(state: torch.Tensor, count: int) -> torch.Tensor:
        for _ in range(count):
            state = lattice_step(state, drive, w_perceive, w_update, b_update, table, activation, update)
            _hear_signals(state)
        return state

    if checkpoint_every is None or not torch.is_grad_enabled():
        return several(state, steps) if steps else state.clone()
    result = state.clone()
    for begin in range(0, steps, checkpoint_every):
        count = min(checkpoint_every, steps - begin)
        result = checkpoint(several, result, count, use_reentrant=False)
    return result
