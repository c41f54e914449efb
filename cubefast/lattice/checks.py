"""What a rollout accepts: every rule once, each refusal saying what was got, what is allowed, what to do."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable

import torch

ACTIVATIONS = ("tanh", "relu", "silu", "sigmoid")
"""What the hidden layer may be passed through; the position is the code the kernels know it by."""

UPDATES = ("tanh", "residual", "residual_tanh")
"""How a state takes up its update: tanh(u), s + u, tanh(s + u); the position is the kernels' code."""

MOST_STEPS = 2**20
"""Of one rollout, and of what counts steps: a state that must go on longer comes back to its caller on the way."""

MOST_PHASES = 2**10
"""Of one lattice: each has weights of its own."""

MOST_NUMBERS = 2**31 - 1
"""Of one sample, of a table, of the weights: what the kernels' 32-bit offsets reach."""

MOST_PER_CELL = 2**16
"""Numbers of state, and hidden numbers, of one cell."""


def check_choice(what: str, got: object, allowed: Iterable[str]) -> None:
    """Raise ValueError unless ``got`` is one of ``allowed``."""
    names = list(allowed)
    if not isinstance(got, str) or got not in names:
        raise ValueError(f"{what} must be one of {', '.join(names)}; got {shown(got)}")


def check_count(what: str, got: object, least: int, most: int = MOST_NUMBERS) -> int:
    """``got`` as an int. Integers of numpy and tensors of one integer are counts too, True and 2.0 are not.

    Raises ValueError unless it is a whole number from ``least`` to ``most``.
    """
    count = _as_int(got)
    if count is None or count < least:
        raise ValueError(f"{what} must be a whole number of at least {least}; got {shown(got)}")
    if count > most:
        raise ValueError(f"{what} may be {most} at most; got {shown(got)}")
    return count


def shown(got: object) -> str:
    """``repr(got)``, cut where it would fill the screen."""
    try:
        text = repr(got)
    except ValueError:  # Python writes out no integer of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _as_int(got: object) -> int | None:
    if isinstance(got, bool):
        return None
    if isinstance(got, (int, torch.SymInt)):  # a SymInt stands for an int while torch compiles
        return got  # type: ignore[return-value]
    if isinstance(got, torch.Tensor) and (got.dtype == torch.bool or got.dim() > 0):
        return None
    try:
        return operator.index(got)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):
        return None


def check_rate(what: str, got: object) -> float:
    """``got`` as a float. Raises ValueError unless it is a number from 0 to 1."""
    try:
        rate = float(got) if not isinstance(got, (bool, str)) else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        rate = math.nan
    if not 0 <= rate <= 1:
        raise ValueError(f"{what} must be a number from 0 to 1; got {shown(got)}")
    return rate


def check_alive(got: object, state_size: int) -> tuple[int, float]:
    """``got`` as (channel, threshold). Raises ValueError unless it is a number of the state and a finite number."""
    wanted = f"alive must be (channel, threshold), a channel from 0 to {state_size - 1} and a finite number"
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise ValueError(f"{wanted}; got {shown(got)}")
    channel = _as_int(got[0])
    try:
        threshold = float(got[1])
    except (TypeError, ValueError, OverflowError):
        threshold = math.nan
    if channel is None or not 0 <= channel < state_size or not math.isfinite(threshold):
        raise ValueError(f"{wanted}; got {shown(got)}")
    return channel, threshold


def check_filters(filters: torch.Tensor, state: torch.Tensor, slots: int) -> None:
    """Raise TypeError or ValueError unless ``filters`` is [F, K] or [F, K, S] of the state's dtype and device."""
    if filters.dtype != state.dtype or filters.device != state.device:
        raise TypeError(
            f"filters must be {state.dtype} on {state.device}, as state is; got {filters.dtype} on {filters.device}. "
            "Convert them with .to()"
        )
    shape = tuple(filters.shape)
    if len(shape) not in (2, 3) or shape[0] == 0 or shape[1:] != (slots, state.shape[-1])[: len(shape) - 1]:
        raise ValueError(
            f"filters must be [F, K] or [F, K, S] with K = {slots} slots and S = {state.shape[-1]}; got {list(shape)}"
        )


