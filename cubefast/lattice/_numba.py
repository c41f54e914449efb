"""The rollout compiled by numba: the fallback where the C++ extension was not built.

numba compiles one serial function that serves a range of samples and lets go of the GIL; plain Python threads run the
ranges. (numba's own thread pools cannot be shared by two callers, or by a forked child.) The ranges depend on the
sizes only, so gradients do not depend on the threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from ._numba_math import COLUMNS, ROWS
from ._numba_rollout import Setting, Sums, Weights, backward_range, forward_range
from .checks import ACTIVATIONS, UPDATES
from .rule import Rule

_PIECES = 16  # at most so many ranges of samples, each with its own sums of the weight gradients


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


def _weights(inputs: tuple[torch.Tensor, ...], filters: torch.Tensor | None) -> Weights:
    _, _, w_perceive, w_update, b_update = inputs
    filters = b_update.new_empty(0, 0, 0) if filters is None else filters
    return Weights(
        _with_padding(w_perceive),
        _with_padding(w_perceive.t()),
        _with_padding(w_update),
        _with_padding(w_update.t()),
        b_update.numpy(),
        (filters[..., None] if filters.dim() == 2 else filters).numpy(),
    )


def _setting(rule: Rule, dtype: np.dtype[Any]) -> Setting:
    channel, threshold = rule.alive or (-1, 0.0)
    return Setting(
        rule.steps,
        ACTIVATIONS.index(rule.activation),
        UPDATES.index(rule.update),
        rule.checkpoint_every,
        np.uint64(2**32 if rule.fire_rate is None else math.ceil(rule.fire_rate * 2**32)),
        np.uint64(rule.seed % 2**64),
        rule.first_step,
        channel,
        dtype.type(threshold),
        rule.return_states,
    )


def _over_steps(drive: torch.Tensor) -> torch.Tensor:
    """A drive as [T or 1, B or 1, N or 1, H]."""
    return drive if drive.dim() == 4 else drive[None]


def forward(
    inputs: tuple[torch.Tensor, ...],
    neighbors: torch.Tensor,
    filters: torch.Tensor | None,
    rule: Rule,
    final: torch.Tensor,
    trajectory: torch.Tensor,
    states: torch.Tensor,
    kept: torch.Tensor,
) -> None:
    """Write the last four from ``inputs``: state, drive, w_perceive, w_update, b_update. All tensors are contiguous."""
    state, drive, w_perceive, *_ = inputs
    _check_neighbors(neighbors)
    stop = np.zeros(1, np.bool_)
    arguments = (
        state.numpy(), _over_steps(drive).numpy(), neighbors.numpy(), _weights(inputs, filters),
        _setting(rule, state.numpy().dtype), final.numpy(), trajectory.numpy(), states.numpy(), kept.numpy(), stop,
    )  # fmt: skip
    ranges = _ranges(len(state))
    brief = _is_brief(state, w_perceive, rule.steps)
    _run(lambda piece: forward_range(*ranges[piece], *arguments), len(ranges), stop, brief)


def backward(
    dfinal: torch.Tensor,
    dstates: torch.Tensor | None,
    inputs: tuple[torch.Tensor, ...],
    tables: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    filters: torch.Tensor | None,
    rule: Rule,
    final: torch.Tensor,
    trajectory: torch.Tensor,
    kept: torch.Tensor,
    gradients: list[torch.Tensor | None],
) -> None:
    """Write the ``gradients`` (None: not asked for) of ``inputs``, see :func:`forward`, and of ``filters``.

    The second and third table are for kernels whose threads share a sample; here one thread has all its cells.
    """
    state, drive, w_perceive, w_update, _ = inputs
    neighbors = tables[0]
    _check_neighbors(neighbors)
    stop = np.zeros(1, np.bool_)
    dstate, ddrive, dw_perceive, dw_update, db_update, dfilters = gradients
    dtype = state.numpy().dtype
    ranges = _ranges(len(state))
    state_size, hidden_size = w_update.shape
    weights = _weights(inputs, filters)
    drive = _over_steps(drive)

    def sums(needed: object, *shape: int, matrix: bool = False) -> np.ndarray:
        """Zeros [pieces, *shape], which take no memory where the gradient is not asked for."""
        rows, columns, *more = shape if needed is not None else (0,) * len(shape)
        if matrix:
            rows, columns = rows + -rows % ROWS, columns + -columns % COLUMNS
        return np.zeros((len(ranges), rows, columns, *more), dtype)

    # A sample has a drive of its own, or all samples share one, and then each range adds up what is due to it.
    shared = len(state) != drive.shape[1]
    drive_sums = sums(ddrive, *drive.shape) if shared else None
    own_ddrive = np.zeros(drive.shape if ddrive is not None and not shared else (0, 0, 0, 0), dtype)
    perceive_sums = sums(dw_perceive, w_perceive.shape[1], hidden_size, matrix=True)
    update_sums = sums(dw_update, state_size, hidden_size, matrix=True)
    bias_sums = np.zeros((len(ranges), state_size), dtype)
    filter_sums = sums(dfilters, *weights.filters.shape)

    arguments = (
        dfinal.numpy(), (state.new_empty(len(state), 0, 0, 0) if dstates is None else dstates).numpy(),
        state.numpy(), drive.numpy(), neighbors.numpy(), weights, _setting(rule, dtype),
        final.reshape(-1, *state.shape[1:]).numpy(), trajectory.numpy(), kept.numpy(),
        np.array([gradient is not None for gradient in gradients]),
        np.zeros((0, 0, 0), dtype) if dstate is None else dstate.numpy(), stop,
    )  # fmt: skip

    def work(piece: int) -> None:
        to_drive = own_ddrive if drive_sums is None else drive_sums[piece]
        backward_range(
            *ranges[piece],
            *arguments,
            Sums(to_drive, perceive_sums[piece], update_sums[piece], bias_sums[piece], filter_sums[piece]),
        )

    _run(work, len(ranges), stop, _is_brief(state, w_perceive, 3 * rule.steps))

    def write(gradient: torch.Tensor | None, total: np.ndarray) -> None:
        if gradient is not None:
            gradient.copy_(torch.from_numpy(total).reshape(gradient.shape))

    write(ddrive, own_ddrive if drive_sums is None else drive_sums.sum(axis=0))
    write(dw_perceive, perceive_sums.sum(axis=0)[: w_perceive.shape[1], :hidden_size].T.copy())
    write(dw_update, update_sums.sum(axis=0)[:state_size, :hidden_size].copy())
    write(db_update, bias_sums.sum(axis=0))
    write(dfilters, filter_sums.sum(axis=0))
