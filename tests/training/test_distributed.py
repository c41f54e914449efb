"""Several processes under torchrun: the same training as one, one of them writes, and a death is noticed."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from ..programs import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
]

SMALL = ["encoder=hashing:32", "core.state_size=4", "core.hidden_size=8", "core.steps=4"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "cubefast.train"]


def command(processes, *arguments):
    start = TORCHRUN if processes == 2 else [sys.executable, "-m", "cubefast.train"]
    return [*start, *SMALL, *arguments]


def run(processes, *arguments, cwd):
    return subprocess.run(command(processes, *arguments), cwd=cwd, capture_output=True, text=True, timeout=300)


def epochs(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "epoch"]


@pytest.mark.parametrize(
    "options",
    [
        ["training.epochs=3", "sides=both"],
        # An odd batch, a short last one, and a memory of earlier batches that all must share.
        [
            "training.epochs=2",
            "training.batch_size=25",
            "training.accumulate=2",
            "training.losses.memory=60",
            "mode=mixed",
        ],
    ],
    ids=["on both sides", "accumulated"],
)
def test_two_processes_train_as_one_does(tmp_path, options):
    """Sums are added up in another order, so not the same bits: losses within 1e-5, weights within 1e-4."""
    for name, processes in (("one", 1), ("two", 2)):
        done = run(processes, f"name={name}", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved in runs/two") == 1, "one of them prints"
    assert "processes   2, with threads: " in done.stdout
    one, two = (tmp_path / "runs" / name for name in ("one", "two"))
    assert sorted(p.name for p in one.rglob("*")) == sorted(p.name for p in two.rglob("*"))
    for ours, theirs in zip(epochs(one), epochs(two), strict=True):
        losses = [name for name in ours if name.startswith("loss")]
        assert "loss" in losses
        for name in (*losses, "gradient_norm", "val_cosine", "val_mrr"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-5, abs=1e-5), name
    for kept in ("best", *(["refit"] if (one / "refit").exists() else [])):
        ours, theirs = (load_file(folder / kept / "model.safetensors") for folder in (one, two))
        for name in ours:
            torch.testing.assert_close(theirs[name], ours[name], rtol=1e-4, atol=1e-4)
    processes = json.loads((two / "environment.json").read_text())["processes"]
    assert len({each["pid"] for each in processes}) == 2


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_and_the_run_can_be_resumed(tmp_path, rank):
    options = ["name=r", "training.epochs=2000", "training.schedule=plateau", "training.early_stopping=null"]
    process = subprocess.Popen(
        command(2, *options), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    folder = tmp_path / "runs" / "r"
    wait_for(folder / "checkpoints" / "epoch-0002", process)
    os.kill(json.loads((folder / "environment.json").read_text())["processes"][rank]["pid"], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "error: LostProcessError: " in errors
    if rank == 1:
        assert "Go on with: torchrun --nproc-per-node=2 -m cubefast.train --resume runs/r" in errors
    reached = len(epochs(folder))
    more = ["--resume", "runs/r", f"training.epochs={reached + 1}"]
    resumed = subprocess.run([*TORCHRUN, *more], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    assert [each["epoch"] for each in epochs(folder)] == list(range(1, reached + 2))


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals a group of processes, as a terminal does")
def test_ctrl_c_ends_all_and_says_how_to_go_on(tmp_path):
    options = ["name=r", "training.epochs=2000", "training.early_stopping=null"]
    process = subprocess.Popen(
        command(2, *options),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(tmp_path / "runs" / "r" / "checkpoints" / "epoch-0002", process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    told = "stopped by Ctrl-C; the best core so far is in runs/r/best. Go on with: torchrun --nproc-per-node=2 -m"
    assert errors.count(told) == 1
    assert "nothing was saved" not in errors


def test_bad_input_is_told_by_one_of_them_and_ends_all(tmp_path):
    done = run(2, "data=missing.jsonl", cwd=tmp_path)
    assert done.returncode != 0
    assert f"no data file {tmp_path / 'missing.jsonl'}" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("count", ["1", "2"])
def test_one_of_several_processes_ends_before_python_takes_itself_apart(count):
    """For then a thread of gloo may abort it; what it printed is not lost, and its exit code is kept."""
    program = (
        "import atexit\n"
        "from cubefast.cli import exit_process\n"
        "atexit.register(print, 'taken apart')\n"
        "print('done')\n"
        "exit_process(3)\n"
    )
    environment = {**os.environ, "WORLD_SIZE": count}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ended.returncode == 3
    assert ended.stdout.split("\n")[:-1] == (["done", "taken apart"] if count == "1" else ["done"])
