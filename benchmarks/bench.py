"""Measure the kernel beside other implementations, or epochs of the trainer, and the targets of both.

    python benchmarks/bench.py               # the kernel: about ten minutes
    python benchmarks/bench.py --training    # the trainer
    python benchmarks/bench.py --quick       # something small, to see that it runs

Leave the machine alone meanwhile, and compare only figures of one run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speed.measure import SGEMM, SGEMM_SIZE, WrongAnswer, sgemm_flops, time_peers
from speed.memory import peak_memory_mb
from speed.peers import EAGER, KERNEL, OURS, PEERS
from speed.plots import bars
from speed.sweeps import time_sizes, time_variants
from speed.targets import Target, memory_targets, peer_targets, shape_targets, training_targets
from speed.training import LITTLE, LONG, MEDQUAD, PairFiles, RandomPairs, time_training
from speed.workloads import SMALL, W1

from cubefast.config import bounds
from cubefast.errors import InputError
from cubefast.lattice.diagnostics import facts
from cubefast.utils.files import write_atomically, write_json

_KERNEL_OPTIONS = ("rounds", "scaling", "variants", "plot")
_TRAINING_OPTIONS = ("pairs", "dim", "data", "vectors", "epochs")
_QUICK_SGEMM_SIZE = 256


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark with the arguments of a command line, by default those of this process.

    Returns:
        0; or 1, after a message on stderr, when a peer computes something wrong.

    Raises SystemExit with code 2, after a message on stderr, for arguments that do not fit.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        _check(arguments)
        environment = facts()
        if environment["kernel"] is None:
            raise InputError(f"nothing to measure: {environment['backends']['cpp']}")
        versions = f"cubefast {environment['cubefast']}, kernel {environment['kernel']['isa']}"
        print(f"{versions}, {environment['threads']} threads, torch {environment['versions']['torch']}")
        result = _measure_training(arguments) if arguments.training else _measure_kernel(arguments)
    except InputError as error:
        parser.error(str(error))
    except WrongAnswer as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        write_json(arguments.json, {"environment": environment, **result})
    if arguments.plot:
        write_atomically(arguments.plot, bars(result["peers"], ours=OURS, reference=SGEMM))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="something small, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    rounds, numbers = bounds.whole(1, 10_000), bounds.whole(1, bounds.NUMBERS)
    kernel = parser.add_argument_group("the kernel")
    kernel.add_argument("--rounds", type=rounds, metavar="N", help="timed calls of each, in turns (7)")
    kernel.add_argument(
        "--scaling", action="store_true", help="also the time per cell, with one size changed at a time"
    )
    kernel.add_argument("--variants", action="store_true", help="also each activation, update, boundary, ... by itself")
    kernel.add_argument("--plot", type=Path, metavar="FILE.png", help="draw throughput and memory")
    training = parser.add_argument_group("the trainer")
    training.add_argument("--training", action="store_true", help="measure epochs of the trainer and not the kernel")
    training.add_argument("--pairs", type=numbers, metavar="N", help=f"random pairs to train on ({MEDQUAD.pairs})")
    training.add_argument("--dim", type=numbers, metavar="D", help=f"numbers of each embedding ({MEDQUAD.dim})")
    training.add_argument("--data", metavar="FILE", help="train on the questions and answers of this file instead")
    training.add_argument("--vectors", metavar="FILE", help="their embeddings, see the key data.vectors")
    training.add_argument("--epochs", type=rounds, metavar="N", help="timed epochs, after one to warm up (3)")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    """Raise InputError for arguments that do not fit each other."""
    unused = _KERNEL_OPTIONS if arguments.training else _TRAINING_OPTIONS
    if given := [f"--{option}" for option in unused if getattr(arguments, option)]:
        raise InputError(f"{', '.join(given)}: only {'without' if arguments.training else 'with'} --training")
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


def _report(text: str) -> None:
    print(f"  ... {text}", file=sys.stderr, flush=True)


def _measure_training(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time epochs of the trainer; print and return their table and the targets."""
    epochs = arguments.epochs or 3
    size = LITTLE if arguments.quick else MEDQUAD
    usual: RandomPairs | PairFiles = RandomPairs(arguments.pairs or size.pairs, arguments.dim or size.dim)
    if arguments.data:
        usual = PairFiles(arguments.data, arguments.vectors)
    print(f"Training with the default config; medians of {epochs} epochs after one to warm up.")
    titles = f"{'s/epoch':>9}{'pairs/s':>9}{'GFLOP/s':>9}{'x sgemm':>9}{'not kernel':>12}{'peak MB':>9}{'others':>8}"
    print(f"\n{'pairs':<16}{titles}")
    timings = []
    for source in [usual] if arguments.quick else [usual, LONG]:
        _report(f"training: {1 + epochs} epochs, with sgemm before and after each")
        timing = time_training(source, epochs, _QUICK_SGEMM_SIZE if arguments.quick else SGEMM_SIZE)
        timings.append(timing)
        note = f"  (measured on {timing.measured:,} pairs)" if timing.measured < timing.pairs else ""
        print(
            f"{timing.name:<16}{timing.seconds:>9.1f}{timing.pairs / timing.seconds:>9.0f}{timing.gflops:>9.0f}"
            f"{timing.times_sgemm:>9.2f}{timing.outside_percent:>11.1f}%{timing.peak_mb:>9.0f}"
            f"{timing.others_percent:>7.0f}%{note}",
            flush=True,
        )
    print("(others: CPU time that other processes took; the figures are reliable where it is near 0%)")
    targets = [] if arguments.quick else training_targets(*timings)
    _print_targets(targets)
    return {"training": [asdict(timing) for timing in timings], "targets": _as_json(targets)}


