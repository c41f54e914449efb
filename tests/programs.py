"""cubefast's commands, called in this process or started as a user starts them."""

import contextlib
import fcntl
import io
import logging
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import warnings
from pathlib import Path

import torch

from cubefast import cli
from cubefast.lattice.backends import active_backend

# Settings of a training of seconds.
SMALL = [
    "encoder=hashing:32",
    "training.losses.crossfit=0",
    "core.state_size=4",
    "core.hidden_size=8",
    "core.steps=4",
    "training.epochs=1",
]


def command(program: str, *arguments: str, cwd: Path, stdin: str | bytes = b"") -> subprocess.CompletedProcess[str]:
    """``cubefast PROGRAM ARGUMENTS`` in the folder ``cwd``, called in this process; what it printed and its exit code.

    As in a process that was started with ``-W error``, a warning is an error. What else lives in this process must be
    as before.
    """
    sent = stdin.encode() if isinstance(stdin, str) else stdin
    printed, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="\n") for _ in range(2))
    before = _state()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))  # with a descriptor, which is read
        file.buffer.write(sent)
        file.seek(0)
        stack.callback(setattr, sys, "stdin", sys.stdin)
        sys.stdin = file
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(contextlib.redirect_stderr(errors))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")
        stack.callback(os.chdir, os.getcwd())  # noqa: PTH109
        os.chdir(cwd)
        code = cli.main([program, *map(str, arguments)])
    after = _state()
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    assert not changed, f"the command has left behind what it changed: {changed}"
    for stream in (printed, errors):
        stream.flush()
    stdout, stderr = (stream.buffer.getvalue().decode() for stream in (printed, errors))
    return subprocess.CompletedProcess([program, *arguments], code, stdout, stderr)


def start(program: str, *arguments: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """``python -m cubefast.PROGRAM ARGUMENTS`` in ``cwd``, as a process of its own. A warning ends it."""
    call = [sys.executable, "-W", "error", "-m", f"cubefast.{program}", *arguments]
    return subprocess.run(call, cwd=cwd, capture_output=True, text=True, timeout=timeout)


def on_a_terminal(columns: int, *arguments: str, cwd: Path) -> tuple[str, int]:
    """What ``python ARGUMENTS`` writes on a terminal of so many columns, and its exit code. A warning ends it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    call = [sys.executable, "-W", "error", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    job = subprocess.Popen(call, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # it has ended
        while block := os.read(ours, 1 << 16):
            written += block
    os.close(ours)
    return written.decode().replace("\r\n", "\n"), job.wait(60)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until ``path`` is there, which the process makes while it runs."""
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


def _state() -> dict[str, object]:
    """What a command could leave behind in its process."""
    root = logging.getLogger()
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "backend": active_backend(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "folder": os.getcwd(),  # noqa: PTH109
        # torch names its compiler's folder, and scikit-learn how OpenMP is to behave, when they are imported.
        **{f"${name}": value for name, value in os.environ.items() if not name.startswith(("TORCHINDUCTOR_", "KMP_"))},
        "warnings": list(warnings.filters),
        "logging": (root.level, list(root.handlers)),
    }
