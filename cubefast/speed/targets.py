"""The targets of the kernel and of training: what is promised, what was measured, met or not.

All but one are ratios of one run, or memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..threads import torch_threads
from .measure import SGEMM, SGEMM_FLOPS, Timing, interleaved, peak_memory_mb, time_peers
from .peers import OURS, PEERS
from .training import Training
from .workloads import LARGE, ONE_SAMPLE, ORIGINAL, TINY, W1, Workload

KERNEL, EAGER = "cubefast", "eager torch"


@dataclass(frozen=True)
class Target:
    """``measured`` should be at least (or at most) ``limit``."""

    what: str
    measured: float
    limit: float
    at_least: bool
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def rate(workload: Workload, timing: Timing, backward: bool) -> float:
    """Useful GFLOP/s."""
    return workload.forward_flops * (3 if backward else 1) / timing.seconds / 1e9


def peer_targets(times: Mapping[str, Timing], workload: Workload, backward: bool) -> list[Target]:
    """What the table of peers on W1 should show."""
    ours = times[KERNEL].seconds
    others = {name: t.seconds for name, t in times.items() if name not in (*OURS, EAGER, SGEMM)}
    against_sgemm = rate(workload, times[KERNEL], backward) / (SGEMM_FLOPS / times[SGEMM].seconds / 1e9)
    what = f"{workload.name} forward+backward" if backward else f"{workload.name} forward"
    targets = [
        Target(f"{what}, rate beside sgemm", against_sgemm, 0.85 if backward else 1.05, True),
        Target(f"{what}, speed beside eager torch", times[EAGER].seconds / ours, 6 if backward else 8, True),
    ]
    if others:
        best = min(others, key=lambda name: others[name])
        limit = 2.4 if backward else 2.6
        targets.append(Target(f"{what}, speed beside the best other ({best})", others[best] / ours, limit, True))
    if backward and "cubefast numba" in times:
        numba = times["cubefast numba"].seconds
        targets.append(Target("numba backend, speed beside eager torch", times[EAGER].seconds / numba, 1, True))
        targets.append(Target("numba backend, time beside the C++ one's", numba / ours, 4, False))
    return targets


def shape_targets(rounds: int, say: Callable[[str], Any]) -> list[Target]:
    """Other sizes beside W1: one sample, a large lattice, one thread and all of them, the original cell."""
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

    say("one sample, and 64x64x64 with one and two threads, beside W1")
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
    original = time_peers(ORIGINAL, [KERNEL, EAGER], rounds, True, say)
    share = times["W1 forward"].seconds / W1.batch
    per_cell_step = {"W1": W1.cell_steps, "large": LARGE.cell_steps}
    of_large, of_w1 = (times[name].seconds / per_cell_step[name] for name in ("large", "W1"))
    return [
        Target("one sample of W1 forward, time beside its share", times["20 of one"].seconds / 20 / share, 1.5, False),
        Target("64x64x64, time per cell and step beside W1's", of_large / of_w1, 1.25, False),
        Target(
            f"64x64x64, speed of {threads} threads beside one",
            times["large, 1 thread"].seconds / times["large"].seconds,
            1.7,
            True,
        ),
        Target(
            "original cell forward+backward, speed beside eager torch",
            original[EAGER].seconds / original[KERNEL].seconds,
            6,
            True,
        ),
        Target("one call at 2x2x2, one step", overhead_us(), 60, False, "us"),
    ]


def overhead_us(calls: int = 2000, repeats: int = 7) -> float:
    """Microseconds of the smallest rollout through the public function, the best of several averages."""
    forward, tensors = PEERS[KERNEL].forward(TINY), TINY.tensors()
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(calls):
            forward(tensors)
        best = min(best, (time.perf_counter() - began) / calls)
    return best * 1e6


def memory_targets(memory: Mapping[str, float]) -> list[Target]:
    """Peak memory above the inputs, forward and backward."""
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


def training_targets(usual: Training, long: Training) -> list[Target]:
    """An epoch of a usual size beside its useful work, its process, and how long one of many large embeddings takes."""
    what = f"epoch of {usual.name}"
    return [
        Target(f"{what}, time beside its useful operations at sgemm's rate", usual.times_sgemm, 1.6, False),
        Target(f"{what}, everything but the kernel", usual.outside_percent, 15, False, "%"),
        Target(f"{what}, memory of the whole process", usual.peak_mb, 800, False, "MB"),
        Target(f"epoch of {long.name}", long.seconds, 300, False, "s"),
    ]


def sgemm_rate(times: Mapping[str, Timing]) -> float:
    """GFLOP/s of the matrix product that was timed beside the peers."""
    return SGEMM_FLOPS / times[SGEMM].seconds / 1e9