def _measure_kernel(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the kernel and its peers; print and return their table, the targets and the sweeps that were asked for."""
    rounds = arguments.rounds or 7
    workload = SMALL if arguments.quick else W1
    names = [KERNEL, EAGER] if arguments.quick else list(PEERS)
    sgemm_size = _QUICK_SGEMM_SIZE if arguments.quick else SGEMM_SIZE
    print(
        f"{workload.name}: batch {workload.batch}, lattice {workload.shape}, state {workload.state_size}, "
        f"hidden {workload.hidden_size}, {workload.steps} steps, float32. Useful GFLOP/s, medians of "
        f"{rounds} rounds in turns. sgemm multiplies matrices of {sgemm_size} x {sgemm_size}."
    )
    for name in names:
        if PEERS[name].missing:
            print(f"  left out: {name}: {PEERS[name].missing}")

    times = {backward: time_peers(workload, names, rounds, backward, _report, sgemm_size) for backward in (False, True)}
    memory = {}
    if not arguments.quick:
        for name in times[False]:
            if name != SGEMM:
                _report(f"memory of {name}")
                memory[name] = peak_memory_mb(name, workload.name)

    rows = []
    print(f"\n{'':<28}{'forward':>9}{'x sgemm':>9}{'fwd+bwd':>10}{'x sgemm':>9}{'peak MB':>9}")
    for name in times[False]:
        row: dict[str, Any] = {"name": name}
        cells = ""
        for kind, backward in (("forward", False), ("forward+backward", True)):
            seconds = times[backward][name]
            sgemm = sgemm_flops(sgemm_size) / times[backward][SGEMM] / 1e9
            value = sgemm if name == SGEMM else workload.gflops(seconds, backward)
            row[kind] = value
            row[f"{kind}, x sgemm"] = value / sgemm
            cells += f"{value:>{10 if backward else 9}.0f}{value / sgemm:>9.2f}"
        row["peak MB"] = memory.get(name)
        cells += f"{memory[name]:>9.0f}" if name in memory else ""
        rows.append(row)
        print(f"{name:<28}{cells}")
    result: dict[str, Any] = {"workload": workload.name, "peers": rows}

    if not arguments.quick:
        targets = [target for backward, each in times.items() for target in peer_targets(each, workload, backward)]
        targets += [*shape_targets(rounds, _report), *memory_targets(memory)]
        _print_targets(targets)
        result["targets"] = _as_json(targets)
    if arguments.variants:
        result["variants"] = time_variants(rounds, _report)
        print("\nforward+backward of each named option, batch 16, useful GFLOP/s")
        for line in result["variants"]:
            print(f"  {line['variant']:<28}" + "".join(f"  {name} {line[name]:>5.0f}" for name in (KERNEL, EAGER)))
    if arguments.scaling:
        result["scaling"] = time_sizes(_report)
        print("\nforward+backward, time per cell and step")
        columns = [key for key in result["scaling"][0] if key.startswith(("ns", "GFLOP"))]
        print(f"  {'':<28}" + "".join(f"{column:>20}" for column in columns))
        for line in result["scaling"]:
            print(f"  {line['size']:<28}" + "".join(f"{line[column]:>20.1f}" for column in columns))
    return result


def _print_targets(targets: list[Target]) -> None:
    if targets:
        print("\ntargets")
    for target in targets:
        sign = ">=" if target.at_least else "<="
        print(
            f"  {'met    ' if target.met else 'NOT MET'}  {target.measured:>8.2f} {target.unit:<2}  "
            f"(target {sign} {target.limit:g})  {target.what}"
        )


def _as_json(targets: list[Target]) -> list[dict[str, Any]]:
    return [{**asdict(target), "met": target.met} for target in targets]


if __name__ == "__main__":
    raise SystemExit(main())
