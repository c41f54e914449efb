"""The targets of the kernel and of training, and whether a run of the benchmark met them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cubefast.utils.threads import torch_threads

from .measure import SGEMM, interleaved, sgemm_flops, time_peers
from .memory import peak_memory_mb
from .peers import EAGER, KERNEL, OURS, PEERS
from .training import TrainingTiming
from .workloads import LARGE, ONE_SAMPLE, ORIGINAL, TINY, W1, Workload


@dataclass(frozen=True)
class Target:
    """A figure that should be at least (or, with ``at_least`` False, at most) ``limit``."""

    what: str
    measured: float
    limit: float
    at_least: bool
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether the figure is within the limit."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def peer_targets(times: Mapping[str, float], workload: Workload, backward: bool) -> list[Target]:
    """The targets of the kernel beside its peers. ``times``: seconds by name, of :func:`time_peers`."""
    ours = times[KERNEL]
    others = {name: seconds for name, seconds in times.items() if name not in (*OURS, EAGER, SGEMM)}
    against_sgemm = workload.gflops(ours, backward) / (sgemm_flops() / times[SGEMM] / 1e9)
    what = f"{workload.name} forward+backward" if backward else f"{workload.name} forward"
    targets = [
        Target(f"{what}, rate beside sgemm", against_sgemm, 0.85 if backward else 1.05, True),
        Target(f"{what}, speed beside eager torch", times[EAGER] / ours, 6 if backward else 8, True),
    ]
    if others:
        best = min(others, key=lambda name: others[name])
        limit = 2.4 if backward else 2.6
        targets.append(Target(f"{what}, speed beside the best other ({best})", others[best] / ours, limit, True))
    if backward and "cubefast numba" in times:
        numba = times["cubefast numba"]
        targets.append(Target("numba backend, speed beside eager torch", times[EAGER] / numba, 1, True))
        targets.append(Target("numba backend, time beside the C++ one's", numba / ours, 4, False))
    return targets


def shape_targets(rounds: int, report: Callable[[str], Any]) -> list[Target]:
    """The targets of other sizes: one sample, a large lattice on one and on all threads, a small cell, a tiny call."""
    threads = torch.get_num_threads()
    kernel = PEERS[KERNEL]

    def call(workload: Workload, backward: bool, count: int = threads, repeats: int = 1) -> Callable[[], object]:
        tensors = workload.tensors()
        run = kernel.forward_backward(workload) if backward else kernel.forward(workload)

        def timed() -> None:
            with torch_threads(count):
                for _ in range(repeats):
                    run(tensors)

        return timed

    report("one sample, and 64x64x64 with one and two threads, beside W1")
    times = interleaved(
        {
            "W1 forward": call(W1, False),
            "20 of one": call(ONE_SAMPLE, False, repeats=20),
            "W1": call(W1, True),
            "large": call(LARGE, True),
            "large, 1 thread": call(LARGE, True, 1),
        },
        rounds,
    )
    original = time_peers(ORIGINAL, [KERNEL, EAGER], rounds, True, report)
    share = times["W1 forward"] / W1.batch
    per_cell_step = {"W1": W1.cell_steps, "large": LARGE.cell_steps}
    of_large, of_w1 = (times[name] / per_cell_step[name] for name in ("large", "W1"))
    return [
        Target("one sample of W1 forward, time beside its share", times["20 of one"] / 20 / share, 1.5, False),
        Target("64x64x64, time per cell and step beside W1's", of_large / of_w1, 1.25, False),
        Target(
            f"64x64x64, speed of {threads} threads beside one",
            times["large, 1 thread"] / times["large"],
            1.7,
            True,
        ),
        Target(
            "original cell forward+backward, speed beside eager torch",
            original[EAGER] / original[KERNEL],
            6,
            True,
        ),
        Target("one call at 2x2x2, one step", overhead_us(), 60, False, "us"),
    ]


def overhead_us(calls: int = 2000, repeats: int = 7) -> float:
    """Microseconds of the smallest rollout through the public function: the best of ``repeats`` averages."""
    forward, tensors = PEERS[KERNEL].forward(TINY), TINY.tensors()
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(calls):
            forward(tensors)
        best = min(best, (time.perf_counter() - began) / calls)
    return best * 1e6


def memory_targets(memory: Mapping[str, float]) -> list[Target]:
    """The targets of peak memory above the inputs, forward and backward. ``memory``: MB of each peer on W1."""
    return [
        Target("W1 peak memory above the inputs", memory[KERNEL], 130, False, "MB"),
        Target(
            "W1 with checkpoint_every=6, peak memory",
            peak_memory_mb(KERNEL, "W1, checkpoint_every=6"),
            50,
            False,
            "MB",
        ),
        Target("64x64x64 peak memory", peak_memory_mb(KERNEL, LARGE.name), 600, False, "MB"),
    ]


def training_targets(usual: TrainingTiming, long: TrainingTiming) -> list[Target]:
    """The targets of an epoch of a usual size, and of one with many large embeddings."""
    what = f"epoch of {usual.name}"
    return [
        Target(f"{what}, time beside its useful operations at sgemm's rate", usual.times_sgemm, 1.6, False),
        Target(f"{what}, everything but the kernel", usual.outside_percent, 15, False, "%"),
        Target(f"{what}, memory of the whole process", usual.peak_mb, 800, False, "MB"),
        Target(f"epoch of {long.name}", long.seconds, 300, False, "s"),
    ]
