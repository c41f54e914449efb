"""T steps of a range of samples and their gradients, compiled by numba. Read csrc/kernel.cpp first: it says the same.

Here too a step takes a tile of cells at a time: what its cells perceive is copied side by side, and everything else is
matrix products of the tile with the weights, all by one function, :func:`add_product`. It works on blocks of whole
vectors, so the columns of what it adds to are padded to a multiple of 16 and the rows to a multiple of 6; what stands
in the padding is never looked at.
"""

# mypy: disable-error-code="no-untyped-call, call-arg, import-untyped, no-untyped-def"
# (What numba compiles has no types, and the decorators' own are not those of what is called.)
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._numba_math import ROWS, TANH, activate, activate_and_differentiate, add_product, compiled, fire

_DIRECT, _RESIDUAL, _RESIDUAL_TANH = range(3)
_TILE = 8 * ROWS  # cells


class Weights(NamedTuple):
    """Each matrix as it is and transposed, with columns padded to whole blocks."""

    perceive: np.ndarray  # [H, K*S or F*S]
    perceive_t: np.ndarray
    update: np.ndarray  # [S, H]
    update_t: np.ndarray
    bias: np.ndarray  # [S]
    filters: np.ndarray  # [F, K, 1 or S]; [0, 0, 0]: there are none


class Setting(NamedTuple):
    """What the steps are besides tensors: :class:`~cubefast.lattice.rule.Rule` in numbers that numba takes."""

    steps: int
    activation: int
    update: int
    checkpoint_every: int
    fire_below: np.uint64  # a cell fires if its number of 32 bits is less
    seed: np.uint64
    first_step: int
    alive_channel: int  # -1: there is no living mask
    alive_threshold: np.floating
    return_states: int


class Sums(NamedTuple):
    """Where a range of samples adds up its gradients; empty for those that are not asked for."""

    drive: np.ndarray  # [T or 1, B or 1, N or 1, H], as the drive itself
    perceive_t: np.ndarray  # [K*S or F*S, H], padded
    update: np.ndarray  # [S, H], padded
    bias: np.ndarray  # [S]
    filters: np.ndarray  # [F, K, 1 or S]


@compiled
def _of_sample(drive, step, sample):
    """[N or 1, H] of a drive [T or 1, B or 1, N or 1, H]."""
    return drive[step if drive.shape[0] > 1 else 0, sample if drive.shape[1] > 1 else 0]


@compiled
def _living(state, neighbors, setting, alive):
    """alive[c]: whether the channel exceeds the threshold in a cell or in one that it reads."""
    channel, threshold = setting.alive_channel, setting.alive_threshold
    for cell in range(len(state)):
        alive[cell] = state[cell, channel] > threshold
        for k in range(neighbors.shape[1]):
            source = neighbors[cell, k]
            if source >= 0 and state[source, channel] > threshold:
                alive[cell] = True


@compiled
def _changing(neighbors, setting, sample, step, alive, changes, cells):
    """List the cells that the step updates, and give their number: those that fire, and of these, with a living mask,
    those that live and those that they read, whose update can decide whether they go on living.
    """
    count = len(changes)
    if setting.alive_channel >= 0:
        changes[:] = alive
        for cell in range(count):
            if alive[cell]:
                for k in range(neighbors.shape[1]):
                    if neighbors[cell, k] >= 0:
                        changes[neighbors[cell, k]] = True
    else:
        changes[:] = True
    if setting.fire_below < np.uint64(1 << 32):
        fire(setting.seed, sample, setting.first_step + step, setting.fire_below, changes)
    listed = 0
    for cell in range(count):
        if changes[cell]:
            cells[listed] = cell
            listed += 1
    return listed


@compiled
def _gather(cells, state, neighbors, perceived):
    """Copy what each of the cells reads into its row: its neighbors, then itself."""
    state_size, degree = state.shape[1], neighbors.shape[1]
    zero = state.dtype.type(0)
    for m in range(len(cells)):
        cell = cells[m]
        for k in range(degree + 1):
            source = cell if k == degree else neighbors[cell, k]
            for s in range(state_size):
                perceived[m, k * state_size + s] = state[source, s] if source >= 0 else zero


@compiled
def _filter(cells, state, neighbors, filters, perceived):
    """Write what each of the cells reads, through the filters, into its row."""
    state_size, degree = state.shape[1], neighbors.shape[1]
    for m in range(len(cells)):
        perceived[m, : len(filters) * state_size] = 0
        for k in range(degree + 1):
            source = cells[m] if k == degree else neighbors[cells[m], k]
            if source < 0:
                continue
            for f in range(len(filters)):
                if filters.shape[2] == 1:
                    for s in range(state_size):
                        perceived[m, f * state_size + s] += filters[f, k, 0] * state[source, s]
                else:
                    for s in range(state_size):
                        perceived[m, f * state_size + s] += filters[f, k, s] * state[source, s]


