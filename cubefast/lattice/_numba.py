"""The rollout compiled by numba: the fallback where the C++ extension was not built.

The loops are those of csrc/kernel.cpp, read that first. numba compiles one serial function that serves a range of
samples and lets go of the GIL; plain Python threads run the ranges. (numba's own thread pools cannot be shared by
two callers, or by a forked child.) The ranges depend on the sizes only, so gradients do not depend on the threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit

from .checks import ACTIVATIONS, UPDATES

_FASTMATH = {"contract", "reassoc"}  # never those that assume there is no NaN or Inf
_TANH, _RELU, _SILU, _SIGMOID = range(4)
_PIECES = 16  # at most so many ranges of samples, each with its own sums of the weight gradients


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _activate(hidden, activation):
    for j in range(len(hidden)):
        x = hidden[j]
        if activation == _TANH:
            hidden[j] = math.tanh(x)
        elif activation == _RELU:
            hidden[j] = x * 0 if x < 0 else x
        elif activation == _SILU:
            hidden[j] = x / (1 + math.exp(-x))
        else:
            hidden[j] = 1 / (1 + math.exp(-x))


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _multiply_by_derivative(dpre, pre, hidden, activation):
    one = hidden.dtype.type(1)
    for j in range(len(dpre)):
        x, y = pre[j], hidden[j]
        if activation == _TANH:
            dpre[j] *= one - y * y
        elif activation == _RELU:
            if x <= 0:
                dpre[j] = 0
        elif activation == _SILU:
            s = one / (one + math.exp(-x))
            dpre[j] *= s + y * (one - s)
        else:
            dpre[j] *= y * (one - y)


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _perceive(pre, state, drive, neighbors, cell, w_perceive_t):
    state_size = state.shape[1]
    slots = neighbors.shape[1] + 1
    pre[:] = drive[cell]
    for k in range(slots):
        source = cell if k == slots - 1 else neighbors[cell, k]
        if source < 0:
            continue
        for s in range(state_size):
            value = state[source, s]
            column = w_perceive_t[k * state_size + s]
            for j in range(len(pre)):
                pre[j] += value * column[j]


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _step(state, after, drive, neighbors, w_perceive_t, w_update_t, b_update, activation, update, hidden):
    cells, state_size = state.shape
    change = np.empty_like(b_update)
    for cell in range(cells):
        _perceive(hidden, state, drive, neighbors, cell, w_perceive_t)
        _activate(hidden, activation)
        change[:] = b_update
        for j in range(len(hidden)):
            for s in range(state_size):
                change[s] += hidden[j] * w_update_t[j, s]
        for s in range(state_size):
            if update == 0:
                after[cell, s] = math.tanh(change[s])
            elif update == 1:
                after[cell, s] = state[cell, s] + change[s]
            else:
                after[cell, s] = math.tanh(state[cell, s] + change[s])


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _forward_range(
    begin, end, state, drive, neighbors, w_perceive_t, w_update_t, b_update,
    steps, activation, update, every, save, final, trajectory,
):  # fmt: skip
    hidden = np.empty(w_update_t.shape[0], state.dtype)
    now = np.empty_like(state[0])
    after = np.empty_like(state[0])
    for b in range(begin, end):
        heard = drive[b if drive.shape[0] > 1 else 0]
        now[:] = state[b]
        for t in range(steps):
            if save and t > 0 and t % every == 0:
                trajectory[b, t // every - 1] = now
            _step(
                now, after, heard, neighbors, w_perceive_t, w_update_t, b_update,
                activation, update, hidden,
            )  # fmt: skip
            now, after = after, now
        final[b] = now


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _backward_range(
    begin, end, dfinal, state, drive, neighbors, reader_offsets, readers,
    w_perceive, w_perceive_t, w_update, w_update_t, b_update,
    steps, activation, update, every, final, trajectory, needs,
    dstate, ddrive, dw_perceive_t, dw_update_t, db_update,
):  # fmt: skip
    cells, state_size = state[0].shape
    hidden_size = w_update.shape[1]
    slots = neighbors.shape[1] + 1
    pre = np.empty(hidden_size, state.dtype)
    hidden = np.empty(hidden_size, state.dtype)
    dpre = np.empty((cells, hidden_size), state.dtype)
    states = np.empty((min(every, steps) + 1, cells, state_size), state.dtype)
    du = np.empty((cells, state_size), state.dtype)
    ds = np.empty((cells, state_size), state.dtype)
    one = state.dtype.type(1)
    for b in range(begin, end):
        heard = drive[b if drive.shape[0] > 1 else 0]
        dheard = ddrive[b if ddrive.shape[0] > 1 else 0]
        du[:] = dfinal[b]
        for t in range(steps - 1, -1, -1):
            first = t // every * every
            if t == steps - 1 or t == first + every - 1:
                states[0] = state[b] if first == 0 else trajectory[b, first // every - 1]
                for i in range(first, t):
                    _step(
                        states[i - first], states[i - first + 1], heard, neighbors, w_perceive_t,
                        w_update_t, b_update, activation, update, hidden,
                    )  # fmt: skip
                states[t - first + 1] = final[b] if t + 1 == steps else trajectory[b, (t + 1) // every - 1]
            now = states[t - first]
            after = states[t - first + 1]

            for cell in range(cells):
                if update != 1:
                    for s in range(state_size):
                        du[cell, s] *= one - after[cell, s] * after[cell, s]
                _perceive(pre, now, heard, neighbors, cell, w_perceive_t)
                hidden[:] = pre
                _activate(hidden, activation)
                row = dpre[cell]
                row[:] = 0
                for s in range(state_size):
                    for j in range(hidden_size):
                        row[j] += du[cell, s] * w_update[s, j]
                _multiply_by_derivative(row, pre, hidden, activation)
                if needs[1]:
                    for j in range(hidden_size):
                        dheard[cell, j] += row[j]
                if needs[2]:
                    for k in range(slots):
                        source = cell if k == slots - 1 else neighbors[cell, k]
                        if source < 0:
                            continue
                        for s in range(state_size):
                            value = now[source, s]
                            column = dw_perceive_t[k * state_size + s]
                            for j in range(hidden_size):
                                column[j] += value * row[j]
                if needs[3]:
                    for j in range(hidden_size):
                        for s in range(state_size):
                            dw_update_t[j, s] += hidden[j] * du[cell, s]
                if needs[4]:
                    for s in range(state_size):
                        db_update[s] += du[cell, s]

            for cell in range(cells):
                for s in range(state_size):
                    ds[cell, s] = 0 if update == 0 else du[cell, s]
                # The cell itself first, then whoever reads it.
                for i in range(reader_offsets[cell] - 1, reader_offsets[cell + 1]):
                    if i < reader_offsets[cell]:
                        reader, slot = cell, slots - 1
                    else:
                        reader = readers[i] // (slots - 1)
                        slot = readers[i] % (slots - 1)
                    for j in range(hidden_size):
                        value = dpre[reader, j]
                        for s in range(state_size):
                            ds[cell, s] += value * w_perceive[j, slot * state_size + s]
            du, ds = ds, du
        if needs[0]:
            dstate[b] = du


def _ranges(batch: int) -> list[tuple[int, int]]:
    pieces = max(1, min(batch, _PIECES))
    return [(batch * i // pieces, batch * (i + 1) // pieces) for i in range(pieces)]


def _run(work: Callable[[int], None], pieces: int) -> None:
    threads = min(torch.get_num_threads(), pieces)
    if threads <= 1:
        for piece in range(pieces):
            work(piece)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(pieces)))


def _three_dimensional(drive: torch.Tensor) -> np.ndarray:
    return drive.detach().reshape(-1, *drive.shape[-2:]).numpy()


def forward(
    state: torch.Tensor,
    drive: torch.Tensor,
    w_perceive: torch.Tensor,
    w_update: torch.Tensor,
    b_update: torch.Tensor,
    neighbors: torch.Tensor,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
    final: torch.Tensor,
    trajectory: torch.Tensor,
) -> None:
    """Write ``final`` [B, N, S] and ``trajectory`` [B, saved states, N, S]; all tensors are contiguous."""
    arguments = (
        state.numpy(),
        _three_dimensional(drive),
        neighbors.numpy(),
        w_perceive.t().contiguous().numpy(),
        w_update.t().contiguous().numpy(),
        b_update.numpy(),
        steps,
        ACTIVATIONS.index(activation),
        UPDATES.index(update),
        checkpoint_every,
        trajectory.numel() > 0,
        final.numpy(),
        trajectory.numpy(),
    )
    ranges = _ranges(len(state))
    _run(lambda piece: _forward_range(*ranges[piece], *arguments), len(ranges))


def backward(
    dfinal: torch.Tensor,
    state: torch.Tensor,
    drive: torch.Tensor,
    w_perceive: torch.Tensor,
    w_update: torch.Tensor,
    b_update: torch.Tensor,
    neighbors: torch.Tensor,
    reader_offsets: torch.Tensor,
    readers: torch.Tensor,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
    final: torch.Tensor,
    trajectory: torch.Tensor,
    gradients: list[torch.Tensor | None],
) -> None:
    """Write the five ``gradients`` (None: not asked for), in the order of the forward's arguments."""
    needs = np.array([gradient is not None for gradient in gradients])
    dstate, ddrive, dw_perceive, dw_update, db_update = gradients
    dtype = state.numpy().dtype
    w_perceive_t = w_perceive.t().contiguous().numpy()
    w_update_t = w_update.t().contiguous().numpy()
    ranges = _ranges(len(state))
    pieces = len(ranges)
    shared_drive = ddrive is not None and (drive.dim() == 2 or drive.shape[0] != len(state))

    def sums(like: tuple[int, ...], needed: object) -> np.ndarray:
        return np.zeros((pieces, *like) if needed is not None else (pieces, *(0 for _ in like)), dtype)

    sums_perceive = sums(w_perceive_t.shape, dw_perceive)
    sums_update = sums(w_update_t.shape, dw_update)
    sums_bias = sums(tuple(b_update.shape), db_update)
    sums_drive = sums((1, *drive.shape[-2:]), ddrive if shared_drive else None)
    whole_ddrive = np.zeros((1, 0, 0), dtype)
    if ddrive is not None and not shared_drive:
        ddrive.zero_()
        whole_ddrive = _three_dimensional(ddrive)
    whole_dstate = np.zeros((0, 0, 0), dtype) if dstate is None else dstate.numpy()

    arguments = (
        dfinal.numpy(),
        state.numpy(),
        _three_dimensional(drive),
        neighbors.numpy(),
        reader_offsets.numpy(),
        readers.numpy(),
        w_perceive.numpy(),
        w_perceive_t,
        w_update.numpy(),
        w_update_t,
        b_update.numpy(),
        steps,
        ACTIVATIONS.index(activation),
        UPDATES.index(update),
        checkpoint_every,
        final.numpy(),
        trajectory.numpy(),
        needs,
        whole_dstate,
    )

    def work(piece: int) -> None:
        _backward_range(
            *ranges[piece],
            *arguments,
            sums_drive[piece] if shared_drive else whole_ddrive,
            sums_perceive[piece],
            sums_update[piece],
            sums_bias[piece],
        )

    _run(work, pieces)
    if dw_perceive is not None:
        dw_perceive.copy_(torch.from_numpy(sums_perceive.sum(axis=0)).t())
    if dw_update is not None:
        dw_update.copy_(torch.from_numpy(sums_update.sum(axis=0)).t())
    if db_update is not None:
        db_update.copy_(torch.from_numpy(sums_bias.sum(axis=0)))
    if ddrive is not None and shared_drive:
        ddrive.copy_(torch.from_numpy(sums_drive.sum(axis=0)).reshape(ddrive.shape))
