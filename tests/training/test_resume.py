"""A training that is stopped and resumed ends with the same bits as one that is not."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from cubefast import CubeTrainer, EmbeddingPairs
from cubefast.errors import ArtifactError, InputError
from cubefast.training.progress import Progress
from cubefast.training.run_folder import RunFolder
from cubefast.training.training_state import newest_checkpoint

from ..programs import command, wait_for

SMALL = {"state_size": 4, "hidden_size": 8, "steps": 3, "code_size": 2}
VARIANTS = {
    "plateau, noise": {"plateau": 1, "early_stopping": None, "state_noise": 0.1, "cell_dropout": 0.1, "metric": "mrr"},
    "cosine, averaged, accumulated": {"schedule": "cosine", "warmup": 0.2, "ema": 0.9, "accumulate": 3},
    "one cycle, memory": {"schedule": "one_cycle", "losses": {"contrast": 0.3, "memory": 40}},
}


class Killed(BaseException):
    """Stands for a process that ends in the middle of an epoch."""


class StopAt(Progress):
    """Ends the training at a step of an epoch."""

    def __init__(self, epoch, step):
        self.wanted, self.now = (epoch, step), [1, 0]

    def step(self, loss):
        self.now[1] += 1
        if tuple(self.now) == self.wanted:
            raise Killed

    def epoch(self, record, best_epoch, objective):
        self.now = [record["epoch"] + 1, 0]


def pairs(count, seed):
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 12, generator=random)
    return EmbeddingPairs.of(inputs, inputs + inputs.roll(1, dims=1))


def trainer(run, mode="dialogue", progress=None, **training):
    config = {
        "mode": mode,
        "core": SMALL,
        "training": {"epochs": 5, "batch_size": 16, "lr": 0.01, "log_every": 3, **training},
    }
    return CubeTrainer(config, run, progress)


@pytest.fixture
def folder(tmp_path):
    """Makes run folders, closed at the end."""
    runs = []

    def make(name):
        runs.append(RunFolder.create(tmp_path, name, "x"))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


def weights(core):
    return {name: tensor.clone() for name, tensor in core.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("mode", ["dialogue", "autoencoder"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_and_resumed_is_the_same_as_never_stopped(folder, variant, mode):
    data = (pairs(100, 0), pairs(30, 1))
    whole = folder("whole")
    wanted = trainer(whole, mode, **VARIANTS[variant]).fit(*data)

    broken = folder("broken")
    with pytest.raises(Killed):
        trainer(broken, mode, StopAt(3, 2), **VARIANTS[variant]).fit(*data)
    resumed = trainer(broken, mode, **VARIANTS[variant]).fit(*data, resume=True)

    assert same(weights(resumed.core), weights(wanted.core))
    assert resumed.best_epoch == wanted.best_epoch
    times = {"seconds", "pairs_per_second", "peak_memory_mb"}
    for ours, theirs in zip(resumed.records, wanted.records, strict=True):
        assert {k: v for k, v in ours.items() if k not in times} == {k: v for k, v in theirs.items() if k not in times}
    last = "checkpoints/epoch-0005/state.safetensors"
    assert same(load_file(broken.path / last), load_file(whole.path / last)), "optimizer, averages and generators too"
    lines = [json.loads(line) for line in (broken.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3, 4, 5]
    steps = [line["step"] for line in lines if line["event"] == "steps"]
    assert steps == list(range(3, wanted.records[-1]["step"] + 1, 3)), "none twice, none missing"
    assert sorted(p.name for p in broken.checkpoints.iterdir()) == ["epoch-0004", "epoch-0005"]


def test_a_finished_plateau_run_may_go_on_for_more_epochs(folder):
    data = (pairs(60, 0), pairs(20, 1))
    plateau = {"schedule": "plateau"}
    long = trainer(folder("a"), epochs=4, **plateau).fit(*data)
    run = folder("b")
    trainer(run, epochs=2, **plateau).fit(*data)
    assert same(weights(trainer(run, epochs=4, **plateau).fit(*data, resume=True).core), weights(long.core))


def test_a_checkpoint_of_something_else_is_refused_in_words(folder):
    data = (pairs(60, 0), pairs(20, 1))
    run = folder("a")
    with pytest.raises(ArtifactError, match="has no checkpoint to go on from"):
        trainer(run).fit(*data, resume=True)
    trainer(run, epochs=2).fit(*data)
    told = (
        r"epoch-0002 was made with training.lr=0.01, not 0.5; training.clip=1.0, not 2.0. Set that back, or train anew"
    )
    with pytest.raises(ArtifactError, match=told):
        trainer(run, epochs=2, lr=0.5, clip=2, keep=9).fit(*data, resume=True)
    with pytest.raises(ArtifactError, match=r"was made with training pairs=60 \(\w+\), not 50 \(\w+\)"):
        trainer(run, epochs=2).fit(pairs(50, 0), data[1], resume=True)
    with pytest.raises(InputError, match="nothing to resume without a run's folder"):
        trainer(None).fit(*data, resume=True)
    state = run.checkpoints / "epoch-0002" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"the checkpoint .*epoch-0002 cannot be read: .* Delete it to go on from"):
        trainer(run, epochs=2).fit(*data, resume=True)
    state.with_name("state.json").write_text('{"checkpoint_version": 99}')
    with pytest.raises(ArtifactError, match="is of version 99; this cubefast reads version"):
        trainer(run, epochs=2).fit(*data, resume=True)


def started(*arguments, cwd, **streams):
    """`python -m cubefast.train` as a process, to be killed."""
    call = [sys.executable, "-W", "error", "-m", "cubefast.train", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(call, cwd=cwd, text=True, **(quiet | streams))


def test_a_killed_run_resumes_from_the_command_line_to_the_same_bits(tmp_path):
    """Killed several times at moments that are spread over its whole life, then resumed to the end."""
    small = ["encoder=hashing:32", "core.state_size=4", "core.hidden_size=8", "core.steps=4", "training.epochs=6"]
    done = command("train", "name=whole", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    arguments = ["name=killed", *small]
    run = tmp_path / "runs" / "killed"
    for attempt in range(3):
        process = started(*arguments, cwd=tmp_path)
        wanted = run / "checkpoints" / f"epoch-{attempt + 1:04d}"
        until = time.monotonic() + 120
        while not wanted.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.013 * attempt)  # into the save, or the next epoch
        process.kill()
        process.wait()
        arguments = ["--resume", "runs/killed"]
    resumed = command("train", *arguments, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("best/model.safetensors", "checkpoints/epoch-0006/state.safetensors"):
        assert same(load_file(run / name), load_file(tmp_path / "runs" / "whole" / name)), name
    scores = [json.loads((tmp_path / "runs" / name / "report.json").read_text()) for name in ("whole", "killed")]
    assert scores[0] == scores[1]


KILLED_AT_ANY_MOMENT = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from cubefast import CubeTrainer, EmbeddingPairs
from cubefast.training.run_folder import RunFolder

torch.set_num_threads(1)
place = Path(sys.argv[1])
core = {"state_size": 4, "hidden_size": 8, "steps": 3, "code_size": 2}
settings = {"core": core, "training": {"epochs": 120, "lr": 0.01, "log_every": 1, "early_stopping": None, "ema": 0.9}}

def data(count, seed):
    inputs = torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))
    return EmbeddingPairs.of(inputs, inputs + inputs.roll(1, dims=1))

def fit(name):
    started = (place / name / "config.yaml").exists()
    run = RunFolder.resume(place / name) if started else RunFolder.create(place, name, name)
    run.write("config.yaml", "")
    CubeTrainer(settings, run).fit(data(100, 0), data(20, 1), resume=any(run.checkpoints.glob("epoch-*")))
    run.close()

def in_a_child(name):
    child = os.fork()
    if child == 0:
        fit(name)
        os._exit(0)
    return child

assert os.waitpid(in_a_child("whole"), 0)[1] == 0
random.seed(0)
checkpoints = place / "killed" / "checkpoints"
in_a_save = 0
for attempt in range(15):
    before = max(checkpoints.glob("epoch-*"), default=checkpoints)
    child = in_a_child("killed")
    while max(checkpoints.glob("epoch-*"), default=checkpoints) == before:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it was killed"
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.08))  # about two epochs and their saves
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    in_a_save += any(checkpoints.glob(".*"))
assert os.waitpid(in_a_child("killed"), 0)[1] == 0
print(in_a_save)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="makes its processes by fork")
def test_killed_at_random_moments_in_epochs_and_saves_it_ends_with_the_same_bits(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED_AT_ANY_MOMENT, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1, "no save was met"
    for name in ("best/model.safetensors", "checkpoints/epoch-0120/state.safetensors"):
        assert same(load_file(tmp_path / "killed" / name), load_file(tmp_path / "whole" / name)), name
    for run in ("whole", "killed"):
        lines = [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines if line["event"] == "epoch"] == list(range(1, 121))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "runs/none"], "no run to resume at runs/none: config.yaml is missing; give the folder runs/NAME"),
        (["--resume", "r", "training.lr=1"], "--resume may change training.epochs only; got training.lr=1"),
        (["--resume", "r", "--config", "quick"], "--resume goes on with the run's own config; leave --config out"),
        (["--resume", "r"], "has no checkpoint"),
    ],
)
def test_what_cannot_be_resumed_is_one_message_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "config.yaml").write_text("encoder: hashing:32\n")
    (tmp_path / "r" / "report.json").write_text("of a run whose checkpoints were deleted")
    done = command("train", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    left = {file.name: file.read_text() for file in (tmp_path / "r").iterdir() if file.name != ".lock"}
    assert left == {"config.yaml": "encoder: hashing:32\n", "report.json": "of a run whose checkpoints were deleted"}


TINY = ["encoder=hashing:32", "core.state_size=4", "core.hidden_size=8", "core.steps=4"]


def test_a_run_has_one_writer_at_a_time(tmp_path):
    """The second is told who writes; the lock goes with a killed process, also where that had workers."""
    first = started("name=r", *TINY, "training.epochs=1000", "training.workers=2", cwd=tmp_path)
    run = tmp_path / "runs" / "r"
    wait_for(run / "checkpoints" / "epoch-0001", first)
    for program in (["train", "--resume", "runs/r"], ["evaluate", "runs/r"]):
        second = command(*program, cwd=tmp_path)
        assert second.returncode == 2
        told = f"error: another process is writing into runs/r (process {first.pid} on "
        assert second.stderr.startswith(told), second.stderr
    first.kill()
    first.wait()
    until = time.monotonic() + 1  # a worker that was being forked at that moment lets go when its Python begins
    while True:
        try:
            RunFolder.resume(run).locked().__enter__()
            break
        except InputError:
            assert time.monotonic() < until


def test_a_run_that_is_taken_away_ends_the_training_with_a_word_and_is_not_made_again(tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = started("name=r", *TINY, "training.epochs=1000", cwd=tmp_path, **pipes)
    run = tmp_path / "runs" / "r"
    wait_for(run / "checkpoints" / "epoch-0001", process)
    run.rename(tmp_path / "elsewhere")
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("error: the run folder runs/r was taken away while it was written"), errors
    assert "saved in" not in printed
    assert not run.exists()
    RunFolder.resume(tmp_path / "elsewhere").load_epochs()


def test_a_run_that_was_killed_before_its_first_epoch_was_saved_begins_anew(tmp_path):
    done = command("train", "name=whole", *TINY, "training.epochs=1", "training.min_steps=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "runs" / "whole"
    for name in ("early", "late"):  # while it encoded its texts; between its first best core and its first checkpoint
        run = tmp_path / "runs" / name
        run.mkdir()
        (run / "config.yaml").write_bytes((whole / "config.yaml").read_bytes())
    shutil.copytree(whole / "best", run / "best")
    shutil.copy(whole / "metrics.jsonl", run)
    for name in ("early", "late"):
        done = command("train", "--resume", f"runs/{name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "note: the run was stopped before its first epoch was saved; it begins anew" in done.stderr
        run = tmp_path / "runs" / name
        assert [record.epoch for record in RunFolder.open(run).load_epochs()] == [1]
        assert (run / "best/model.safetensors").read_bytes() == (whole / "best/model.safetensors").read_bytes()
        assert json.loads((run / "report.json").read_text()) == json.loads((whole / "report.json").read_text())


def test_checkpoints_are_in_the_order_of_their_epochs(tmp_path):
    for epoch in (9998, 9999, 10000):
        (tmp_path / f"epoch-{epoch:04d}").mkdir()
    for other in ("epoch-x", "epoch-", "epoch-00010.bak"):
        (tmp_path / other).mkdir()
    assert newest_checkpoint(tmp_path).name == "epoch-10000"


def test_print_config_prints_a_config_that_can_be_given_back(tmp_path):
    done = command("train", "--print-config", "training.lr=0.5", "data=x.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "c.yaml").write_text(done.stdout)
    assert command("train", "--print-config", "--config", "c.yaml", cwd=tmp_path).stdout == done.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / "c.yaml"]
