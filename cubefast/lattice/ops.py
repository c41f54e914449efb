"""The kernels as torch operators: what autograd, torch.compile and torch.export see. The only user of torch.library.

``cubefast::rollout`` and ``cubefast::rollout_backward`` are the same for every compiled backend. The forward returns

    final       the state after the last step
    trajectory  [B, saved, N, S]: the states of every ``checkpoint_every``-th step between the first and the last, all
                that the backward needs of them; the hidden layer is computed again
    states      [B, T // k, N, S]: those that ``return_states`` = k asks for
    kept        uint8 [B, T, N]: whether a cell lived through each step, with ``alive`` and for the backward

Exported programs call these operators past :func:`cubefast.lattice_rollout`, with whatever they hold, so the operators
check all that the kernels would otherwise read or write beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import _native
from .operator_call import Call
from .options import PLAIN, Options
from .rule import Rule, result_shapes


def _kernel(backend: str) -> ModuleType:
    if backend == "cpp":
        return _native
    from . import _numba  # half a second of import, only where it runs

    return _numba


# Defined by schema and not by @custom_op, whose wrappers cost more than a small rollout does.
_ARGUMENTS = (  # those of rule.Call
    "Tensor state, Tensor drive, Tensor w_perceive, Tensor w_update, Tensor b_update, "
    "Tensor neighbors, Tensor reader_offsets, Tensor readers, "
    "SymInt steps, str activation, str update, SymInt checkpoint_every, bool save, str backend, "
    "Tensor? filters=None, float? fire_rate=None, Tensor? seed=None, SymInt first_step=0, int alive_channel=-1, "
    "float alive_threshold=0.0, SymInt return_states=0"
)
torch.library.define(
    "cubefast::rollout",
    f"({_ARGUMENTS}) -> (Tensor final, Tensor trajectory, Tensor states, Tensor kept)",
)
torch.library.define(
    "cubefast::rollout_backward",
    f"(Tensor dfinal, Tensor? dstates, Tensor final, Tensor trajectory, Tensor kept, bool[] needs, {_ARGUMENTS}) -> "
    "(Tensor dstate, Tensor ddrive, Tensor dw_perceive, Tensor dw_update, Tensor db_update, Tensor dfilters)",
)
rollout = torch.ops.cubefast.rollout.default
rollout_backward = torch.ops.cubefast.rollout_backward.default

_DIFFERENTIABLE = 5  # the first tensors of both
_FILTERS = 14  # the place of the sixth among the arguments of the forward


@torch.library.impl("cubefast::rollout", "CPU")
def _rollout(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(final, trajectory, states, kept), see the top; ``save``: whether a backward will follow."""
    call = Call(*arguments)
    rule = call.checked()
    results = _empty_results(call.state, rule, call.save)
    filters = None if call.filters is None else call.filters.contiguous()
    _kernel(call.backend).forward(tuple(t.contiguous() for t in call.tensors), call.neighbors, filters, rule, *results)
    return results


