"""What a rollout accepts: every rule once, each refusal saying what was got, what is allowed, what to do."""

from __future__ import annotations

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
) -> None:
    """Check the tensors and names of a rollout whose state is already [B, N, S].

    Raises:
        TypeError: an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: a shape, device or name does not fit.
    """
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
    _check_shape("w_perceive", w_perceive, f"[H, K*S], K = {slots}", (hidden_size, slots * state_size))
    if drive.dim() == 3 and drive.shape[0] not in (1, batch):
        raise ValueError(f"drive must be [B, N, H], [1, N, H] or [N, H] with B = {batch}; got {list(drive.shape)}")
    if drive.dim() not in (2, 3) or tuple(drive.shape[-2:]) != (cells, hidden_size):
        raise ValueError(
            f"drive must be [B, N, H] or [N, H] with N = {cells} and H = {hidden_size}; got {list(drive.shape)}"
        )


def check_tables(neighbors: torch.Tensor, reader_offsets: torch.Tensor, readers: torch.Tensor, cells: int) -> None:
    """Check the form of a topology's tables; what stands in them the kernels look at themselves.

    Raises:
        TypeError: a table is not int32 on the CPU.
        ValueError: a shape does not fit, or a table is not contiguous.
    """
    for name, table, shape in (
        ("neighbors", neighbors, (cells, neighbors.shape[-1] if neighbors.dim() else 0)),
        ("reader_offsets", reader_offsets, (cells + 1,)),
        ("readers", readers, (readers.numel(),)),
    ):
        if table.dtype != torch.int32 or table.device.type != "cpu":
            raise TypeError(f"{name} must be int32 on the CPU; got {table.dtype} on {table.device}. Take a Topology's")
        if tuple(table.shape) != shape or not table.is_contiguous():
            form = "" if table.is_contiguous() else ", not contiguous"
            raise ValueError(f"{name} must be contiguous {list(shape)}; got {list(table.shape)}{form}")


def _check_shape(name: str, tensor: torch.Tensor, symbols: str, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {symbols} = {list(shape)}; got {list(tensor.shape)}")