def check_rollout(
    state: torch.Tensor,
    drive: torch.Tensor,
    w_perceive: torch.Tensor,
    w_update: torch.Tensor,
    b_update: torch.Tensor,
    *,
    cells: int,
    slots: int,
    activation: str,
    update: str,
    filters: torch.Tensor | None = None,
    drives: int | None = None,
) -> None:
    """Check the tensors and names of a rollout whose state is already [B, N, S] and drive [B or 1, N or 1, H].

    Where the drive is one of each step it has a first dimension of ``drives`` steps besides.

    Raises:
        TypeError: an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: a shape, device or name does not fit.
    """
    parts = slots
    if filters is not None:
        if not isinstance(filters, torch.Tensor):
            raise TypeError(f"filters must be a torch.Tensor; got {type(filters).__name__}. See Topology.filters")
        parts = filters.shape[0] if filters.dim() else 0
    if _fits((state, drive, w_perceive, w_update, b_update), cells, parts, activation, update, drives):
        if filters is not None:
            check_filters(filters, state, slots)
        return
    tensors = {
        "state": state,
        "drive": drive,
        "w_perceive": w_perceive,
        "w_update": w_update,
        "b_update": b_update,
    }
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
        if not tensor.dtype.is_floating_point:
            raise TypeError(f"{name} must hold floating-point numbers; got {tensor.dtype}")
        if tensor.dtype != state.dtype:
            raise TypeError(
                f"all tensors must have one dtype; state is {state.dtype} and {name} is "
                f"{tensor.dtype}. Convert one with .to()"
            )
        if tensor.device != state.device:
            raise ValueError(
                f"all tensors must be on one device; state is on {state.device} and {name} is "
                f"on {tensor.device}. Move one with .to()"
            )
    check_choice("activation", activation, ACTIVATIONS)
    check_choice("update", update, UPDATES)

    if state.dim() != 3 or state.shape[1] != cells or state.shape[2] == 0:
        raise ValueError(
            f"state must be [B, N, S] or [B, X, Y, Z, S] with N = {cells} cells, as the topology "
            f"has, and S of at least 1; got {list(state.shape)}"
        )
    batch, _, state_size = state.shape
    if w_update.dim() != 2 or w_update.shape[0] != state_size or w_update.shape[1] == 0:
        raise ValueError(
            f"w_update must be [S, H] with S = {state_size}, as state has, and H of at least 1; "
            f"got {list(w_update.shape)}"
        )
    hidden_size = w_update.shape[1]
    if cells * max(state_size, hidden_size + 16) >= 2**31:  # the kernels' offsets within a sample are 32 bits wide
        raise ValueError(
            f"one sample may have 2^31 numbers at most; {cells} cells with a state of {state_size} and {hidden_size} "
            "hidden numbers are more. Use a smaller lattice"
        )
    _check_shape("b_update", b_update, "[S]", (state_size,))
    if filters is not None:
        check_filters(filters, state, slots)
    symbols = f"[H, K*S], K = {parts}" if filters is None else f"[H, F*S], F = {parts}"
    _check_shape("w_perceive", w_perceive, symbols, (hidden_size, parts * state_size))
    drive_shape = tuple(drive.shape)
    if not _drive_fits(drive_shape, drives, batch, cells, hidden_size):
        if drives is not None:
            raise ValueError(
                "a drive per step must be [T, B, N, H], [T, N, H] or [T, H], where B and N may be 1, with "
                f"T = {drives} steps, B = {batch}, N = {cells} and H = {hidden_size}; got {list(drive_shape)}"
            )
        raise ValueError(
            f"drive must be [B, N, H], [N, H] or [H], where B and N may be 1, with B = {batch}, N = {cells} and "
            f"H = {hidden_size}; got {list(drive_shape)}"
        )


def check_tables(neighbors: torch.Tensor, reader_offsets: torch.Tensor, readers: torch.Tensor) -> None:
    """Check the form of a topology's tables; what stands in them the kernels look at themselves.

    Raises:
        TypeError: a table is not int32 on the CPU.
        ValueError: a shape does not fit, or a table is not contiguous.
    """
    if (
        neighbors.dtype == reader_offsets.dtype == readers.dtype == torch.int32
        and (neighbors.is_cpu and reader_offsets.is_cpu and readers.is_cpu)
        and (neighbors.dim() == 2 and readers.dim() == 1 and reader_offsets.shape == (neighbors.shape[0] + 1,))
        and (neighbors.is_contiguous() and reader_offsets.is_contiguous() and readers.is_contiguous())
    ):
        return
    cells = neighbors.shape[0] if neighbors.dim() == 2 else 0
    for name, table, form, right in (
        ("neighbors", neighbors, "[N, K-1]", neighbors.dim() == 2),
        ("reader_offsets", reader_offsets, f"[N+1] = [{cells + 1}]", reader_offsets.shape == (cells + 1,)),
        ("readers", readers, "[neighbors that there are]", readers.dim() == 1),
    ):
        if table.dtype != torch.int32 or table.device.type != "cpu":
            raise TypeError(f"{name} must be int32 on the CPU; got {table.dtype} on {table.device}. Take a Topology's")
        if not right or not table.is_contiguous():
            layout = "" if table.is_contiguous() else ", not contiguous"
            raise ValueError(f"{name} must be contiguous {form}; got {list(table.shape)}{layout}")


def _drive_fits(shape: tuple[int, ...], drives: int | None, batch: int, cells: int, hidden_size: int) -> bool:
    if drives is not None:
        if len(shape) != 4 or shape[0] != drives:
            return False
        shape = shape[1:]
    return len(shape) == 3 and shape[0] in (1, batch) and shape[1] in (1, cells) and shape[2] == hidden_size


def _fits(
    tensors: tuple[torch.Tensor, ...], cells: int, parts: int, activation: str, update: str, drives: int | None
) -> bool:
    """Whether tensors and names are as :func:`check_rollout` wants them, in a few microseconds."""
    state, drive, w_perceive, w_update, b_update = tensors
    dtype, device = state.dtype, state.device
    shape, shape_update = state.shape, w_update.shape
    if len(shape) != 3 or len(shape_update) != 2 or not dtype.is_floating_point:
        return False
    batch, count, state_size = shape
    hidden_size = shape_update[1]
    return bool(
        drive.dtype == w_perceive.dtype == w_update.dtype == b_update.dtype == dtype
        and drive.device == w_perceive.device == w_update.device == b_update.device == device
        and count == cells
        and state_size > 0
        and hidden_size > 0
        and shape_update[0] == state_size
        and b_update.shape == (state_size,)
        and w_perceive.shape == (hidden_size, parts * state_size)
        and _drive_fits(tuple(drive.shape), drives, batch, cells, hidden_size)
        and cells * max(state_size, hidden_size + 16) < 2**31
        and isinstance(activation, str)
        and activation in ACTIVATIONS
        and isinstance(update, str)
        and update in UPDATES
    )


def _check_shape(name: str, tensor: torch.Tensor, symbols: str, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {symbols} = {list(shape)}; got {list(tensor.shape)}")
