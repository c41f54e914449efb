"""Memory that runs out while several threads roll out, or a command runs: right numbers or an error in words.

The address space of a process is limited to what it has and a little more, from nothing to 200 MB.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from cubefast import CubicCore
from cubefast.errors import InputError

from .attacker import TINY, Tally, command, in_child, problem_of

ROOMS_MB = [0, 1, 2, 4, 8, 16, 30, 60, 100, 200]
SHORT = ("memory", "allocate", "bad_alloc")  # what the errors of torch, numpy and Python say


def limit(room_mb: float) -> None:
    """Leave this process so many megabytes of address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    here = pages * resource.getpagesize() + int(room_mb * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (here, resource.getrlimit(resource.RLIMIT_AS)[1]))


def on_threads(works: list[Callable[[], bool]], room_mb: float) -> list[str]:
    """Do each work three times on a thread of its own, short of memory; what went wrong other than that.

    Every thread works once before memory is short: a thread that cannot be started, Python's or OpenMP's, ends or hangs
    the process by Python's or libgomp's own doing.
    """
    wrong: list[str] = []
    is_short = threading.Event()
    ready = threading.Barrier(len(works) + 1)

    def go(work: Callable[[], bool]) -> None:
        work()
        ready.wait()
        is_short.wait()
        for _ in range(3):
            try:
                if not work():
                    wrong.append("another number")
            except (MemoryError, RuntimeError, OSError, InputError) as error:
                if not isinstance(error, MemoryError) and not any(word in str(error) for word in SHORT):
                    wrong.append(repr(error))

    threads = [threading.Thread(target=go, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    ready.wait()
    limit(room_mb)
    is_short.set()
    try:
        for thread in threads:
            thread.join(40)
            if thread.is_alive():
                wrong.append("a thread hangs")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    return wrong


def rollouts(count: int) -> list[Callable[[], bool]]:
    """Works that compare a core's output and gradient with what they were."""
    torch.manual_seed(0)
    core = CubicCore(64, state_size=16, hidden_size=32, steps=6)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))

    def both(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = inputs.clone().requires_grad_()
        output = core(inputs)
        return output.detach(), torch.autograd.grad(output.square().sum(), inputs)[0]

    def work(inputs: torch.Tensor) -> Callable[[], bool]:
        wanted = both(inputs)
        return lambda: all(map(torch.equal, both(inputs), wanted))

    return [work(torch.randn(256, 64)) for _ in range(count)]


def main(rounds: int, tally: Tally) -> None:
    made = in_child(command("train", *TINY, "name=r"))
    assert problem_of(made, (0,)) is None, made.printed
    question = "what is it that we ask for?"
    for number in range(rounds):
        room = ROOMS_MB[3 * number % len(ROOMS_MB)] * random.uniform(0.8, 1.2)

        # Where OpenMP gets no thread, in whosoever's operator, it says so and calls exit() beside the threads that run,
        # which may then crash: torch's as much as ours. What counts is that it is said, and that no number is wrong.
        call = [sys.executable, "-m", "tests.attacks.memory", "threads", str(room)]
        done = subprocess.run(call, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
        ended = done.returncode != 0 and "libgomp: Thread creation failed" in done.stderr
        fine = "another number" not in done.stdout and (done.returncode == 0 or ended)
        said = f"exit {done.returncode}, room {room:.1f} MB: {done.stdout[-300:]}{done.stderr[-500:]}"
        tally.count("threads short of memory", None if fine else said)

        def asked(room: float = room) -> int:
            limit(room)
            return command("ask", "runs/r", question)()

        tally.count("ask short of memory", problem_of(in_child(asked), (0, 1, 2)))

        def trained(room: float = room) -> int:
            limit(room)
            return command("train", *TINY, "name=short")()

        tally.count("train short of memory", problem_of(in_child(trained), (0, 1, 2)))


if __name__ == "__main__":
    if sys.argv[1] == "threads":
        torch.set_num_threads(2)
        found = on_threads(rollouts(4), float(sys.argv[2]))
        print(found[:5])
        raise SystemExit(71 if found else 0)
