"""`python -m cubefast.evaluate RUN`: is it any good, and where is it not? A report for a person, and its figures."""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import cli
from .evaluation.baselines import Baseline
from .evaluation.report import table
from .evaluation.summary import title_in_words
from .files import plain_name, write_atomically, write_json, writing
from .reporting.evaluation import Evaluation, evaluate_run
from .reporting.report import draw_pictures, render_report
from .reporting.results import per_query
from .reporting.run_data import RunData, open_run_data
from .training.run_folder import RunFolder

_DESCRIPTION = """Score a trained run beside all baselines on its held-out tests, and say in words what came of it.

Written into the run's folder (with data=FILE into RUN/evaluations/NAME/): report.md, report.html (one file, to be read
or printed), report.json, per_query.npz (every value of every query), and the pictures as SVG.

With data=FILE, all pairs of another file are the test. Nothing is fitted on it: core and baselines are the run's, and
it may share no text with what the run was trained on. data.* keys describe the file (data.columns.question=q)."""


def _run(arguments: argparse.Namespace) -> int:
    with RunFolder.open(arguments.run).locked():
        return _evaluate(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    began = time.perf_counter()
    run_data = open_run_data(arguments.run, arguments.overrides, cli.counting)
    folder = _folder(run_data)
    print("fitting the baselines on the training part")
    evaluation = evaluate_run(run_data, _print_fitted, lambda text: print(text, flush=True))
    write_report(evaluation, folder)
    if evaluation.headline:
        print(f"\n{evaluation.headline}")
    print(table([each.score for test in evaluation.tests for each in test.measured]))
    print(f"\n{evaluation.verdict}")
    for each in evaluation.verdicts:
        if each.verdict.enough_groups:
            print(f"  {title_in_words(each.test)}: {each.figures}")
    print(f"\n{time.perf_counter() - began:.0f} s; read {folder / 'report.html'} or {folder / 'report.md'}")
    return 0


def _print_fitted(baseline: Baseline, seconds: float) -> None:
    print(f"  {baseline.name} ({seconds:.1f} s)", flush=True)


def _folder(run_data: RunData) -> Path:
    """Where the report goes: beside what the run has, or in a folder for the other file."""
    if run_data.source is None:
        return run_data.run.path
    name = Path(run_data.source).name
    for suffix in (".gz", Path(name.removesuffix(".gz")).suffix):
        name = name.removesuffix(suffix)
    return run_data.run.path / "evaluations" / plain_name(name, f"data={run_data.source}, without its suffix,")


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """All files of a report, each whole or not there; report.json comes last."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    pictures = draw_pictures(evaluation)
    for name, picture in pictures.items():
        write_atomically(folder / name, picture)
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **per_query(evaluation.results))  # type: ignore[arg-type]  # taken for allow_pickle
    write_atomically(folder / "per_query.npz", arrays.getvalue())
    for form in ("html", "md"):
        write_atomically(folder / f"report.{form}", render_report(evaluation, form, pictures))
    write_json(folder / "report.json", evaluation.as_dict())


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast evaluate` with these arguments (those of the process by default); returns the exit code."""
    made = cli.parser("evaluate", _DESCRIPTION)
    made.add_argument("run", help="the run's folder, such as runs/dialogue")
    made.add_argument("overrides", nargs="*", metavar="data=FILE", help="another file to test on, and data.* keys")
    return cli.run(made, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
