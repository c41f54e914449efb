"""What goes to a person is visible: nothing that a text holds acts on a terminal, a page or a reader's eyes."""

import io
import json
import os
import subprocess
import sys

import pytest

from cubefast import cli
from cubefast.reporting.compare_runs import RunComparison, render_comparison
from cubefast.reporting.figures import Dot
from cubefast.reporting.tables import Table
from cubefast.utils.escaping import VisibleStream, json_text, markdown, markdown_code, visible
from cubefast.utils.templates import Strong

from ..programs import command
from ..runs import make_run

ACTING = [
    *map(chr, [*range(9), 11, 12, 13, *range(14, 32), *range(127, 160)]),
    *("\u2028", "\u2029", *map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]), "\ud800", "\udfff"),
]
HOSTILE = "a\x1b]52;c;ZXZpbA==\x07\x9b2J\u202egnp\x7f`|<b>\r"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext, 水 שלום \u200f\u0633\u0644 👩‍👩‍👧", "plain\n\ttext, 水 שלום \u200f\u0633\u0644 👩‍👩‍👧"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J\x7f\x85", "\\x9b2J\\x7f\\x85"),
        ("\u202egnp\u2066", "\\u202egnp\\u2066"),
        ("over\rwritten", "over\\x0dwritten"),
        ("of Windows\r\n", "of Windows\n"),
        ("half \udc80", "half \\udc80"),
    ],
)
def test_what_would_act_is_shown(text, shown):
    assert visible(text) == shown


def test_every_acting_character_is_shown_everywhere():
    text = "".join(ACTING)
    table = Table(text, [text, text], [[text, Strong(text)]])
    panels = {text: [Dot(text, "cube", 0.5, None)]}
    comparison = RunComparison([text, text], text, "mrr", panels, table, table)
    stream = io.StringIO()
    print(text, file=VisibleStream(stream))
    VisibleStream(stream).writelines([text, text])
    for form in (
        *(visible(text), markdown(text), markdown_code(text), json_text({text: [text]}), stream.getvalue()),
        *(render_comparison(comparison, form) for form in ("md", "html", "txt")),
    ):
        assert not set(form) & set(ACTING)


def test_json_is_of_equal_value():
    value = {HOSTILE: [HOSTILE, "水", {"\ud800": 1.5}]}
    assert json.loads(json_text(value)) == value
    assert "水" in json_text(value)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_what_an_encoding_does_not_have_becomes_an_escape(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    print("水 — é \x1b \udc80", file=VisibleStream(stream), flush=True)
    shown = {
        "ascii": "\\u6c34 \\u2014 \\xe9",
        "cp1252": "\\u6c34 — é",
        "latin-1": "\\u6c34 \\u2014 é",
        "utf-8": "水 — é",
    }
    assert raw.getvalue().decode(encoding) == f"{shown[encoding]} \\x1b \\udc80\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("plain", "`plain`"),
        ("a`b", "``a`b``"),
        ("``", "``` `` ```"),
        ("two\n\n# lines", "`two # lines`"),
        ("", ""),
    ],
)
def test_a_span_of_code_ends_where_it_should(text, code):
    assert markdown_code(text) == code


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"))[0].path


def started(run, shell, *arguments, **environment):
    """``python -m cubefast.ask`` with its standard streams as the shell's words have them."""
    call = f'exec "$0" -W error -m cubefast.ask "$@" {shell}'
    return subprocess.run(
        ["bash", "-c", call, sys.executable, run, *arguments],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
    )


def test_a_standard_stream_may_be_closed(run):
    question = "Where is the redtree?"
    done = started(run, "<&- >&- 2>&-", question)
    assert done.returncode == 0
    done = started(run, ">&-", question)
    assert (done.returncode, done.stderr) == (0, b"note: the standard output is closed, so nothing is shown\n")
    done = started(run, "<&-", question)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"The redtree is in" in done.stdout


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [
        (["stdin"], [], 2),
        (["stdin"], ["--jsonl"], 0),
        (["stdin"], ["--interactive"], 0),
        (["stderr"], ["Where is the redtree?"], 0),
        (["stderr"], [""], 2),
        (["stdin", "stdout", "stderr"], ["--none"], 2),
    ],
)
def test_without_a_standard_stream_every_way_to_ask_ends_as_with_it(run, monkeypatch, closed, arguments, code):
    """As a process finds them that was started with closed streams: Python has None in their places."""
    with monkeypatch.context() as patch:
        for name in closed:
            patch.setattr(sys, name, None)
        assert cli.main(["ask", str(run), *arguments]) == code
        assert [getattr(sys, name) for name in closed] == [None] * len(closed)


def test_a_full_disk_under_the_output_is_said(run):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("there is no /dev/full here")
    done = started(run, ">/dev/full", "Where is the redtree?")
    assert done.returncode == 1
    assert done.stderr == b"error: the output cannot be written: No space left on device\n"


def test_an_output_that_is_not_utf8_is_enough(run):
    done = started(run, "", "Where is the redtree? 水", "--count", "1", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    done = started(run, "<<< $'caf\\xc3\\xa9?\\nWhere is the redtree?'", "--interactive", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b"error: the input is not ascii; set PYTHONIOENCODING=utf-8" in done.stdout
    assert b"The redtree is in" in done.stdout


def test_what_was_typed_is_shown_visibly_too(run, tmp_path):
    for arguments in (["--\x1b[2J"], ["q", "--threshold", "\x1b[2J"], ["--count", "\u202e"]):
        done = command("ask", str(run), *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert not set(done.stderr) & set(ACTING)
    done = command("ask", "/none/\x1b[2J", "Why?", "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert not set(done.stderr) & set(ACTING)
