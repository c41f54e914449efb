"""`python -m cubefast.export`: make a folder to publish from a run. Nothing is uploaded."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from . import cli
from .utils.terminal import paragraph


def _run(arguments: argparse.Namespace) -> int:
    from .integrations.model_folder import write_model_folder

    names = write_model_folder(
        arguments.run, arguments.folder, operators=arguments.torch, onnx=arguments.onnx, license=arguments.license
    )
    print(paragraph(f"made {arguments.folder} with {', '.join(names)}"))
    hint = (
        "Its README.md says what the core can and cannot do, with intervals if you run cubefast.evaluate before this."
    )
    print("\n" + paragraph(hint))
    print("To publish it on the hub:")
    print(f"  hf upload OWNER/NAME {shlex.quote(arguments.folder)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast export` with these arguments (those of the process by default); returns the exit code."""
    made = cli.parser(
        "export",
        "Make a folder to publish of a finished run: the core, a model card written from the report, the settings. The "
        "bank of answers stays in the run.",
    )
    made.add_argument("run", help="the run's folder, such as runs/dialogue")
    made.add_argument("folder", help="a new folder")
    made.add_argument(
        "--torch",
        choices=("kernel", "plain"),
        help="also core.pt2, a program of torch.export. kernel: with cubefast's operator, fast, for where cubefast is "
        "installed; plain: with torch's own operators only",
    )
    made.add_argument(
        "--onnx",
        action="store_true",
        help="also core.onnx, for whatever runs ONNX; writing it takes the extra onnx",
    )
    made.add_argument("--license", metavar="ID", help="for the card, such as apache-2.0")
    return cli.run(made, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
