"""The rollout compiled by numba: the fallback where the C++ extension was not built.

The mathematics are those of csrc/kernel.cpp, read that first. Here too a step takes a tile of cells at a time: what
its cells perceive is copied side by side, and everything else is matrix products of the tile with the weights, all by
one function, :func:`add_product`. It works on blocks of whole vectors, so the columns of what it adds to are padded
to a multiple of 16 and the rows to a multiple of 6; what stands in the padding is never looked at.

numba compiles one serial function that serves a range of samples and lets go of the GIL; plain Python threads run the
ranges. (numba's own thread pools cannot be shared by two callers, or by a forked child.) The ranges depend on the
sizes only, so gradients do not depend on the threads.
"""

# mypy: disable-error-code="no-untyped-call, call-arg, import-untyped"
# (What numba compiles has no types, and the decorators' own are not those of what is called.)
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._numba_math import COLUMNS, ROWS, TANH, activate, activate_and_differentiate, add_product, compiled
from .checks import ACTIVATIONS, UPDATES

if TYPE_CHECKING:
    from .rule import Rule

_DIRECT, _RESIDUAL, _RESIDUAL_TANH = range(3)
_PIECES = 16  # at most so many ranges of samples, each with its own sums of the weight gradients
_TILE = 8 * ROWS  # cells


@compiled
def _perceive(first, cells, state, drive, neighbors, w_perceive_t, perceived, hidden):
    """Fill ``perceived`` and ``hidden``, before its activation, for the tile of ``cells`` cells from ``first`` on."""
    state_size, degree = state.shape[1], neighbors.shape[1]
    zero = state.dtype.type(0)
    for m in range(cells):
        cell = first + m
        for j in range(drive.shape[1]):
            hidden[m, j] = drive[cell, j]
        for k in range(degree + 1):
            source = cell if k == degree else neighbors[cell, k]
            for s in range(state_size):
                perceived[m, k * state_size + s] = state[source, s] if source >= 0 else zero
    add_product(perceived, w_perceive_t, hidden, cells)


@compiled
def _step(state, after, drive, neighbors, w_perceive_t, w_update_t, b_update, activation, update, tiles):
    perceived, hidden, change = tiles
    for first in range(0, len(state), _TILE):
        cells = min(_TILE, len(state) - first)
        _perceive(first, cells, state, drive, neighbors, w_perceive_t, perceived, hidden)
        activate(hidden[:cells].reshape(-1), activation)
        for m in range(cells):
            for s in range(state.shape[1]):
                change[m, s] = b_update[s]
        add_product(hidden, w_update_t, change, cells)
        if update != _DIRECT:  # after the product: adding its many small terms to the state would round each of them
            for m in range(cells):
                for s in range(state.shape[1]):
                    change[m, s] += state[first + m, s]
        if update != _RESIDUAL:
            activate(change[:cells].reshape(-1), TANH)
        for m in range(cells):
            for s in range(state.shape[1]):
                after[first + m, s] = change[m, s]


@compiled
def _tiles(w_perceive_t, w_update_t):
    """What a tile perceives (one row for each of its cells), its hidden layer, and its update."""
    dtype = w_update_t.dtype
    perceived = np.zeros((_TILE, _padded(len(w_perceive_t), ROWS)), dtype)
    return perceived, np.zeros((_TILE, w_perceive_t.shape[1]), dtype), np.zeros((_TILE, w_update_t.shape[1]), dtype)


@compiled
def _padded(count, multiple):
    return (count + multiple - 1) // multiple * multiple


