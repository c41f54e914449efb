"""The kernels as torch operators: what autograd, torch.compile and torch.export see. The only user of torch.library.

``cubefast::rollout`` and ``cubefast::rollout_backward`` are the same for every compiled backend. The forward returns
the final state and the trajectory: the states of every ``checkpoint_every``-th step between the first and the last,
[B, saved, N, S], which is all that the backward needs; the hidden layer is computed again.

Exported programs call these operators past :func:`cubefast.lattice_rollout`, with whatever they hold, so the operators
check all that the kernels would otherwise read or write beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import _native, backends
from .checks import MOST_STEPS, check_choice, check_count, check_rollout, check_tables


def _kernel(backend: str) -> ModuleType:
    if backend == "cpp":
        return _native
    from . import _numba  # half a second of import, only where it runs

    return _numba


def _saved_states(steps: int, checkpoint_every: int, save: bool) -> int:
    return (steps - 1) // checkpoint_every if save and steps > 0 else 0


# Defined by schema and not by @custom_op, whose wrappers cost more than a small rollout does.
_LATTICE = (
    "Tensor state, Tensor drive, Tensor w_perceive, Tensor w_update, Tensor b_update, "
    "Tensor neighbors, Tensor reader_offsets, Tensor readers, "
)
_RULE = "SymInt steps, str activation, str update, SymInt checkpoint_every, "
torch.library.define(
    "cubefast::rollout", f"({_LATTICE}{_RULE}bool save, str backend) -> (Tensor final, Tensor trajectory)"
)
torch.library.define(
    "cubefast::rollout_backward",
    f"(Tensor dfinal, {_LATTICE}Tensor final, Tensor trajectory, {_RULE}str backend, bool[] needs) -> "
    "(Tensor dstate, Tensor ddrive, Tensor dw_perceive, Tensor dw_update, Tensor db_update)",
)
rollout = torch.ops.cubefast.rollout.default
rollout_backward = torch.ops.cubefast.rollout_backward.default


def _check(
    tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    tables: tuple[Tensor, Tensor, Tensor],
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
    backend: str,
) -> None:
    state = tensors[0]
    if state.dtype not in (torch.float32, torch.float64) or state.dim() != 3:
        raise ValueError(
            f"state must be float32 or float64 [B, N, S]; got {state.dtype} {list(state.shape)}. "
            "cubefast.lattice_rollout takes more"
        )
    check_tables(*tables, cells=state.shape[1])
    slots = tables[0].shape[1] + 1
    check_rollout(*tensors, cells=state.shape[1], slots=slots, activation=activation, update=update)
    check_count("steps", steps, 0, MOST_STEPS)
    check_count("checkpoint_every", checkpoint_every, 1, MOST_STEPS)
    check_choice("backend", backend, ("cpp", "numba"))
    if problem := backends.unavailable(backend):
        raise RuntimeError(f'backend "{backend}" cannot run: {problem}')
    if backends.has_tangents(tensors):
        raise RuntimeError(
            "the compiled lattice rollout has no forward-mode derivatives. Use the reference: "
            'lattice_rollout(..., backend="torch") or cubefast.use_backend("torch")'
        )


@torch.library.impl("cubefast::rollout", "CPU")
def _rollout(
    state: Tensor,
    drive: Tensor,
    w_perceive: Tensor,
    w_update: Tensor,
    b_update: Tensor,
    neighbors: Tensor,
    reader_offsets: Tensor,
    readers: Tensor,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
    save: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """(final state [B, N, S], trajectory [B, saved, N, S]); ``save``: whether a backward will follow."""
    tensors = (state, drive, w_perceive, w_update, b_update)
    _check(tensors, (neighbors, reader_offsets, readers), steps, activation, update, checkpoint_every, backend)
    batch, cells, state_size = state.shape
    saved = _saved_states(steps, checkpoint_every, save)
    state = state.contiguous()
    final = torch.empty_like(state)
    trajectory = state.new_empty(batch, saved, cells, state_size)
    _kernel(backend).forward(
        state,
        drive.contiguous(),
        w_perceive.contiguous(),
        w_update.contiguous(),
        b_update.contiguous(),
        neighbors,
        steps,
        activation,
        update,
        checkpoint_every,
        final,
        trajectory,
    )
    return final, trajectory


def _shape_of_rollout(
    state: Tensor,
    drive: Tensor,
    w_perceive: Tensor,
    w_update: Tensor,
    b_update: Tensor,
    neighbors: Tensor,
    reader_offsets: Tensor,
    readers: Tensor,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
    save: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    batch, cells, state_size = state.shape
    saved = _saved_states(steps, checkpoint_every, save)
    return (
        state.new_empty(batch, cells, state_size),
        state.new_empty(batch, saved, cells, state_size),
    )


@torch.library.impl("cubefast::rollout_backward", "CPU")
def _rollout_backward(
    dfinal: Tensor,
    state: Tensor,
    drive: Tensor,
    w_perceive: Tensor,
    w_update: Tensor,
    b_update: Tensor,
    neighbors: Tensor,
    reader_offsets: Tensor,
    readers: Tensor,
    final: Tensor,
    trajectory: Tensor,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
    backend: str,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    """Gradients of state, drive, w_perceive, w_update, b_update; an empty tensor for one not needed."""
    tensors = (state, drive, w_perceive, w_update, b_update)
    _check(tensors, (neighbors, reader_offsets, readers), steps, activation, update, checkpoint_every, backend)
    saved = (len(state), _saved_states(steps, checkpoint_every, True), *state.shape[1:])
    for name, tensor, shape in (
        ("dfinal", dfinal, state.shape),
        ("final", final, state.shape if _reads_final(update) else final.shape),
        ("trajectory", trajectory, saved),
    ):
        if tuple(tensor.shape) != tuple(shape) or tensor.dtype != state.dtype or tensor.device != state.device:
            raise ValueError(
                f"{name} must be {state.dtype} {list(shape)} on the CPU; got {tensor.dtype} {list(tensor.shape)} on "
                f"{tensor.device}"
            )
    inputs = [t.contiguous() for t in tensors]
    gradients = [torch.empty_like(tensor) if needed else None for tensor, needed in zip(inputs, needs, strict=True)]
    _kernel(backend).backward(
        dfinal.contiguous(),
        *inputs,
        neighbors,
        reader_offsets,
        readers,
        steps,
        activation,
        update,
        checkpoint_every,
        final.contiguous(),
        trajectory.contiguous(),
        gradients,
    )
    return tuple(state.new_empty(0) if gradient is None else gradient for gradient in gradients)


def _shape_of_backward(
    dfinal: Tensor,
    state: Tensor,
    drive: Tensor,
    w_perceive: Tensor,
    w_update: Tensor,
    b_update: Tensor,
    neighbors: Tensor,
    reader_offsets: Tensor,
    readers: Tensor,
    final: Tensor,
    trajectory: Tensor,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
    backend: str,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    inputs = (state, drive, w_perceive, w_update, b_update)
    return tuple(t.new_empty(t.shape if needed else (0,)) for t, needed in zip(inputs, needs, strict=True))


def _reads_final(update: str) -> bool:
    """Whether the backward needs the final state: to differentiate a tanh."""
    return update != "residual"


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    (*tensors, steps, activation, update, checkpoint_every, save, backend) = inputs
    final, trajectory = output
    ctx.mark_non_differentiable(trajectory)
    ctx.set_materialize_grads(False)  # or autograd makes zeros of the size of the trajectory, to be ignored
    # A final state that is not needed is not saved, so that its owner may change it in place.
    ctx.save_for_backward(*tensors, final if _reads_final(update) else final.new_empty(0), trajectory)
    ctx.arguments = (steps, activation, update, checkpoint_every, backend)
    ctx.saved_trajectory = save


def _differentiate(ctx: Any, dfinal: Tensor | None, dtrajectory: None) -> tuple[Tensor | None, ...]:
    if not ctx.saved_trajectory:
        raise RuntimeError(
            "cubefast::rollout was called with save=False and then differentiated; call "
            "cubefast.lattice_rollout, which decides this by itself"
        )
    if dfinal is None:
        return (None,) * 14
    needs = list(ctx.needs_input_grad[:5])
    gradients = rollout_backward(dfinal, *ctx.saved_tensors, *ctx.arguments, needs)
    asked = [g if needed else None for g, needed in zip(gradients, needs, strict=True)]
    return (*asked, *([None] * 9))


torch.library.register_fake("cubefast::rollout", _shape_of_rollout)
torch.library.register_fake("cubefast::rollout_backward", _shape_of_backward)
torch.library.register_autograd("cubefast::rollout", _differentiate, setup_context=_save_for_backward)


def _refuse_second_order(ctx: Any, *grads: Any) -> None:
    raise RuntimeError(
        "the compiled lattice rollout has no second-order gradients. For double backward use the "
        'reference: lattice_rollout(..., backend="torch") or cubefast.use_backend("torch")'
    )


torch.library.register_autograd("cubefast::rollout_backward", _refuse_second_order)


def _for_each_of_many(operator: Any) -> Any:
    """How torch.vmap runs an operator: once for each entry, for the kernels' batch is one of samples."""

    def run_each(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        results = []
        for i in range(info.batch_size):
            entry = [a.select(dim, i) if isinstance(dim, int) else a for a, dim in zip(arguments, in_dims, strict=True)]
            results.append(operator(*entry))
        stacked = tuple(torch.stack(each) for each in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)

    return run_each


torch.library.register_vmap("cubefast::rollout", _for_each_of_many(rollout))
torch.library.register_vmap("cubefast::rollout_backward", _for_each_of_many(rollout_backward))


def run(tensors: tuple[Tensor, ...], options: tuple[Any, ...]) -> Tensor:
    """The final state of ``cubefast::rollout(*tensors, *options)``.

    Where no gradient will be asked for (``save`` is false) the call goes past autograd, which saves 10 us.
    """
    save = options[-2]
    if save or torch.compiler.is_compiling():
        final: Tensor = rollout(*tensors, *options)[0]
        return final
    with torch._C._AutoDispatchBelowAutograd():
        final = rollout(*tensors, *options)[0]
    return final
