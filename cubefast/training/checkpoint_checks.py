"""Checks of a checkpoint on the disk before a training resumes from it: its types, sizes and consistency.

It was written by cubefast, but disks fail, people edit, and runs are handed on. What does not fit is refused here with
a message, and not by an error somewhere in the next epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor
from torch.optim import Optimizer

_OPTIMIZER = ({"step", "exp_avg", "exp_avg_sq"}, {"step", "momentum"})  # the state of a parameter in AdamW and Muon


class EpochRecord(BaseModel):
    """The record of an epoch in metrics.jsonl and in a checkpoint; all further keys are numbers, too."""

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
    """The content of state.json; see :class:`~cubefast.training.training_state.TrainingState`."""

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


def checked_like(loaded: Any, fresh: Any, what: str) -> Any:
    """Check that a loaded value has the types and sizes of a fresh one, and return it.

    Keys of a mapping that are missing, because another version of torch wrote it, are taken from the fresh one. Raises
    ValueError, whose message begins with ``what``.
    """
    if isinstance(fresh, Mapping) and isinstance(loaded, Mapping):
        return {key: checked_like(loaded.get(key, each), each, f"{what}.{key}") for key, each in fresh.items()}
    if isinstance(fresh, list | tuple) and isinstance(loaded, list | tuple) and len(fresh) == len(loaded):
        return type(fresh)(
            checked_like(*pair, f"{what}[{place}]") for place, pair in enumerate(zip(loaded, fresh, strict=True))
        )
    number = isinstance(fresh, int | float) and not isinstance(fresh, bool)
    if number and type(loaded) in (int, float) and (math.isfinite(loaded) or loaded == fresh):
        return loaded
    if not number and type(loaded) is type(fresh):
        return loaded
    raise ValueError(f"{what} is {loaded!r:.60}, of another kind than {fresh!r:.60}")


def check_tensors(loaded: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Raise ValueError unless the tensors have the names, shapes and dtypes of those expected, and are finite."""
    if loaded.keys() != expected.keys():
        raise ValueError(f"{what} has other tensors: {sorted(loaded.keys() ^ expected.keys())!r:.200}")
    for name, tensor in loaded.items():
        _check(tensor, expected[name], f"{what}.{name}")


def check_optimizer(state: Mapping[int, Mapping[str, Tensor]], optimizer: Optimizer) -> None:
    """Raise ValueError unless ``state`` can be the state of the optimizer, by the number of the parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, tensors in state.items():
        if not 0 <= number < len(parameters) or set(tensors) not in _OPTIMIZER:
            raise ValueError(f"optimizer.{number} has {sorted(tensors)!r:.200}")
        for name, tensor in tensors.items():
            parameter = parameters[number].detach()
            _check(tensor, parameter.sum().float() if name == "step" else parameter, f"optimizer.{number}.{name}")
        if tensors["step"] < 0 or (tensors.get("exp_avg_sq", tensors["step"]) < 0).any():
            raise ValueError(f"optimizer.{number} holds a number below 0 that cannot be")


def _check(tensor: Tensor, expected: Tensor, what: str) -> None:
    if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
        raise ValueError(
            f"{what} is {list(tensor.shape)} of {tensor.dtype}, not {list(expected.shape)} of {expected.dtype}"
        )
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise ValueError(f"{what} holds NaN or Inf")
