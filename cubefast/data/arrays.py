"""Converts arrays of numpy, torch, pandas and others to the real numbers that cubefast computes with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..errors import InputError
from ..lattice.checks import check_count
from ..untrusted import shown

_REAL = "fiub"  # kinds of dtype


def real_array(name: str, values: Any) -> NDArray[Any]:
    """Convert ``values`` to an array of real numbers of any dtype; an array is returned as it is.

    Taken are arrays, tensors of any layout and dtype, data frames, lists of any of these (an object column of arrays
    too) and what can be gone through.

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


@torch.no_grad()
def turned_array(
    function: Callable[[Tensor], Tensor], embeddings: ArrayLike, dim: int, batch_size: int, like: Tensor
) -> NDArray[np.float32]:
    """Apply a function of tensors [n, D] -> [n, D] to an array, batch by batch.

    Args:
        function: takes tensors of the dtype and device of ``like``.
        embeddings: [n, D] or [D], real numbers of any dtype; also a memory-mapped array.
        dim: D.
        batch_size: rows at once.
        like: any tensor.

    Raises InputError for another shape, something other than numbers, or a row with NaN or Inf.
    """
    rows = real_array("embeddings", embeddings)
    if rows.ndim not in (1, 2) or rows.shape[-1] != dim:
        raise InputError(f"embeddings must be [n, {dim}] or [{dim}]; got {list(rows.shape)}")
    check_count("batch_size", batch_size, 1)
    if rows.ndim == 1:
        row: NDArray[np.float32] = turned_array(function, rows[None], dim, 1, like)[0]
        return row
    result = np.empty(rows.shape, np.float32)
    for begin in range(0, len(rows), batch_size):
        with np.errstate(over="ignore"):  # what is too large becomes Inf
            batch = np.array(rows[begin : begin + batch_size], np.float32)
        if not (good := np.isfinite(batch).all(axis=1)).all():
            raise InputError(f"row {begin + int(good.argmin())} holds NaN, Inf or a number too large for float32")
        turned = function(torch.from_numpy(batch).to(like))
        result[begin : begin + batch_size] = turned.float().cpu().numpy()
    return result