@compiled
def _perceive(cells, state, drive, neighbors, weights, perceived, hidden):
    """Fill a row of ``perceived`` and of ``hidden``, before its activation, for each of the cells."""
    for m in range(len(cells)):
        row = cells[m] if len(drive) > 1 else 0
        for j in range(drive.shape[1]):
            hidden[m, j] = drive[row, j]
    if len(weights.filters) == 0:
        _gather(cells, state, neighbors, perceived)
    else:
        _filter(cells, state, neighbors, weights.filters, perceived)
    add_product(perceived, weights.perceive_t, hidden, len(cells))


@compiled
def _update(cells, state, after, drive, neighbors, weights, setting, tiles):
    """Write the updated states of the cells into ``after``."""
    perceived, hidden, change = tiles
    for first in range(0, len(cells), _TILE):
        tile = cells[first : first + _TILE]
        count = len(tile)
        _perceive(tile, state, drive, neighbors, weights, perceived, hidden)
        activate(hidden[:count].reshape(-1), setting.activation)
        for m in range(count):
            for s in range(state.shape[1]):
                change[m, s] = weights.bias[s]
        add_product(hidden, weights.update_t, change, count)
        if setting.update != _DIRECT:  # after the product: adding its many small terms to the state would round each
            for m in range(count):
                cell = tile[m]
                for s in range(state.shape[1]):
                    change[m, s] += state[cell, s]
        if setting.update != _RESIDUAL:
            activate(change[:count].reshape(-1), TANH)
        for m in range(count):
            cell = tile[m]
            for s in range(state.shape[1]):
                after[cell, s] = change[m, s]


@compiled
def _step(state, after, drive, neighbors, weights, setting, sample, step, tiles, masks, kept):
    """One step of a sample; with a living mask ``kept`` [N] says which cells lived through it."""
    alive, changes, cells = masks
    if setting.alive_channel >= 0:
        _living(state, neighbors, setting, alive)
    count = _changing(neighbors, setting, sample, step, alive, changes, cells)
    if count < len(state):
        after[:] = state
    _update(cells[:count], state, after, _of_sample(drive, step, sample), neighbors, weights, setting, tiles)
    if setting.alive_channel >= 0:
        _living(after, neighbors, setting, changes)
        for cell in range(len(state)):
            kept[cell] = alive[cell] and changes[cell]
        for cell in range(len(state)):
            if not kept[cell]:
                after[cell] = 0


@compiled
def _whole_rows(count):
    """The rows of whole blocks that hold so many."""
    return (count + ROWS - 1) // ROWS * ROWS


@compiled
def _tiles(weights):
    """What a tile perceives (one row for each of its cells), its hidden layer, and its update."""
    dtype = weights.update_t.dtype
    perceived = np.zeros((_TILE, _whole_rows(len(weights.perceive_t))), dtype)
    return (
        perceived,
        np.zeros((_TILE, weights.perceive_t.shape[1]), dtype),
        np.zeros((_TILE, weights.update_t.shape[1]), dtype),
    )


@compiled
def _masks(cells):
    """Which cells live, which change, and the list of these."""
    return np.ones(cells, np.bool_), np.ones(cells, np.bool_), np.zeros(cells, np.int32)


