"""`python -m cubefast.tune`: searches for a better config, trial by trial, on the validation part."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import cli
from .config import bounds
from .config.data import BUILTIN
from .config.run_config import TrainingConfig, named_configs
from .errors import InputError
from .training.progress import LiveLine
from .utils.terminal import paragraph

if TYPE_CHECKING:  # they need torch, and some Optuna, which may be missing
    from .data.datasets import Parts
    from .evaluation.baseline_comparison import Comparison
    from .tuning.folder import StudyFolder
    from .tuning.study import Study
    from .tuning.trial import Trial


def _run(arguments: argparse.Namespace) -> int:
    for package, name in (("optuna", "optuna"), ("sklearn", "scikit-learn")):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"cubefast.tune needs the package {name}; pip install 'cubefast[tune]'")
    import matplotlib

    from .training.distributed import process_group
    from .tuning.space import DEFAULT_SPACE
    from .tuning.study import open_study

    matplotlib.use("agg")  # Optuna draws with pyplot, which would look for a display

    if arguments.print_space:
        print(DEFAULT_SPACE, end="")
        return 0
    folder = _folder(arguments)
    config = folder.config
    try:
        with process_group(config.training.threads) as processes:
            if processes.world_size > 1:
                raise InputError("a study is the work of one process; start it with python -m cubefast.tune")
            print(f"study of {len(folder.space.mapping)} parameters, mode {config.mode} -> {folder.path}")
            print(f"reading     {'the built-in set' if config.data.path == BUILTIN else config.data.path}", flush=True)
            parts, comparison = _read(config)
            print(f"data        train {len(parts.train)}, validation {len(parts.validation)}; tests are not touched")
            with open_study(folder, parts, comparison) as study:
                return _search(study, arguments.trials, arguments.timeout)
    finally:
        folder.discard_if_unused()


def _folder(arguments: argparse.Namespace) -> StudyFolder:
    """The existing study that --study names, or a new one."""
    from .tuning.folder import StudyFolder
    from .tuning.space import SearchSpace

    if arguments.study is not None and os.path.exists(arguments.study):  # noqa: PTH110  (no error for a name that is too long)
        return StudyFolder.open(arguments.study, arguments.config, arguments.overrides, arguments.space)
    config = TrainingConfig.load(arguments.config, arguments.overrides).with_absolute_paths()
    return StudyFolder.create(arguments.study, config, SearchSpace.load(arguments.space, config))


def _read(config: TrainingConfig) -> tuple[Parts, Comparison]:
    """The data set, encoded and split, and the baselines fitted on its train part."""
    from .evaluation.baseline_comparison import Comparison
    from .training.open_data import open_data, split_data, task_of

    parts = split_data(config, open_data(config, cli.counting))
    return parts, Comparison(parts, task_of(config), config.data.noise)


def _search(study: Study, trials: int, timeout: float | None) -> int:
    """Run the trials and print their results; returns the exit code."""
    from .tuning.printing import header, summary, trial_line

    path = study.folder.path
    beginning = [paragraph(line, rest=" " * 12) for line in header(study, trials).splitlines()]
    print("\n".join(beginning) + "\n", flush=True)
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def print_trial(trial: Trial) -> None:
        print(paragraph(trial_line(study, trial, trials), rest="  "), flush=True)
        if interrupted:  # raised where Python ignores it: in a callback of a weak reference, of which Optuna has many
            raise KeyboardInterrupt

    previous_handler = signal.signal(signal.SIGINT, interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            study.run(trials, timeout, print_trial, LiveLine)
    finally:
        signal.signal(signal.SIGINT, previous_handler)
    if study.best is not None:
        print(
            f"{summary(study)}\n\nsaved in {path}\ntry: python -m cubefast.train --config {_quoted(path / 'best.yaml')}"
        )
    if study.done < trials:
        print(
            f"{'stopped by Ctrl-C' if interrupted else 'the time is up'} after {study.done} of {trials} trials. "
            f"Go on with: python -m cubefast.tune --study {_quoted(path)} --trials {trials}",
            file=sys.stderr,
        )
    if interrupted:
        return 130
    if study.done and study.best is None:
        print(f"error: every trial failed; {path / 'trials.jsonl'} has the reasons", file=sys.stderr)
        return 1
    return 0


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast tune` with these arguments (those of the process by default); returns the exit code."""
    parser = cli.parser(
        "tune",
        "Search for better settings of the lattice and the training, judged on the validation part. The config as it "
        "is comes first;\nthe tests are not touched: train with best.yaml to see those.",
    )
    parser.add_argument(
        "--config", metavar="NAME|FILE", help=f"to begin from: a YAML file, or one of: {', '.join(named_configs())}"
    )
    parser.add_argument("--space", type=Path, metavar="FILE", help="what to try, as --print-space prints it")
    parser.add_argument(
        "--print-space", action="store_true", help="print the default search space as YAML; tune nothing"
    )
    parser.add_argument(
        "--trials",
        type=bounds.whole(1, bounds.TRIALS),
        default=30,
        metavar="N",
        help="how many in all, with those of a study gone on with (30)",
    )
    parser.add_argument(
        "--timeout", type=bounds.number(1e-6, bounds.MANY), metavar="SECONDS", help="begin no trial after so long"
    )
    parser.add_argument(
        "--study", type=Path, metavar="FOLDER", help="a new folder, or a study to go on with (runs/tune)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the config, such as data=FILE")
    return cli.run(parser, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
