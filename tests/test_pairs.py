"""`cubefast pairs`: documents become a file that can be trained on, or one message says why not."""

import csv
import json
from typing import get_args

import pytest

from cubefast.data.documents.make_pairs import Grouping, Kind
from cubefast.data.reading.dialogues import load_dialogues

from .programs import SMALL, command

TOPICS = ["apples", "pears", "plums", "quinces", "cherries", "medlars", "figs", "grapes"]


@pytest.fixture
def docs(tmp_path):
    """A folder with a few documents of each kind."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for place in range(1, 4):
        for topic in TOPICS:
            (folder / f"{topic}-{place}.md").write_text(f"""\
# Growing {topic} in garden {place}

Most {topic} of garden {place} like sun. They want water {place} weeks after planting, and again later.

## Pruning

Cut the {topic} of garden {place} back in winter. Use a clean knife for all {topic}, and a firm ladder.

## When do {topic} of garden {place} ripen?

The {topic} there ripen in late summer, {place} weeks after the others.
""")
    (folder / "logo.png").write_bytes(b"\x89PNG\0")
    return folder


def test_pairs_are_made_and_can_be_trained_on_with_the_command_that_is_named(tmp_path, docs):
    done = command("pairs", "docs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "documents   24 read from docs\n            1 other files passed over: 1 .png\n" in done.stdout
    assert "pairs       72 of 24 files" in done.stdout
    assert (
        "  heading   48 (heading -> text under it)\n              Growing apples in garden 1 -> Most apples"
        in done.stdout
    )
    assert "  faq       24 (" in done.stdout
    assert "groups      24, by file" in done.stdout
    assert "\nwrote pairs.jsonl\nnext: python -m cubefast.train data=pairs.jsonl\n" in done.stdout
    assert "its figures are of made questions" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert rows[1] == {
        "question": "Growing apples in garden 1: Pruning",
        "answer": "Cut the apples of garden 1 back in winter. Use a clean knife for all apples, and a firm ladder.",
        "domain": "apples-1.md",
        "group": "apples-1.md",
        "kind": "heading",
        "source": "apples-1.md#Growing apples in garden 1 > Pruning",
    }
    trained = command("train", "data=pairs.jsonl", "training.refit=false", *SMALL, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr


def test_csv_holds_the_same_and_two_runs_are_equal(tmp_path, docs):
    for output in ("a.jsonl", "b.jsonl", "c.csv"):
        assert command("pairs", "docs", "--output", output, cwd=tmp_path).returncode == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert load_dialogues(tmp_path / "a.jsonl") == load_dialogues(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["question", "answer", "domain", "group", "kind", "source"]


def test_first_sentences_are_taken_where_they_are_asked_for(tmp_path, docs):
    done = command("pairs", "docs", "--kind", "sentence", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "  sentence  48 (first sentence -> rest)\n              Most apples of garden 1 like sun. ->" in done.stdout
    assert load_dialogues(tmp_path / "pairs.jsonl")[1].question == "Cut the apples of garden 1 back in winter."


def test_a_single_document_and_single_kinds_are_enough(tmp_path, docs):
    options = ["--kind", "heading", "--kind", "faq", "--group", "file"]
    done = command("pairs", "docs/figs-1.md", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pairs       3 of 1 files" in done.stdout
    assert "groups      1, by file" in done.stdout
    assert "note: these are too few pairs to train on; give more documents" in done.stdout


def test_an_output_that_is_there_stays_unless_forced(tmp_path, docs):
    (tmp_path / "pairs.jsonl").write_text("mine\n")
    done = command("pairs", "docs", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: pairs.jsonl is there already; take another --output, or --force to write over it\n"
    assert (tmp_path / "pairs.jsonl").read_text() == "mine\n"
    assert command("pairs", "docs", "--force", cwd=tmp_path).returncode == 0
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 72


def test_the_command_offers_every_kind_and_every_grouping(tmp_path):
    """It names them itself, because what makes the pairs imports torch."""
    printed = command("pairs", "--help", cwd=tmp_path).stdout
    for choices in (Kind, Grouping):
        assert f"{{{','.join(get_args(choices))}}}" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder nowhere. Give a folder of documents, or one of them (.md, .markdown, .txt"),
        (["empty"], "empty has no documents that can be read (.md, .markdown, .txt"),
        (["docs", "--output", "pairs.xlsx"], "--output must end in .jsonl or .csv; got pairs.xlsx"),
        (["docs", "--output", "no/pairs.csv"], "no/pairs.csv cannot be written: there is no folder no"),
        (["docs", "--output", "folder.csv"], "folder.csv cannot be written: it is a folder"),
        (
            ["thin"],
            "no pairs could be made of the 1 documents of thin (kinds: faq, heading; an answer needs 40 characters)",
        ),
        (["broken"], "broken/b.md, line 2: not UTF-8"),
    ],
)
def test_bad_input_ends_in_one_message_and_nothing_is_written(tmp_path, docs, arguments, message):
    for name in ("empty", "folder.csv", "thin", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "thin" / "a.txt").write_text("hello\n")
    (tmp_path / "broken" / "a.md").write_text((docs / "figs-1.md").read_text())
    (tmp_path / "broken" / "b.md").write_bytes(b"# A\n\xff\n")
    before = sorted(tmp_path.rglob("*"))
    done = command("pairs", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_in_a_document_acts_on_the_terminal(tmp_path, docs):
    (docs / "aa.md").write_text(
        "# Trees\x1b[2J of \u202edoom\n\nThey stand \x1b]0;x\x07 where they were planted long ago.\n"
    )
    done = command("pairs", "docs", cwd=tmp_path)
    assert "\x1b" not in done.stdout
    assert "\x1b" not in (tmp_path / "pairs.jsonl").read_text()
    assert "Trees\\x1b[2J of \\u202edoom -> They stand" in done.stdout
