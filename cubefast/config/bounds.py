"""The largest sizes in a config, a saved core or a flag of a command: far beyond what anybody has trained.

Without them a number with a few zeros too many, or a malicious file, ends in a process that never comes back, or
takes all memory of the machine, in place of a message.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from ..utils.messages import shown

SIDE = 1_024
"""Cells along one side of the lattice."""
CELLS = 2**20
"""Cells of the lattice, and so also numbers of an embedding."""
CORE = {
    "dim": CELLS,
    "state_size": 1_024,
    "hidden_size": 4_096,
    "steps": 10_000,
    "code_size": 4_096,
    "summary_size": 65_536,
    "linear_rank": 65_536,
    "prototypes": 100_000,
    "memory": 1_000_000,
    "phases": 1_000,  # and dilations given for them
    "checkpoint_every": 10_000,
}
"""The bounds of a core's arguments by their names."""

NUMBERS = 2**31
"""Numbers of all states of one batch: 8 GiB."""
THREADS = 1_024
WORKERS = 256
EPOCHS = 1_000_000
BATCH_SIZE = 65_536
HARD_NEGATIVES = 1_000
TEACHERS = 16
SEED = 2**32 - 1
"""The largest seed that numpy's legacy generators take."""
MANY = 10**9
"""A number that is only compared or counted."""
FACTOR = 1e6
"""A weight, a scale or a rate."""
RATE = 1e32
"""The largest learning rate: training says by itself when one diverges, and beyond this float32 has hardly a number."""
ANSWERS = 10_000
"""Answers to one question."""
TRIALS = 100_000


def whole(least: int, most: int) -> Callable[[str], int]:
    """The ``type`` of a flag that takes a whole number from ``least`` to ``most``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least:,} to {most:,}; got {shown(text)}")
        return int(text)

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """The ``type`` of a flag that takes a number from ``least`` to ``most``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a number from {least:,g} to {most:,g}; got {shown(text)}")
        return value

    return parse