def _empty_results(state: Tensor, rule: Rule, save: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    final, trajectory, states, kept = result_shapes(state, rule, save)
    return (
        state.new_empty(final),
        state.new_empty(trajectory),
        state.new_empty(states),
        state.new_empty(kept, dtype=torch.uint8),
    )


def _shape_of_rollout(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    call = Call(*arguments)
    return _empty_results(call.state, call.rule, call.save)


@torch.library.impl("cubefast::rollout_backward", "CPU")
def _rollout_backward(
    dfinal: Tensor,
    dstates: Tensor | None,
    final: Tensor,
    trajectory: Tensor,
    kept: Tensor,
    needs: Sequence[bool],
    *arguments: Any,
) -> tuple[Tensor, ...]:
    """Gradients of state, drive, w_perceive, w_update, b_update and filters; an empty tensor for one not needed.

    ``arguments``: of the forward.
    """
    call = Call(*arguments)
    state, rule = call.state, call.checked()
    wanted = result_shapes(state, rule, True)
    results = [("dfinal", dfinal, wanted[0]), ("trajectory", trajectory, wanted[1]), ("kept", kept, wanted[3])]
    if rule.reads_final:
        results.append(("final", final, wanted[0]))
    if dstates is not None:
        results.append(("dstates", dstates, wanted[2]))
    for name, tensor, shape in results:
        dtype = torch.uint8 if name == "kept" else state.dtype
        if tensor.shape != shape or tensor.dtype != dtype or not tensor.is_cpu:
            raise ValueError(
                f"{name} must be {dtype} {list(shape)} on the CPU; got {tensor.dtype} {list(tensor.shape)} on "
                f"{tensor.device}"
            )
    if len(needs) != _DIFFERENTIABLE + 1:
        raise ValueError(f"needs must be {_DIFFERENTIABLE + 1} truth values; got {len(needs)}")
    inputs = tuple(t.contiguous() for t in call.tensors)
    filters = None if call.filters is None else call.filters.contiguous()
    gradients = [
        torch.empty_like(tensor) if needed and tensor is not None else None
        for tensor, needed in zip((*inputs, filters), needs, strict=True)
    ]
    _kernel(call.backend).backward(
        dfinal.contiguous(),
        None if dstates is None or not rule.returned else dstates.contiguous(),
        inputs,
        call.tables,
        filters,
        rule,
        final.contiguous(),
        trajectory.contiguous(),
        kept.contiguous(),
        gradients,
    )
    return tuple(state.new_empty(0) if gradient is None else gradient for gradient in gradients)


def _shape_of_backward(
    dfinal: Tensor,
    dstates: Tensor | None,
    final: Tensor,
    trajectory: Tensor,
    kept: Tensor,
    needs: Sequence[bool],
    *arguments: Any,
) -> tuple[Tensor, ...]:
    call = Call(*arguments)
    return tuple(
        call.state.new_empty(t.shape if needed and t is not None else (0,))
        for t, needed in zip((*call.tensors, call.filters), needs, strict=True)
    )


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    call = Call(*inputs)
    rule = call.rule
    final, trajectory, states, kept = output
    ctx.mark_non_differentiable(trajectory, kept, *([] if rule.returned else [states]))
    ctx.set_materialize_grads(False)  # or autograd makes zeros of the size of the trajectory, to be ignored
    # A final state that is not needed is not saved, so that its owner may change it in place.
    final = final if rule.reads_final else final.new_empty(0)
    ctx.save_for_backward(final, trajectory, kept, *call.tensors, *call.tables, call.filters, call.seed)
    ctx.settings = call[8:_FILTERS], call.fire_rate, call[_FILTERS + 3 :]
    ctx.saved_trajectory = call.save


def _differentiate(ctx: Any, dfinal: Tensor | None, dtrajectory: None, dstates: Tensor | None, dkept: None) -> Any:
    if not ctx.saved_trajectory:
        raise RuntimeError(
            "cubefast::rollout was called with save=False and then differentiated; call "
            "cubefast.lattice_rollout, which decides this by itself"
        )
    final, trajectory, kept, *lattice, filters, seed = ctx.saved_tensors
    asked = ctx.needs_input_grad  # of the arguments that were given: options may be left out
    results: list[Tensor | None] = [None] * len(asked)
    if dfinal is None and dstates is None:
        return tuple(results)
    needs = [*asked[:_DIFFERENTIABLE], any(asked[_FILTERS : _FILTERS + 1])]
    if dfinal is None:
        dfinal = torch.zeros_like(lattice[0])
    rule, fire_rate, options = ctx.settings
    gradients = rollout_backward(
        dfinal, dstates, final, trajectory, kept, needs, *lattice, *rule, filters, fire_rate, seed, *options
    )
    places = [*range(_DIFFERENTIABLE), _FILTERS]
    for place, needed, gradient in zip(places, needs, gradients, strict=True):
        if needed:
            results[place] = gradient
    return tuple(results)


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


def run(
    tensors: tuple[Tensor, ...],
    tables: tuple[Tensor, Tensor, Tensor],
    rule: tuple[int, str, str, int],
    backend: str,
    options: Options = PLAIN,
) -> tuple[Tensor, Tensor | None]:
    """The final state, and the states on the way if the options ask for some.

    Where no gradient will be asked for the call goes past autograd, which saves 10 us.
    """
    filters = options.filters
    save = torch.is_grad_enabled() and (
        any(t.requires_grad for t in tensors) or (filters is not None and filters.requires_grad)
    )
    arguments = (*tensors, *tables, *rule, save, backend)
    if options is not PLAIN:
        channel, threshold = options.alive or (-1, 0.0)
        arguments += (
            filters, options.fire_rate, options.seed, options.first_step, channel, threshold, options.return_states,
        )  # fmt: skip
    if save or torch.compiler.is_compiling():
        final, _, states, _ = rollout(*arguments)
    else:
        with torch._C._AutoDispatchBelowAutograd():
            final, _, states, _ = rollout(*arguments)
    return final, states if options.return_states else None
