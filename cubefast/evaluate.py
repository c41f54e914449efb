"""`python -m cubefast.evaluate RUN`: is it any good, and where is it not? A report for a person, and its figures."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence

from . import cli
from .utils.terminal import columns, paragraph

_DESCRIPTION = """Score a trained run beside all baselines on its held-out tests, and say in words what came of it.

Written into the run's folder (with data=FILE into RUN/evaluations/NAME/): report.md, report.html (one file, to be read
or printed), report.json, per_query.npz (every value of every query), and the pictures as SVG.

With data=FILE, all pairs of another file are the test. Nothing is fitted on it: core and baselines are the run's, and
it may share no question with training. data.* keys describe the file (data.columns.question=q)."""


def _run(arguments: argparse.Namespace) -> int:
    from .training.run_folder import RunFolder

    with RunFolder.open(arguments.run).locked():
        return _evaluate(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    from .evaluation.headline import title_in_words
    from .evaluation.score_table import table
    from .reporting.evaluate_run import evaluate_run
    from .reporting.report import folder_of_report, write_report
    from .reporting.run_data import open_run_data

    began = time.perf_counter()
    run_data = open_run_data(arguments.run, arguments.overrides, cli.counting)
    folder = folder_of_report(run_data)
    counting = functools.partial(cli.counting, unit="steps")
    evaluation = evaluate_run(run_data, lambda text: print(text, flush=True), counting)
    write_report(evaluation, folder)
    if evaluation.main.headline:
        print("\n" + paragraph(evaluation.main.headline))
    print(table([each.score for test in evaluation.tests for each in test.measured], columns()))
    print("\n" + paragraph(evaluation.verdict))
    for each in evaluation.main.verdicts:
        if each.verdict.enough_groups:
            print(f"  {title_in_words(each.test)}: {each.figures}")
    print(f"\n{time.perf_counter() - began:.0f} s; read {folder / 'report.html'} or {folder / 'report.md'}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast evaluate` with these arguments (those of the process by default); returns the exit code."""
    made = cli.parser("evaluate", _DESCRIPTION)
    made.add_argument("run", help="the run's folder, such as runs/dialogue")
    made.add_argument("overrides", nargs="*", metavar="data=FILE", help="another file to test on, and data.* keys")
    return cli.run(made, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
