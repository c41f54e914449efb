"""What a person sees while it runs: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from ..output import unfiltered
from ..terminal import labelled

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


class PlainLines:
    """A line per epoch, as in a log.

    Args:
        metric: of validation, to be shown: see ``training.metric``.
    """

    def __init__(self, metric: str = "cosine") -> None:
        self.metric = metric

    def crossfit(self, record: dict[str, Any]) -> None:
        """Print what the cross-fitted targets came to."""
        cosine, seconds = f"{record['cosine']:.3f}", f"{record['seconds']:.0f} s"
        found = f"kernel ridge on the other folds reaches cosine {cosine} on the training pairs ({seconds})"
        print(labelled("cross-fit", found), flush=True)

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Say where a training goes on that was stopped, and remember when it began."""
        self.epochs, self.epochs_done = epochs, epochs_done
        self.began = time.perf_counter()
        if epochs_done:
            print(labelled("resume", f"after epoch {epochs_done} of {epochs}"), flush=True)

    def step(self, loss: float) -> None:
        """Nothing."""

    def epoch(self, record: dict[str, Any], best_epoch: int) -> None:
        """Print the epoch's figures."""
        epoch = record["epoch"]
        left = (time.perf_counter() - self.began) / (epoch - self.epochs_done) * (self.epochs - epoch)
        print(f"{self._figures(record, best_epoch)}  {left:.0f} s left at most", flush=True)

    def end(self) -> None:
        """Nothing."""

    def _figures(self, record: dict[str, Any], best_epoch: int) -> str:
        """An epoch in a line of less than 80 columns."""
        best = " best" if best_epoch == record["epoch"] else ""
        validation = f"validation {METRIC_NAMES[self.metric]} {record[f'val_{self.metric}']:.4f}{best}"
        return (
            f"epoch {record['epoch']}/{self.epochs}{_easiest(record)}  loss {record['loss']:.4f}  {validation}  "
            f"{record['pairs_per_second']:.0f} pairs/s"
        )


class LiveLine(PlainLines):
    """A line that is rewritten with every batch, and goes at the end: epoch, time left, loss."""

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Draw the line."""
        from tqdm import tqdm  # --help does without

        super().start(epochs, batches, epochs_done, batches_done)
        self.now = epochs_done + 1
        # What is cut off in a narrow window stands last.
        self.bar = tqdm(
            total=batches,
            initial=batches_done,
            desc=f"epoch {min(self.now, epochs)}/{epochs}",
            bar_format="{desc} {percentage:3.0f}%, {remaining} left at most |{bar:20}|{postfix}",
            dynamic_ncols=True,
            leave=False,
            file=unfiltered(sys.stdout),
        )

    def step(self, loss: float) -> None:
        """Move on by one batch."""
        self.bar.set_description_str(f"epoch {min(self.now, self.epochs)}/{self.epochs}", refresh=False)
        self.bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self.bar.update()

    def epoch(self, record: dict[str, Any], best_epoch: int) -> None:
        """Count it."""
        self.now = record["epoch"] + 1

    def end(self) -> None:
        """Take the line away."""
        self.bar.close()


class LiveLines(LiveLine):
    """The same, with a line above it for each epoch that is done; these stay."""

    def epoch(self, record: dict[str, Any], best_epoch: int) -> None:
        """Print the epoch's figures."""
        super().epoch(record, best_epoch)
        self.bar.write(self._figures(record, best_epoch), file=unfiltered(sys.stdout))


def _easiest(record: dict[str, Any]) -> str:
    """How much of the pairs a curriculum let in; nothing when all."""
    share = record.get("share", 1.0)
    return f"  easiest {share:.0%}" if share < 1 else ""


def for_this_terminal(metric: str) -> Progress:
    """Live lines if a person watches, else plain lines; with this metric of validation, see ``training.metric``."""
    return LiveLines(metric) if sys.stdout.isatty() else PlainLines(metric)
