"""What a person sees while it runs: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from tqdm import tqdm

from ..output import unfiltered

METRIC_NAMES = {"cosine": "cosine", "recall_at_1": "R@1", "mrr": "MRR"}


class Progress(Protocol):
    """What is shown of a training while it runs."""

    def crossfit(self, record: dict[str, Any]) -> None:
        """The cross-fitted targets are there; ``record`` as in metrics.jsonl."""

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Training begins, or goes on, with so many of all its epochs and batches done."""

    def step(self, loss: float) -> None:
        """A batch is done."""

    def epoch(self, record: dict[str, Any], best_epoch: int) -> None:
        """An epoch is done; ``record`` as in metrics.jsonl."""

    def end(self) -> None:
        """Training is over, or has failed."""


class Silent:
    """Shows nothing."""

    def crossfit(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Nothing."""

    def step(self, loss: float) -> None:
        """Nothing."""

    def epoch(self, record: dict[str, Any], best_epoch: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class _Printed:
    """What both have in common."""

    def __init__(self, metric: str = "cosine") -> None:
        self.metric = metric

    def crossfit(self, record: dict[str, Any]) -> None:
        """Print what the cross-fitted targets came to."""
        print(
            f"cross-fit   kernel ridge on the other folds reaches cosine {record['cosine']:.3f} on the training pairs "
            f"({record['seconds']:.0f} s)",
            flush=True,
        )


class LiveLine(_Printed):
    """One line that is rewritten: epoch, loss, validation, pairs/s, time left."""

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Draw the line."""
        self.epochs = epochs
        self.now, self.figures = epochs_done + 1, ""
        self.bar = tqdm(
            total=batches,
            initial=batches_done,
            bar_format="{desc} |{bar:20}| {percentage:3.0f}%, {elapsed} gone, {remaining} left at most",
            file=unfiltered(sys.stdout),
        )

    def step(self, loss: float) -> None:
        """Move on by one batch."""
        self.bar.set_description_str(f"epoch {self.now}/{self.epochs}  loss {loss:.3f}{self.figures}", refresh=False)
        self.bar.update()

    def epoch(self, record: dict[str, Any], best_epoch: int) -> None:
        """Show the epoch's figures from now on."""
        self.now = min(record["epoch"] + 1, self.epochs)
        self.figures = (
            f"{_easiest(record)}  {_validation(record, self.metric)}  {record['pairs_per_second']:.0f} pairs/s"
        )

    def end(self) -> None:
        """Leave the line as it stands."""
        self.bar.close()


class PlainLines(_Printed):
    """A line per epoch, for logs."""

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Remember when it began."""
        self.epochs, self.epochs_done = epochs, epochs_done
        self.began = time.perf_counter()

    def step(self, loss: float) -> None:
        """Nothing."""

    def epoch(self, record: dict[str, Any], best_epoch: int) -> None:
        """Print the epoch's figures."""
        epoch = record["epoch"]
        left = (time.perf_counter() - self.began) / (epoch - self.epochs_done) * (self.epochs - epoch)
        best = " best" if best_epoch == epoch else ""
        print(
            f"epoch {epoch}/{self.epochs}{_easiest(record)}  loss {record['loss']:.4f}  "
            f"{_validation(record, self.metric)}{best}  "
            f"{record['pairs_per_second']:.0f} pairs/s  {left:.0f} s left at most",
            flush=True,
        )

    def end(self) -> None:
        """Nothing."""


def _easiest(record: dict[str, Any]) -> str:
    """How much of the pairs a curriculum let in; nothing when all."""
    share = record.get("share", 1.0)
    return f"  easiest {share:.0%}" if share < 1 else ""


def _validation(record: dict[str, Any], metric: str) -> str:
    """The metric that chooses, on validation."""
    return f"validation {METRIC_NAMES[metric]} {record[f'val_{metric}']:.4f}"


def for_this_terminal(metric: str) -> Progress:
    """A live line if a person watches, else plain lines; with this metric of validation, see ``training.metric``."""
    return LiveLine(metric) if sys.stdout.isatty() else PlainLines(metric)
