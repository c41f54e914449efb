"""One trial: a training that reports its epochs, and that ends early when most did better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ..config.run_config import TrainingConfig
from ..data.datasets import Parts
from ..training.progress import Progress
from ..training.trainer import CubeTrainer, DivergenceError
from .space import SearchSpace

# The attributes of a trial in study.db.
BASE, REASON, SCORE = "base", "reason", "score"

METRICS = ("cosine", "recall_at_1", "mrr")
"""The metrics in the score of a trial or a baseline, all of which ``training.metric`` can name."""

Score = dict[str, float]
"""The metrics of a model on validation, and under ``parameters`` how many numbers it has fitted."""

_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_COUNTED = ("finished", "pruned", "failed")


@dataclass(frozen=True)
class Trial:
    """A trial of a study; a line of trials.jsonl.

    Attributes:
        number: its place in the study, from 0.
        is_base: whether it trained the config that the study was started with.
        state: ``finished``, ``pruned``, ``failed``, ``interrupted`` (by Ctrl-C or a kill), ``running`` or ``waiting``.
        value: ``training.metric`` on validation: of the best epoch, or of the last one if the trial was pruned.
        epochs: how many epochs were trained.
        parameters: the values tried, by dotted key. Of the base trial, only those that lie in the space.
        seconds: how long it took; None for an interrupted trial.
        reason: why it failed.
        score: of its best epoch on validation, if it has finished.
    """

    number: int
    is_base: bool
    state: str
    value: float | None
    epochs: int
    parameters: dict[str, Any]
    seconds: float | None
    reason: str | None
    score: Score | None

    @classmethod
    def of(cls, trial: FrozenTrial, space: SearchSpace) -> Trial:
        """The trial as study.db has it."""
        attributes = trial.user_attrs
        state = _STATES.get(trial.state) or ("failed" if REASON in attributes else "interrupted")
        duration = trial.duration if state in _COUNTED else None
        return cls(
            number=trial.number,
            is_base=BASE in attributes,
            state=state,
            value=trial.value,
            epochs=len(trial.intermediate_values),
            parameters=space.values_of(trial.params),
            seconds=round(duration.total_seconds(), 3) if duration is not None else None,
            reason=attributes.get(REASON),
            score=attributes.get(SCORE),
        )

    @property
    def counts(self) -> bool:
        """Whether it is one of the trials asked for; another trial is run in place of an interrupted one."""
        return self.state in _COUNTED


def train_trial(trial: optuna.Trial, config: TrainingConfig, parts: Parts, progress: Progress) -> float:
    """Train with ``config`` on the train part, and store the best epoch's score on validation in the trial.

    Returns:
        ``training.metric`` on validation, of the best epoch.

    Raises:
        optuna.TrialPruned: the pruner stopped the trial early.
        InputError: the sizes of the core do not fit the embeddings, or each other.
        DivergenceError: the loss or the metric is not a number.
        KeyboardInterrupt: on Ctrl-C.
    """
    trainer = CubeTrainer(config, progress=_Reporting(trial, config.training.metric, progress))
    result = trainer.fit(parts.train, parts.validations, bank=parts.bank)
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    best = result.records[result.best_epoch - 1]
    score = {"parameters": result.core.parameter_count()} | {name: best[f"val_{name}"] for name in METRICS}
    trial.set_user_attr(SCORE, score)
    return result.best_value


class _Reporting(Progress):
    """Progress that reports each epoch to Optuna, and stops the training when the pruner says so."""

    def __init__(self, trial: optuna.Trial, metric: str, progress: Progress) -> None:
        self.trial = trial
        self.metric = metric
        self.progress = progress

    def crossfit(self, record: dict[str, Any]) -> None:
        self.progress.crossfit(record)

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        self.epochs = epochs
        self.progress.start(epochs, batches, epochs_done, batches_done)

    def step(self, loss: float) -> None:
        self.progress.step(loss)

    def epoch(self, record: dict[str, Any], best_epoch: int, objective: float) -> None:
        self.progress.epoch(record, best_epoch, objective)
        value = record[f"val_{self.metric}"]
        if not math.isfinite(value):
            raise DivergenceError(f"the {self.metric} of validation became {value} at epoch {record['epoch']}")
        self.trial.report(value, record["epoch"])
        if record["epoch"] < self.epochs and self.trial.should_prune():
            raise optuna.TrialPruned

    def end(self) -> None:
        self.progress.end()
