"""Ctrl-C inside a long rollout: heard soon, in every backend, forward and backward, and nothing is left behind."""

import gc
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from cubefast import Topology

from .rollouts import Problem

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that signals")
BACKENDS = ["cpp", "numba", "torch"]


class Heard(Exception):
    """What the handler raises, where Ctrl-C raises KeyboardInterrupt."""


@pytest.fixture
def signal_after():
    """``signal_after(seconds)`` makes a signal arrive whose handler raises :class:`Heard`. Python does not collect
    garbage meanwhile: an exception that comes in the callback that Hypothesis has for that would be swallowed.
    """

    def handler(number, frame):
        raise Heard

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.enable()
    signal.signal(signal.SIGALRM, before)


def heard_after(work):
    """Seconds until ``work`` raised what the handler raises."""
    begin = time.perf_counter()
    with pytest.raises(Heard):
        work()
    return time.perf_counter() - begin


def long(shape, steps, batch, update="residual_tanh"):
    return Problem(Topology(shape), steps=steps, batch=batch, state_size=16, hidden_size=64, update=update)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("shape", "batch"),
    [((8, 8, 12), 64), ((8, 8, 12), 1), ((40, 40, 40), 1)],  # a sample per thread, one sample, one beyond the cache
)
def test_a_long_forward_is_left_within_a_second(backend, shape, batch, threads, signal_after):
    problem = long(shape, 2**20, batch)
    tensors = [t.detach() for t in problem.tensors()]
    Problem(problem.topology, steps=2, update=problem.update).results(backend)  # numba compiles
    signal_after(0.2)
    assert heard_after(lambda: problem.run(tensors, backend)) < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("checkpoint_every", [None, 50])
def test_a_long_backward_is_left_within_a_second(backend, checkpoint_every, threads, signal_after):
    problem = long((6, 6, 6), 400, 4 if backend == "torch" else 40)
    Problem(problem.topology, steps=2, update=problem.update).results(backend)  # numba compiles
    final = problem.run(tensors := problem.tensors(), backend, checkpoint_every)
    signal_after(0.05)
    assert heard_after(lambda: torch.autograd.grad(final.sum(), tensors)) < 1.05


@pytest.mark.parametrize("options", [{"fire_rate": 0.5, "seed": 1}, {"alive": (0, 1e9)}], ids=["fire", "nothing lives"])
def test_a_long_automaton_is_left_within_a_second(options, threads, signal_after):
    problem = long((8, 8, 12), 2**20, 8)
    problem.options = options
    tensors = [t.detach() for t in problem.tensors()]
    signal_after(0.2)
    assert heard_after(lambda: problem.run(tensors, "cpp")) < 1.2
    problem = long((8, 8, 12), 1500, 8)
    problem.options = options
    final = problem.run(tensors := problem.tensors(), "cpp", 100)
    signal_after(0.02)
    assert heard_after(lambda: torch.autograd.grad(final.sum(), tensors)) < 1.02


@pytest.mark.slow
def test_what_follows_is_right_and_no_memory_is_lost(signal_after):
    problem = long((8, 8, 12), 2**20, 8)
    tensors = [t.detach() for t in problem.tensors()]
    small = Problem(Topology((2, 2, 2)))
    wanted = small.results("cpp")

    def resident():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    measured = []
    for _ in range(12):
        signal_after(0.05)
        heard_after(lambda: problem.run(tensors, "cpp"))
        assert all(torch.equal(a, b) for a, b in zip(small.results("cpp"), wanted, strict=True))
        if sys.platform == "linux":
            measured.append(resident())
    assert not measured or measured[-1] - measured[3] < 2**23


def test_a_handler_that_raises_nothing_lets_the_rollout_go_on():
    calls = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: calls.append(number))
    problem = long((8, 8, 12), 300, 2)
    tensors = [t.detach() for t in problem.tensors()]
    wanted = problem.run(tensors, "cpp")
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        got = problem.run(tensors, "cpp")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert torch.equal(got, wanted)
    assert calls


def test_a_rollout_in_another_thread_is_not_the_main_threads(signal_after):
    problem = long((8, 8, 12), 3000, 1)
    tensors = [t.detach() for t in problem.tensors()]
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(problem.run, tensors, "cpp")
        signal_after(0.05)
        assert heard_after(future.result) < 1.05
        assert torch.isfinite(future.result()).all()
