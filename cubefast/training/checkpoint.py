"""What a checkpoint on the disk has to be before a training goes on from it: of the right types and of its own sizes.

It was written by cubefast, but disks fail, people edit, and runs are handed on. What does not fit is refused here, in
words, and not by an error somewhere in the next epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor
from torch.optim import Optimizer

_OPTIMIZER = ({"step", "exp_avg", "exp_avg_sq"}, {"step", "momentum"})  # what AdamW and Muon keep of a parameter


class EpochRecord(BaseModel):
    """What metrics.jsonl and a checkpoint say of an epoch; all keys beyond those named are numbers, too."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, float]
    event: Literal["epoch"]
    epoch: PositiveInt
    step: PositiveInt
    pairs: PositiveInt
    loss: FiniteFloat
    lr: FiniteFloat
    gradient_norm: float
    val_cosine: FiniteFloat
    val_recall_at_1: FiniteFloat
    val_mrr: FiniteFloat
    pairs_per_second: FiniteFloat
    seconds: FiniteFloat
    peak_memory_mb: FiniteFloat


class CheckpointNumbers(BaseModel):
    """state.json; see :class:`~cubefast.training.state.TrainingState`."""

    model_config = ConfigDict(strict=True, extra="forbid")
    checkpoint_version: int
    identity: dict[str, Any]
    epochs: PositiveInt
    epoch: PositiveInt
    step: PositiveInt
    best_epoch: PositiveInt
    best_objective: FiniteFloat
    without_progress: NonNegativeInt
    records: list[EpochRecord]
    param_groups: list[dict[str, Any]]
    scheduler: dict[str, Any]

    @model_validator(mode="after")
    def _is_consistent(self) -> CheckpointNumbers:
        if [0, *(record.epoch for record in self.records)] != list(range(len(self.records) + 1)):
            raise ValueError("the records are not those of epochs 1, 2, ...")
        if len(self.records) != self.epoch:
            raise ValueError("the records are not those of its epochs, one each")
        if self.best_epoch > self.epoch or self.without_progress > self.epoch or self.records[-1].step != self.step:
            raise ValueError("the best epoch, the epochs without progress or the steps are not of these epochs")
        return self


def like(found: Any, fresh: Any, what: str) -> Any:
    """``found``, if its types and sizes are those of ``fresh``; keys of a mapping that it lacks, having been written by
    another torch, are as they are fresh. Raises ValueError, whose message begins with ``what``.
    """
    if isinstance(fresh, Mapping) and isinstance(found, Mapping):
        return {key: like(found.get(key, each), each, f"{what}.{key}") for key, each in fresh.items()}
    if isinstance(fresh, list | tuple) and isinstance(found, list | tuple) and len(fresh) == len(found):
        return type(fresh)(like(*pair, f"{what}[{place}]") for place, pair in enumerate(zip(found, fresh, strict=True)))
    number = isinstance(fresh, int | float) and not isinstance(fresh, bool)
    if number and type(found) in (int, float) and (math.isfinite(found) or found == fresh):
        return found
    if not number and type(found) is type(fresh):
        return found
    raise ValueError(f"{what} is {found!r:.60}, of another kind than {fresh!r:.60}")


def check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> None:
    """Raise ValueError unless the tensors have the names, shapes and dtypes of those wanted, and are finite."""
    if found.keys() != wanted.keys():
        raise ValueError(f"{what} has other tensors: {sorted(found.keys() ^ wanted.keys())!r:.200}")
    for name, tensor in found.items():
        _check(tensor, wanted[name], f"{what}.{name}")


def check_optimizer(state: Mapping[int, Mapping[str, Tensor]], optimizer: Optimizer) -> None:
    """Raise ValueError unless that can be the optimizer's memory of its parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, kept in state.items():
        if not 0 <= number < len(parameters) or set(kept) not in _OPTIMIZER:
            raise ValueError(f"optimizer.{number} has {sorted(kept)!r:.200}")
        for name, tensor in kept.items():
            parameter = parameters[number].detach()
            _check(tensor, parameter.sum().float() if name == "step" else parameter, f"optimizer.{number}.{name}")
        if kept["step"] < 0 or (kept.get("exp_avg_sq", kept["step"]) < 0).any():
            raise ValueError(f"optimizer.{number} holds a number below 0 that cannot be")


def _check(tensor: Tensor, wanted: Tensor, what: str) -> None:
    if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
        raise ValueError(
            f"{what} is {list(tensor.shape)} of {tensor.dtype}, not {list(wanted.shape)} of {wanted.dtype}"
        )
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise ValueError(f"{what} holds NaN or Inf")
