"""The one documented function: T steps of a lattice of cells."""

from __future__ import annotations

import torch
from torch import Tensor

from . import backends, ops, reference
from .checks import MOST_STEPS, check_count, check_rollout
from .topology import Topology

_HALF = (torch.float16, torch.bfloat16)
_NAMES = ("state", "drive", "w_perceive", "w_update", "b_update")


def lattice_rollout(
    state: Tensor,
    drive: Tensor,
    w_perceive: Tensor,
    w_update: Tensor,
    b_update: Tensor,
    *,
    topology: Topology,
    steps: int,
    activation: str = "tanh",
    update: str = "residual",
    backend: str = "auto",
    checkpoint_every: int | None = None,
) -> Tensor:
    """Run a lattice of cells for ``steps`` steps, differentiably.

    One step, for every cell c at once (every cell reads the old states)::

        p_c  = concat(states of the neighbors of c, state of c)     a missing neighbor reads as zeros
        h_c  = activation(w_perceive p_c + drive_c)
        u_c  = w_update h_c + b_update
        s'_c = tanh(u_c) | s_c + u_c | tanh(s_c + u_c)              update = "tanh" | "residual" | "residual_tanh"

    B samples, N cells, S numbers of state per cell, H hidden numbers, K slots (the neighbors, then the cell itself).

    Args:
        state: [B, N, S], or [B, X, Y, Z, S] with z fastest. The result has the shape that came in.
        drive: [B, N, H], [1, N, H] or [N, H]; all that a cell hears besides its neighbors, the same at each step.
        w_perceive: [H, K*S], shared by all cells.
        w_update: [S, H].
        b_update: [S].
        topology: who hears whom.
        steps: T, 0 or more. The result is a new tensor also when it is 0.
        activation: ``"tanh"``, ``"relu"``, ``"silu"`` or ``"sigmoid"``.
        update: ``"tanh"``, ``"residual"`` or ``"residual_tanh"``.
        backend: ``"auto"`` takes the compiled kernel (``"cpp"``), else ``"numba"``, for floating-point tensors on the
            CPU, and ``"torch"``, the plain reference, for everything else: other devices, function transforms
            (``torch.func``), forward-mode derivatives. See :func:`cubefast.use_backend`.
        checkpoint_every: keep only every so many states for the backward, and compute the others again: less
            memory, a little more time. None keeps each.

    Returns:
        The state after ``steps`` steps, of the dtype of ``state``. Gradients flow to the five tensors. Second-order
        gradients are refused by the compiled backends; ``backend="torch"`` has them.

        On the CPU, float16 and bfloat16 are computed in float32 and rounded at the end, gradients too. Under autocast
        the result of half precision is float32, on every device.

    Raises:
        TypeError: an argument is not a floating-point tensor, or dtypes differ.
        ValueError: a shape, device, count or name does not fit; steps may be 2^20 at most.
        RuntimeError: the backend asked for is not there, or cannot serve these tensors.
        KeyboardInterrupt: Ctrl-C is heard within a second also inside a long rollout and its backward.
    """
    if not isinstance(topology, Topology):
        raise TypeError(f"topology must be a cubefast.Topology; got {type(topology).__name__}")
    tensors = (state, drive, w_perceive, w_update, b_update)
    for name, tensor in zip(_NAMES, tensors, strict=True):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
    steps = check_count("steps", steps, 0, MOST_STEPS)
    if checkpoint_every is not None:
        checkpoint_every = check_count("checkpoint_every", checkpoint_every, 1, MOST_STEPS)
    device = state.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        # Rounding errors grow over the steps, so autocast takes half precision away here, as it does for losses.
        wide = [t.float() if t.dtype in _HALF else t for t in tensors]
        with torch.autocast(device, enabled=False):
            return lattice_rollout(
                *wide,
                topology=topology,
                steps=steps,
                activation=activation,
                update=update,
                backend=backend,
                checkpoint_every=checkpoint_every,
            )
    shape = state.shape
    flat = state.dim() != 5
    if not flat and tuple(shape[1:4]) == tuple(topology.shape):
        state = state.reshape(shape[0], topology.cells, shape[4])
    check_rollout(
        state,
        drive,
        w_perceive,
        w_update,
        b_update,
        cells=topology.cells,
        slots=topology.slots,
        activation=activation,
        update=update,
    )
    chosen = backends.resolve(backend, state, drive, w_perceive, w_update, b_update)
    if chosen == "torch":
        result = reference.rollout(
            state,
            drive,
            w_perceive,
            w_update,
            b_update,
            topology,
            steps,
            activation,
            update,
            checkpoint_every,
        )
    else:
        narrow = state.dtype
        differentiable = tuple(t.float() if narrow in _HALF else t for t in (state, *tensors[1:]))
        save = torch.is_grad_enabled() and any(t.requires_grad for t in differentiable)
        result = ops.run(
            (*differentiable, *topology.for_kernels()),
            (steps, activation, update, checkpoint_every or 1, save, chosen),
        ).to(narrow)
    return result if flat else result.reshape(shape)
