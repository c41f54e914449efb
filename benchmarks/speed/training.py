"""Epochs of the trainer beside a matrix product: their time, the kernel's share of it, and the memory of the process.

An epoch includes all that a run of the default config does: the training, the validation, and what is written to the
run's folder (records, best core, checkpoint). The embeddings may be random, for no time depends on their values.
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

from cubefast.config.run_config import TrainingConfig
from cubefast.core import CubicCore
from cubefast.data.create_datasets import create_dialogue_dataset
from cubefast.data.pairs import EmbeddingPairs, PairDataset
from cubefast.lattice import ops
from cubefast.training.progress import Progress
from cubefast.training.run_folder import RunFolder
from cubefast.training.trainer import CubeTrainer
from cubefast.utils.process_memory import status_mb

from .measure import SGEMM, SGEMM_SIZE, interleaved, sgemm, sgemm_flops
from .memory import reset_peak
from .workloads import Workload

_PAIRS_PER_VALIDATION_PAIR = 20  # as in the default split


@dataclass(frozen=True)
class RandomPairs:
    """A training set of random unit vectors: ``pairs`` pairs of ``dim`` numbers each.

    With ``measured``, an epoch has only that many pairs, and its time is scaled up to all of them.
    """

    pairs: int
    dim: int
    measured: int | None = None


@dataclass(frozen=True)
class PairFiles:
    """A file of questions and answers (the config's data.path) and one of their embeddings (data.vectors).

    Their training part is trained on. Without ``vectors`` the default encoder encodes the texts.
    """

    data: str
    vectors: str | None = None


MEDQUAD = RandomPairs(14_765, 384)
"""The sizes of a common data set: the free part of MedQuAD (Ben Abacha and Demner-Fushman 2019), all-MiniLM-L6-v2."""
LONG = RandomPairs(40_000, 768, measured=5_000)
"""Many large embeddings."""
LITTLE = RandomPairs(256, 64)
"""For a quick look."""


@dataclass(frozen=True)
class EpochTiming:
    """The time of one epoch, and the rate of sgemm around it.

    Attributes:
        seconds: of the whole epoch.
        kernel_seconds: the part of them in the kernel.
        sgemm_flops: FLOP/s of sgemm, the mean of before and after the epoch.
        others_percent: the share of the machine's CPU time that other processes took during the epoch. Above a few
            percent the other figures say little, because the threads of a batch then wait for each other.
    """

    seconds: float
    kernel_seconds: float
    sgemm_flops: float
    others_percent: float


@dataclass(frozen=True)
class TrainingTiming:
    """The figures of a training.

    Attributes:
        pairs: of the training set.
        dim: numbers of an embedding.
        measured: the number of pairs in an epoch; the time is scaled up where it is less than ``pairs``.
        useful_flops: operations of the rollouts of an epoch, forward and backward. Those of the validation do not
            count, though its time does.
        epochs: the timed epochs, without the first.
        peak_mb: the most memory that the process held from its start, in MB.
    """

    pairs: int
    dim: int
    measured: int
    useful_flops: int
    epochs: list[EpochTiming]
    peak_mb: float

    @property
    def name(self) -> str:
        """The size of the training set, such as 14,765 x 384."""
        return f"{self.pairs:,} x {self.dim}"

    @property
    def seconds(self) -> float:
        """Seconds of the median epoch, scaled up to all pairs."""
        return median(epoch.seconds for epoch in self.epochs) * self.pairs / self.measured

    @property
    def gflops(self) -> float:
        """Useful GFLOP/s of the median epoch."""
        return self.useful_flops / median(epoch.seconds for epoch in self.epochs) / 1e9

    @property
    def times_sgemm(self) -> float:
        """The time of an epoch divided by the time in which sgemm does as many useful operations; the median."""
        return median(epoch.seconds * epoch.sgemm_flops for epoch in self.epochs) / self.useful_flops

    @property
    def outside_percent(self) -> float:
        """The percentage of an epoch's time that is not spent in the kernel; the median."""
        return 100 * median(1 - epoch.kernel_seconds / epoch.seconds for epoch in self.epochs)

    @property
    def others_percent(self) -> float:
        """The percentage of the machine's CPU time that other processes took during an epoch; the median."""
        return median(epoch.others_percent for epoch in self.epochs)


def time_training(source: RandomPairs | PairFiles, epochs: int, sgemm_size: int = SGEMM_SIZE) -> TrainingTiming:
    """Train for ``epochs`` epochs after one to warm up, in a new process, whose memory is that of the training alone.

    Linux only (reads /proc). Raises InputError when the files cannot be read or do not fit each other.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_train, source, epochs, sgemm_size).result()


def _train(source: RandomPairs | PairFiles, epochs: int, sgemm_size: int) -> TrainingTiming:
    train: EmbeddingPairs | PairDataset
    validation: EmbeddingPairs | PairDataset
    if isinstance(source, RandomPairs):
        measured = source.measured or source.pairs
        train, validation = (
            _random(measured, source.dim),
            _random(max(1, measured // _PAIRS_PER_VALIDATION_PAIR), source.dim),
        )
        pairs = source.pairs
    else:
        parts = create_dialogue_dataset(None, {"path": source.data, "vectors": source.vectors}).split()
        train, validation = parts.train, parts.validation
        pairs = measured = len(train)
    config = TrainingConfig.load({"training": {"epochs": 1 + epochs, "early_stopping": None}})
    timer = _EpochTimer(sgemm_size)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.create(folder, None, "bench")
        core = CubeTrainer(config, run, timer).fit(train, validation).core
        run.close()
    return TrainingTiming(pairs, core.dim, measured, _useful_flops(core, measured), timer.epochs[1:], timer.peak_mb)


def _random(pairs: int, dim: int) -> EmbeddingPairs:
    inputs, targets = (normalize(torch.randn(pairs, dim), dim=1) for _ in range(2))
    return EmbeddingPairs.of(inputs, targets)


def _useful_flops(core: CubicCore, pairs: int) -> int:
    lattice = core.lattice
    x, y, z = core.reshaper.shape
    rollout = Workload("epoch", (x, y, z), pairs, lattice.state_size, lattice.hidden_size, lattice.steps)
    return 3 * rollout.forward_flops


class _EpochTimer(Progress):
    """Times sgemm before the first and after each epoch; an epoch's time is all that passes between two such pauses."""

    def __init__(self, sgemm_size: int) -> None:
        self.sgemm_size = sgemm_size
        self.epochs: list[EpochTiming] = []
        self.peak_mb = 0.0
        self._clock = _KernelClock()

    def start(self, epochs: int, batches: int, epochs_done: int, batches_done: int) -> None:
        """Time sgemm before the first epoch."""
        self._pause()

    def epoch(self, record: dict[str, Any], best_epoch: int, objective: float) -> None:
        """Record the time of the epoch, then time sgemm."""
        seconds, kernel_seconds = time.perf_counter() - self._began, self._clock.seconds
        others_percent = self._other_processes.percent()
        before = self._sgemm_flops
        self._pause()
        self.epochs.append(EpochTiming(seconds, kernel_seconds, (before + self._sgemm_flops) / 2, others_percent))

    def _pause(self) -> None:
        # The matrices of sgemm must not count as memory of the training: the peak is read before they are made, and
        # reset after they are freed.
        self.peak_mb = max(self.peak_mb, status_mb("VmHWM"))
        seconds = interleaved({SGEMM: sgemm(self.sgemm_size)}, rounds=3)[SGEMM]
        self._sgemm_flops = sgemm_flops(self.sgemm_size) / seconds
        reset_peak()
        self._clock.seconds = 0.0
        self._other_processes = _OtherProcesses()
        self._began = time.perf_counter()


class _OtherProcesses:
    """Measures the CPU time of other processes since this object was made."""

    def __init__(self) -> None:
        self._machine, self._own, self._began = _busy_seconds(), time.process_time(), time.perf_counter()

    def percent(self) -> float:
        """The percentage of the machine's CPU time that went to other processes, and to other virtual machines."""
        others = _busy_seconds() - self._machine - (time.process_time() - self._own)
        return 100 * max(0.0, others) / (time.perf_counter() - self._began) / (os.cpu_count() or 1)


def _busy_seconds() -> float:
    """Busy CPU seconds since the machine started, see proc_stat(5): all but idle and waiting for a disk."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


class _KernelClock:
    """Counts the seconds spent in the rollout's two operators since this object was made.

    It wraps the operators where ops.py calls them, which costs two clock readings per call. A profiler would slow down
    every other operation too, and so change the kernel's share of the time.
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
