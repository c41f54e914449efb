"""Two that ask while the run they ask is written over and over: each gets a whole run, the one before or the one after.

And a training whose clock is set back at every look at it: Python's, and in a process of its own that of the C library,
for all that is in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cubefast import CubicCore, Pipeline
from cubefast.decoding.bank_file import read_answers, write_answers

from .attacker import LIMIT_S, TINY, Tally, command, in_child, problem_of

CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static long looks;
int clock_gettime(clockid_t clock, struct timespec* now) {
  int (*real)(clockid_t, struct timespec*) = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(clock, now);
  if (clock == CLOCK_REALTIME && !failed) now->tv_sec -= 100 * __sync_fetch_and_add(&looks, 1);
  return failed;
}
int gettimeofday(struct timeval* now, void* zone) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  now->tv_sec = t.tv_sec, now->tv_usec = t.tv_nsec / 1000;
  return 0;
}
time_t time(time_t* now) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (now) *now = t.tv_sec;
  return t.tv_sec;
}
"""


def main(rounds: int, tally: Tally) -> None:
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
    good = Path("other/best/model.safetensors").read_bytes()
    same = Path("runs/back/best/model.safetensors").read_bytes() == good
    tally.count("clocks set back", None if same else "another core")
    if compiler := shutil.which("cc"):
        Path("clock.c").write_text(CLOCK)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"], check=True)
        call = [sys.executable, "-m", "cubefast.train", *TINY, "name=shifted"]
        environment = {**os.environ, "LD_PRELOAD": str(Path("clock.so").absolute())}
        done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
        tally.count("clocks of a whole process set back", done.stderr if done.returncode else None)
        same = Path("runs/shifted/best/model.safetensors").read_bytes() == good
        tally.count("clocks of a whole process set back", None if same else "another core")
