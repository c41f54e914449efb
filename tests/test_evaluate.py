"""The commands evaluate and compare as a user types them."""

import json
import re

import pytest

from .programs import command

SMALL = [
    "encoder=hashing:24",
    "training.losses.crossfit=0",
    "core.state_size=4",
    "core.hidden_size=8",
    "core.steps=3",
    "training.epochs=1",
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A folder with runs/small, trained and evaluated, and what the evaluation printed."""
    folder = tmp_path_factory.mktemp("evaluated")
    done = command("train", "name=small", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    done = command("evaluate", "runs/small", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_evaluate_prints_the_verdict_and_where_to_read(evaluated):
    folder, printed = evaluated
    first = (folder / "runs/small/report.md").read_text().splitlines()[0]
    report = json.loads((folder / "runs/small/report.json").read_text())
    assert first == "# Evaluation of small"
    assert report["verdict"]["sentence"] in printed
    assert printed.index(report["headline"]) < printed.index("ranked among all 286 answers)")
    assert "  residual MLP, hidden" in printed
    trained = r"^rivals      adapters, trained on the same pairs with the same losses: [\d,]+ steps in [\d.]+ s$"
    assert len(re.findall(trained, printed, re.MULTILINE)) == 1, "what they took together, once"
    assert "read runs/small/report.html or runs/small/report.md" in printed
    assert "](training.svg)" in (folder / "runs/small/report.md").read_text()
    assert not [f.name for f in (folder / "runs/small").iterdir() if f.name.startswith(".") and f.name != ".lock"]


def test_another_file_gets_a_folder_of_its_own(evaluated):
    folder, _ = evaluated
    before = (folder / "runs/small/report.json").read_bytes()
    lines = [{"ask": f"Where is the {w}?", "say": f"The {w} is over there."} for w in ("axe", "bun", "cow", "dam")]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    columns = ["data.columns.question=ask", "data.columns.answer=say"]
    done = command("evaluate", "runs/small", "data=own.jsonl", *columns, cwd=folder)
    assert done.returncode == 0, done.stderr
    there = folder / "runs/small/evaluations/own"
    assert {"report.md", "report.html", "report.json", "per_query.npz", "summary.svg"} <= {
        f.name for f in there.iterdir()
    }
    assert "The test is all 4 pairs of own.jsonl" in (there / "report.md").read_text()
    assert "\nQuestions of own.jsonl: too few groups (4) to tell\n" in done.stdout
    assert done.stdout.count("too few groups") == 1, "once is enough"
    assert "own.jsonl (4 queries, ranked among all 290 answers)" in done.stdout
    assert (folder / "runs/small/report.json").read_bytes() == before
    done = command("compare", "runs/small", "runs/small/evaluations/own", cwd=folder)
    assert done.returncode == 2
    assert "the tests are unseen paraphrase, unseen group and own.jsonl" in done.stderr


@pytest.mark.parametrize("name", ["...jsonl", ".gz"])
def test_a_file_whose_name_is_a_way_does_not_lead_out_of_the_folder_of_evaluations(evaluated, name):
    folder, _ = evaluated
    run = folder / "runs/small"
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}
    lines = [{"question": f"Where is the {w}?", "answer": f"The {w} is over there."} for w in ("axe", "bun", "cow")]
    (folder / name).write_text("\n".join(map(json.dumps, lines)))
    done = command("evaluate", "runs/small", f"data={name}", "data.format=jsonl", cwd=folder)
    (folder / name).unlink()
    assert done.returncode == 2, done.stderr
    assert "without its suffix, must be a plain name" in done.stderr, done.stderr
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}


def test_compare_prints_and_writes(evaluated):
    folder, _ = evaluated
    done = command("compare", "runs/small", "runs/small", "--output", "both.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "2 runs side by side\n" in done.stdout
    assert "the same" in done.stdout
    page = (folder / "both.html").read_text()
    assert "+0.0000 to +0.0000" in page
    assert page.count('src="data:image/svg+xml;base64,') == 1
    for place in ("x" * 300 + ".md", "x" * 5000 + "/a.md", "none/a.md"):
        done = command("compare", "runs/small", "runs/small", "--output", place, cwd=folder)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
    done = command("compare", "runs/small", "runs/small", "--output", "both.pdf", cwd=folder)
    assert (done.returncode, "must end in .md or .html; got both.pdf" in done.stderr) == (2, True)


def test_what_cannot_be_evaluated_is_told_in_a_line(evaluated):
    folder, _ = evaluated
    for arguments, message in (
        (["evaluate", "runs/small", "data=builtin"], "are also in the training or validation part"),
        (["compare", "runs/small", "runs/nowhere"], "no run at runs/nowhere"),
    ):
        done = command(*arguments, cwd=folder)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
