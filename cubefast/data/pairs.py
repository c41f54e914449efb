"""What a core is trained and scored on: embeddings in, embeddings wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class EmbeddingPairs:
    """n pairs of embeddings.

    Attributes:
        inputs: float32 [n, D].
        targets: float32 [n, D].
        target_ids: int64 [n]; equal where two targets are one and the same answer.
    """

    inputs: Tensor
    targets: Tensor
    target_ids: Tensor

    @classmethod
    def of(
        cls,
        inputs: Tensor | NDArray[np.floating],
        targets: Tensor | NDArray[np.floating],
        target_ids: Tensor | NDArray[np.integer] | None = None,
    ) -> EmbeddingPairs:
        """Pairs from arrays or tensors; without ids, equal targets count as one answer.

        Raises InputError for wrong shapes, rows that are zero, NaN or Inf, or no rows at all.
        """
        inputs, targets = _checked("inputs", inputs), _checked("targets", targets)
        if inputs.shape != targets.shape:
            raise InputError(f"inputs {list(inputs.shape)} and targets {list(targets.shape)} must have one shape")
        if target_ids is None:
            ids = torch.unique(targets, dim=0, return_inverse=True)[1]
        else:
            ids = torch.as_tensor(target_ids).to(torch.int64)
            if ids.shape != (len(targets),):
                raise InputError(f"target_ids must be [{len(targets)}]; got {list(ids.shape)}")
        return cls(inputs, targets, ids)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def dim(self) -> int:
        """D."""
        return self.inputs.shape[1]


def _checked(name: str, values: Tensor | NDArray[np.floating]) -> Tensor:
    tensor = torch.as_tensor(values).detach().to("cpu", torch.float32)
    if tensor.dim() != 2 or 0 in tensor.shape:
        raise InputError(f"{name} must be [n, D] with n and D of at least 1; got {list(tensor.shape)}")
    lengths = tensor.norm(dim=1)
    bad = ~(lengths.isfinite() & (lengths > 0))
    if bad.any():
        row = int(bad.to(torch.int8).argmax())
        kind = "all zeros" if lengths[row] == 0 else "NaN or Inf"
        raise InputError(f"row {row} of {name} is {kind} ({int(bad.sum())} such rows); remove them")
    return tensor
