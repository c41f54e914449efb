"""cubefast's programs, started as a user starts them."""

import subprocess
import sys
import time
from pathlib import Path

# Settings of a training of seconds.
SMALL = [
    "encoder=hashing:32",
    "training.losses.crossfit=0",
    "core.state_size=4",
    "core.hidden_size=8",
    "core.steps=4",
    "training.epochs=1",
]


def command(program: str, *arguments: str, cwd: Path, **keywords) -> subprocess.CompletedProcess[str]:
    """``python -m cubefast.PROGRAM ARGUMENTS`` in ``cwd``, which is not the source folder. A warning ends it."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", f"cubefast.{program}", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        **keywords,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until ``path`` is there, which the process makes while it runs."""
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)
