"""The result of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..core import CubicCore

StopReason = Literal["all epochs done", "no more progress", "interrupted"]


@dataclass
class TrainingResult:
    """The result of a training.

    Attributes:
        core: the core with the weights of the best epoch.
        best_epoch, best_value: the best epoch, from 1, and the ``training.metric`` of its core on validation, before
            answers of training were put into its memory.
        records: one mapping per epoch, as in metrics.jsonl.
        stopped: why the training ended.
        planned_epochs: the number of epochs that were planned.
    """

    core: CubicCore
    best_epoch: int
    best_value: float
    records: list[dict[str, Any]]
    stopped: StopReason
    planned_epochs: int

    @property
    def best_step(self) -> int:
        """The number of batches trained on up to the end of the best epoch."""
        return int(self.records[self.best_epoch - 1]["step"])

    @property
    def val_cosine(self) -> float:
        """The mean cosine on validation in the best epoch."""
        return float(self.records[self.best_epoch - 1]["val_cosine"])
