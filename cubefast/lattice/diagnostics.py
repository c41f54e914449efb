"""What decides speed and results on this machine: the backend and why, the kernel, threads, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import textwrap
from pathlib import Path
from typing import Any

import torch

from .._version import __version__
from . import _native
from .backends import BACKENDS, active_backend, unavailable


def facts() -> dict[str, Any]:
    """What decides speed and results here, as plain data: for the doctor and for environment.json."""
    name, why = active_backend()
    native, _ = _native.load()
    kernel: dict[str, Any] | None = None
    if native is not None:
        kernel = {"isa": native.active_isa(), **native.build_info()}
    return {
        "cubefast": __version__,
        "backend": name,
        "backend_why": why,
        "backends": {each: unavailable(each) or "available" for each in BACKENDS},
        "kernel": kernel,
        "threads": torch.get_num_threads(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "openmp_runtimes": _openmp_runtimes(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {package: _version(package) for package in ("torch", "numpy", "numba", "wordllama")},
    }


def doctor() -> dict[str, Any]:
    """Print which backend is active and why, and what it stands on; return the same facts as plain data."""
    found = facts()
    print(f"cubefast {found['cubefast']} on Python {found['python']}, {found['platform']}")
    print(f"  backend      {found['backend']}: {found['backend_why']}")
    for name, status in found["backends"].items():
        print(f"    {name:<10} {status}")
    if found["kernel"] is not None:
        kernel = found["kernel"]
        print(f"  kernel       {kernel['isa']} (this CPU runs: {', '.join(kernel['isas'])})")
        print(f"               compiler {kernel['compiler']}, OpenMP {kernel['openmp'] or 'none'}")
    print(f"  threads      {found['threads']} of {found['cpus']} CPUs (torch.set_num_threads)")
    print(f"  OpenMP       {', '.join(found['openmp_runtimes']) or 'no runtime found'}")
    if len(found["openmp_runtimes"]) > 1:
        print("               more than one runtime is loaded: threads may compete; import torch first")
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    print(textwrap.fill(versions, 79, initial_indent="  versions     ", subsequent_indent=" " * 15))
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _openmp_runtimes() -> list[str]:
    """The OpenMP libraries loaded in this process (Linux; elsewhere an empty list)."""
    maps = Path("/proc/self/maps")
    if sys.platform != "linux" or not maps.exists():
        return []
    paths = {line.split()[-1] for line in maps.read_text().splitlines() if "omp" in line}
    return sorted(path for path in paths if Path(path).name.startswith(("libgomp", "libomp", "libiomp")))
