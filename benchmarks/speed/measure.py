"""Timing on a noisy machine: the peers take turns in one process, together with a matrix product.

Compare only times of one run. Each peer's result is checked against the reference before it is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .peers import EAGER, PEERS, Peer
from .workloads import Workload

SGEMM = "sgemm"
SGEMM_SIZE = 2048
_SGEMM_CALLS = 4
_PAUSE_S = 0.1
_TOLERANCE = 1e-3  # relative to the largest number of each tensor, in float32


class WrongAnswer(RuntimeError):
    """A peer does not compute what the reference computes, so its time would mean nothing."""


def check(peer: Peer, workload: Workload, tensors: list[Tensor]) -> None:
    """Raise WrongAnswer unless the peer computes the final state and the gradients that eager PyTorch does.

    ``tensors`` are ``workload.tensors()``.
    """
    got = _answers(peer, workload, tensors)
    for place, (a, b) in enumerate(zip(got, _reference_answers(workload), strict=True)):
        error = float((a - b).abs().max() / b.abs().max().clamp(min=1e-6))
        if not error <= _TOLERANCE:
            what = "the final state" if place == 0 else f"gradient {place}"
            raise WrongAnswer(f"{peer.name}: {what} is off by {error:.2g} of its largest number on {workload.name}")


def _answers(peer: Peer, workload: Workload, tensors: list[Tensor]) -> list[Tensor]:
    """The final state and the gradient of each tensor."""
    return [peer.forward(workload)(tensors), *peer.forward_backward(workload)(tensors)]


@lru_cache(maxsize=1)  # eager PyTorch is the slowest peer: once per workload and not once per peer
def _reference_answers(workload: Workload) -> list[Tensor]:
    return _answers(PEERS[EAGER], workload, workload.tensors())


def sgemm(size: int = SGEMM_SIZE) -> Callable[[], object]:
    """A function that multiplies two float32 matrices of ``size`` x ``size`` four times.

    With the default size its rate is the practical limit of the machine.
    """
    a, b = torch.randn(size, size), torch.randn(size, size)
    return lambda: [torch.mm(a, b) for _ in range(_SGEMM_CALLS)]


def sgemm_flops(size: int = SGEMM_SIZE) -> int:
    """Operations of one call of :func:`sgemm`."""
    return _SGEMM_CALLS * 2 * size**3


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each call in seconds. The calls take turns, after one call of each to warm up.

    A pause comes before each turn, because the threads of JAX go on spinning after a call and would slow down the next.
    The first call after a pause is not timed: it wakes up the cores, which costs milliseconds that a training loop
    does not pay.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(_PAUSE_S)
            call()
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}


def time_peers(
    workload: Workload,
    names: list[str],
    rounds: int,
    backward: bool,
    report: Callable[[str], Any] = lambda text: None,
    sgemm_size: int = SGEMM_SIZE,
) -> dict[str, float]:
    """Seconds of one call of sgemm and of each peer on a workload. Peers that cannot run here are left out.

    Args:
        workload: what each computes.
        names: of peers in ``PEERS``.
        rounds: how many calls of each are timed.
        backward: time the forward and backward, and not the forward alone.
        report: called with a line about each stage.
        sgemm_size: the side of the matrices of sgemm.

    Raises WrongAnswer if a peer does not compute what the reference computes.
    """
    tensors = workload.tensors()
    calls: dict[str, Callable[[], object]] = {SGEMM: sgemm(sgemm_size)}
    for name in names:
        peer = PEERS[name]
        if peer.missing:
            continue
        report(f"{workload.name}: checking and warming up {name}")
        check(peer, workload, tensors)
        run = peer.forward_backward(workload) if backward else peer.forward(workload)
        calls[name] = lambda run=run: run(tensors)  # type: ignore[misc]
    report(f"{workload.name}: timing, {rounds} rounds in turns")
    return interleaved(calls, rounds)
