"""The `cubefast` program, and what its commands share: the parser, the messages of errors, and the exit codes.

Each command is a module with ``main(argv) -> int``, which `cubefast X` and `python -m cubefast.X` call.
Exit codes: 0 done, 1 failure, 2 bad input or usage, 130 Ctrl-C. A traceback is shown with --debug only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ._version import __version__
from .errors import DiskError, InputError
from .utils.escaping import unfiltered, visible, visible_output
from .utils.terminal import labelled, wrapped

_bars: set[Any] = set()  # that are on the terminal

COMMANDS = {
    "train": "train a core and leave a run's folder",
    "pairs": "make training pairs from documents, where there are no questions",
    "data": "statistics of a data set, and what the quality filter drops",
    "evaluate": "a report of how good a trained run is, beside all baselines",
    "compare": "evaluated runs side by side",
    "ask": "ask a trained run a question",
    "serve": "a trained run behind HTTP, with a page to look at",
    "tune": "search for better settings of the lattice and the training",
    "export": "make a folder to publish of a run, with a model card",
    "doctor": "which backend is active, and why",
}


def parser(command: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """The argument parser of a command, with the options --debug and --version that all commands have.

    ``description`` and ``epilog`` are wrapped to the window; lines in them that begin with a blank stay lines.
    """
    made = argparse.ArgumentParser(
        prog=f"python -m cubefast.{command}",
        description=description,
        epilog=epilog,
        formatter_class=_HelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"cubefast {__version__}")
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def check_output(path: Path, suffixes: Sequence[str]) -> None:
    """Raise InputError, before the work begins, for an --output that cannot be written or has none of the suffixes."""
    from .utils.files import is_folder, plain_name  # with pydantic, which --help does without

    if path.suffix.lower() not in suffixes:
        raise InputError(f"--output must end in {' or '.join(suffixes)}; got {path}")
    plain_name(path.name, "the file of --output")
    if not is_folder(path.parent):
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    if is_folder(path):
        raise InputError(f"{path} cannot be written: it is a folder")


def run_parser(command: str, description: str) -> argparse.ArgumentParser:
    """The :func:`parser` of a command that answers questions with a run: the run, and where its answers come from."""
    made = parser(command, description)
    made.add_argument("run", help="the run's folder, such as runs/dialogue")
    made.add_argument(
        "--answers",
        metavar="FILE",
        help="further answers, on which the run was not trained: a text file with one in each line, or a data file",
    )
    made.add_argument(
        "--encoder",
        metavar="NAME",
        help="the encoder of a run on ready embeddings, such as openai:MODEL; else the run's own at another place",
    )
    made.add_argument(
        "--index",
        choices=("exact", "usearch"),
        default="exact",
        help="usearch: approximate; builds an index first (minutes for 100,000 answers), then answers at once",
    )
    return made


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps the paragraphs of a description and, each by itself, the lines that begin with a blank."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for line in text.splitlines():
            if line.strip() and lines and lines[-1].strip() and " " not in (line[0], lines[-1][0]):
                lines[-1] += f" {line}"
            else:
                lines.append(line)
        return "\n".join(_filled(line, width) for line in lines)


def _filled(line: str, width: int) -> str:
    """A paragraph, or a line of a list, "  name   meaning", whose meaning goes on below itself."""
    item = re.fullmatch(r"( .*\S {2,})(\S.*)", line)
    if item is None:
        return wrapped(line, width, line[: len(line) - len(line.lstrip())])
    hanging = len(item[1]) if len(item[1]) < width - 36 else 8
    return wrapped(item[2], width, item[1], " " * hanging)


def run(
    parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], int], argv: Sequence[str] | None
) -> int:
    """Parse the arguments, run the command, and turn its errors into a message and an exit code.

    Args:
        parser: of the command, from :func:`parser`.
        command: the work; takes the parsed arguments, with ``argv`` as an attribute, and returns an exit code.
        argv: the arguments; None: those of the process.

    Whatever is printed is made visible (see :mod:`cubefast.utils.escaping`).
    """
    debug = False
    with visible_output():
        try:
            try:
                arguments = parser.parse_intermixed_args(argv)
            except SystemExit as end:  # argparse has printed its help, or what is wrong
                return int(end.code or 0)
            arguments.argv = list(sys.argv[1:] if argv is None else argv)
            debug = arguments.debug
            try:
                code = command(arguments)
            finally:
                while _bars:  # of work that has failed: what is said of it has a line of its own
                    _bars.pop().close()
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print("\nstopped before the work was done", file=sys.stderr)
            return 130
        except BrokenPipeError:  # whoever reads the output has had enough
            return 1
        except Exception as error:
            if debug:
                traceback.print_exc()
            if "No usable temporary directory" in str(error):  # torch and matplotlib ask Python for one
                error = InputError(f"{error}. Set TMPDIR to a folder that can be written")
            expected = isinstance(error, InputError)
            if not debug:
                known = expected or isinstance(error, DiskError)
                print(f"error: {'' if known else f'{type(error).__name__}: '}{error}", file=sys.stderr)
                if not known:
                    print("(--debug shows where)", file=sys.stderr)
            return 2 if expected else 1


def exit_process(code: int) -> NoReturn:
    """End this process with the exit code of a command's ``main``.

    One of several processes that torchrun started ends without Python's finalization: destroy_process_group does not
    end gloo's threads where DistributedDataParallel was used (torch 2.13), and one that still holds a tensor during
    finalization aborts the process, although its work is done and saved.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # whoever read it has gone, or the disk is full: Python shall not try again
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        os._exit(code)
    raise SystemExit(code)


