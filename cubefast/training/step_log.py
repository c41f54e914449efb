"""The log of batches: lines of metrics.jsonl, and the means of an epoch."""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import fmean

from .run_folder import RunFolder


class StepLog:
    """The log of one epoch: lines of metrics.jsonl, and the means of the whole epoch.

    Numbers, not tensors, are kept of each batch: a small tensor kept between the large ones that come and go keeps the
    allocator from using their memory again, and the process grows without end.

    Args:
        epoch, step: the epoch, from 1, and how many batches were done before it.
        every: batches per line.
        run: where lines go; None: nowhere.
    """

    def __init__(self, epoch: int, step: int, every: int, run: RunFolder | None) -> None:
        self.epoch, self.step, self.every, self.run = epoch, step, every, run
        self._whole: dict[str, list[float]] = defaultdict(list)
        self._begin_line()

    def _begin_line(self) -> None:
        self._line: dict[str, list[float]] = defaultdict(list)
        self._pairs, self._began = 0, time.perf_counter()

    def add(self, pairs: int, loss: float, parts: dict[str, float], norm: float | None, rate: float) -> None:
        """Log a batch.

        Args:
            pairs: the number of pairs in the batch.
            loss: the weighted sum of the losses.
            parts: the value of each loss.
            norm: the norm of the gradient, if the optimizer took a step.
            rate: the learning rate of its next step.
        """
        seen = {"loss": loss}
        if len(parts) > 1:
            seen |= {f"loss_{name}": value for name, value in parts.items()}
        if norm is not None:
            seen["gradient_norm"] = norm
        for name, value in seen.items():
            self._whole[name].append(value)
            self._line[name].append(value)
        self._pairs += pairs
        self.step += 1
        if self.run is not None and self.step % self.every == 0:
            means = {name: fmean(values) for name, values in self._line.items()}
            speed = self._pairs / (time.perf_counter() - self._began)
            where = {"event": "steps", "epoch": self.epoch, "step": self.step}
            self.run.record({**where, **means, "lr": rate, "pairs_per_second": speed})
            self._begin_line()

    def means(self) -> dict[str, float]:
        """The means over the epoch: loss, gradient_norm and, where there are several losses, each of them."""
        return {name: fmean(values) for name, values in self._whole.items()}
