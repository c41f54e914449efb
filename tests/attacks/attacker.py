"""What attacks have in common: work in a child that may be killed, must end in time, and must not crash.

Attacks run in a process of their own (see ``__main__.py``): it has imported all there is, so that a child, a fork of
it, is a whole command in a fraction of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from cubefast.errors import InputError

LIMIT_S = 60  # of one attack; what takes longer hangs
DATA = ["encoder=hashing:16", "data.quality.max_per_domain=10"]
TINY = [*DATA, "core.state_size=4", "core.hidden_size=8", "core.steps=4", "core.phases=1", "core.prototypes=4"]
TINY += ["training.min_steps=1", "training.epochs=4", "training.threads=1"]


@dataclass
class Outcome:
    """How a child ended: its exit code (minus the signal that killed it), what it printed, its seconds."""

    code: int
    printed: str
    seconds: float


@dataclass
class Tally:
    """How often each attack was tried, and what did not survive."""

    tried: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def count(self, kind: str, problem: str | None) -> None:
        """One more attack of a kind; ``problem``: what went wrong, or nothing."""
        self.tried[kind] += 1
        if problem:
            self.failed.append(f"{kind}: {problem}")


def in_child(work: Callable[[], int | None], kill_after: float | None = None) -> Outcome:
    """Do ``work`` in a fork, killed after so many seconds (SIGKILL), or when it hangs."""
    with tempfile.TemporaryFile() as screen:
        began = time.monotonic()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _become(work, screen.fileno())
        until = began + (LIMIT_S if kill_after is None else kill_after)
        status = 0
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                ended = os.waitpid(child, 0)
                break
            time.sleep(0.002)
        status = ended[1]
        screen.seek(0)
        printed = screen.read().decode(errors="replace")
    return Outcome(os.waitstatus_to_exitcode(status), printed, time.monotonic() - began)


def _become(work: Callable[[], int | None], screen: int) -> None:
    code = 70
    try:
        os.dup2(screen, 1)
        os.dup2(screen, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        code = work() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 70
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def command(name: str, *arguments: str) -> Callable[[], int]:
    """``python -m cubefast.NAME ARGUMENTS``, for a child."""

    def work() -> int:
        sys.argv = [name, *arguments]
        runpy.run_module(f"cubefast.{name}", run_name="__main__")
        return 0

    return work


def refused(call: Callable[[], object]) -> Callable[[], int]:
    """For a child: the call may succeed or refuse in words; anything else is shown, and ends with code 70."""

    def work() -> int:
        try:
            call()
        except InputError as error:
            print("refused:", error)
            return 2
        return 0

    return work


def problem_of(outcome: Outcome, codes: tuple[int, ...] = (0, 2)) -> str | None:
    """What is wrong with how a child ended, or nothing."""
    if outcome.code in codes and "Traceback" not in outcome.printed:
        return None
    hung = " (it hung)" if outcome.seconds > LIMIT_S else ""
    return f"exit {outcome.code}{hung}: {outcome.printed[-600:]}"


def mutated(data: bytes) -> bytes:
    """The bytes, damaged at random: flipped, cut, lengthened, moved, zeroed, numbers made extreme."""
    kind = random.randrange(8)
    place = random.randrange(len(data) + 1)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + random.randbytes(random.choice([1, 8, 4000])) + data[place:]
    if kind == 2:
        return data[:place] + bytes(min(len(data) - place, 512)) + data[place + 512 :]
    if kind == 3:
        other = random.randrange(len(data) + 1)
        return data[:place] + data[other : other + 64] + data[place + 64 :]
    if kind == 4:
        return random.randbytes(8) + data[8:]
    many = bytearray(data)
    for _ in range(random.choice([1, 1, 10, 100])):
        if many:
            many[random.randrange(min(len(many), 2000) if kind == 5 else len(many))] ^= 1 << random.randrange(8)
    return bytes(many)


EXTREME = [None, True, -1, 0, 1.5, 10**30, float("nan"), float("inf"), "", "x" * 5000, "\x00", "\ud800", [], {}, [[]]]


def mistyped(value: object) -> object:
    """A JSON value with one part of it replaced by something of another type or size."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return {name: each for name, each in value.items() if name != key}
        return {**value, key: mistyped(value[key])}
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        return [*value[:place], mistyped(value[place]), *value[place + 1 :]]
    if random.random() < 0.05:
        return json.loads("[" * 500 + "]" * 500)
    return random.choice(EXTREME)
