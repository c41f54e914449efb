"""`python -m cubefast.doctor`: which backend is active and why. The function is cubefast.doctor()."""

from __future__ import annotations

import argparse

from . import cli
from .lattice import doctor


def _main(arguments: argparse.Namespace) -> int:
    doctor()
    return 0


if __name__ == "__main__":
    parsed = cli.parser("doctor", "Print which backend is active and why.").parse_args()
    raise SystemExit(cli.run(_main, parsed))