@compiled
def _forward_range(
    begin, end, state, drive, neighbors, w_perceive_t, w_update_t, b_update,
    steps, activation, update, every, save, final, trajectory, stop,
):  # fmt: skip
    tiles = _tiles(w_perceive_t, w_update_t)
    now, after = np.empty_like(state[0]), np.empty_like(state[0])
    for b in range(begin, end):
        sample_drive = drive[b if drive.shape[0] > 1 else 0]
        now[:] = state[b]
        for t in range(steps):
            if stop[0]:
                return
            if save and t > 0 and t % every == 0:
                trajectory[b, t // every - 1] = now
            _step(now, after, sample_drive, neighbors, w_perceive_t, w_update_t, b_update, activation, update, tiles)
            now, after = after, now
        final[b] = now


@compiled
def _step_backward(
    state, after, drive, neighbors, w_perceive, w_perceive_t, w_update, activation, update, tiles,
    needs, du, ds, ddrive, dw_perceive_t, dw_update, db_update,
):  # fmt: skip
    """From ``du``, the gradient of ``after``, make ``ds``, that of ``state``, and add to the sums of the others."""
    perceived, hidden, dpre, dperceived, change = tiles
    state_size, degree = state.shape[1], neighbors.shape[1]
    one = state.dtype.type(1)
    ds[:] = 0
    for first in range(0, len(state), _TILE):
        cells = min(_TILE, len(state) - first)
        _perceive(first, cells, state, drive, neighbors, w_perceive_t, perceived, hidden)
        for m in range(cells):
            for s in range(state_size):
                value = du[first + m, s]
                if update != _RESIDUAL:
                    value *= one - after[first + m, s] * after[first + m, s]
                if update != _DIRECT:
                    ds[first + m, s] += value
                db_update[s] += value
                change[m, s] = value
        dpre[:] = 0
        add_product(change, w_update, dpre, cells)
        activate_and_differentiate(hidden[:cells].reshape(-1), dpre[:cells].reshape(-1), activation)
        if needs[1]:
            for m in range(cells):
                for j in range(ddrive.shape[1]):
                    ddrive[first + m, j] += dpre[m, j]
        if needs[2]:
            add_product(perceived.T, dpre[:cells], dw_perceive_t, len(dw_perceive_t))
        if needs[3]:
            add_product(change.T, hidden[:cells], dw_update, len(dw_update))
        dperceived[:] = 0
        add_product(dpre, w_perceive, dperceived, cells)
        for m in range(cells):
            for k in range(degree + 1):
                source = first + m if k == degree else neighbors[first + m, k]
                if source >= 0:
                    for s in range(state_size):
                        ds[source, s] += dperceived[m, k * state_size + s]


@compiled
def _backward_range(
    begin, end, dfinal, state, drive, neighbors, w_perceive, w_perceive_t, w_update, w_update_t, b_update,
    steps, activation, update, every, final, trajectory, needs, dstate, stop,
    ddrive, dw_perceive_t, dw_update, db_update,
):  # fmt: skip
    tiles = _tiles(w_perceive_t, w_update_t)
    perceived, hidden, _ = tiles
    dperceived = np.zeros((_TILE, w_perceive.shape[1]), state.dtype)
    change = np.zeros((_TILE, _padded(state.shape[2], ROWS)), state.dtype)
    tiles_backward = (perceived, hidden, np.zeros_like(hidden), dperceived, change)
    states = np.empty((min(every, steps) + 1, state.shape[1], state.shape[2]), state.dtype)
    du, ds = np.empty_like(state[0]), np.empty_like(state[0])
    for b in range(begin, end):
        sample_drive = drive[b if drive.shape[0] > 1 else 0]
        sample_ddrive = ddrive[b if ddrive.shape[0] > 1 else 0]
        du[:] = dfinal[b]
        for t in range(steps - 1, -1, -1):
            first = t // every * every
            if t == steps - 1 or t == first + every - 1:
                states[0] = state[b] if first == 0 else trajectory[b, first // every - 1]
                for i in range(first, t):
                    if stop[0]:
                        return
                    _step(
                        states[i - first], states[i - first + 1], sample_drive, neighbors, w_perceive_t, w_update_t,
                        b_update, activation, update, tiles,
                    )  # fmt: skip
                if t + 1 < steps:
                    states[t - first + 1] = trajectory[b, (t + 1) // every - 1]
                elif update != _RESIDUAL:  # which has no use for it, and is not given one
                    states[t - first + 1] = final[b]
            if stop[0]:
                return
            _step_backward(
                states[t - first], states[t - first + 1], sample_drive, neighbors, w_perceive, w_perceive_t, w_update,
                activation, update, tiles_backward,
                needs, du, ds, sample_ddrive, dw_perceive_t, dw_update, db_update,
            )  # fmt: skip
            du, ds = ds, du
        if needs[0]:
            dstate[b] = du


def _ranges(batch: int) -> list[tuple[int, int]]:
    pieces = max(1, min(batch, _PIECES))
    return [(batch * i // pieces, batch * (i + 1) // pieces) for i in range(pieces)]


def _run(work: Callable[[int], None], pieces: int, stop: np.ndarray, brief: bool) -> None:
    """All pieces of work, in threads: Python handles no signal while compiled code runs in its main thread.

    ``stop`` [1] tells the pieces to leave the rest undone, when a signal's handler has raised something. Work that is
    ``brief`` needs no thread if it has but one.
    """
    threads = min(torch.get_num_threads(), pieces)
    if threads <= 1 and brief:
        for piece in range(pieces):
            work(piece)
        return
    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            list(pool.map(work, range(pieces)))
        except BaseException:
            stop[0] = True
            raise


_BRIEF = 10**8
"""Multiplications of a tenth of a second at most."""


def _is_brief(state: torch.Tensor, w_perceive: torch.Tensor, steps: int) -> bool:
    return state.shape[0] * state.shape[1] * steps * (w_perceive.numel() + w_perceive.shape[0]) < _BRIEF


def _check_neighbors(neighbors: torch.Tensor) -> None:
    cells = neighbors.shape[0]
    if neighbors.numel() and (neighbors.min() < -1 or neighbors.max() >= cells):
        raise ValueError(
            f"neighbors must name cells 0..{cells - 1}, or -1 for none; it has other numbers. Take the tables of a "
            "cubefast.Topology"
        )


def _with_padding(matrix: torch.Tensor) -> np.ndarray:
    """A copy whose columns are padded by zeros to whole blocks."""
    return torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % COLUMNS)).contiguous().numpy()


def _drive_array(drive: torch.Tensor, cells: int) -> np.ndarray:
    """The drive [B or 1, N, H]; one that all cells share is copied out to them."""
    return drive.detach().expand(-1, cells, -1).contiguous().numpy()


def forward(
    inputs: tuple[torch.Tensor, ...],
    neighbors: torch.Tensor,
    filters: None,
    rule: Rule,
    final: torch.Tensor,
    trajectory: torch.Tensor,
    states: torch.Tensor,
    kept: torch.Tensor,
) -> None:
    """Write ``final`` and ``trajectory`` from ``inputs``: state, drive, w_perceive, w_update, b_update. All tensors are
    contiguous. The rule has no options: backends.py sends those elsewhere.
    """
    state, drive, w_perceive, w_update, b_update = inputs
    _check_neighbors(neighbors)
    stop = np.zeros(1, np.bool_)
    arguments = (
        state.numpy(), _drive_array(drive, len(neighbors)), neighbors.numpy(),
        _with_padding(w_perceive.t()), _with_padding(w_update.t()), b_update.numpy(),
        rule.steps, ACTIVATIONS.index(rule.activation), UPDATES.index(rule.update), rule.checkpoint_every,
        trajectory.numel() > 0, final.numpy(), trajectory.numpy(), stop,
    )  # fmt: skip
    ranges = _ranges(len(state))
    brief = _is_brief(state, w_perceive, rule.steps)
    _run(lambda piece: _forward_range(*ranges[piece], *arguments), len(ranges), stop, brief)


def backward(
    dfinal: torch.Tensor,
    dstates: None,
    inputs: tuple[torch.Tensor, ...],
    tables: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    filters: None,
    rule: Rule,
    final: torch.Tensor,
    trajectory: torch.Tensor,
    kept: torch.Tensor,
    gradients: list[torch.Tensor | None],
) -> None:
    """Write the ``gradients`` (None: not asked for) of ``inputs``, see :func:`forward`.

    The second and third table are for kernels whose threads share a sample; here one thread has all its cells.
    """
    state, drive, w_perceive, w_update, b_update = inputs
    neighbors = tables[0]
    _check_neighbors(neighbors)
    stop = np.zeros(1, np.bool_)
    dstate, ddrive, dw_perceive, dw_update, db_update, _ = gradients
    needs = np.array([gradient is not None for gradient in gradients])
    dtype = state.numpy().dtype
    ranges = _ranges(len(state))
    pieces = len(ranges)
    cells, (state_size, hidden_size) = len(neighbors), w_update.shape
    shared_drive = ddrive is not None and drive.shape[0] != len(state)
    perceived_size = w_perceive.shape[1]

    def sums(needed: bool, rows: int, columns: int) -> np.ndarray:
        shape = (_padded(rows, ROWS), _padded(columns, COLUMNS)) if needed else (0, 0)
        return np.zeros((pieces, *shape), dtype)

    sums_perceive = sums(dw_perceive is not None, perceived_size, hidden_size)
    sums_update = sums(dw_update is not None, state_size, hidden_size)
    sums_bias = np.zeros((pieces, state_size), dtype)
    sums_drive = np.zeros((pieces, 1, cells, hidden_size) if shared_drive else (0, 0, 0, 0), dtype)
    whole_ddrive = np.zeros((1, 0, 0) if ddrive is None or shared_drive else (len(state), cells, hidden_size), dtype)
    whole_dstate = np.zeros((0, 0, 0), dtype) if dstate is None else dstate.numpy()

    arguments = (
        dfinal.numpy(), state.numpy(), _drive_array(drive, cells), neighbors.numpy(),
        _with_padding(w_perceive), _with_padding(w_perceive.t()),
        _with_padding(w_update), _with_padding(w_update.t()), b_update.numpy(),
        rule.steps, ACTIVATIONS.index(rule.activation), UPDATES.index(rule.update), rule.checkpoint_every,
        final.numpy(), trajectory.numpy(), needs, whole_dstate, stop,
    )  # fmt: skip

    def work(piece: int) -> None:
        to_ddrive = sums_drive[piece] if shared_drive else whole_ddrive
        _backward_range(
            *ranges[piece], *arguments, to_ddrive, sums_perceive[piece], sums_update[piece], sums_bias[piece]
        )

    _run(work, pieces, stop, _is_brief(state, w_perceive, 3 * rule.steps))
    if dw_perceive is not None:
        dw_perceive.copy_(torch.from_numpy(sums_perceive.sum(axis=0)[:perceived_size, :hidden_size]).t())
    if dw_update is not None:
        dw_update.copy_(torch.from_numpy(sums_update.sum(axis=0)[:state_size, :hidden_size]))
    if db_update is not None:
        db_update.copy_(torch.from_numpy(sums_bias.sum(axis=0)))
    if ddrive is not None:
        whole = sums_drive.sum(axis=0) if shared_drive else whole_ddrive
        ddrive.copy_(torch.from_numpy(whole.sum(axis=1, keepdims=True) if drive.shape[1] != cells else whole))
