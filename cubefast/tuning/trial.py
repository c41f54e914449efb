"""One trial: a training that reports its epochs, and that ends early when most did better."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ..config import TrainingConfig
from ..data.datasets import Parts
from ..training.progress import Progress
from ..training.trainer import CubeTrainer, DivergenceError
from .scores import ValidationScore
from .space import SearchSpace

# What study.db keeps with a trial, beside its value and its epochs'.
BASE, REASON, SCORE = "base", "reason", "score"

_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_COUNTED = ("finished", "pruned", "failed")


@dataclass(frozen=True)
class Trial:
    """A trial as it is told: a line of trials.jsonl.

    Attributes:
        number: from 0.
        is_base: whether it is the config that was begun from.
        state: finished, pruned, failed (see ``reason``), or interrupted: by Ctrl-C or a kill; one more makes up for it.
        value: by ``training.metric`` on validation: of the best epoch or, pruned, of the last.
        epochs: how many it had.
        parameters: by dotted key. For the base, those that lie in the space.
        seconds: None where nobody saw its end.
        score: of its best epoch, when finished.
    """

    number: int
    is_base: bool
    state: str
    value: float | None
    epochs: int
    parameters: dict[str, Any]
    seconds: float | None
    reason: str | None
    score: ValidationScore | None

    @classmethod
    def of(cls, trial: FrozenTrial, space: SearchSpace) -> Trial:
        """What study.db has of it."""
        kept = trial.user_attrs
        state = _STATES.get(trial.state) or ("failed" if REASON in kept else "interrupted")
        duration = trial.duration if state in _COUNTED else None
        return cls(
            number=trial.number,
            is_base=BASE in kept,
            state=state,
            value=trial.value,
            epochs=len(trial.intermediate_values),
            parameters=space.values_of(trial.params),
            seconds=round(duration.total_seconds(), 3) if duration is not None else None,
            reason=kept.get(REASON),
            score=ValidationScore(**kept[SCORE]) if SCORE in kept else None,
        )

    @property
    def counts(self) -> bool:
        """Whether it is one of the trials that were asked for."""
        return self.state in _COUNTED


def train_trial(trial: optuna.Trial, config: TrainingConfig, parts: Parts, shown: Progress) -> float:
    """Train with ``config`` on the train part, and keep the best epoch's score on validation with the trial.

    Returns:
        Its value, by ``training.metric``.

    Raises:
        optuna.TrialPruned: most trials had done better by the same epoch.
        InputError: the core's sizes do not fit the embeddings, or each other.
        DivergenceError: the loss, or the value, is not a number.
        KeyboardInterrupt: Ctrl-C.
    """
    trainer = CubeTrainer(config, progress=_Reporting(trial, config.training.metric, shown))
    result = trainer.fit(parts.train, parts.validations, bank=parts.bank)
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    best = ValidationScore.of_epoch(result.records[result.best_epoch - 1], result.core.parameter_count())
    trial.set_user_attr(SCORE, asdict(best))
    return result.best_value


class _Reporting:
    """Progress that tells the study of each epoch, and ends the training when the study says so."""

    def __init__(self, trial: optuna.Trial, metric: str, shown: Progress) -> None:
        self.trial = trial
        self.metric = metric
        self.shown = shown

    def crossfit(self, record: dict[str, Any]) -> None:
        self.shown.crossfit(record)

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        self.epochs = epochs
        self.shown.start(epochs, batches, epochs_done, batches_done)

    def step(self, loss: float) -> None:
        self.shown.step(loss)

    def epoch(self, record: dict[str, Any], best_epoch: int) -> None:
        self.shown.epoch(record, best_epoch)
        value = record[f"val_{self.metric}"]
        if not math.isfinite(value):
            raise DivergenceError(f"the {self.metric} of validation became {value} at epoch {record['epoch']}")
        self.trial.report(value, record["epoch"])
        if record["epoch"] < self.epochs and self.trial.should_prune():
            raise optuna.TrialPruned

    def end(self) -> None:
        self.shown.end()
