"""Two that ask while the run they ask is written over and over: each gets a whole run, the one before or the one after.

And a training whose clock is set back, several times.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cubefast import CubicCore, Pipeline
from cubefast.decoding.saved import read_answers, write_answers

from .attacker import TINY, begin, command, in_child, problem_of


def main() -> None:
    _, rounds, tally = begin()
    made = in_child(command("train", *TINY, "name=r"))
    assert problem_of(made, (0,)) is None, made.printed
    run = Path("runs/r")
    bank = read_answers(run / "answers.safetensors")
    shutil.copytree(run, "other")
    cores = [CubicCore.from_pretrained(run / "best"), CubicCore(16, steps=3)]
    half = len(bank.texts) // 2
    bank = replace(bank, vectors=np.array(bank.vectors))
    shorter = replace(bank, texts=bank.texts[:half], vectors=bank.vectors[:half] / 2, trained=bank.trained[:half])
    banks = [bank, shorter]
    allowed = set(bank.texts)

    def overwrite() -> None:
        torch.set_num_threads(1)
        while True:
            for core, each in zip(cores, banks, strict=True):
                core.save_pretrained(run / "best")
                core.save_pretrained(run / "refit")
                write_answers(run / "answers.safetensors", each)

    writer = os.fork()
    if writer == 0:
        try:
            overwrite()
        finally:
            os._exit(1)

    def ask() -> None:
        for _ in range(rounds):
            answers = Pipeline.from_run(run)("what is it that we ask for?", 3)
            assert all(answer.text in allowed and -1 <= answer.score <= 1 for answer in answers)

    for _ in range(2):
        found = in_child(ask)
        problem = problem_of(found, (0,))
        for _ in range(rounds):
            tally.count("asked while it was overwritten", problem)
            problem = None
    assert os.waitpid(writer, os.WNOHANG) == (0, 0), "the writer has failed"
    os.kill(writer, 9)
    os.waitpid(writer, 0)

    def with_a_clock_set_back() -> int:
        real, calls = time.time, iter(range(10**9))
        time.time = lambda: real() - 1e6 * next(calls)
        return command("train", *TINY, "name=back")()

    tally.count("clocks set back", problem_of(in_child(with_a_clock_set_back), (0,)))
    same = Path("runs/back/best/model.safetensors").read_bytes() == Path("other/best/model.safetensors").read_bytes()
    tally.count("clocks set back", None if same else "another core")
    tally.tell()


if __name__ == "__main__":
    main()
