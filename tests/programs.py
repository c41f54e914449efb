"""cubefast's programs, started as a user starts them."""

import subprocess
import sys
from pathlib import Path


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
