"""What people read fits their window, at words."""

import pytest

from cubefast.terminal import cells, columns, labelled, paragraph, wrapped

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


def test_a_word_longer_than_the_window_is_broken():
    assert wrapped("a " + "b" * 25 + " c", 20).splitlines() == ["a", "b" * 20, "b" * 5 + " c"]


def test_without_a_window_a_line_stays_one(capsys):
    assert columns() is None
    assert paragraph(TEXT, "> ") == f"> {TEXT}"
    assert labelled("data", TEXT) == f"data        {TEXT}"
