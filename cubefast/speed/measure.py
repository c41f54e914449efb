"""Timing that a noisy machine cannot fool: peers take turns in one process, and a matrix product runs beside them.

Only ratios within one run mean anything. Each answer is checked against the reference before it is timed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .peers import PEERS, Peer
from .workloads import Workload

SGEMM = "sgemm 2048^3"
PAUSE = 0.1  # seconds
TOLERANCE = 1e-3  # of the largest number of each tensor, against the eager reference in float32


class WrongAnswer(RuntimeError):
    """A peer does not compute what the reference does; its time would mean nothing."""


@dataclass(frozen=True)
class Timing:
    """Median seconds of one call."""

    seconds: float


def check(peer: Peer, workload: Workload, tensors: list[Tensor]) -> None:
    """Raise WrongAnswer unless the peer's answers to ``workload.tensors()`` are the reference's."""
    got = _answers(peer, workload, tensors)
    for place, (a, b) in enumerate(zip(got, _reference_answers(workload), strict=True)):
        error = float((a - b).abs().max() / b.abs().max().clamp(min=1e-6))
        if not error <= TOLERANCE:
            what = "the final state" if place == 0 else f"gradient {place}"
            raise WrongAnswer(f"{peer.name}: {what} is off by {error:.2g} of its largest number on {workload.name}")


def _answers(peer: Peer, workload: Workload, tensors: list[Tensor]) -> list[Tensor]:
    """The final state and every gradient."""
    return [peer.forward(workload)(tensors), *peer.forward_backward(workload)(tensors)]


@lru_cache(maxsize=1)  # the slowest peer: once per workload, not once per peer
def _reference_answers(workload: Workload) -> list[Tensor]:
    return _answers(PEERS["eager torch"], workload, workload.tensors())


def sgemm() -> Callable[[], object]:
    """Four times torch.mm of two float32 matrices of 2048 x 2048: the machine's practical limit."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return lambda: [torch.mm(a, b) for _ in range(4)]


SGEMM_FLOPS = 4 * 2 * 2048**3


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Each call in turns, after one to warm up; the median of each.

    Before each turn there is a pause: threads of the one before (JAX's) go on spinning for a while, and would take time
    from whoever comes next. A first call after it is not timed: cores fall asleep, and to wake them costs milliseconds
    that a caller who trains in a loop never pays.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(PAUSE)
            call()
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: Timing(statistics.median(each)) for name, each in seconds.items()}


def peak_memory_mb(peer: str, workload: str) -> float:
    """The most memory that a forward and backward takes above its inputs, in MB, measured in a process of its own.

    Linux only: RuntimeError elsewhere, or when the process fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "cubefast.speed.memory", peer, workload],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the memory of {peer} could not be measured: {done.stderr.strip().splitlines()[-1:]}")
    return float(done.stdout.split()[-1])


def time_peers(
    workload: Workload,
    names: list[str],
    rounds: int,
    backward: bool,
    say: Callable[[str], Any] = lambda text: None,
) -> dict[str, Timing]:
    """The peers and sgemm in turns, on one workload; those that are missing are left out."""
    tensors = workload.tensors()
    calls: dict[str, Callable[[], object]] = {SGEMM: sgemm()}
    for name in names:
        peer = PEERS[name]
        if peer.missing:
            continue
        say(f"{workload.name}: checking and warming up {name}")
        check(peer, workload, tensors)
        run = peer.forward_backward(workload) if backward else peer.forward(workload)
        calls[name] = lambda run=run: run(tensors)  # type: ignore[misc]
    say(f"{workload.name}: timing, {rounds} rounds in turns")
    return interleaved(calls, rounds)
