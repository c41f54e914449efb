"""`python -m cubefast.bench`: the kernel beside its peers and its targets, on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from . import cli
from .errors import InputError
from .files import write_atomically, write_json
from .lattice.backends import facts
from .speed.measure import SGEMM, peak_memory_mb, time_peers
from .speed.peers import OURS, PEERS
from .speed.plots import bars
from .speed.sweeps import time_sizes, time_variants
from .speed.targets import (
    EAGER,
    KERNEL,
    Target,
    memory_targets,
    peer_targets,
    rate,
    sgemm_rate,
    shape_targets,
)
from .speed.workloads import SMALL, W1


def _say(text: str) -> None:
    print(f"  ... {text}", file=sys.stderr, flush=True)


def _main(arguments: argparse.Namespace) -> int:
    if arguments.rounds < 1:
        raise InputError(f"--rounds must be at least 1; got {arguments.rounds}")
    for path in (arguments.json, arguments.plot):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    environment = facts()
    if environment["kernel"] is None:
        raise InputError(f"nothing to measure: {environment['backends']['cpp']}")
    workload = SMALL if arguments.quick else W1
    names = [KERNEL, EAGER] if arguments.quick else list(PEERS)
    result: dict[str, Any] = {"environment": environment, "workload": workload.name}
    print(
        f"cubefast {environment['cubefast']}, kernel {environment['kernel']['isa']}, {environment['threads']} threads, "
        f"torch {environment['versions']['torch']}"
    )
    print(
        f"{workload.name}: batch {workload.batch}, lattice {workload.shape}, state {workload.state_size}, "
        f"hidden {workload.hidden_size}, {workload.steps} steps, float32. Useful GFLOP/s, medians of "
        f"{arguments.rounds} rounds in turns."
    )
    for name in names:
        if PEERS[name].missing:
            print(f"  left out: {name}: {PEERS[name].missing}")

    targets: list[Target] = []
    timings = {}
    for backward in (False, True):
        times = time_peers(workload, names, arguments.rounds, backward, _say)
        targets += peer_targets(times, workload, backward)
        timings["forward+backward" if backward else "forward"] = times
    memory = {}
    if not arguments.quick:
        for name in timings["forward"]:
            if name != SGEMM:
                _say(f"memory of {name}")
                memory[name] = peak_memory_mb(name, workload.name)

    rows = []
    header = f"\n{'':<28}{'forward':>9}{'x sgemm':>9}{'fwd+bwd':>10}{'x sgemm':>9}{'peak MB':>9}"
    print(header)
    for name in timings["forward"]:
        row: dict[str, Any] = {"name": name}
        cells = ""
        for kind, times in timings.items():
            product = sgemm_rate(times)
            value = product if name == SGEMM else rate(workload, times[name], kind != "forward")
            row[kind] = value
            row[f"{kind}, x sgemm"] = value / product
            cells += f"{value:>{9 if kind == 'forward' else 10}.0f}{value / product:>9.2f}"
        row["peak MB"] = memory.get(name)
        cells += f"{memory[name]:>9.0f}" if name in memory else ""
        rows.append(row)
        print(f"{name:<28}{cells}")
    result["peers"] = rows

    if not arguments.quick:
        targets += shape_targets(arguments.rounds, _say)
        targets += memory_targets(memory)
        print("\ntargets")
        for target in targets:
            sign = ">=" if target.at_least else "<="
            print(
                f"  {'met    ' if target.met else 'NOT MET'}  {target.measured:>8.2f} {target.unit:<2}  "
                f"(target {sign} {target.limit:g})  {target.what}"
            )
        result["targets"] = [{**vars(target), "met": target.met} for target in targets]
    if arguments.variants:
        result["variants"] = time_variants(arguments.rounds, _say)
        print("\nforward+backward of each named option, batch 16, useful GFLOP/s")
        for line in result["variants"]:
            print(f"  {line['variant']:<28}" + "".join(f"  {name} {line[name]:>5.0f}" for name in (KERNEL, EAGER)))
    if arguments.scaling:
        result["scaling"] = time_sizes(_say)
        print("\nforward+backward, time per cell and step")
        columns = [key for key in result["scaling"][0] if key.startswith(("ns", "GFLOP"))]
        print(f"  {'':<28}" + "".join(f"{column:>20}" for column in columns))
        for line in result["scaling"]:
            print(f"  {line['size']:<28}" + "".join(f"{line[column]:>20.1f}" for column in columns))
    if arguments.json:
        write_json(arguments.json, result)
    if arguments.plot:
        write_atomically(arguments.plot, bars(rows, ours=OURS, reference=SGEMM))
    return 0


if __name__ == "__main__":
    made = cli.parser(
        "bench", "Measure the kernel beside its peers, and its targets. Minutes; leave the machine alone."
    )
    made.add_argument("--rounds", type=int, default=7, help="timed calls of each, in turns (7)")
    made.add_argument("--quick", action="store_true", help="a small workload and two peers, to see that it runs")
    made.add_argument("--scaling", action="store_true", help="also time per cell along every size")
    made.add_argument("--variants", action="store_true", help="also every activation, update, boundary, ... by itself")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    made.add_argument("--plot", type=Path, metavar="FILE.png", help="draw throughput and memory")
    raise SystemExit(cli.run(_main, made.parse_args()))
