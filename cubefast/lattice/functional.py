"""The one documented function: T steps of a lattice of cells."""

from __future__ import annotations

import contextlib
from typing import overload

import torch
from torch import Tensor

from . import backends, ops, reference
from .checks import MOST_STEPS, check_alive, check_count, check_rate, check_rollout
from .fire import as_seed
from .options import PLAIN, Options
from .topology import Topology

_HALF = (torch.float16, torch.bfloat16)
_NAMES = ("state", "drive", "w_perceive", "w_update", "b_update")


@overload
def lattice_rollout(
    state: Tensor,
    drive: Tensor,
    w_perceive: Tensor,
    w_update: Tensor,
    b_update: Tensor,
    *,
    topology: Topology,
    steps: int,
    activation: str = ...,
    update: str = ...,
    filters: Tensor | None = ...,
    fire_rate: float | None = ...,
    seed: int | Tensor | None = ...,
    first_step: int = ...,
    alive: tuple[int, float] | None = ...,
    return_states: None = ...,
    drive_per_step: bool = ...,
    backend: str = ...,
    checkpoint_every: int | None = ...,
) -> Tensor: ...
@overload
def lattice_rollout(
    state: Tensor,
    drive: Tensor,
    w_perceive: Tensor,
    w_update: Tensor,
    b_update: Tensor,
    *,
    topology: Topology,
    steps: int,
    activation: str = ...,
    update: str = ...,
    filters: Tensor | None = ...,
    fire_rate: float | None = ...,
    seed: int | Tensor | None = ...,
    first_step: int = ...,
    alive: tuple[int, float] | None = ...,
    return_states: int,
    drive_per_step: bool = ...,
    backend: str = ...,
    checkpoint_every: int | None = ...,
) -> tuple[Tensor, Tensor]: ...
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
    filters: Tensor | None = None,
    fire_rate: float | None = None,
    seed: int | Tensor | None = None,
    first_step: int = 0,
    alive: tuple[int, float] | None = None,
    return_states: int | None = None,
    drive_per_step: bool = False,
    backend: str = "auto",
    checkpoint_every: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Run a lattice of cells for ``steps`` steps, differentiably.

    One step, for every cell c at once (every cell reads the old states)::

        p_c  = concat(states of the neighbors of c, state of c)     a missing neighbor reads as zeros
        h_c  = activation(w_perceive p_c + drive_c)
        u_c  = w_update h_c + b_update
        s'_c = tanh(u_c) | s_c + u_c | tanh(s_c + u_c)              update = "tanh" | "residual" | "residual_tanh"

    B samples, N cells, S numbers of state per cell, H hidden numbers, K slots (the neighbors, then the cell itself).

    What makes a neural cellular automaton of it (Mordvintsev et al., Growing neural cellular automata, 2020) is off
    unless asked for::

        filters        p_c = concat over f of (sum over k of filters[f, k] * s[slot k of c])
        fire_rate      only cells that fire are updated; the others keep their state
        alive          cells that do not live before and after the step become zeros

    Args:
        state: [B, N, S], or [B, X, Y, Z, S] with z fastest, [B, H, W, S] on a plane. The result has the shape that
            came in.
        drive: [B, N, H], where B and N may be 1, [B, X, Y, Z, H], [N, H], or [H]; the input of each cell,
            the same at each step unless ``drive_per_step``. A smaller form is not expanded in memory.
        w_perceive: [H, K*S], shared by all cells; with filters [H, F*S].
        w_update: [S, H].
        b_update: [S].
        topology: which cells each cell reads.
        steps: T, 0 or more. The result is a new tensor also when it is 0.
        activation: ``"tanh"``, ``"relu"``, ``"silu"`` or ``"sigmoid"``.
        update: ``"tanh"``, ``"residual"`` or ``"residual_tanh"``.
        filters: [F, K], the same for every number of the state, such as :meth:`Topology.filters` gives; or [F, K, S],
            a filter for each (a depthwise convolution, as in Kalkhof et al., Med-NCA, 2023).
        fire_rate: the chance of a cell to be updated in a step, 0 to 1; see :func:`cubefast.fire_mask` for which are.
            The work grows with it. None: all of them.
        seed: of that chance, a whole number of 64 bits or an int64 tensor []; None draws one from torch's generator.
        first_step: the number of the first step, for the chance: T calls of one step with ``first_step`` 0 to T-1 are
            one call of T steps.
        alive: (channel, threshold): a cell lives if that number of its state, or of a cell that it reads, exceeds the
            threshold. (In the paper it reads its Moore neighborhood, the channel is 3 and the threshold 0.1.) What
            cannot live is not computed.
        return_states: k: also return the states after steps k, 2k, ...
        drive_per_step: the drive has a dimension of T steps before those above, [T, B, N, H], [T, N, H], [T, H], ...:
            ``drive[t]`` is the input of step t of this call (``first_step`` does not move it).
        backend: ``"auto"`` takes the compiled kernel (``"cpp"``), else ``"numba"``, for floating-point tensors on the
            CPU, and ``"torch"``, the plain reference, for everything else: other devices, function transforms
            (``torch.func``), forward-mode derivatives. See :func:`cubefast.use_backend`.
        checkpoint_every: keep only every so many states for the backward, and compute the others again: less
            memory, a little more time. None keeps each.

    Returns:
        The state after ``steps`` steps, of the dtype of ``state``; with ``return_states`` also [B, T // k, N, S], or
        [B, T // k, X, Y, Z, S]. Gradients flow to the floating-point arguments. Second-order gradients are refused by
        the compiled backends; ``backend="torch"`` has them.

        On the CPU, float16 and bfloat16 are computed in float32 and rounded at the end, gradients too. Under autocast
        the result of half precision is float32, on every device.

    Raises:
        TypeError: an argument is not a floating-point tensor, or dtypes differ.
        ValueError: a shape, device, count or name does not fit; steps may be 2^20 at most.
        RuntimeError: the backend asked for is not there, or cannot serve these tensors or options.
        KeyboardInterrupt: Ctrl-C was pressed; a long rollout and its backward stop within a second.
    """
    if not isinstance(topology, Topology):
        raise TypeError(f"topology must be a cubefast.Topology; got {type(topology).__name__}")
    tensors = (state, drive, w_perceive, w_update, b_update)
    for name, tensor in zip(_NAMES, tensors, strict=True):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
    device = state.device.type
    without_autocast: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        # Rounding errors grow over the steps, so autocast takes half precision away here, as it does for losses.
        state, drive, w_perceive, w_update, b_update = (t.float() if t.dtype in _HALF else t for t in tensors)
        if filters is not None and filters.dtype in _HALF:
            filters = filters.float()
        without_autocast = torch.autocast(device, enabled=False)
    steps = check_count("steps", steps, 0, MOST_STEPS)
    if checkpoint_every is not None:
        checkpoint_every = check_count("checkpoint_every", checkpoint_every, 1, MOST_STEPS)

    shape = state.shape
    if (on_grid := len(shape) == len(topology.shape) + 2) and tuple(shape[1:-1]) == topology.shape:
        state = state.reshape(shape[0], topology.cells, shape[-1])
    drive = _in_rows(drive, topology, 1 if drive_per_step else 0)
    tensors = (state, drive, w_perceive, w_update, b_update)
    check_rollout(
        *tensors, cells=topology.cells, slots=topology.slots, activation=activation, update=update, filters=filters,
        drives=steps if drive_per_step else None,
    )  # fmt: skip
    options = PLAIN
    if not (filters is None and fire_rate is None and alive is None and return_states is None and not drive_per_step):
        options = _options(filters, fire_rate, seed, first_step, alive, return_states, drive_per_step, state.shape[-1])
    chosen = backends.resolve(backend, *tensors, *(() if filters is None else (filters,)))
    with without_autocast:
        tensors = _of_present_cells(tensors, topology)
        final, states = _run(chosen, tensors, topology, steps, activation, update, checkpoint_every, options)
        final = _among_all_cells(final, topology)
        states = None if states is None else _among_all_cells(states, topology)
    if on_grid:
        final = final.reshape(shape)
        states = None if states is None else states.reshape(shape[0], states.shape[1], *shape[1:])
    return final if states is None else (final, states)


def _in_rows(drive: Tensor, topology: Topology, lead: int) -> Tensor:
    """A drive [B, N, H], where B and N may be 1, from any of its forms; ``lead`` dimensions stand before those."""
    if drive.dim() <= lead:
        raise ValueError(f"drive must have {lead + 1} dimensions at least; got {list(drive.shape)}")
    first, *grid = drive.shape[lead:-1] or (1,)
    if drive.dim() == lead + len(topology.shape) + 2 and tuple(grid) == topology.shape:
        drive = drive.reshape(*drive.shape[:lead], first, topology.cells, drive.shape[-1])
    while drive.dim() < lead + 3:
        drive = drive.unsqueeze(lead)
    return drive


def _options(
    filters: Tensor | None,
    fire_rate: float | None,
    seed: int | Tensor | None,
    first_step: int,
    alive: tuple[int, float] | None,
    return_states: int | None,
    drive_per_step: bool,
    state_size: int,
) -> Options:
    return Options(
        filters=filters,
        fire_rate=None if fire_rate is None else check_rate("fire_rate", fire_rate),
        seed=None if fire_rate is None else as_seed(seed),
        first_step=check_count("first_step", first_step, 0, 2**32 - 1 - MOST_STEPS),
        alive=None if alive is None else check_alive(alive, state_size),
        return_states=0 if return_states is None else check_count("return_states", return_states, 1, MOST_STEPS),
        drive_per_step=bool(drive_per_step),
    )


def _of_present_cells(
    tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], topology: Topology
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The same for the cells that are there."""
    present = topology.tables.present
    if present is None:
        return tensors
    state, drive, w_perceive, w_update, b_update = tensors
    present = present.to(state.device)
    if drive.shape[-2] == topology.cells:  # and not one drive for all of them
        drive = drive[..., present, :]
    return state[:, present], drive, w_perceive, w_update, b_update


def _among_all_cells(result: Tensor, topology: Topology) -> Tensor:
    """A result [..., cells that are there, S] with zeros for those that are not."""
    present = topology.tables.present
    if present is None:
        return result
    every = result.new_zeros(*result.shape[:-2], topology.cells, result.shape[-1])
    return every.index_copy(-2, present.to(result.device), result)


def _in_merged_slots(
    tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], topology: Topology, options: Options
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, Tensor], Options]:
    """Slots that always hold the same cell have one weight, the sum of theirs; those that hold none have none."""
    merged = topology.tables.merged
    if merged is None:
        return tensors, options
    slots = topology.for_kernels()[0].shape[1] + 1
    place = torch.where(merged < 0, slots, merged)  # what leads nowhere goes behind the last, and is cut off
    if options.filters is not None:
        filters = options.filters
        sums = filters.new_zeros(len(filters), slots + 1, *filters.shape[2:]).index_add(1, place, filters)
        return tensors, options._replace(filters=sums[:, :slots])
    state, drive, w_perceive, w_update, b_update = tensors
    by_slot = w_perceive.reshape(len(w_perceive), len(merged), -1)
    sums = by_slot.new_zeros(len(by_slot), slots + 1, by_slot.shape[2]).index_add(1, place, by_slot)
    return (state, drive, sums[:, :slots].flatten(1), w_update, b_update), options


def _run(
    backend: str,
    tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    topology: Topology,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int | None,
    options: Options,
) -> tuple[Tensor, Tensor | None]:
    if backend == "torch":
        return reference.rollout(tensors, topology, steps, activation, update, checkpoint_every, options)
    narrow = tensors[0].dtype
    if narrow in _HALF:
        state, drive, w_perceive, w_update, b_update = (t.float() for t in tensors)
        tensors = (state, drive, w_perceive, w_update, b_update)
        if options.filters is not None:
            options = options._replace(filters=options.filters.float())
    tensors, options = _in_merged_slots(tensors, topology, options)
    rule = (steps, activation, update, checkpoint_every or 1)
    final, states = ops.run(tensors, topology.for_kernels(), rule, backend, options)
    if narrow in _HALF:
        final, states = final.to(narrow), None if states is None else states.to(narrow)
    return final, states