@compiled
def forward_range(begin, end, state, drive, neighbors, weights, setting, final, trajectory, states, kept, stop):
    """Write the results of the samples from ``begin`` to ``end``: final [B, N, S], and, where these have room for it,
    trajectory [B, saved, N, S], states [B, T // k, N, S] and kept [B, T, N].
    """
    tiles, masks = _tiles(weights), _masks(state.shape[1])
    now, after = np.empty_like(state[0]), np.empty_like(state[0])
    lived = np.empty(state.shape[1], np.uint8)
    for b in range(begin, end):
        now[:] = state[b]
        for t in range(setting.steps):
            if stop[0]:
                return
            if t > 0 and t % setting.checkpoint_every == 0 and trajectory.shape[1] > 0:
                trajectory[b, t // setting.checkpoint_every - 1] = now
            _step(now, after, drive, neighbors, weights, setting, b, t, tiles, masks, lived)
            now, after = after, now
            if kept.shape[1] > 0:
                kept[b, t] = lived
            if setting.return_states > 0 and (t + 1) % setting.return_states == 0:
                states[b, (t + 1) // setting.return_states - 1] = now
        final[b] = now


@compiled
def _perceive_backward(cells, state, neighbors, weights, dperceived, needs, ds, sums):
    """Add to ``ds``, and to the filters' gradient, what comes from what the cells perceived."""
    state_size, degree = state.shape[1], neighbors.shape[1]
    filters = weights.filters
    for m in range(len(cells)):
        for k in range(degree + 1):
            source = cells[m] if k == degree else neighbors[cells[m], k]
            if source < 0:
                continue
            if len(filters) == 0:
                for s in range(state_size):
                    ds[source, s] += dperceived[m, k * state_size + s]
            for f in range(len(filters)):
                if filters.shape[2] == 1:
                    for s in range(state_size):
                        ds[source, s] += filters[f, k, 0] * dperceived[m, f * state_size + s]
                else:
                    for s in range(state_size):
                        ds[source, s] += filters[f, k, s] * dperceived[m, f * state_size + s]
                if needs[5] and filters.shape[2] == 1:
                    for s in range(state_size):
                        sums.filters[f, k, 0] += dperceived[m, f * state_size + s] * state[source, s]
                elif needs[5]:
                    for s in range(state_size):
                        sums.filters[f, k, s] += dperceived[m, f * state_size + s] * state[source, s]


@compiled
def _step_backward(
    state, after, drive, neighbors, weights, setting, sample, step, tiles, masks, kept, needs, du, ds, sums
):
    """From ``du``, the gradient of ``after``, make ``ds``, that of ``state``, and add to the sums of the others."""
    perceived, hidden, dpre, dperceived, change = tiles
    alive, changes, cells = masks
    state_size, one = state.shape[1], state.dtype.type(1)
    living = setting.alive_channel >= 0
    if living:
        for cell in range(len(state)):
            alive[cell] = kept[cell] != 0
            if not alive[cell]:
                du[cell] = 0  # it became zeros, whatever it was
    count = _changing(neighbors, setting, sample, step, alive, changes, cells)
    if living:  # of those that changed, those that lived on have gradients
        changed, count = count, 0
        for i in range(changed):
            if alive[cells[i]]:
                cells[count] = cells[i]
                count += 1
            else:
                changes[cells[i]] = False
    for cell in range(len(state)):
        for s in range(state_size):
            ds[cell, s] = state.dtype.type(0) if changes[cell] else du[cell, s]
    step_drive = _of_sample(drive, step, sample)
    for first in range(0, count, _TILE):
        tile = cells[first : min(first + _TILE, count)]
        rows = len(tile)
        _perceive(tile, state, step_drive, neighbors, weights, perceived, hidden)
        for m in range(rows):
            cell = tile[m]
            for s in range(state_size):
                value = du[cell, s]
                if setting.update != _RESIDUAL:
                    value *= one - after[cell, s] * after[cell, s]
                if setting.update != _DIRECT:
                    ds[cell, s] += value
                sums.bias[s] += value
                change[m, s] = value
        dpre[:] = 0
        add_product(change, weights.update, dpre, rows)
        activate_and_differentiate(hidden[:rows].reshape(-1), dpre[:rows].reshape(-1), setting.activation)
        if needs[1]:
            ddrive = _of_sample(sums.drive, step, sample)
            for m in range(rows):
                row = tile[m] if len(ddrive) > 1 else 0
                for j in range(ddrive.shape[1]):
                    ddrive[row, j] += dpre[m, j]
        if needs[2]:
            add_product(perceived.T, dpre[:rows], sums.perceive_t, len(sums.perceive_t))
        if needs[3]:
            add_product(change.T, hidden[:rows], sums.update, len(sums.update))
        dperceived[:] = 0
        add_product(dpre, weights.perceive, dperceived, rows)
        _perceive_backward(tile, state, neighbors, weights, dperceived, needs, ds, sums)


@compiled
def backward_range(
    begin, end, dfinal, dstates, state, drive, neighbors, weights, setting, final, trajectory, kept, needs, dstate,
    stop, sums,
):  # fmt: skip
    """Add the gradients of the samples from ``begin`` to ``end`` to ``sums``, and write those of ``state``.

    ``dstates`` is empty where no states on the way are differentiated, and ``kept`` where there is no living mask.
    """
    tiles, masks = _tiles(weights), _masks(state.shape[1])
    perceived, hidden, _ = tiles
    dperceived = np.zeros((_TILE, weights.perceive.shape[1]), state.dtype)
    change = np.zeros((_TILE, _whole_rows(state.shape[2])), state.dtype)
    tiles_backward = (perceived, hidden, np.zeros_like(hidden), dperceived, change)
    steps, every = setting.steps, setting.checkpoint_every
    states = np.empty((min(every, steps) + 1, state.shape[1], state.shape[2]), state.dtype)
    du, ds = np.empty_like(state[0]), np.empty_like(state[0])
    lived = np.ones(state.shape[1], np.uint8)
    for b in range(begin, end):
        du[:] = dfinal[b]
        for t in range(steps - 1, -1, -1):
            if dstates.shape[1] > 0 and (t + 1) % setting.return_states == 0:
                du += dstates[b, (t + 1) // setting.return_states - 1]
            first = t // every * every
            if t == steps - 1 or t == first + every - 1:
                states[0] = state[b] if first == 0 else trajectory[b, first // every - 1]
                for i in range(first, t):
                    if stop[0]:
                        return
                    _step(
                        states[i - first], states[i - first + 1], drive, neighbors, weights, setting, b, i, tiles,
                        masks, lived,
                    )  # fmt: skip
                if t + 1 < steps:
                    states[t - first + 1] = trajectory[b, (t + 1) // every - 1]
                elif setting.update != _RESIDUAL:  # which has no use for it, and is not given one
                    states[t - first + 1] = final[b]
            if stop[0]:
                return
            _step_backward(
                states[t - first], states[t - first + 1], drive, neighbors, weights, setting, b, t, tiles_backward,
                masks, kept[b, t] if kept.shape[1] > 0 else lived, needs, du, ds, sums,
            )  # fmt: skip
            du, ds = ds, du
        if needs[0]:
            dstate[b] = du
