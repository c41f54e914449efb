"""`python -m cubefast.bench`: the kernel beside its peers, or the training beside its budget, on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import bounds, cli
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
    training_targets,
)
from .speed.training import LITTLE, LONG, MEDQUAD, Files, RandomPairs, time_training
from .speed.workloads import SMALL, W1


def _say(text: str) -> None:
    print(f"  ... {text}", file=sys.stderr, flush=True)


_KERNEL_OPTIONS = ("rounds", "scaling", "variants", "plot")
_TRAINING_OPTIONS = ("pairs", "dim", "data", "vectors", "epochs")


def _run(arguments: argparse.Namespace) -> int:
    others = _KERNEL_OPTIONS if arguments.training else _TRAINING_OPTIONS
    if given := [f"--{option}" for option in others if getattr(arguments, option)]:
        place = "without" if arguments.training else "with"
        raise InputError(f"{', '.join(given)}: only {place} --training")
    if arguments.vectors and not arguments.data:
        raise InputError("--vectors needs --data, the questions and answers that they are of")
    if arguments.data and (arguments.pairs or arguments.dim):
        raise InputError("--pairs and --dim are of random pairs; leave them or --data out")
    pairs, dim = arguments.pairs or MEDQUAD.pairs, arguments.dim or MEDQUAD.dim
    if pairs * dim > bounds.NUMBERS:
        raise InputError(f"{pairs:,} pairs of {dim:,} numbers are more than {bounds.NUMBERS:,} numbers; ask for fewer")
    for path in (arguments.json, arguments.plot):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    environment = facts()
    if environment["kernel"] is None:
        raise InputError(f"nothing to measure: {environment['backends']['cpp']}")
    print(
        f"cubefast {environment['cubefast']}, kernel {environment['kernel']['isa']}, {environment['threads']} threads, "
        f"torch {environment['versions']['torch']}"
    )
    result = _training(arguments) if arguments.training else _kernel(arguments)
    if arguments.json:
        write_json(arguments.json, {"environment": environment, **result})
    if arguments.plot:
        write_atomically(arguments.plot, bars(result["peers"], ours=OURS, reference=SGEMM))
    return 0


def _training(arguments: argparse.Namespace) -> dict[str, Any]:
    """Epochs of the trainer, their table and targets."""
    epochs = arguments.epochs or 3
    size = LITTLE if arguments.quick else MEDQUAD
    usual: RandomPairs | Files = RandomPairs(arguments.pairs or size.pairs, arguments.dim or size.dim)
    if arguments.data:
        usual = Files(arguments.data, arguments.vectors)
    print(f"Training with the default config; medians of {epochs} epochs after one to warm up.")
    titles = f"{'s/epoch':>9}{'pairs/s':>9}{'GFLOP/s':>9}{'x sgemm':>9}{'not kernel':>12}{'peak MB':>9}{'others':>8}"
    print(f"\n{'pairs':<16}{titles}")
    found = []
    for source in [usual] if arguments.quick else [usual, LONG]:
        _say(f"training: {1 + epochs} epochs, with sgemm before and after each")
        trained = time_training(source, epochs)
        found.append(trained)
        note = f"  (measured on {trained.measured:,} pairs)" if trained.measured < trained.pairs else ""
        print(
            f"{trained.name:<16}{trained.seconds:>9.1f}{trained.pairs / trained.seconds:>9.0f}{trained.gflops:>9.0f}"
            f"{trained.times_sgemm:>9.2f}{trained.outside_percent:>11.1f}%{trained.peak_mb:>9.0f}"
            f"{trained.others_percent:>7.0f}%{note}",
            flush=True,
        )
    print("(others: CPU time that other processes took; the figures hold where it is near 0%)")
    targets = [] if arguments.quick else training_targets(*found)
    _print_targets(targets)
    return {"training": [asdict(trained) for trained in found], "targets": _as_json(targets)}


def _as_json(targets: list[Target]) -> list[dict[str, Any]]:
    return [{**vars(target), "met": target.met} for target in targets]


def _print_targets(targets: list[Target]) -> None:
    if targets:
        print("\ntargets")
    for target in targets:
        sign = ">=" if target.at_least else "<="
        print(
            f"  {'met    ' if target.met else 'NOT MET'}  {target.measured:>8.2f} {target.unit:<2}  "
            f"(target {sign} {target.limit:g})  {target.what}"
        )


def _kernel(arguments: argparse.Namespace) -> dict[str, Any]:
    """The kernel and its peers, their table and targets."""
    rounds = arguments.rounds or 7
    workload = SMALL if arguments.quick else W1
    names = [KERNEL, EAGER] if arguments.quick else list(PEERS)
    result: dict[str, Any] = {"workload": workload.name}
    print(
        f"{workload.name}: batch {workload.batch}, lattice {workload.shape}, state {workload.state_size}, "
        f"hidden {workload.hidden_size}, {workload.steps} steps, float32. Useful GFLOP/s, medians of "
        f"{rounds} rounds in turns."
    )
    for name in names:
        if PEERS[name].missing:
            print(f"  left out: {name}: {PEERS[name].missing}")

    targets: list[Target] = []
    timings = {}
    for backward in (False, True):
        times = time_peers(workload, names, rounds, backward, _say)
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
        targets += shape_targets(rounds, _say)
        targets += memory_targets(memory)
        _print_targets(targets)
        result["targets"] = _as_json(targets)
    if arguments.variants:
        result["variants"] = time_variants(rounds, _say)
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
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast bench` with these arguments (those of the process by default); returns the exit code."""
    made = cli.parser(
        "bench",
        "Measure the kernel beside its peers, or the training beside its budget, and the targets. Minutes; leave the "
        "machine alone.",
    )
    made.add_argument("--quick", action="store_true", help="something small, to see that it runs")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    rounds, numbers = bounds.whole(1, bounds.ROUNDS), bounds.whole(1, bounds.NUMBERS)
    kernel = made.add_argument_group("the kernel")
    kernel.add_argument("--rounds", type=rounds, metavar="N", help="timed calls of each, in turns (7)")
    kernel.add_argument("--scaling", action="store_true", help="also time per cell along every size")
    kernel.add_argument(
        "--variants", action="store_true", help="also every activation, update, boundary, ... by itself"
    )
    kernel.add_argument("--plot", type=Path, metavar="FILE.png", help="draw throughput and memory")
    training = made.add_argument_group("the training")
    training.add_argument("--training", action="store_true", help="measure epochs of the trainer instead of the kernel")
    training.add_argument("--pairs", type=numbers, metavar="N", help=f"random pairs to train on ({MEDQUAD.pairs})")
    training.add_argument("--dim", type=numbers, metavar="D", help=f"numbers of each ({MEDQUAD.dim})")
    training.add_argument("--data", metavar="FILE", help="train on this file's questions and answers instead")
    training.add_argument("--vectors", metavar="FILE", help="their embeddings, as the key data.vectors")
    training.add_argument("--epochs", type=rounds, metavar="N", help="timed epochs, after one to warm up (3)")
    return cli.run(made, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
