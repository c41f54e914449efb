"""Trainings on disks that fill up at different sizes, and a disk that takes no file beyond a size; then gone on with.

With the right to mount, each disk is a small tmpfs: ``unshare -m python -m tests.attacks`` takes it along.
"""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
from pathlib import Path

from cubefast.training.run_folder import RunFolder

from .attacker import TINY, Outcome, Tally, command, in_child, problem_of

SIZES_KB = [2, 4, 12, 24, 40, 60, 80, 100, 130, 180, 250]


def again(run: Path) -> Outcome:
    """Go on, or begin again where nothing was left."""
    if (run / "config.yaml").exists():
        return in_child(command("train", "--resume", str(run)))
    return in_child(command("train", *TINY, f"runs={run.parent}", f"name={run.name}"))


def main(rounds: int, tally: Tally) -> None:
    whole = in_child(command("train", *TINY, "name=whole"))
    assert problem_of(whole, (0,)) is None, whole.printed
    wanted = {name: Path("runs/whole", name).read_bytes() for name in ("best/model.safetensors", "report.json")}
    size = sum(path.stat().st_size for path in Path("runs/whole").rglob("*")) // 1024

    for number in range(rounds):
        step = SIZES_KB[number % len(SIZES_KB)] + 7 * (number // len(SIZES_KB))
        for kind in ("full disks", "files of limited size")[: 1 + number % 2]:
            disk = Path(f"disk{number}")
            disk.mkdir()
            if kind == "full disks":
                limit = max(4, step * size // 150)
                mount = ["mount", "-t", "tmpfs", "-o", f"size={limit}k", "none", str(disk)]
                if subprocess.run(mount, capture_output=True).returncode:
                    continue

            def work(kind: str = kind, disk: Path = disk, limit: int = step * 1024) -> int:
                if kind != "full disks":
                    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                return command("train", *TINY, f"runs={disk}", "name=r")()

            found = in_child(work)
            problem = problem_of(found, (0, 1, 2))
            if found.code and (str(disk) not in found.printed and "cache" not in found.printed):
                problem = problem or f"the message names no path: {found.printed[-300:]}"
            if found.code and any(disk.glob("r/checkpoints/epoch-*")) and f"--resume {disk}/r" not in found.printed:
                problem = problem or f"the message does not say how to go on: {found.printed[-300:]}"
            if kind == "full disks":
                subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
            problem = problem or problem_of(again(disk / "r"), (0,))
            if problem is None:
                for name, content in wanted.items():
                    if (disk / "r" / name).read_bytes() != content:
                        problem = f"{name} is another one after going on"
                if list(disk.rglob(".cubefast-*.tmp")) or len(RunFolder.open(disk / "r").load_epochs()) != 4:
                    problem = "something was left, or an epoch is missing"
            tally.count(kind, problem)
            if kind == "full disks":
                subprocess.run(["umount", str(disk)], check=True)
            shutil.rmtree(disk)