def counting(what: str, total: int, unit: str = "texts") -> Callable[[int], None]:
    """A progress bar of ``total`` texts or other units on a terminal, and a line at the end everywhere.

    What it returns is called with the number done: first with those that were in the cache.
    """
    label, _, rest = what.partition(" ")
    began = time.perf_counter()
    found: int | None = None
    bar: Any = None

    def show(done: int) -> None:
        nonlocal found, bar, total
        if found is None:
            found = done
            if done < total and sys.stdout.isatty():
                from tqdm import tqdm

                shape = f"{label:<12}{{n:,}} of {{total:,}} {unit}, {{remaining}} left |{{bar:20}}| {{desc}}"
                bar = tqdm(
                    total=total,
                    initial=done,
                    desc=visible(rest),
                    bar_format=shape,
                    dynamic_ncols=True,
                    leave=False,
                    file=unfiltered(sys.stdout),
                )
                _bars.add(bar)
        if bar is not None:
            bar.update(done - bar.n)
        if done >= total:
            if bar is not None:
                bar.close()
                _bars.discard(bar)
            cached = f" ({found:,} from the cache)" if found else ""
            took = "from the cache" if found == total else f"in {time.perf_counter() - began:.1f} s{cached}"
            print(labelled(label, f"{rest}: {total:,} {unit} {took}"), flush=True)
            total = sys.maxsize  # the line is printed once

    return show


def main(argv: Sequence[str] | None = None) -> int:
    """The `cubefast` program: run the command that the first argument names; returns its exit code."""
    command, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in COMMANDS:
        module = "data.__main__" if command == "data" else command
        return int(importlib.import_module(f"cubefast.{module}").main(arguments))
    if command == "--version":
        print(f"cubefast {__version__}")
        return 0
    wanted = command in ("-h", "--help")
    with visible_output():
        print("usage: cubefast COMMAND [...]; `cubefast COMMAND --help` tells more\n")
        for name, meaning in COMMANDS.items():
            print(f"  {name:<8} {meaning}")
        if not wanted:
            print(f"\nerror: no command {command!r}", file=sys.stderr)
    return 0 if wanted else 2


def program() -> NoReturn:
    """The `cubefast` program as a process of its own."""
    exit_process(main())
