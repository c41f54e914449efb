"""The rollout in plain torch: the definition of correct, and the backend for everything the kernels do not serve.

Any device and floating dtype, double backward, every torch transform. It keeps the hidden layer of every step for
autograd, so it is slow and hungry; the compiled kernel exists because of that.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .fire import fire_masks
from .options import Options
from .topology import Topology

_ACTIVATE = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "sigmoid": torch.sigmoid,
}


def perceive(state: Tensor, table: Tensor, filters: Tensor | None) -> Tensor:
    """What each cell perceives: state [B, N, S] -> [B, N, K*S], or [B, N, F*S] through filters [F, K] or [F, K, S].

    ``table`` is int64 [N, K]: the cell in each slot, itself last, N (a row of zeros) where there is none.
    """
    batch, cells, state_size = state.shape
    padded = torch.cat([state, state.new_zeros(batch, 1, state_size)], dim=1)
    read = padded[:, table.reshape(-1)].reshape(batch, cells, table.shape[1], state_size)
    if filters is not None:
        read = torch.einsum("fk,bnks->bnfs" if filters.dim() == 2 else "fks,bnks->bnfs", filters, read)
    return read.reshape(batch, cells, read.shape[2] * state_size)


def alive_mask(state: Tensor, table: Tensor, alive: tuple[int, float]) -> Tensor:
    """bool [B, N, 1]: whether the channel exceeds the threshold in a cell or in one that it reads."""
    channel, threshold = alive
    lively = torch.nn.functional.pad(state[..., channel] > threshold, (0, 1))  # whoever is not there does not live
    return lively[:, table.reshape(-1)].reshape(*state.shape[:2], table.shape[1]).any(dim=2, keepdim=True)


def lattice_step(
    state: Tensor,
    drive: Tensor,
    w_perceive: Tensor,
    w_update: Tensor,
    b_update: Tensor,
    table: Tensor,
    activation: str,
    update: str,
    options: Options,
    step: int,
) -> Tensor:
    """One synchronous step: state [B, N, S] -> [B, N, S]; ``step`` counts from 0."""
    perceived = perceive(state, table, options.filters)
    hidden = _ACTIVATE[activation](torch.nn.functional.linear(perceived, w_perceive) + drive)
    change = torch.nn.functional.linear(hidden, w_update, b_update)
    if update == "tanh":
        after = torch.tanh(change)
    elif update == "residual":
        after = state + change
    else:
        after = torch.tanh(state + change)
    if options.fire_rate is not None:
        assert options.seed is not None
        seed = options.seed.to(state.device)
        fires = fire_masks(seed, len(state), options.first_step + step, state.shape[1], options.fire_rate)
        after = torch.where(fires[..., None], after, state)
    if options.alive is not None:
        kept = alive_mask(state, table, options.alive) & alive_mask(after, table, options.alive)
        after = torch.where(kept, after, torch.zeros_like(after))
    return after


def _check_for_signals(state: Tensor) -> None:
    """Let Ctrl-C stop the backward too: torch returns to Python there only for hooks such as this one adds."""
    compiling = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if state.requires_grad and not compiling:
        state.register_hook(_nothing)


def _nothing(gradient: Tensor) -> None: ...


def rollout(
    tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    topology: Topology,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int | None,
    options: Options,
) -> tuple[Tensor, Tensor | None]:
    """``steps`` steps from the first tensor, the state [B, N, S]; see :func:`cubefast.lattice_rollout` for the others.

    Gives the final state, and the states on the way [B, T // k, N, S] if they are wanted.
    """
    state, drive, w_perceive, w_update, b_update = tensors
    neighbors = topology.tables.among_present.to(state.device, torch.int64)
    cells = len(neighbors)
    itself = torch.arange(cells, device=state.device)[:, None]
    table = torch.cat([neighbors, itself], dim=1)
    table = torch.where(table < 0, cells, table)

    def several(state: Tensor, first: int, count: int) -> tuple[Tensor, list[Tensor]]:
        on_the_way = []
        for step in range(first, first + count):
            step_drive = drive[step] if options.drive_per_step else drive
            state = lattice_step(
                state, step_drive, w_perceive, w_update, b_update, table, activation, update, options, step
            )  # fmt: skip
            _check_for_signals(state)
            if options.return_states and (step + 1) % options.return_states == 0:
                on_the_way.append(state)
        return state, on_the_way

    segment = checkpoint_every if checkpoint_every and torch.is_grad_enabled() else None
    final, states = state.clone(), list[Tensor]()
    if segment is None:
        final, states = several(final, 0, steps)
    else:
        for begin in range(0, steps, segment):
            count = min(segment, steps - begin)
            final, more = checkpoint(several, final, begin, count, use_reentrant=False)
            states += more
    if not options.return_states:
        return final, None
    return final, torch.stack(states, dim=1) if states else state.new_zeros(len(state), 0, *state.shape[1:])
