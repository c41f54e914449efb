"""The commands as a user types them: what they print, their exit codes, what they leave."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import yaml
from safetensors import safe_open

import cubefast
from cubefast import cli
from cubefast.config.run_config import named_configs

from .programs import command, start, wait_for

SMALL = ["encoder=hashing:32", "core.state_size=4", "core.hidden_size=8", "core.steps=4", "training.epochs=2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished small run in runs/small, and what was printed."""
    folder = tmp_path_factory.mktemp("finished")
    done = command("train", "name=small", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_train_prints_the_cube_beside_its_baselines(finished):
    _, printed = finished
    assert "backend     cpp (" in printed
    assert re.search(r"\nencoding    with hashing 32: 1,430 texts (from the cache|in [\d.]+ s)", printed)
    assert printed.count("epoch ") >= 2
    assert "validation 170 (unseen paraphrase 114, unseen group 56), tests: unseen paraphrase 246, unseen" in printed
    in_short = printed.split("\nRight first answer: ")[1].split("\n")[0]
    assert " with the cube (best rival " in in_short
    assert printed.index(in_short) < printed.index("(246 queries, ranked among all 286 answers)")
    for test in ("unseen paraphrase (", "unseen group ("):
        block = printed.split(test)[1].split("\n\n")[0]
        for model in ("cube", "identity", "mean answer", "ridge, lambda"):
            assert f"\n  {model}" in block
    assert "saved in runs/small\ntry: python -m cubefast.ask runs/small" in printed


def test_train_leaves_a_whole_run_folder(finished):
    run = finished[0] / "runs" / "small"
    assert {f.name for f in run.iterdir()} == {
        ".lock",
        "answers.safetensors",
        "best",
        "refit",
        "checkpoints",
        "config.yaml",
        "curves.png",
        "data.json",
        "environment.json",
        "metrics.jsonl",
        "report.json",
        "threshold.json",
    }
    assert yaml.safe_load((run / "config.yaml").read_text())["core"]["steps"] == 4
    environment = json.loads((run / "environment.json").read_text())
    assert environment["backend"] == "cpp"
    assert environment["command"][1:] == ["name=small", *SMALL]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in records if r["event"] == "epoch"] == [1, 2]
    assert (run / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    scores = json.loads((run / "report.json").read_text())["scores"]
    assert {s["kind"] for s in scores} == {
        *("cube", "identity", "mean answer", "ridge"),
        *("linear adapter", "two-layer adapter", "low-rank adapter", "residual MLP"),
    }


def test_ask_answers_from_the_bank_with_scores(finished):
    folder, _ = finished
    done = command("ask", "runs/small", "How do vaccines work?", "--count", "2", "--threshold", "none", cwd=folder)
    assert done.returncode == 0, done.stderr
    scores = [float(line.split()[0]) for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert len(scores) == 2
    assert 1 >= scores[0] >= scores[1] >= -1


def test_the_pipeline_is_the_same_in_python(finished):
    from cubefast import Pipeline

    pipeline = Pipeline.from_run(finished[0] / "runs" / "small", threshold=None)
    one = pipeline("How do vaccines work?", 2)
    among_others = pipeline(["How do vaccines work?", "Who was first?"], 2)[0]
    assert [answer.text for answer in among_others] == [answer.text for answer in one]
    assert [answer.score for answer in among_others] == pytest.approx([answer.score for answer in one], abs=1e-5)
    printed = command("ask", "runs/small", "How do vaccines work?", "--threshold", "none", cwd=finished[0]).stdout
    assert one[0].text.split()[0] in printed.splitlines()[0]


@pytest.mark.parametrize("name", named_configs())
def test_every_named_config_trains_on_a_small_budget(tmp_path, name):
    done = command("train", "--config", name, "name=r", *SMALL, "cache_limit_mb=50", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "saved in runs/r" in done.stdout


def test_a_mixed_run_is_scored_both_ways_and_shows_its_curriculum(tmp_path):
    curriculum = ["training.curriculum.order=length", "training.curriculum.start=0.5", "training.curriculum.epochs=2"]
    done = command("train", "mode=mixed", "name=r", *SMALL, *curriculum, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/2  easiest 50%  loss" in done.stdout
    assert "unseen group (" in done.stdout
    assert "unseen group, noise 0.05 (" in done.stdout
    again = command("train", "init_from=runs/r", "purpose=decode", "name=s", *SMALL, cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_autoencoder_mode_stands_beside_its_baselines(tmp_path):
    done = command("train", "mode=autoencoder", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "unseen group, noise 0.05 (" in done.stdout
    assert "noise 0.1 (not trained on) (" in done.stdout
    assert "PCA-Wiener, given the noise" in done.stdout
    assert (tmp_path / "runs" / "autoencoder" / "best").is_dir()


def test_a_users_own_file_can_be_trained_on(tmp_path):
    rows = [
        {"question": f"{word} number {i}?", "answer": f"The {word}s of {i} are {i * 7}."}
        for i in range(40)
        for word in ("apple", "pear", "plum")
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    done = command("train", "data=mine.jsonl", "training.epochs=1", *SMALL[:-1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"reading     {tmp_path}/mine.jsonl" in done.stdout
    config = yaml.safe_load((tmp_path / "runs" / "dialogue" / "config.yaml").read_text())
    assert config["data"]["path"] == f"{tmp_path}/mine.jsonl", "so that it is found from any folder"
    assert "unseen group" in done.stdout
    assert "unseen paraphrase" not in done.stdout, "no answer here has three questions"


def test_data_prints_what_a_set_is_made_of_and_what_is_dropped(tmp_path):
    rows = [{"question": f"Question {i}?", "answer": f"Answer {i}.", "domain": "d"} for i in range(60)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [*rows, rows[0]]))
    arguments = ["q.jsonl", "quality.max_per_domain=50", "--encoder", "hashing:32", "--json", "d.json"]
    done = command("data", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pairs                  50 of 32 numbers" in done.stdout
    assert "cos(question, answer)" in done.stdout
    assert "split                  train " in done.stdout
    found = json.loads((tmp_path / "d.json").read_text())
    assert found["statistics"]["pairs"] == 50
    assert sum(found["statistics"]["rejected"].values()) == 11
    assert [f.name for f in tmp_path.iterdir() if f.name not in ("q.jsonl", "d.json")] == []


@pytest.mark.parametrize("program", ["data", "train", "evaluate"])
def test_the_key_that_a_message_names_works_under_the_command_that_was_typed(finished, tmp_path, program):
    (tmp_path / "a.csv").write_text("Frage,Antwort\n" + "".join(f"What is {i}?,It is {i}.\n" for i in range(60)))
    start = {
        "data": ["a.csv", "--encoder", "hashing:32"],
        "train": ["data=a.csv", *SMALL],
        "evaluate": [str(finished[0] / "runs" / "small"), "data=a.csv"],
    }[program]
    refused = command(program, *start, cwd=tmp_path)
    assert refused.returncode == 2
    assert 'a.csv, line 2: the field "question" is missing; there are Frage, Antwort. Say' in refused.stderr
    start += refused.stderr.strip().split("such as ")[1].split()
    done = command(program, *start, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_centred_run_answers_as_it_was_trained(tmp_path):
    done = command("train", "data.centre=true", "name=c", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    asked = command("ask", "runs/c", "How do vaccines protect us?", "--count", "1", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    with safe_open(tmp_path / "runs" / "c" / "answers.safetensors", framework="pt") as file:
        assert file.get_tensor("mean").shape == (32,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "training.lrr=1"], "training.lrr: no such key; did you mean training.lr?"),
        (["train", "mode=fast"], "mode: input should be 'dialogue', 'autoencoder' or 'mixed'; got 'fast'"),
        (["train", "--config", "none.yaml"], "config none.yaml: no such file"),
        (["train", "data=none.jsonl"], "no data file none.jsonl"),
        (["train", "data=empty.jsonl"], "empty.jsonl has no question/answer pairs"),
        (["train", "data=folder"], "the data file folder cannot be read"),
        (["train", "data=one.jsonl"], "1 pairs are too few to split"),
        (["train", "runs=empty.jsonl"], "empty.jsonl"),
        (["train", "runs=/proc/runs"], "the run folder /proc/runs/dialogue cannot be made"),
        (["train", "name=folder", "runs=."], "folder is there already, and a run never overwrites another"),
        (["train", "encoder=gpt"], "encoder must be static or hashing"),
        (["train", "cache=empty.jsonl"], "the embedding cache empty.jsonl cannot be used"),
        (["train", "core.shape=[2,2,2]", "encoder=hashing:32"], "shape 2x2x2 has 8 cells, too few"),
        (["ask", "runs/none", "Why?"], "no run at runs/none; train one with"),
        (["ask", "folder", "Why?"], "folder is not a finished run"),
    ],
)
def test_bad_input_is_one_clear_message_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "one.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.replace(f"{tmp_path}/", "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    left = [p for p in sorted(tmp_path.rglob("*")) if p not in before and p.name != "runs"]
    assert left == [], "something was left behind"


@pytest.mark.parametrize("question", ["", "  "])
def test_a_blank_question_is_refused(finished, question):
    done = command("ask", "runs/small", question, cwd=finished[0])
    assert done.returncode == 2
    assert done.stderr.endswith("error: the question is blank\n")


def test_answers_made_with_another_encoder_are_refused(finished, tmp_path):
    import shutil

    shutil.copytree(finished[0] / "runs" / "small", tmp_path / "run")
    bank = tmp_path / "run" / "answers.safetensors"
    with safe_open(bank, framework="pt") as file:
        fingerprint = json.loads(file.metadata()["encoding"])["fingerprint"]
    bank.write_bytes(bank.read_bytes().replace(fingerprint.encode(), b"hashing-v0-32"))
    done = command("ask", "run", "Why?", cwd=tmp_path)
    assert done.returncode == 2
    assert "was trained with the encoder hashing-v0-32, and this machine's is hashing-v1-32" in done.stderr
    bank.write_bytes(bank.read_bytes()[:-50])
    done = command("ask", "run", "Why?", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


def test_debug_shows_the_traceback(tmp_path):
    done = command("train", "--debug", "data=none.jsonl", cwd=tmp_path)
    assert done.returncode == 2, "as without it"
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_and_exits_130(tmp_path):
    arguments = [*SMALL[:-1], "training.epochs=10000", "training.early_stopping=null", "name=long"]
    job = subprocess.Popen(
        [sys.executable, "-m", "cubefast.train", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path / "runs" / "long" / "best" / "model.safetensors", job)
    job.send_signal(signal.SIGINT)
    printed, errors = job.communicate(timeout=120)
    assert job.returncode == 130, errors
    assert re.search(r"interrupted: best epoch \d+ of \d+, validation MRR 0\.\d{4}; ", printed)
    assert "stopped by Ctrl-C; the best core so far is in runs/long/best" in errors
    assert (tmp_path / "runs" / "long" / "best" / "model.safetensors").exists()


@pytest.mark.slow
def test_two_runs_at_once_take_two_folders(tmp_path):
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "cubefast.train", "--config", "quick", *SMALL[:-1], "training.epochs=1"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "CUBEFAST_CACHE": str(tmp_path / "cache")},
        )
        for _ in range(2)
    ]
    assert [job.wait(300) for job in jobs] == [0, 0]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["dialogue", "dialogue-2"]


def test_help_lists_every_key(tmp_path):
    done = command("train", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "training.lr=0.001" in done.stdout
    assert "the learning rate at the start" in done.stdout


def test_options_may_stand_between_keys(tmp_path):
    done = command("train", "seed=3", "--config", "quick", "training.epochs=5", "--print-config", cwd=tmp_path)
    config = yaml.safe_load(done.stdout)
    assert (config["seed"], config["training"]["epochs"]) == (3, 5)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_starts_without_a_warning_and_is_a_function(tmp_path, name):
    done = start(name, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m cubefast.{name} [-h] [--version]")
    called = command(name, "--help", cwd=tmp_path)
    assert (called.returncode, called.stderr) == (0, "")
    wrong = command(name, "--none", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("usage: ")
    assert "error: " in wrong.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_are_there_at_once_for_they_import_nothing_heavy(tmp_path, option):
    code = (
        "import sys; from cubefast import cli\n"
        f"assert not any(cli.main([*name, {option!r}]) for name in [[], *([each] for each in cli.COMMANDS)])\n"
        "heavy = {'torch', 'numpy', 'numba', 'matplotlib', 'tqdm', 'jinja2', 'optuna'}\n"
        "print(*heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "\n")
    if option == "--version":
        assert set(done.stdout.splitlines()) == {f"cubefast {cubefast.__version__}"}


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_fits_the_window(tmp_path, monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    printed = command(name, "--help", cwd=tmp_path).stdout
    assert not [line for line in printed.splitlines() if len(line) > columns]


def test_the_program_lists_its_commands_and_runs_them(tmp_path):
    call = [sys.executable, "-m", "cubefast", "doctor"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "backend      cpp" in done.stdout
    done = command("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n  {name:<8} " in done.stdout for name in cli.COMMANDS)
    done = command("fly", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "\nerror: no command 'fly'\n"


def test_the_function_and_the_command_of_the_doctor_are_one_name(tmp_path):
    assert command("doctor", cwd=tmp_path).returncode == 0
    assert cubefast.doctor()["backend"] == "cpp"
