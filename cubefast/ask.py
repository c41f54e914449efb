"""`python -m cubefast.ask runs/NAME "question"`: the nearest answers of a trained run."""

from __future__ import annotations

import argparse
import textwrap

from . import cli
from .errors import InputError
from .pipeline import Pipeline


def _main(arguments: argparse.Namespace) -> int:
    if arguments.count < 1:
        raise InputError(f"--count must be at least 1; got {arguments.count}")
    answers = Pipeline.from_run(arguments.run)(arguments.question, arguments.count)
    for answer in answers:
        print(textwrap.fill(answer.text, 100, initial_indent=f"{answer.score:.3f}  ", subsequent_indent=" " * 7))
    return 0


if __name__ == "__main__":
    made = cli.parser("ask", "Ask a trained run a question; prints the nearest answers and their cosines.")
    made.add_argument("run", help="the run's folder, such as runs/dialogue")
    made.add_argument("question")
    made.add_argument("--count", type=int, default=3, help="how many answers (3)")
    raise SystemExit(cli.run(_main, made.parse_args()))
