"""`python -m cubefast.train`: the main job, from texts to a trained core beside its baselines."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from . import cli
from .config.run_config import TrainingConfig, named_configs
from .config.settings import describe_keys
from .errors import DiskError, InputError


def _run(arguments: argparse.Namespace) -> int:
    from .train_run import train, train_as_worker
    from .training.distributed import LostProcessError, process_group
    from .training.run_folder import RunFolder

    run = None
    if arguments.resume is not None:
        if arguments.config is not None:
            raise InputError("--resume goes on with the run's own config; leave --config out")
        if others := [item for item in arguments.overrides if not item.startswith("training.epochs=")]:
            raise InputError(f"--resume may change training.epochs only; got {' '.join(others)}. Train anew for others")
        run = RunFolder.resume(arguments.resume)
        arguments.config = run.path / "config.yaml"
    config = TrainingConfig.load(arguments.config, arguments.overrides)
    if arguments.print_config:
        print(config.to_yaml(), end="")
        return 0
    if run is None:
        config = config.with_absolute_paths()  # the run's folder may be read from anywhere
    resume_advice = ""
    resume = run is not None and not run.was_never_saved
    try:
        with process_group(config.training.threads) as processes:
            if not processes.is_main:
                train_as_worker(config, run, processes, resume=resume)
                return 0
            if run is not None and not resume:
                print("note: the run was stopped before its first epoch was saved; it begins anew", file=sys.stderr)
            run = run or RunFolder.create(config.runs, config.name, config.mode)
            torchrun = f"torchrun --nproc-per-node={processes.local_world_size}"
            command = "python" if processes.world_size == 1 else torchrun
            resume_advice = f"Go on with: {command} -m cubefast.train --resume {shlex.quote(str(run.path))}"
            with run.locked():
                result = train(config, run, processes, resume=resume, argv=arguments.argv)
    except (LostProcessError, DiskError) as error:
        if run is None or not resume_advice or not any(run.checkpoints.glob("epoch-*")):
            raise
        raise type(error)(f"{error}. {resume_advice}") from error
    if result is not None and result.stopped == "interrupted":
        print(f"stopped by Ctrl-C; the best core so far is in {run.path / 'best'}. {resume_advice}", file=sys.stderr)
        return 130
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast train` with these arguments (those of the process by default); returns the exit code."""
    parser = cli.parser(
        "train",
        "Train a lattice of cells to turn one embedding into another, and score it beside its baselines.",
        f"keys and their defaults:\n{describe_keys(TrainingConfig)}",
    )
    parser.add_argument(
        "--config",
        metavar="NAME|FILE",
        help=f"a YAML file, or one of: {', '.join(named_configs())}",
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with runs/NAME where it stopped, to the same bits")
    parser.add_argument("--print-config", action="store_true", help="print the whole config as YAML and train nothing")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="such as data=faq.csv encoder=st:all-MiniLM-L6-v2 training.lr=1e-3",
    )
    return cli.run(parser, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
