"""`python -m cubefast.doctor`: which backend is active and why. As a function, it is ``cubefast.doctor()``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from . import cli


def _run(arguments: argparse.Namespace) -> int:
    from .lattice import doctor

    doctor()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast doctor` with these arguments (those of the process by default); returns the exit code."""
    return cli.run(cli.parser("doctor", "Print which backend is active and why."), _run, argv)


class _Callable(ModuleType):
    """This module: its import puts it where the package has the function of the same name, so it is that, too."""

    def __call__(self) -> dict[str, Any]:
        from .lattice import doctor

        return doctor()


if __name__ == "__main__":
    cli.exit_process(main())
else:
    sys.modules[__name__].__class__ = _Callable
