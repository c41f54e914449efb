"""The peak memory of a forward and backward above its inputs, measured in a process of its own.

`python -m speed.memory PEER WORKLOAD` in the folder benchmarks/ prints it in MB. The peak is the one that Linux counts
(VmHWM); it is reset before the call that is measured, after a first call has compiled and loaded everything.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

from cubefast.utils.process_memory import status_mb

FOLDER = Path(__file__).resolve().parents[1]
"""benchmarks/, from which the package `speed` is imported."""


def reset_peak() -> None:
    """Set VmHWM, the peak memory of this process, to the memory it holds now. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(peer: str, workload: str) -> float:
    """The most memory that a forward and backward takes above its inputs, in MB, measured in a process of its own.

    Linux only: RuntimeError elsewhere, or when the process fails.
    """
    # With this threshold the C library returns freed blocks to the system at once. Otherwise the second call would
    # reuse those of the first, and they would not count.
    done = subprocess.run(
        [sys.executable, "-m", "speed.memory", peer, workload],
        cwd=FOLDER,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the memory of {peer} could not be measured: {done.stderr.strip().splitlines()[-1:]}")
    return float(done.stdout.split()[-1])


def _measure(peer_name: str, workload_name: str) -> float:
    """The same in this process, which can be used only once."""
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
    print(_measure(*sys.argv[1:]))
