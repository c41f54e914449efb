"""Applies a module to an array of embeddings, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..errors import InputError
from ..lattice.checks import check_count
from ..utils.arrays import real_array


@torch.no_grad()
def transform_array(
    function: Callable[[Tensor], Tensor], embeddings: ArrayLike, dim: int, batch_size: int, like: Tensor
) -> NDArray[np.float32]:
    """Apply a function of tensors [n, D] -> [n, D] to an array, batch by batch.

    Args:
        function: takes tensors of the dtype and device of ``like``.
        embeddings: [n, D] or [D], real numbers of any dtype; also a memory-mapped array.
        dim: D.
        batch_size: rows at once.
        like: a tensor with the dtype and device that ``function`` takes, such as a parameter of the module.

    Raises InputError for another shape, something other than numbers, or a row with NaN or Inf; ValueError for a
    ``batch_size`` below 1.
    """
    rows = real_array("embeddings", embeddings)
    if rows.ndim not in (1, 2) or rows.shape[-1] != dim:
        raise InputError(f"embeddings must be [n, {dim}] or [{dim}]; got {list(rows.shape)}")
    check_count("batch_size", batch_size, 1)
    if rows.ndim == 1:
        row: NDArray[np.float32] = transform_array(function, rows[None], dim, 1, like)[0]
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
