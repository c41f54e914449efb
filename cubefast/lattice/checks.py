"""What a rollout accepts: every rule once, each refusal saying what was got, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Iterable

import torch

ACTIVATIONS = ("tanh", "relu", "silu", "sigmoid")
"""What the hidden layer may be passed through; the position is the code the kernels know it by."""

UPDATES = ("tanh", "residual", "residual_tanh")
"""How a state takes up its update: tanh(u), s + u, tanh(s + u); the position is the kernels' code."""


def check_choice(what: str, got: object, allowed: Iterable[str]) -> None:
    """Raise ValueError unless ``got`` is one of ``allowed``."""
    names = list(allowed)
    if got not in names:
        raise ValueError(f"{what} must be one of {', '.join(names)}; got {got!r}")


def check_count(what: str, got: object, least: int) -> None:
    """Raise ValueError unless ``got`` is a whole number of at least ``least``."""
    if not isinstance(got, int) or isinstance(got, bool) or got < least:
        raise ValueError(f"{what} must be a whole number of at least {least}; got {got!r}")


def check_rollout(
    state: torch.Tensor,
    drive: torch.Tensor,
    w_perceive: torch.Tensor,
    w_update: torch.Tensor,
    b_update: torch.Tensor,
    *,
    cells: int,
    slots: int,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int | None,
) -> None:
    """Check the arguments of a rollout whose state is already [B, N, S].

    Raises:
        TypeError: an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: a shape, device, count or name does not fit.
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
    check_count("steps", steps, 0)
    if checkpoint_every is not None:
        check_count("checkpoint_every", checkpoint_every, 1)

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


def _check_shape(name: str, tensor: torch.Tensor, symbols: str, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {symbols} = {list(shape)}; got {list(tensor.shape)}")
