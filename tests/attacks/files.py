"""Files of a run, damaged at random or with parts of other types: each command refuses in words, or goes on well."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cubefast import CubicCore, Pipeline
from cubefast.integrations.model_folder import write_model_folder
from cubefast.reporting.compare_runs import compare_runs
from cubefast.training.run_folder import RunFolder

from .attacker import TINY, Tally, command, in_child, mistyped, mutated, problem_of, refused

WHAT_IT_MAY_BE = ["", "\0" * 100, "{}", "[]", "null", "[" * 10**5, '{"a":' * 10**5, "NaN", "1e999", '"\\ud800"']


def ask(run: Path) -> None:
    answers = Pipeline.from_run(run)("what is it that we ask for?", 3)
    assert all(-1 <= answer.score <= 1 and isinstance(answer.text, str) for answer in answers)
    found = RunFolder.open(run).load_threshold()
    assert found is None or found.threshold is None or -1 <= found.threshold <= 1


def export(run: Path) -> None:
    shutil.rmtree("card", ignore_errors=True)
    write_model_folder(run, "card")
    assert np.isfinite(CubicCore.from_pretrained("card").transform(np.ones((1, 16)))).all()


def evaluate(run: Path) -> None:
    command("evaluate", str(run))()


def resume(run: Path) -> None:
    command("train", "--resume", str(run))()


READERS: dict[str, Callable[[Path], object]] = {
    "best/model.safetensors": export,
    "best/config.json": export,
    "refit/model.safetensors": ask,
    "answers.safetensors": ask,
    "threshold.json": ask,
    "data.json": export,
    "report.json": export,
    "evaluated/report.json": lambda run: compare_runs([str(run / "evaluated"), str(run / "evaluated")]),
    "evaluated/per_query.npz": lambda run: compare_runs([str(run / "evaluated"), str(run / "evaluated")]),
    "checkpoints/epoch-0004/state.json": resume,
    "checkpoints/epoch-0004/state.safetensors": resume,
    "metrics.jsonl": resume,
    "environment.json": evaluate,
}


def changed(path: Path, good: bytes) -> bytes:
    """Damaged; of JSON, mostly with a part of another type, or something else altogether."""
    if path.suffix in (".json", ".jsonl") and random.random() < 0.8:
        if random.random() < 0.15:
            return random.choice(WHAT_IT_MAY_BE).encode()
        lines = good.decode().splitlines() if path.suffix == ".jsonl" else [good.decode()]
        place = random.randrange(len(lines))
        lines[place] = json.dumps(mistyped(json.loads(lines[place])))
        return "\n".join(lines).encode() + b"\n"
    if path.suffix == ".safetensors" and random.random() < 0.4:
        length = int.from_bytes(good[:8], "little")
        header = json.dumps(mistyped(json.loads(good[8 : 8 + length]))).encode()
        return len(header).to_bytes(8, "little") + header + good[8 + length :]
    return mutated(good)


def main(rounds: int, tally: Tally) -> None:
    made = in_child(command("train", *TINY, "name=r"))
    assert problem_of(made, (0,)) is None, made.printed
    whole = Path("runs/r")
    evaluated = in_child(command("evaluate", str(whole)))
    assert problem_of(evaluated, (0,)) is None, evaluated.printed
    (whole / "evaluated").mkdir()
    for name in ("report.json", "per_query.npz"):
        shutil.copy(whole / name, whole / "evaluated")

    def attack(kind: str, name: str, change: Callable[[Path], object]) -> None:
        run = Path("copy")
        shutil.copytree(whole, run)
        change(run / name)
        tally.count(kind, problem_of(in_child(refused(lambda: READERS[name](run)))))
        shutil.rmtree(run)

    def replaced(make: Callable[[Path], object]) -> Callable[[Path], object]:
        return lambda path: (path.unlink(), make(path))

    others: list[Callable[[Path], object]] = [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
    ]
    for number, (name, reader) in enumerate(READERS.items()):
        is_slow = reader in (resume, evaluate)  # a second or more each
        for _ in range(max(1, rounds // 4) if is_slow else rounds):
            attack(f"fuzzed {name}", name, lambda path: path.write_bytes(changed(path, path.read_bytes())))
        for make in [others[number % 4]] if is_slow and rounds < 20 else others:
            attack("pipes, folders, devices, circles", name, replaced(make))
