"""Every writer is killed at random moments; what it left is whole, and going on ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cubefast import CubicCore, EmbeddingCache, HashingEncoder
from cubefast.training.run_folder import RunFolder

from .attacker import TINY, Tally, command, in_child, problem_of


def half_written(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".cubefast-*.tmp")]


def without_times(path: Path) -> object:
    report = json.loads(path.read_text())
    report.pop("performance", None)
    return report


def of_trainings(rounds: int, tally: Tally) -> None:
    whole = in_child(command("train", *TINY, "name=whole"))
    assert problem_of(whole, (0,)) is None, whole.printed
    wanted = Path("runs/whole")
    for number in range(rounds):
        run = Path(f"runs/killed{number}")
        problem = None
        for _ in range(random.randint(1, 4)):
            there = (run / "config.yaml").exists()
            if not there:
                shutil.rmtree(run, ignore_errors=True)
            again = command("train", "--resume", str(run)) if there else command("train", *TINY, f"name={run.name}")
            killed = in_child(again, kill_after=random.uniform(0, 1.1 * whole.seconds))
            problem = problem or problem_of(killed, (-9, 0))
        there = (run / "config.yaml").exists()
        if not there:
            shutil.rmtree(run, ignore_errors=True)
        again = command("train", "--resume", str(run)) if there else command("train", *TINY, f"name={run.name}")
        problem = problem or problem_of(in_child(again), (0,))
        if problem is None:
            for name in ("best/model.safetensors", "refit/model.safetensors", "answers.safetensors", "report.json"):
                if (run / name).read_bytes() != (wanted / name).read_bytes():
                    problem = f"{name} is another one"
            epochs = [record.epoch for record in RunFolder.open(run).load_epochs()]
            if epochs != [record.epoch for record in RunFolder.open(wanted).load_epochs()] or half_written(run):
                problem = f"epochs {epochs}, left {half_written(run)}"
        tally.count("kills of train", problem)
        shutil.rmtree(run, ignore_errors=True)


def of_saves(rounds: int, tally: Tally) -> None:
    place = Path("core")
    cores = [CubicCore(24, steps=steps, state_size=steps, hidden_size=8) for steps in (4, 6)]

    def save_both() -> None:
        while True:
            for core in cores:
                core.save_pretrained(place)

    cores[0].save_pretrained(place)
    for _ in range(rounds):
        in_child(save_both, kill_after=random.uniform(0, 0.15))
        problem = None
        try:
            found = CubicCore.from_pretrained(place)
            core = next(core for core in cores if core.config == found.config)
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(core.parameters(), found.parameters()))  # noqa: B905
        except Exception as error:
            problem = repr(error)
        tally.count("kills of save_pretrained", problem)
    cores[0].save_pretrained(place)
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "model.safetensors"]


def of_caches(rounds: int, tally: Tally) -> None:
    encoder = HashingEncoder(32)
    texts = [f"text number {number}" for number in range(3000)]
    wanted = encoder.encode(texts)
    place = Path("killed-cache")

    def fill() -> None:
        limit = random.choice([None, 10**5])
        EmbeddingCache(place, shard_bytes=20_000, limit_bytes=limit).rows(encoder, texts, batch_size=50)

    for number in range(rounds):
        if number % 5 == 0:
            shutil.rmtree(place, ignore_errors=True)
        in_child(fill, kill_after=random.uniform(0, 0.4))
        found = in_child(lambda: 0 if np.array_equal(EmbeddingCache(place).encode(encoder, texts), wanted) else 71)
        tally.count("kills of the cache", problem_of(found, (0,)) or (found.printed and f"it warned: {found.printed}"))


def of_commands(kind: str, rounds: int, tally: Tally, work: Callable[[], int], check: Callable[[], str | None]) -> None:
    """A command that leaves something in the run is killed; ``check`` says what is wrong with what is there after."""
    whole = in_child(work)
    assert problem_of(whole, (0,)) is None, whole.printed
    for _ in range(rounds):
        killed = in_child(work, kill_after=random.uniform(0, whole.seconds))
        tally.count(f"kills of {kind}", problem_of(killed, (-9, 0)) or check())


def main(rounds: int, tally: Tally) -> None:
    folder = Path.cwd()
    began = time.monotonic()
    of_saves(5 * rounds, tally)
    of_caches(3 * rounds, tally)
    of_trainings(rounds, tally)

    run = Path("runs/whole")
    good: list[object] = []

    def evaluated() -> str | None:
        """The report that was there, or the same again."""
        if not good:
            good.append(without_times(run / "report.json"))
        return None if without_times(run / "report.json") == good[0] else "the report is another one"

    of_commands("evaluate", rounds, tally, command("evaluate", str(run)), evaluated)
    tally.count("after kills of evaluate", problem_of(in_child(command("evaluate", str(run))), (0,)))
    tally.count("after kills of evaluate", f"left {left}" if (left := half_written(run)) else None)

    def export() -> int:
        shutil.rmtree("card", ignore_errors=True)
        return command("export", str(run), "card")()

    def exported() -> str | None:
        names = sorted(path.name for path in Path("card").iterdir()) if Path("card").exists() else []
        if names and names != [
            "README.md",
            "config.json",
            "config.yaml",
            "data.json",
            "model.safetensors",
            "report.json",
        ]:
            return None if not (folder / "card" / "README.md").exists() else f"half a folder: {names}"
        return None

    of_commands("export", rounds, tally, export, exported)
    tally.count("after kills of export", problem_of(in_child(export), (0,)))
    tally.count("after kills of export", f"left {left}" if (left := half_written(folder)) else None)

    tune = command("tune", *TINY, "--study", "study", "--trials", "2")
    in_child(tune, kill_after=2.0)

    def tuned() -> str | None:
        return None

    of_commands("tune", max(1, rounds // 2), tally, command("tune", "--study", "study", "--trials", "3"), tuned)
    done = in_child(command("tune", "--study", "study", "--trials", "4"))
    counted = sum(json.loads(line)["state"] in ("finished", "pruned", "failed") for line in open("study/trials.jsonl"))  # noqa: PTH123, SIM115
    tally.count("after kills of tune", problem_of(done, (0,)) or (None if counted >= 4 else f"{counted} trials"))
    tally.tried["seconds"] = round(time.monotonic() - began)
