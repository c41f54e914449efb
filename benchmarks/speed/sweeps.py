"""The kernel along every size and with every named option, to find sizes and options that are slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from cubefast.lattice.checks import ACTIVATIONS, UPDATES
from cubefast.lattice.topology import BOUNDARIES, NEIGHBORHOODS
from cubefast.utils.threads import torch_threads

from .measure import check, interleaved
from .peers import EAGER, KERNEL, PEERS
from .workloads import W1, Workload


def variants(base: Workload = W1) -> list[Workload]:
    """``base``, then ``base`` with one option changed: each activation, update, boundary, neighborhood and dtype."""
    options: list[tuple[str, tuple[Any, ...]]] = [
        ("activation", ACTIVATIONS),
        ("update", UPDATES),
        ("boundary", BOUNDARIES),
        ("neighborhood", NEIGHBORHOODS),
        ("dtype", (torch.float32, torch.float64)),
    ]
    found = [replace(base, name="as it is")]
    for key, values in options:
        found += [
            replace(base, name=str(value).removeprefix("torch."), **{key: value})
            for value in values
            if value != getattr(base, key)
        ]
    return found


def check_variant(workload: Workload) -> None:
    """Raise WrongAnswer unless the kernel computes what the reference computes.

    relu is checked in float64. Its derivative jumps at 0, and among millions of hidden units some are so close to 0
    that a rounding in float32 decides which of two right gradients comes out.
    """
    if workload.activation == "relu":
        workload = replace(workload, dtype=torch.float64)
    check(PEERS[KERNEL], workload, workload.tensors())


def time_variants(rounds: int, report: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Useful GFLOP/s forward+backward of the kernel and of eager PyTorch, for each variant of W1 with 16 samples."""
    found = variants(replace(W1, batch=16))
    calls = {}
    for workload in found:
        report(f"checking {workload.name}")
        for name in (KERNEL, EAGER):
            tensors = workload.tensors()
            if name == KERNEL:
                check_variant(workload)
            run = PEERS[name].forward_backward(workload)
            calls[f"{name}: {workload.name}"] = lambda run=run, tensors=tensors: run(tensors)
    report(f"timing, {rounds} rounds in turns")
    times = interleaved(calls, rounds)
    return [
        {
            "variant": workload.name,
            **{name: workload.gflops(times[f"{name}: {workload.name}"], backward=True) for name in (KERNEL, EAGER)},
        }
        for workload in found
    ]


def time_sizes(report: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Nanoseconds per cell and step and GFLOP/s of the kernel, forward+backward, with one size changed at a time."""
    base = Workload("scaling", shape=(16, 16, 16), batch=4, steps=8)
    sizes: list[tuple[str, Workload]] = []
    for side in (8, 16, 32, 64, 96):
        # Larger lattices run fewer samples and keep every fourth state, so that the row stays in memory.
        batch = max(1, min(64, 64**3 // side**3 // 4))
        sizes.append(
            (
                f"{side}x{side}x{side}, batch {batch}",
                replace(base, shape=(side, side, side), batch=batch, checkpoint_every=4),
            )
        )
    sizes += [(f"16x16x16, batch {b}", replace(base, batch=b)) for b in (1, 2, 3, 16, 64, 256)]
    sizes += [(f"state {s}", replace(base, state_size=s)) for s in (4, 8, 16, 24, 32, 64)]
    sizes += [(f"hidden {h}", replace(base, hidden_size=h)) for h in (16, 32, 64, 100, 128, 256)]
    rows = []
    threads = torch.get_num_threads()
    for name, workload in sizes:
        row: dict[str, Any] = {"size": name, "useful MFLOP per cell and step": 0.0}
        tensors = workload.tensors()
        run = PEERS[KERNEL].forward_backward(workload)
        per_cell_step = 3 * workload.forward_flops / workload.cell_steps
        row["useful MFLOP per cell and step"] = per_cell_step / 1e6
        for count in sorted({1, threads}):
            report(f"scaling: {name}, {count} threads")
            with torch_threads(count):
                seconds = interleaved({"run": partial(run, tensors)}, 3)["run"]
            nanoseconds = seconds / workload.cell_steps * 1e9
            row[f"ns, {count} threads"] = nanoseconds
            row[f"GFLOP/s, {count} threads"] = per_cell_step / nanoseconds
        rows.append(row)
    return rows
