"""The log of batches: lines of metrics.jsonl, and the means of an epoch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean

from .run_folder import RunFolder


class StepLog:
    """The log of one epoch: lines of metrics.jsonl, and the means of the whole epoch.

    Numbers, not tensors, are kept of each batch: a small tensor kept between the large ones that come and go keeps the
    allocator from using their memory again, and the process grows without end.

    Args:
        epoch: the epoch, from 1.
        step: the number of batches that were trained on before it.
        every: the number of batches for each line.
        run: the folder that the lines are written to; None: none is written.
    """

    def __init__(self, epoch: int, step: int, every: int, run: RunFolder | None) -> None:
        self.epoch, self.step, self.every, self.run = epoch, step, every, run
        self._batches: list[dict[str, float]] = []
        self._begin_line()

    def _begin_line(self) -> None:
        self._first, self._pairs, self._began = len(self._batches), 0, time.perf_counter()

    def add(self, pairs: int, loss: float, parts: dict[str, float], norm: float | None, rate: float) -> None:
        """Log a batch.

        Args:
            pairs: the number of pairs in the batch.
            loss: the weighted sum of the losses.
            parts: the value of each loss.
            norm: the norm of the gradient, if the optimizer took a step.
            rate: the learning rate of the optimizer's next step.
        """
        batch = {"loss": loss}
        if len(parts) > 1:
            batch |= {f"loss_{name}": value for name, value in parts.items()}
        if norm is not None:
            batch["gradient_norm"] = norm
        self._batches.append(batch)
        self._pairs += pairs
        self.step += 1
        if self.run is not None and self.step % self.every == 0:
            speed = self._pairs / (time.perf_counter() - self._began)
            where = {"event": "steps", "epoch": self.epoch, "step": self.step}
            self.run.record({**where, **_means(self._batches[self._first :]), "lr": rate, "pairs_per_second": speed})
            self._begin_line()

    def means(self) -> dict[str, float]:
        """The means over the epoch: loss, gradient_norm and, where there are several losses, each of them."""
        return _means(self._batches)


def _means(batches: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for batch in batches for name in batch)
    return {name: fmean(batch[name] for batch in batches if name in batch) for name in names}
