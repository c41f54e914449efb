"""Files that are damaged, or written to do harm: refused within the limits of a data set."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from cubefast import create_dialogue_dataset, create_text_dataset
from cubefast.config.data import DatasetConfig, LimitsConfig
from cubefast.data.reading.dialogues import load_dialogues, load_texts
from cubefast.errors import InputError

PAIR = json.dumps({"question": "q", "answer": "a"}) + "\n"
SMALL = LimitsConfig(file_mb=3, whole_file_mb=2, line_mb=1, records=1000, text_chars=5000)
TEXT = "x" * 5001


def save(path, content):
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix.lower() == ".gz" else data)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "\0" * 1_000_001, "a.jsonl.*, line 1: longer than 1 MB; raise data.limits.line_mb"),
        ("a.csv", "question,answer\n" + "x" * 1_000_001, "a.csv.*, line 2: longer than 1 MB"),
        (
            "a.csv",
            'question,answer\nq,"' + "x\n" * 600_000,
            "a.csv.*: a record of more than 1 MB. Is a quote not closed|lines",
        ),
        (
            "a.csv",
            'question,answer\nq,"' + ("x" * 9999 + "\n") * 200,
            "a record of more than 1 MB. Is a quote not closed",
        ),
        ("a.jsonl", PAIR * 1001, "a.jsonl.* has more than 1,000 (lines|records); raise data.limits.records"),
        ("a.jsonl", "\n" * 1001, "a.jsonl.* has more than 1,000 lines; raise data.limits.records"),
        ("a.jsonl", (" " * 9_999 + "\n") * 301, "a.jsonl.* holds more than 3 MB; raise data.limits.file_mb"),
        ("a.json", "[" + " " * 2_000_000 + "]", "a.json.* holds more than 2 MB; raise data.limits.whole_file_mb"),
        ("a.json", "[" + PAIR + ("," + PAIR) * 1000 + "]", "a.json.* has more than 1,000 records"),
        ("a.yml", "#" * 2_000_001, "a.yml.* holds more than 2 MB; raise data.limits.whole_file_mb"),
        ("a.jsonl", json.dumps({"question": "q", "answer": TEXT}), '"answer" has 5,001 characters, more than 5,000'),
        ("a.csv", f"question,answer\nq,{TEXT}\n", "raise data.limits.text_chars, or divide it"),
        ("a.tsv", f"question\tanswer\nq\t{TEXT}\n", "raise data.limits.text_chars"),
        ("a.jsonl", json.dumps({"messages": [{"role": "user", "content": TEXT}]}), "raise data.limits.text_chars"),
        ("a.yml", f"conversations:\n- [a, {TEXT}]", "raise data.limits.text_chars"),
    ],
)
def test_what_is_beyond_the_limits_is_refused_with_the_key_that_raises_it(tmp_path, name, content, message, ending):
    path = save(tmp_path / (name + ending), content)
    with pytest.raises(InputError, match=message):
        load_dialogues(path, limits=SMALL)


def test_what_is_within_larger_limits_is_read(tmp_path):
    path = save(tmp_path / "a.jsonl", PAIR * 1001)
    assert len(load_dialogues(path, limits=LimitsConfig(records=1001))) == 1001
    with pytest.raises(InputError, match=r"data.limits.records"):
        create_dialogue_dataset(path, DatasetConfig(limits=SMALL))


def test_texts_have_the_same_limits(tmp_path):
    with pytest.raises(InputError, match=r"a.txt, line 2: \"text\" has 5,001 characters"):
        load_texts(save(tmp_path / "a.txt", f"a\n{TEXT}\n"), limits=SMALL)
    with pytest.raises(InputError, match="text 1: .text. has 5,001 characters"):
        create_text_dataset(["a", TEXT], {"limits": {"text_chars": 5000}})
    with pytest.raises(InputError, match="item 0: .answer. has 5,001 characters"):
        create_dialogue_dataset([("a", TEXT)], {"limits": {"text_chars": 5000}})


MEASURED = """
import resource, sys
from cubefast.data.reading.dialogues import load_dialogues
from cubefast.config.data import LimitsConfig
from cubefast.errors import InputError
import pyarrow.parquet
pyarrow.set_memory_pool(pyarrow.system_memory_pool())
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
for path in sys.argv[1:]:
    try:
        load_dialogues(path, limits=LimitsConfig(file_mb=100, whole_file_mb=50))
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_bomb_takes_no_more_memory_than_the_limits_say(tmp_path):
    """Files that unpack to gigabytes, in a process that may take one of them more than it has."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    zeros = gzip.compress(b"\0" * 50_000_000, 9)  # members of one file may follow each other
    (tmp_path / "line.jsonl.gz").write_bytes(zeros * 20)
    (tmp_path / "list.json.gz").write_bytes(zeros * 20)
    (tmp_path / "corpus.yml.gz").write_bytes(zeros * 20)
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(b'question,answer\nq,"', 9) + zeros * 20)
    long = "x" * 900_000
    parquet.write_table(pyarrow.table({"question": ["q"] * 300, "answer": [long] * 300}), tmp_path / "a.parquet")
    chat = [{"role": "user", "content": long}, {"role": "assistant", "content": "a"}]
    parquet.write_table(pyarrow.table({"messages": [chat] * 300}), tmp_path / "chat.parquet")
    paths = sorted(tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-c", MEASURED, *paths], capture_output=True, text=True, timeout=120)
    assert len(done.stdout.splitlines()) == len(paths), done.stdout + done.stderr


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.json", "a.yml"])
def test_a_pipe_or_device_is_refused_rather_than_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"zero-{name}").symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / f"zero-{name}"):
        with pytest.raises(InputError, match="is a pipe, a socket or a device, which may have no end; give a file"):
            load_dialogues(path)


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\ufeff"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", PAIR),
        ("a.json", f"[{PAIR}]"),
        ("a.csv", "question,answer\nq,a\n"),
        ("a.csv", '"question","answer"\nq,a\n'),
        ("a.tsv", "question\tanswer\nq\ta\n"),
        ("a.yml", "conversations:\n- [q, a]\n"),
    ],
)
def test_byte_order_marks_are_passed_over_in_every_format(tmp_path, name, content, mark):
    (one,) = load_dialogues(save(tmp_path / name, mark + content))
    assert (one.question, one.answer) == ("q", "a")


def test_a_byte_order_mark_between_joined_files_is_passed_over(tmp_path):
    assert len(load_dialogues(save(tmp_path / "a.jsonl", ("\ufeff" + PAIR) * 2))) == 2
    assert load_texts(save(tmp_path / "a.txt", "\ufeffa\n\ufeffb\n")) == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_with_what_to_do(tmp_path, encoding):
    with pytest.raises(InputError, match="UTF-16"):
        load_dialogues(
            save(tmp_path / "a.csv", ("\ufeff" * ("-" in encoding[4:]) + "question,answer\nq,a\n").encode(encoding))
        )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_every_system_has_it(tmp_path, end):
    expected = [("q1", "a1"), ("q2", "a2")]
    for name, lines in {
        "a.jsonl": [json.dumps({"question": q, "answer": a}) for q, a in expected],
        "a.csv": ["question,answer", "q1,a1", "q2,a2"],
        "a.tsv": ["question\tanswer", "q1\ta1", "q2\ta2"],
        "a.yml": ["conversations:", "- [q1, a1]", "- [q2, a2]"],
    }.items():
        path = save(tmp_path / name, end.join([*lines, ""]).encode())
        assert [(d.question, d.answer) for d in load_dialogues(path)] == expected, name
    assert load_texts(save(tmp_path / "a.txt", end.join(["a\u2028b", "c"]).encode())) == ["a\u2028b", "c"]


def test_suffixes_in_capitals_are_known(tmp_path):
    data = gzip.compress(PAIR.encode())
    for name in ("a.jsonl.GZ", "a.JSONL.gz"):
        (tmp_path / name).write_bytes(data)
        assert len(load_dialogues(tmp_path / name)) == 1
    assert load_texts(save(tmp_path / "A.TXT", "one\ntwo\n")) == ["one", "two"]


def test_the_memory_of_a_session_is_no_deeper_than_its_last_turns(tmp_path):
    """A conversation of n turns would else hold n * n / 2 of them."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": f"t{i}"} for i in range(2000)]
    dialogues = load_dialogues(save(tmp_path / "a.jsonl", json.dumps({"messages": messages})))
    assert len(dialogues) == 1000
    assert dialogues[-1].context == tuple(f"t{i}" for i in range(1898, 1998))
