"""What people read fits their window, at words."""

import re

import pytest

from cubefast.utils.terminal import cells, columns, labelled, paragraph, wrapped

from ..programs import SMALL, command, on_a_terminal
from ..runs import make_run

TEXT = "Early stopping halts training when the loss on a held-out validation set has not improved for a while."


@pytest.mark.parametrize("width", [20, 33, 80, 200])
def test_lines_break_between_words_and_hang_under_the_first(width):
    lines = wrapped(TEXT, width, "0.697  ", " " * 7).splitlines()
    assert all(cells(line) <= width for line in lines)
    assert lines[0].startswith("0.697  Early")
    assert all(line.startswith(" " * 7) and line[7] != " " for line in lines[1:])
    assert " ".join(line[7:] for line in lines) == TEXT


def test_wide_characters_take_two_columns_and_accents_none():
    assert cells("水 e\u0301 👩") == 2 + 1 + 1 + 1 + 2
    lines = wrapped("水" * 50, 21, "> ", "  ").splitlines()
    assert [cells(line) for line in lines] == [20] * 5 + [12]
    assert "".join(line[2:] for line in lines) == "水" * 50


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_nothing_is_what_the_line_begins_with(text):
    assert wrapped(text, 20, "0.5  ") == "0.5"


def test_two_blanks_between_words_stay_within_a_line():
    assert wrapped("epoch 1   loss\n 2", 20) == "epoch 1  loss 2"
    assert (
        wrapped("epoch 1   loss\n 2", 20, rest="  ", first="a long beginning ") == "a long beginning\n  epoch 1  loss 2"
    )


def test_a_word_longer_than_the_window_is_broken():
    assert wrapped("a " + "b" * 25 + " c", 20).splitlines() == ["a", "b" * 20, "b" * 5 + " c"]


def test_without_a_window_a_line_stays_one(capsys):
    assert columns() is None
    assert paragraph(TEXT, "> ") == f"> {TEXT}"
    assert labelled("data", TEXT) == f"data        {TEXT}"


def settled(written):
    """The lines that stay on a terminal, and what its live line showed meanwhile."""
    lines, live = [], []
    for line in written.split("\n"):
        *passing, last = line.split("\r")
        live += filter(str.strip, passing)
        lines.append(last)
    return lines, live


FAILS = """
import sys
from cubefast import cli
from cubefast.errors import InputError

def fails(arguments):
    show = cli.counting("encoding with all-MiniLM-L6-v2", 100)
    show(0)
    show(30)
    raise InputError("the network is gone")

sys.exit(cli.run(cli.parser("x", "y"), fails, []))
"""


def test_an_error_has_a_line_of_its_own_where_a_bar_was(tmp_path):
    (tmp_path / "fails.py").write_text(FAILS)
    written, code = on_a_terminal(80, str(tmp_path / "fails.py"), cwd=tmp_path)
    assert code == 2
    lines, live = settled(written)
    assert lines == ["error: the network is gone", ""]
    assert any("0 of 100 texts" in line for line in live)


def test_on_a_terminal_the_lines_of_epochs_stay_and_time_left_is_never_cut_off(tmp_path):
    arguments = ["name=r", *SMALL[:-1], "training.epochs=5", "training.min_steps=5", "cache=cache"]
    for width, name in ((80, "r"), (120, "s")):
        written, code = on_a_terminal(width, "-m", "cubefast.train", *arguments[1:], f"name={name}", cwd=tmp_path)
        assert code == 0, written
        lines, live = settled(written)
        assert [line.split("  ")[0] for line in lines if line.startswith("epoch ")] == [
            f"epoch {n}/5" for n in range(1, 6)
        ]
        bars = [line for line in live if "left at most" in line]
        assert bars
        assert all(re.match(r"epoch \d/5 +\d+%, (\d\d:\d\d|\?) left at most \|", line) for line in bars)
        assert not [line for line in (*lines, *live) if cells(line) > width and "python -m " not in line]
        from_the_cache = "encoding    with hashing 32: 1,430 texts from the cache"
        assert (from_the_cache in lines) == (name == "s"), "the second run finds what the first has encoded"


@pytest.mark.parametrize("width", [50, 130])
def test_answers_fill_the_window_and_break_at_words(tmp_path, width):
    run, _, _ = make_run(tmp_path)
    text = "What is the answer to a question that goes on and on, if not one that goes on even longer than that?"
    (tmp_path / "more.txt").write_text(f"{text} {text}\n")
    arguments = [str(run.path), text, "--count", "1", "--answers", "more.txt"]
    written, code = on_a_terminal(width, "-m", "cubefast.ask", *arguments, cwd=tmp_path)
    assert code == 0, written
    lines = written.rstrip("\n").split("\n")
    assert all(cells(line) <= width for line in lines)
    assert max(map(cells, lines)) > width - 10
    assert " ".join(line[7:] for line in lines) == f"{text} {text}"


def test_a_run_says_after_which_epoch_it_goes_on_and_when_nothing_is_left(tmp_path):
    arguments = ["name=r", *SMALL[:-1], "training.epochs=2"]
    assert command("train", *arguments, cwd=tmp_path).returncode == 0
    run = tmp_path / "runs" / "r"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = command("train", "--resume", "runs/r", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(
        "nothing left to do: all 2 epochs are done, and the run is scored; it stays as it is\n"
        "for more epochs: python -m cubefast.train --resume runs/r training.epochs=4\n"
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    more = command("train", "--resume", "runs/r", "training.epochs=3", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "\nresume      after epoch 2 of 3\nepoch 3/3  loss " in more.stdout
    (run / "report.json").unlink()  # as if it had been stopped before it was scored
    again = command("train", "--resume", "runs/r", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "\nresume      after epoch 3 of 3\nrefit " in again.stdout


def test_a_run_without_progress_has_nothing_left_until_more_epochs_are_wanted(tmp_path):
    arguments = ["name=r", *SMALL[:-1], "training.epochs=9", "training.early_stopping=1", "training.lr=1e-30"]
    first = command("train", *arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "no more progress: " in first.stdout
    done = command("train", "--resume", "runs/r", cwd=tmp_path)
    assert re.search(r"\nnothing left to do: there was no more progress after epoch \d, and the run is ", done.stdout)
