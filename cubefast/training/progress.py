"""What a person sees of a training while it runs."""

from __future__ import annotations

import sys
import time
from typing import Any

from ..utils.escaping import unfiltered
from ..utils.terminal import labelled

METRIC_NAMES = {"cosine": "cosine", "recall_at_1": "R@1", "mrr": "MRR"}


class Progress:
    """Callbacks that show the progress of a training; these show nothing."""

    def crossfit(self, record: dict[str, Any]) -> None:
        """The cross-fitted targets are computed; ``record`` as in metrics.jsonl."""

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Training begins, or is resumed, with so many of all its epochs and batches done."""

    def step(self, loss: float) -> None:
        """A batch is done."""

    def epoch(self, record: dict[str, Any], best_epoch: int, objective: float) -> None:
        """An epoch is done.

        Args:
            record: as in metrics.jsonl.
            best_epoch: the best epoch so far.
            objective: the value of this epoch by which the best one is chosen.
        """

    def end(self) -> None:
        """Training is over, or has failed."""


class LiveLine(Progress):
    """On a terminal, a line that is rewritten with every batch and erased at the end: epoch, time left, loss."""

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Draw the line."""
        self.epochs = epochs
        self.bar: Any = None
        if sys.stdout.isatty():
            from tqdm import tqdm  # --help does without

            # What is cut off in a narrow window stands last.
            self.bar = tqdm(
                total=batches,
                initial=batches_done,
                desc=self._number(epochs_done + 1),
                bar_format="{desc} {percentage:3.0f}%, {remaining} left at most |{bar:20}|{postfix}",
                dynamic_ncols=True,
                leave=False,
                file=unfiltered(sys.stdout),
            )

    def step(self, loss: float) -> None:
        """Move on by one batch."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            self.bar.update()

    def epoch(self, record: dict[str, Any], best_epoch: int, objective: float) -> None:
        """Go on to the next epoch."""
        if self.bar is not None:
            self.bar.set_description_str(self._number(record["epoch"] + 1), refresh=False)

    def end(self) -> None:
        """Erase the line."""
        if self.bar is not None:
            self.bar.close()

    def _number(self, epoch: int) -> str:
        return f"epoch {min(epoch, self.epochs)}/{self.epochs}"


class EpochLines(LiveLine):
    """A line for each epoch; these stay, on a terminal above the live line.

    Args:
        metric: the metric of validation to show, see ``training.metric``.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def crossfit(self, record: dict[str, Any]) -> None:
        """Print how near the cross-fitted targets are to the pairs' own."""
        cosine, seconds = f"{record['cosine']:.3f}", f"{record['seconds']:.0f} s"
        found = f"kernel ridge on the other folds reaches cosine {cosine} on the training pairs ({seconds})"
        print(labelled("cross-fit", found), flush=True)

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Say after which epoch a training is resumed."""
        self.began, self.epochs_done = time.perf_counter(), epochs_done
        if epochs_done:
            print(labelled("resume", f"after epoch {epochs_done} of {epochs}"), flush=True)
        super().start(epochs, batches, epochs_done, batches_done)

    def epoch(self, record: dict[str, Any], best_epoch: int, objective: float) -> None:
        """Print the epoch's figures, in less than 80 columns; "best" is behind the figure by which it is the best."""
        super().epoch(record, best_epoch, objective)
        epoch, share, value = record["epoch"], record["share"], f"{record[f'val_{self.metric}']:.4f}"
        easiest = f"  easiest {share:.0%}" if share < 1 else ""
        compared = f", objective {objective:.4f}" if f"{objective:.4f}" != value else ""
        best = " best" if epoch == best_epoch else ""
        line = (
            f"{self._number(epoch)}{easiest}  loss {record['loss']:.4f}  "
            f"{METRIC_NAMES[self.metric]} {value}{compared}{best}"
        )
        if self.bar is not None:
            self.bar.write(line, file=unfiltered(sys.stdout))
            return
        left = (time.perf_counter() - self.began) / (epoch - self.epochs_done) * (self.epochs - epoch)
        print(f"{line}  {left:.0f} s left at most", flush=True)
