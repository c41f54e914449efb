"""Converts arrays of numpy, torch, pandas and others to the real numbers that cubefast computes with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .messages import shown

_REAL = "fiub"  # kinds of dtype


def real_array(name: str, values: Any) -> NDArray[Any]:
    """Convert ``values`` to an array of real numbers of any dtype; an array is returned as it is.

    Taken are arrays, tensors of any layout and dtype, data frames, lists of any of these (an object column of arrays
    too) and any other iterable.

    Args:
        name: what it is called in messages.
        values: what was given.

    Raises InputError for complex numbers, texts and dates, rows of different lengths, and numbers that are masked out.
    """
    array = _as_array(name, values)
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.getmaskarray(array).any():
            raise InputError(f"{name}: {int(np.ma.getmaskarray(array).sum())} numbers are masked; fill or remove them")
        array = array.data
    if array.dtype.kind == "O":
        array = _of_objects(name, array)
    if array.dtype.kind not in _REAL:
        advice = ". Give the real parts, or real and imaginary parts side by side" if array.dtype.kind == "c" else ""
        raise InputError(f"{name} must be real numbers; got an array of {array.dtype}{advice}")
    return array


def real_tensor(name: str, values: Any, dtype: Any = np.float32) -> Tensor:
    """Convert ``values`` as :func:`real_array` does, to a tensor on the CPU; it shares memory where possible."""
    array = real_array(name, values)
    with np.errstate(over="ignore"):  # what is too large becomes Inf, which whoever asks checks
        array = np.ascontiguousarray(array, dtype)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def whole_numbers(name: str, values: Any) -> Tensor:
    """Convert ids to int64. Raises InputError for a number that is not whole."""
    array = _as_array(name, values)
    bad: list[Any] = []
    if array.dtype.kind not in _REAL:
        bad = [each for each in array.ravel().tolist() if not isinstance(each, (int, float, np.number))]
    if not bad:
        array = real_array(name, array)
        if array.dtype.kind in "fu":
            bad = array[~((array == np.round(array)) & (np.abs(array) < 2**53))].tolist()
    if bad:
        raise InputError(
            f"{name} must be whole numbers; got {shown(bad[0])} among them. Number them, such as with "
            "numpy.unique(ids, return_inverse=True)[1]"
        )
    return torch.from_numpy(np.array(array, np.int64))


def _as_array(name: str, values: Any) -> NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, Tensor):
        return np.zeros(0, complex) if values.is_complex() else tensor_array(values)  # complex: refused, whatever it is
    if hasattr(values, "__iter__") and not hasattr(values, "__len__"):
        values = list(values)
    if isinstance(values, (list, tuple)) and values and isinstance(values[0], Tensor):
        values = [_as_array(name, each) if isinstance(each, Tensor) else each for each in values]
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be an array of numbers; got {type(values).__name__} ({error})") from None


def tensor_array(tensor: Tensor) -> NDArray[Any]:
    """The numbers of a tensor of any layout and dtype as an array, in the same memory where that is possible; of
    bfloat16 and the like, which numpy lacks, float32.
    """
    plain = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    plain = plain.dequantize() if plain.is_quantized else plain
    if plain.is_floating_point() and plain.dtype not in (torch.float16, torch.float32, torch.float64):
        plain = plain.float()
    return np.asarray(plain.cpu().resolve_conj().resolve_neg().numpy())


def _of_objects(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Convert an array of Python objects, each a number or a row."""
    items = list(array.ravel())
    try:
        if items and all(np.ndim(each) > 0 or isinstance(each, Tensor) for each in items):
            return np.stack([real_array(name, each) for each in items])
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} must be numbers, in rows of one length; got {shown(items[0]) if items else 'none'} ({error})"
        ) from None
