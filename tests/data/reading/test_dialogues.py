import gzip
import json

import pytest

from cubefast.config.data import ColumnsConfig
from cubefast.data.reading.dialogues import Dialogue, load_dialogues, load_side, load_texts
from cubefast.errors import InputError

# What follows of a file that is not UTF-8.
AS_UTF8 = ', such as with iconv -f CP1252 -t UTF-8 for one of Windows (in a spreadsheet: save it as "CSV UTF-8")'


def write(path, *records):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def test_a_jsonl_file_is_read(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {"question": " Why? ", "answer": "Because.", "domain": "life", "group": "g"},
        {"question": "Who?\u2028Me?", "answer": "You."},
    )
    assert load_dialogues(path) == [
        Dialogue("Why?", "Because.", "life", "g", (), 0),
        Dialogue("Who?\u2028Me?", "You.", "", "you.", (), 1),
    ]


def test_gzip_byte_order_mark_and_blank_lines_are_fine(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbf{"question": "q", "answer": "a"}\r\n\r\n'))
    assert [d.question for d in load_dialogues(path)] == ["q"]


def test_file_order_and_repetitions_are_kept(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {"question": "Why is it so?", "answer": "Because."},
        {"question": "why  is it SO?", "answer": "because."},
        {"question": "Why is it so?", "answer": "Because."},
    )
    assert [d.question for d in load_dialogues(path)] == ["Why is it so?", "why  is it SO?", "Why is it so?"]
    assert [d.row for d in load_dialogues(path)] == [0, 1, 2]


def test_columns_may_have_other_names_and_numbers_as_domain_and_group(tmp_path):
    path = write(tmp_path / "a.jsonl", {"prompt": "q", "reply": "a", "topic": 7, "id": 0, "question": "unused"})
    columns = ColumnsConfig(question="prompt", answer="reply", domain="topic", group="id")
    assert load_dialogues(path, columns=columns) == [Dialogue("q", "a", "7", "0")]


def test_the_built_in_set_has_a_row_for_every_record():
    dialogues = load_dialogues("builtin")
    assert [d.row for d in dialogues] == list(range(1144))
    assert load_texts("builtin")[:2] == [dialogues[0].question, dialogues[0].answer]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " has no question/answer pairs"),
        (b"\n  \n", " has no question/answer pairs"),
        (
            b'{"question": "q", "answer": "a"}\n{"question"',
            ", line 2: not JSON (Expecting ':' delimiter: line 1 column 12 (char 11)). Each line must be one object",
        ),
        (b"[1, 2]", ", line 1: expected a JSON object, got list"),
        (
            b'{"frage": 1, "a": 2}',
            ', line 1: the field "question" is missing; there are frage, a. '
            "Say what it is called, such as data.columns.question=frage",
        ),
        (
            b"{}",
            ', line 1: the field "question" is missing; there are no fields. '
            "Say what it is called, such as data.columns.question=NAME",
        ),
        (b'{"question": "q", "answer": 3}', ', line 1: "answer" must be a text that is not blank; got 3'),
        (b'{"question": null, "answer": "a"}', ', line 1: "question" must be a text that is not blank; got None'),
        (b'{"question": "  ", "answer": "a"}', ", line 1: \"question\" must be a text that is not blank; got '  '"),
        (
            b'{"question": "q", "answer": "\\ud83d"}',
            ', line 1: "answer" has half a surrogate pair: ' + repr("\ud83d"),
        ),
        (
            b'{"question": "q", "answer": "a", "group": [1]}',
            ', line 1: "group" must be a text or a number; got [1]',
        ),
        (
            b'{"question": "q", "answer": "a"}\n\xff\xfe',
            ", line 2: not UTF-8 (invalid start byte at byte 0). Convert the file to UTF-8" + AS_UTF8,
        ),
    ],
)
def test_a_bad_file_is_refused_by_its_line(tmp_path, content, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_dialogues(path)
    assert str(error.value) == f"{path}{message}"


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"question": ' + b"1" * 5000 + b"}"])
def test_json_that_python_will_not_take_is_refused(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a.jsonl, line 1: (not JSON|\"question\" must be a text)"):
        load_dialogues(path)


def test_a_long_value_is_cut_in_the_message(tmp_path):
    path = write(tmp_path / "a.jsonl", {"question": list(range(1000)), "answer": "a"})
    with pytest.raises(InputError, match=r"got \[0, 1, 2, .{60,70}…$"):
        load_dialogues(path)


def test_a_text_file_is_one_text_per_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff Eins \r\n\n\nzwei\u2028drei\nEins".encode())
    assert load_texts(path) == ["Eins", "zwei\u2028drei", "Eins"]
    path.rename(tmp_path / "a.log")
    assert load_texts(tmp_path / "a.log", "text") == ["Eins", "zwei\u2028drei", "Eins"]
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    assert load_texts(tmp_path / "b.txt.gz") == ["one", "two"]


def test_texts_are_the_text_column_or_else_both_sides_of_the_pairs(tmp_path):
    pairs = write(tmp_path / "pairs.jsonl", {"question": "q", "answer": "a"}, {"question": "q", "answer": "b"})
    assert load_texts(pairs) == ["q", "a", "q", "b"]
    both = write(tmp_path / "both.jsonl", {"question": "q", "answer": "a", "text": "t"})
    assert load_texts(both) == ["q", "a"]
    assert load_texts(both, columns=ColumnsConfig(text="text")) == ["t"]
    assert load_texts(both, columns=ColumnsConfig(text="answer")) == ["a"]


def test_texts_that_are_not_there_are_asked_for(tmp_path):
    path = write(tmp_path / "a.jsonl", {"question": "q", "body": "b"})
    with pytest.raises(InputError) as error:
        load_texts(path)
    assert str(error.value) == (
        f'{path}, line 1: the field "text" is missing; there are question, body. '
        "Say what it is called, such as data.columns.text=body"
    )
    (tmp_path / "b.txt").write_bytes(b"\n \n")
    with pytest.raises(InputError) as error:
        load_texts(tmp_path / "b.txt")
    assert str(error.value) == f"{tmp_path / 'b.txt'} has no texts"


def test_a_text_file_has_no_dialogues(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n")
    with pytest.raises(InputError) as error:
        load_dialogues(tmp_path / "a.txt")
    assert str(error.value) == (
        f"{tmp_path / 'a.txt'}: a text per line has no questions and answers; it is for mode=autoencoder. "
        "For a table, set data.format=tsv or csv, whatever its suffix"
    )


@pytest.mark.parametrize(
    ("name", "content", "answers"),
    [
        ("a.txt", "So.\n\nNo.\nSo.\n", ["So.", "No."]),
        ("a.csv", "Query;Response\nWhy?;So.\nWhen?;No.\nWho?;So.\n", ["So.", "No."]),
        ("a.csv", "answer\nSo.\nNo.\n", ["So.", "No."]),
        ("a.csv", "text\nSo.\nNo.\n", ["So.", "No."]),
        ("a.jsonl", '{"question": "Why?", "answers": ["So.", "No."]}', ["So.", "No."]),
        (
            "a.jsonl",
            '{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}',
            ["So."],
        ),
        ("a.yml", "conversations:\n- [Why?, So.]\n", ["So."]),
    ],
)
def test_of_any_file_the_answers_can_be_had_alone(tmp_path, name, content, answers):
    (tmp_path / name).write_text(content)
    assert load_side(tmp_path / name, "answer") == answers
    if "Why?" in content:
        assert load_side(tmp_path / name, "question")[0] == "Why?"


def test_where_no_setting_can_name_a_column_it_has_to_be_called_so(tmp_path):
    (tmp_path / "a.csv").write_text("Antwort,Notiz\nJa.,x\n")
    with pytest.raises(
        InputError, match=r'the field "answer" is missing; there are Antwort, Notiz. Rename the right one "answer"$'
    ):
        load_side(tmp_path / "a.csv", "answer")
