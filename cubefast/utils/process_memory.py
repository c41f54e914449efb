"""The memory of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory_mb() -> float:
    """The peak memory of this process in MB (10^6 bytes)."""
    if _STATUS.exists():  # on Linux ru_maxrss begins with what the parent process has held
        return status_mb("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def status_mb(key: str) -> float:
    """A memory figure of this process from /proc, in MB: VmRSS is the present one, VmHWM the peak. Linux only."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"{_STATUS} has no {key}")
