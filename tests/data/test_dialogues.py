import gzip
import json

import pytest

from cubefast.data.dialogues import load_dialogues
from cubefast.errors import InputError


def write(path, *records):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def test_a_jsonl_file_is_read(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {"question": " Why? ", "answer": "Because.", "domain": "life", "group": "g"},
        {"question": "Who?\u2028Me?", "answer": "You."},
    )
    first, second = load_dialogues(path)
    assert (first.question, first.answer, first.domain, first.group) == ("Why?", "Because.", "life", "g")
    assert (second.question, second.group) == ("Who?\u2028Me?", "you.")


def test_gzip_byte_order_mark_and_blank_lines_are_fine(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbf{"question": "q", "answer": "a"}\r\n\r\n'))
    assert [d.question for d in load_dialogues(path)] == ["q"]


def test_the_same_pair_counts_once(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {"question": "Why is it so?", "answer": "Because."},
        {"question": "why  is it SO?", "answer": "because."},
        {"question": "Why is it so?", "answer": "Another answer."},
    )
    assert len(load_dialogues(path)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no question/answer pairs"),
        (b"\n  \n", "has no question/answer pairs"),
        (b'{"question": "q", "answer": "a"}\n{"question"', "a.jsonl, line 2: not JSON"),
        (b"[1, 2]", "line 1: expected a JSON object, got list"),
        (b'{"q": 1, "a": 2}', 'line 1: the field "question" is missing; the line has q, a'),
        (b'{"question": "q", "answer": 3}', 'line 1: "answer" must be a text that is not blank; got 3'),
        (b'{"question": "  ", "answer": "a"}', '"question" must be a text that is not blank'),
        (b'{"question": "q", "answer": "a"}\n\xff\xfe', "line 2: not UTF-8"),
        (b"[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_bad_file_is_refused_by_its_line(tmp_path, content, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_dialogues(path)


def test_a_file_that_is_not_there_or_not_a_file(tmp_path):
    with pytest.raises(InputError, match=r"no data file .*missing.jsonl. Give a JSONL file"):
        load_dialogues(tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match="cannot be read: .*Is a directory"):
        load_dialogues(tmp_path)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"{}" * 100)[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        load_dialogues(tmp_path / "a.gz")
