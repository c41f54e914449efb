"""Epochs of the real trainer beside a matrix product: their time, the kernel's share of it, and the process's memory.

All that a run does is in an epoch: the default config (question -> answer), a run's folder with its records, best core
and checkpoint, and a validation. The vectors may be random: no time depends on their values.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn.functional import normalize

from ..config import TrainingConfig
from ..core import CubicCore
from ..data.create import create_dialogue_dataset
from ..data.pairs import EmbeddingPairs, PairDataset
from ..lattice import ops
from ..training.memory import status_mb
from ..training.progress import Silent
from ..training.run_folder import RunFolder
from ..training.trainer import CubeTrainer
from .measure import SGEMM, SGEMM_FLOPS, interleaved, sgemm
from .memory import reset_peak
from .workloads import Workload

_VALIDATION = 20  # training pairs for each pair of validation, as in the default split


@dataclass(frozen=True)
class RandomPairs:
    """Random unit vectors: ``pairs`` of ``dim`` numbers.

    An epoch goes through the first ``measured`` of them, and its time is scaled up; None: through all.
    """

    pairs: int
    dim: int
    measured: int | None = None


@dataclass(frozen=True)
class Files:
    """The training part of a file of questions and answers, and of their embeddings: the keys data.path, data.vectors.

    Without ``vectors`` the default teacher encodes the texts.
    """

    data: str
    vectors: str | None = None


MEDQUAD = RandomPairs(14_765, 384)
"""The sizes of a common data set: the free part of MedQuAD (Ben Abacha and Demner-Fushman 2019), all-MiniLM-L6-v2."""
LONG = RandomPairs(40_000, 768, measured=5_000)
LITTLE = RandomPairs(256, 64)


@dataclass(frozen=True)
class Epoch:
    """An epoch and what it is compared with.

    Attributes:
        seconds: of all of it.
        kernel_seconds: those of them in the kernel.
        sgemm_flops: FLOP/s of sgemm around it, the mean of before and after.
        others_percent: how much of the machine's CPU time other processes took meanwhile. Above a few percent the other
            figures say little: the threads of a batch then wait for each other.
    """

    seconds: float
    kernel_seconds: float
    sgemm_flops: float
    others_percent: float


@dataclass(frozen=True)
class Training:
    """What was measured.

    Attributes:
        pairs, dim: of the training set.
        measured: how many of the pairs an epoch went through.
        useful_flops: of such an epoch: the rollout of each pair forward and backward. What validation computes does
            not count, though its time does.
        epochs: each but the first.
        peak_mb: the most memory that the process held from its start.
    """

    pairs: int
    dim: int
    measured: int
    useful_flops: int
    epochs: list[Epoch]
    peak_mb: float

    @property
    def name(self) -> str:
        """Pairs x numbers."""
        return f"{self.pairs:,} x {self.dim}"

    @property
    def seconds(self) -> float:
        """The median epoch, scaled up to all pairs."""
        return median(epoch.seconds for epoch in self.epochs) * self.pairs / self.measured

    @property
    def gflops(self) -> float:
        """Useful GFLOP/s of the median epoch."""
        return self.useful_flops / median(epoch.seconds for epoch in self.epochs) / 1e9

    @property
    def times_sgemm(self) -> float:
        """An epoch's time over what sgemm around it would need for the useful operations: the median epoch's."""
        return median(epoch.seconds * epoch.sgemm_flops for epoch in self.epochs) / self.useful_flops

    @property
    def outside_percent(self) -> float:
        """The share of an epoch that is not spent in the kernel: the median epoch's."""
        return 100 * median(1 - epoch.kernel_seconds / epoch.seconds for epoch in self.epochs)

    @property
    def others_percent(self) -> float:
        """How much of the machine's CPU time other processes took: the median epoch's."""
        return median(epoch.others_percent for epoch in self.epochs)


