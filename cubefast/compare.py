"""`python -m cubefast.compare RUN RUN ...`: evaluated runs side by side, with paired intervals."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import cli
from .utils.files import write_atomically
from .utils.terminal import columns


def _run(arguments: argparse.Namespace) -> int:
    from .reporting.compare_runs import compare_runs, render_comparison

    output: Path | None = arguments.output
    if output is not None:
        cli.check_output(output, (".md", ".html"))
    comparison = compare_runs(arguments.runs)
    print(render_comparison(comparison, "txt", columns()), end="")
    if output is not None:
        write_atomically(output, render_comparison(comparison, output.suffix[1:].lower()))
        print(f"\nwritten to {output}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast compare` with these arguments (those of the process by default); returns the exit code."""
    made = cli.parser(
        "compare",
        "Print evaluated runs side by side: scores on the same test pairs, the difference of each to the first with "
        "its 95% interval, and the settings that differ. Runs of different encoders are compared by ranks. "
        "`python -m cubefast.evaluate RUN` comes first.",
    )
    made.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or RUN/evaluations/NAME")
    made.add_argument("--output", type=Path, metavar="FILE", help="also write it as FILE.md or FILE.html")
    return cli.run(made, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
