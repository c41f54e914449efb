"""What the commands share: `cubefast X` is `python -m cubefast.X`, and how a command ends.

Exit codes: 0 done, 1 failure, 2 bad input or usage, 130 Ctrl-C. A traceback is shown with --debug only.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from .errors import DiskError, InputError
from .output import VisibleStream, unfiltered, visible_output

COMMANDS = {
    "train": "train a core and leave a run's folder",
    "data": "what a data set is made of, and what the quality filter drops",
    "evaluate": "a report of how good a trained run is, beside all baselines",
    "compare": "evaluated runs side by side",
    "ask": "ask a trained run a question",
    "tune": "search for better settings of the lattice and the training",
    "export": "make a folder to publish of a run, with a model card",
    "doctor": "which backend is active, and why",
}


class _Parser(argparse.ArgumentParser):
    """Its messages repeat what was typed, and are shown before a command runs."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(message, VisibleStream(file or sys.stderr) if file or sys.stderr else None)


def parser(command: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A command's parser, with --debug."""
    made = _Parser(
        prog=f"python -m cubefast.{command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def run(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command and turn its errors into a message and an exit code. All it prints is made visible."""
    with visible_output():
        try:
            code = command(arguments)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print("\nstopped; nothing was saved", file=sys.stderr)
            return 130
        except BrokenPipeError:
            sys.stderr.close()  # whoever read our output has had enough
            return 1
        except Exception as error:
            if arguments.debug:
                traceback.print_exc()
            if "No usable temporary directory" in str(error):  # torch and matplotlib ask Python for one
                error = InputError(f"{error}. Set TMPDIR to a folder that can be written")
            expected = isinstance(error, InputError)
            if not arguments.debug:
                known = expected or isinstance(error, DiskError)
                print(f"error: {'' if known else f'{type(error).__name__}: '}{error}", file=sys.stderr)
                if not known:
                    print("(--debug shows where)", file=sys.stderr)
            return 2 if expected else 1


def counting(what: str, total: int) -> Callable[[int], None]:
    """A bar for a job of ``total`` texts, to be called with how many are done; off a terminal one line at the end."""
    began = time.perf_counter()
    bar = tqdm(total=total, desc=what, unit="text", file=unfiltered(sys.stdout)) if sys.stdout.isatty() else None

    def show(done: int) -> None:
        nonlocal total
        if bar is not None:
            bar.update(done - bar.n)
        if done >= total:
            total = sys.maxsize  # said once
            if bar is not None:
                bar.close()
            else:
                print(f"{what}: {done} texts in {time.perf_counter() - began:.1f} s", flush=True)

    return show


def main() -> None:
    """The `cubefast` program."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        wanted = sys.argv[1:2] in ([], ["-h"], ["--help"])
        with visible_output():
            print("usage: cubefast COMMAND [...]; `cubefast COMMAND --help` tells more\n")
            for name, meaning in COMMANDS.items():
                print(f"  {name:<8} {meaning}")
            if not wanted:
                print(f"\nerror: no command {sys.argv[1]!r}", file=sys.stderr)
        raise SystemExit(0 if wanted else 2)
    command = sys.argv.pop(1)
    runpy.run_module(f"cubefast.{command}", run_name="__main__")
