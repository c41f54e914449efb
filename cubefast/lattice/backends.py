"""Which backend runs a rollout, and why: the choice, and how to override it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from types import TracebackType

import torch
from torch.autograd import forward_ad

from . import _native
from .checks import check_choice

BACKENDS = ("cpp", "numba", "torch")
"""cpp: the C++ extension. numba: the fallback where it was not built. torch: the reference."""

_chosen = os.environ.get("CUBEFAST_BACKEND") or "auto"


def unavailable(name: str) -> str:
    """Why a backend cannot be used on this machine and how to get it; "" when it can."""
    if name == "cpp":
        return _native.load()[1]
    if name == "numba" and importlib.util.find_spec("numba") is None:
        return "numba is not installed. Run `pip install numba`."
    return ""


_UNAVAILABLE = {name: unavailable(name) for name in BACKENDS}


SERVED = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""The dtypes that the compiled backends take; half precision they compute in float32."""


def unserved(*tensors: torch.Tensor) -> str:
    """Why the compiled backends cannot serve these tensors, which are alike; "" when they can."""
    tensor = tensors[0]
    if torch._C._are_functorch_transforms_active():
        return "torch.func transforms are active"
    if tensor.device.type != "cpu":
        return f"the tensors are on {tensor.device}, not on the CPU"
    if tensor.dtype not in SERVED:
        return f"the tensors are {tensor.dtype}, not float32, float64, float16 or bfloat16"
    if has_tangents(tensors):
        return "forward-mode derivatives are asked for"
    return ""


def has_tangents(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether one of them is a dual number of ``torch.autograd.forward_ad``."""
    level = forward_ad._current_level
    return level >= 0 and any(forward_ad.unpack_dual(t, level=level).tangent is not None for t in tensors)


def resolve(backend: str, *tensors: torch.Tensor) -> str:
    """The backend that will run: ``backend``, or what :func:`use_backend` chose, or the best one for the tensors.

    Raises:
        ValueError: an unknown name.
        RuntimeError: a backend asked for by name that is not there or cannot serve them.
    """
    name = _chosen if backend == "auto" else backend
    check_choice("backend", name, ("auto", *BACKENDS))
    if name == "torch":
        return name
    why_not = unserved(*tensors)
    if name == "auto":
        if why_not:
            return "torch"
        return next(each for each in BACKENDS if not _UNAVAILABLE[each])
    problem = _UNAVAILABLE[name] or why_not
    if problem:
        raise RuntimeError(
            f'backend "{name}" cannot run: {problem}'
            + ("" if _UNAVAILABLE[name] else '; use backend="torch", or "auto"')
        )
    return name


class use_backend:
    """Choose the backend of every rollout whose ``backend`` is "auto", from now on or for a block.

    Args:
        name: ``"cpp"``, ``"numba"``, ``"torch"``, or ``"auto"`` for the best one there.

    As a function it holds until the next call; as a context manager it restores the previous choice. It holds for
    the whole process. The environment variable CUBEFAST_BACKEND sets the first choice.

    Raises:
        ValueError: an unknown name.
        RuntimeError: the backend is not there; the message says how to get it.
    """

    def __init__(self, name: str) -> None:
        global _chosen
        check_choice("backend", name, ("auto", *BACKENDS))
        if name != "auto" and _UNAVAILABLE[name]:
            raise RuntimeError(f'backend "{name}" cannot run: {_UNAVAILABLE[name]}')
        self._previous = _chosen
        _chosen = name

    def __enter__(self) -> use_backend:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _chosen
        _chosen = self._previous


def active_backend() -> tuple[str, str]:
    """The backend that a float32 rollout on the CPU takes now, and why."""
    name = resolve("auto", torch.empty(0))
    if _chosen != "auto":
        return name, "chosen by use_backend or CUBEFAST_BACKEND"
    if name == "cpp":
        return name, "the compiled kernel is installed"
    return name, _UNAVAILABLE["cpp"]