def time_training(source: RandomPairs | Files, epochs: int) -> Training:
    """Train for ``epochs`` after one to warm up, in a process of its own, whose memory is then nobody else's.

    Linux only (reads /proc). Raises InputError for files that do not fit.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_train, source, epochs).result()


def _train(source: RandomPairs | Files, epochs: int) -> Training:
    train: EmbeddingPairs | PairDataset
    validation: EmbeddingPairs | PairDataset
    if isinstance(source, RandomPairs):
        measured = source.measured or source.pairs
        train, validation = _random(measured, source.dim), _random(max(1, measured // _VALIDATION), source.dim)
        pairs = source.pairs
    else:
        parts = create_dialogue_dataset(None, {"path": source.data, "vectors": source.vectors}).split()
        train, validation = parts.train, parts.validation
        pairs = measured = len(train)
    config = TrainingConfig.load({"training": {"epochs": 1 + epochs, "early_stopping": None}})
    watch = _Watch()
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.create(folder, None, "budget")
        core = CubeTrainer(config, run, watch).fit(train, validation).core
        run.close()
    return Training(pairs, core.dim, measured, _useful_flops(core, measured), watch.epochs[1:], watch.peak_mb)


def _random(pairs: int, dim: int) -> EmbeddingPairs:
    inputs, targets = (normalize(torch.randn(pairs, dim), dim=1) for _ in range(2))
    return EmbeddingPairs.of(inputs, targets)


def _useful_flops(core: CubicCore, pairs: int) -> int:
    lattice = core.lattice
    x, y, z = core.reshaper.shape
    rollout = Workload("epoch", (x, y, z), pairs, lattice.state_size, lattice.hidden_size, lattice.steps)
    return 3 * rollout.forward_flops


class _Watch(Silent):
    """Between two epochs it times sgemm; the time of an epoch is all that passes between two such pauses."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.peak_mb = 0.0
        self._clock = _KernelClock()

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Pause before the first."""
        self._pause()

    def epoch(self, record: dict[str, Any], best_epoch: int) -> None:
        """Note what the epoch took, and pause."""
        seconds, kernel_seconds = time.perf_counter() - self._began, self._clock.seconds
        others_percent = self._others.percent()
        before = self._sgemm_flops
        self._pause()
        self.epochs.append(Epoch(seconds, kernel_seconds, (before + self._sgemm_flops) / 2, others_percent))

    def _pause(self) -> None:
        # sgemm's matrices are not the training's: the peak is read before they come and reset when they have gone.
        self.peak_mb = max(self.peak_mb, status_mb("VmHWM"))
        self._sgemm_flops = SGEMM_FLOPS / interleaved({SGEMM: sgemm()}, rounds=3)[SGEMM].seconds
        reset_peak()
        self._clock.seconds = 0.0
        self._others = _Others()
        self._began = time.perf_counter()


class _Others:
    """CPU time of the machine and of this process, from when it is made."""

    def __init__(self) -> None:
        self._machine, self._own, self._began = _busy_seconds(), time.process_time(), time.perf_counter()

    def percent(self) -> float:
        """How much of the machine's CPU time went to other processes, and to other virtual machines, since."""
        others = _busy_seconds() - self._machine - (time.process_time() - self._own)
        return 100 * max(0.0, others) / (time.perf_counter() - self._began) / (os.cpu_count() or 1)


def _busy_seconds() -> float:
    """CPU seconds that were not idle since the machine started (proc_stat(5)): all but idle and waiting for a disk."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


class _KernelClock:
    """Seconds inside the rollout's two operators, from when it is made.

    It stands in the place of the operators where ops.py calls them. That costs two readings of a clock per batch; a
    profiler would cost something at every other operation, which is just what the kernel's share is compared with.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("rollout", "rollout_backward"):
            setattr(ops, name, self._timed(getattr(ops, name)))

    def _timed(self, operator: Any) -> Any:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return operator(*arguments)
            finally:
                self.seconds += time.perf_counter() - began

        return call
