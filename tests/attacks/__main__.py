"""``python -m tests.attacks``: makes the attacks that the lines of its input name, one after another.

A line is a name, a number of rounds and a folder; the answer is a line of JSON: how often each thing was tried, and
what did not survive. All that commands import is imported once, here: each attack is a fork, and so are the commands in
it.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import traceback

import torch

from .attacker import Tally

LIMIT_S = 600 * max(1.0, float(os.environ.get("CUBEFAST_ATTACKS", "1")))  # of one attack
IMPORTED = [
    "matplotlib.figure",
    "optuna",
    "torch._dynamo",
    "cubefast.integrations.model_folder",
    "cubefast.tuning.study",
]
IMPORTED += [f"cubefast.reporting.{name}" for name in ("compare_runs", "evaluate_run", "figures", "report", "tables")]


def attack(name: str, rounds: int, folder: str) -> int:
    """Make one attack in a fork, which prints the answer; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        signal.alarm(round(LIMIT_S))
        os.environ["CUBEFAST_CACHE"] = os.path.join(folder, "cache")  # noqa: PTH118
        os.chdir(folder)
        random.seed(os.environ.get("CUBEFAST_ATTACKS_SEED", "0"))
        tally = Tally()
        importlib.import_module(f"tests.attacks.{name}").main(rounds, tally)
        print(json.dumps({"tried": tally.tried, "failed": tally.failed}), flush=True)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    for module in IMPORTED:
        importlib.import_module(module)
    for line in sys.stdin:
        name, rounds, folder = line.rstrip("\n").split(" ", 2)
        if code := attack(name, int(rounds), folder):
            print(json.dumps({"tried": {}, "failed": [f"{name} ended with {code}; see its errors"]}), flush=True)


if __name__ == "__main__":
    main()
