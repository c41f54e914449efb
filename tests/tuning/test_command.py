"""`cubefast tune` as a user types it: what it prints, its exit code, what it leaves."""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress

import pytest

from cubefast import TrainingConfig

from ..programs import command

SMALL = [
    "encoder=hashing:32",
    "training.losses.crossfit=0",
    "core.state_size=4",
    "core.hidden_size=8",
    "core.steps=2",
    "training.epochs=2",
]
DATA = ["data=squares.jsonl", *SMALL]
SPACE = "training.lr: {low: 1e-3, high: 1e-1, log: true}\ncore.steps: [2, 3]\n"


def tune(*arguments, cwd):
    return command("tune", *arguments, cwd=cwd)


@contextmanager
def started(*arguments, cwd):
    """The same under way; killed at the end, if it still is."""
    call = [sys.executable, "-m", "cubefast.tune", *arguments]
    job = subprocess.Popen(call, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield job
    finally:
        job.kill()
        job.communicate()


def wait_until(holds):
    until = time.monotonic() + 120
    while not holds() and time.monotonic() < until:
        time.sleep(0.1)
    assert holds()


def epochs_stored(study):
    """How many epochs of all trials are in the study's database."""
    if not (study / "study.db").exists():
        return 0
    with closing(sqlite3.connect(study / "study.db")) as database, suppress(sqlite3.OperationalError):
        return database.execute("select count(*) from trial_intermediate_values").fetchone()[0]
    return 0  # its tables are being made


def lines_of(study):
    path = study / "trials.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def place(tmp_path):
    """A folder with data and a search space."""
    rows = [{"question": f"What is {n} squared?", "answer": f"{n} times {n} is {n * n}."} for n in range(60)]
    (tmp_path / "squares.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a study of four trials in runs/tune, and what was printed."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "space.yaml").write_text(SPACE)
    done = tune("--space", "space.yaml", "--trials", "4", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_four_trials_leave_everything(finished):
    folder, done = finished
    study = folder / "runs" / "tune"
    assert {file.name for file in study.iterdir()} == {
        ".lock",
        *("config.yaml", "space.yaml", "study.db", "trials.jsonl", "best.yaml", "history.png", "slice.png"),
    }
    lines = lines_of(study)
    assert [line["number"] for line in lines] == [0, 1, 2, 3]
    assert [line["state"] for line in lines] == ["finished"] * 4
    assert all(1e-3 <= line["parameters"]["training.lr"] <= 1e-1 and line["seconds"] > 0 for line in lines)
    assert max(line["value"] for line in lines) >= lines[0]["value"]
    for name in ("history.png", "slice.png"):
        assert (study / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert done.stderr == ""


def test_a_line_per_trial_then_the_best_beside_the_first_and_the_baselines(finished):
    _, done = finished
    printed = re.findall(
        r"^trial (\d) \((\d)/4\)  0\.\d{4}  best 0\.\d{4} \(trial \d\)  [\d.]+ s  (.+)$", done.stdout, re.M
    )
    assert [(number, count) for number, count, _ in printed] == [("0", "1"), ("1", "2"), ("2", "3"), ("3", "4")]
    assert printed[0][2] == "the config as it is"
    assert all(what.startswith("lr=0.0") for _, _, what in printed[1:])
    table = done.stdout.split("\nvalidation (170 pairs)\n")[1]
    for name in ("best, trial", "identity", "mean answer", "ridge, lambda"):
        assert f"\n  {name}" in table
    assert "The tests were not touched: train with best.yaml to see them" in table
    assert "its figure is optimistic" in table
    assert "importances: not computed; they need 10 finished trials of different values" in table
    assert table.endswith("saved in runs/tune\ntry: python -m cubefast.train --config runs/tune/best.yaml\n")
    assert "[I " not in done.stdout, "Optuna's own lines"


def test_training_with_the_best_config_gives_the_value_of_its_trial(finished):
    folder, _ = finished
    study = folder / "runs" / "tune"
    best = max(lines_of(study), key=lambda line: line["value"])
    assert TrainingConfig.load(study / "best.yaml").training.lr == best["parameters"]["training.lr"]
    done = command("train", "--config", "runs/tune/best.yaml", "name=best", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f", validation MRR {best['value']:.4f};" in done.stdout


def test_a_study_goes_on_to_n_in_all_and_keeps_what_was_done(finished, tmp_path):
    folder, _ = finished
    study = tmp_path / "runs" / "tune"
    shutil.copytree(folder / "runs" / "tune", study)
    before = lines_of(study)
    done = tune("--study", "runs/tune", "--trials", "6", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "going on    4 of 6 trials are done" in done.stdout
    assert re.findall(r"^trial (\d) \((\d)/6\)", done.stdout, re.M) == [("4", "5"), ("5", "6")]
    after = lines_of(study)
    assert after[:4] == before
    assert len({line["parameters"]["training.lr"] for line in after}) == 6
    again = tune("--study", "runs/tune", "--trials", "6", "training.epochs=2", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "6 of 6 trials are done" in again.stdout
    assert "\ntrial " not in again.stdout
    assert lines_of(study) == after


def test_a_study_of_another_config_is_refused(finished):
    folder, _ = finished
    done = tune("--study", "runs/tune", "training.epochs=3", "training.lr=0.5", cwd=folder)
    assert done.returncode == 2
    assert "training.epochs: was 2, and now is 3\ntraining.lr: was 0.001, and now is 0.5\n" in done.stderr
    done = tune("--study", "runs/tune", "--config", "quick", cwd=folder)
    assert done.returncode == 2
    assert "encoder: was hashing:32, and now is static\n" in done.stderr


def test_other_data_is_refused(place):
    assert tune("--space", "space.yaml", "--trials", "1", *DATA, cwd=place).returncode == 0
    with (place / "squares.jsonl").open("a") as file:
        file.writelines(f'{{"question": "q{i}", "answer": "a{i}"}}\n' for i in range(20))
    done = tune("--study", "runs/tune", "--trials", "2", cwd=place)
    assert done.returncode == 2
    assert re.search(r"has changed.*\ntraining pairs: were \d+ \(\w+\), and now are \d+", done.stderr)


@pytest.mark.slow
def test_a_killed_trial_does_not_count_and_the_study_goes_on(place):
    long = [*DATA[:-1], "training.epochs=80", "training.early_stopping=null"]
    study = place / "s"
    with started("--study", "s", "--space", "space.yaml", "--trials", "3", *long, cwd=place) as job:
        wait_until(lambda: epochs_stored(study) >= 1)
        job.kill()
    assert lines_of(study) == []
    done = tune("--study", "s", "--trials", "1", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "\ntrial 1 (1/1)  " in done.stdout
    killed, other = lines_of(study)
    assert (killed["number"], killed["state"], killed["is_base"], killed["seconds"]) == (0, "interrupted", True, None)
    assert (other["number"], other["state"], other["is_base"]) == (1, "finished", True)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(place):
    study = place / "runs" / "tune"
    with started("--space", "space.yaml", "--trials", "500", *DATA, cwd=place) as job:
        wait_until(lambda: len(lines_of(study)) >= 2)
        job.send_signal(signal.SIGINT)
        printed, errors = job.communicate(timeout=120)
    assert job.returncode == 130, errors
    states = [line["state"] for line in lines_of(study)]
    done = len([state for state in states if state != "interrupted"])
    assert 2 <= done < 500
    assert "\ntrial   0 (  1/500)  " in printed
    assert "\nvalidation (3 pairs)\n" in printed
    assert (
        f"stopped by Ctrl-C after {done} of 500 trials. "
        "Go on with: python -m cubefast.tune --study runs/tune --trials 500\n"
    ) in errors


def test_when_every_trial_fails_so_does_the_command(place):
    (place / "space.yaml").write_text("training.lr: [1e30, 1e31]\n")
    done = tune("--space", "space.yaml", "--trials", "2", *DATA, "training.lr=1e30", cwd=place)
    assert done.returncode == 1
    failed = r"^trial 0 \(1/2\)  failed: .* became \w+ at epoch [12]\b.*  the config as it is$"
    assert re.search(failed, done.stdout, re.M)
    assert done.stderr == "error: every trial failed; runs/tune/trials.jsonl has the reasons\n"
    assert [line["state"] for line in lines_of(place / "runs" / "tune")] == ["failed", "failed"]


def test_studies_take_numbers_and_no_trial_begins_when_the_time_is_up(place):
    for name in ("tune", "tune-2"):
        done = tune("--space", "space.yaml", "--trials", "9", "--timeout", "1e-6", *DATA, cwd=place)
        assert done.returncode == 0, done.stderr
        assert done.stderr == (
            f"the time is up after 0 of 9 trials. Go on with: python -m cubefast.tune --study runs/{name} --trials 9\n"
        )


def test_an_autoencoder_is_tuned_too_and_by_another_metric(place):
    mode = ["mode=autoencoder", *DATA]
    done = tune("--space", "space.yaml", "--trials", "2", "--study", "a", *mode, "training.metric=mrr", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "mean embedding" in done.stdout
    assert "chosen by its mrr here" in done.stdout


def test_the_printed_space_can_be_given_back(place):
    done = tune("--print-space", cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "space.yaml").write_text(done.stdout)
    given = ["core.state_size=4", "core.hidden_size=8", "core.steps=3", "encoder=hashing:32", "training.epochs=1"]
    done = tune("--space", "space.yaml", "--trials", "1", "data=squares.jsonl", *given, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "note        core.steps=3 of the config is outside the space: tried in the first trial only" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["training.lrr=1"], "training.lrr: no such key; did you mean training.lr?"),
        (["--space", "bad.yaml"], "search space: training.lrr: no such key; did you mean training.lr?"),
        (["--space", "none.yaml"], "config none.yaml: no such file. Give a YAML file of keys and values"),
        (["--study", "folder"], "folder is no study to go on with: config.yaml is missing"),
        (["--study", "new/study", "data=none.jsonl"], "no data file none.jsonl"),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(tmp_path, arguments, message):
    (tmp_path / "bad.yaml").write_text("training.lrr: [1, 2]\n")
    (tmp_path / "folder").mkdir()
    done = tune(*arguments, "encoder=hashing:32", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert message in done.stderr.replace(f"{tmp_path}/", "")
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml", "folder"]


@pytest.mark.parametrize(("module", "package"), [("optuna", "optuna"), ("sklearn", "scikit-learn")])
def test_without_its_packages_it_says_what_to_install(tmp_path, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    done = tune(cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"error: cubefast.tune needs the package {package}; pip install 'cubefast[tune]'\n"
    assert list(tmp_path.iterdir()) == []
