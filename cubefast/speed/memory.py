"""`python -m cubefast.speed.memory PEER WORKLOAD`: peak memory of a forward and backward above its inputs, in MB.

A process of its own for each, so that nobody's leftovers count. The peak is the kernel's (VmHWM), reset before the call
that is measured; the call before it has compiled and loaded everything. Freed blocks go back to the system at once
(MALLOC_MMAP_THRESHOLD_), or the second call would be served from the first one's.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from ..training.memory import status_mb

_THRESHOLD = "MALLOC_MMAP_THRESHOLD_"


def reset_peak() -> None:
    """Count VmHWM anew, from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def main(peer_name: str, workload_name: str) -> float:
    """Measure here; the process is spent afterwards."""
    from . import workloads
    from .peers import PEERS

    workload = next(w for w in vars(workloads).values() if getattr(w, "name", None) == workload_name)
    tensors = workload.tensors()
    run = PEERS[peer_name].forward_backward(workload)
    run(tensors)
    gc.collect()
    reset_peak()
    before = status_mb("VmRSS")
    result = run(tensors)
    peak = status_mb("VmHWM")
    del result
    return peak - before


if __name__ == "__main__":
    if _THRESHOLD not in os.environ:  # read by the C library when a process starts
        arguments = [sys.executable, "-m", "cubefast.speed.memory", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, _THRESHOLD: "65536"})
    print(main(*sys.argv[1:]))
