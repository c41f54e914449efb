"""Tables and records as people have them: read, or refused with what to do."""

import json
import random
import shlex
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cubefast import HashingEncoder, create_conversation_dataset, create_dialogue_dataset, create_text_dataset
from cubefast.config.data import ColumnsConfig, LimitsConfig
from cubefast.config.run_config import TrainingConfig
from cubefast.data.reading.dialogues import load_dialogues, load_texts
from cubefast.data.reading.records import name_field
from cubefast.errors import InputError


def read(path, content, **columns):
    path.write_bytes(content.encode())
    return [(d.question, d.answer) for d in load_dialogues(path, columns=ColumnsConfig(**columns))]


def rows(*fields):
    return "\n".join(json.dumps(each) for each in fields)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("pandas.csv", ",question,answer\n0,q1,a1\n1,q2,a2\n", [("q1", "a1"), ("q2", "a2")]),
        ("commas.csv", "question,answer,,\nq1,a1,,\n,,,\nq2,a2,,\n", [("q1", "a1"), ("q2", "a2")]),
        ("excel.csv", "question;answer\r\nWell, q1;a1, yes\r\n", [("Well, q1", "a1, yes")]),
        ("quoted.csv", '"question; and more";question;answer\nx;q;"a; b"\n', [("q", "a; b")]),
        ("tabs.csv", "question\tanswer\nq, 1\ta; 1\n", [("q, 1", "a; 1")]),
        ("bars.csv", "question|answer\nq, 1|a; 1\n", [("q, 1", "a; 1")]),
        ("mac.csv", "question,answer\rq1,a1\rq2,a2\r", [("q1", "a1"), ("q2", "a2")]),
        ("sep.csv", "sep=,\r\nquestion,answer\r\nq1,a1\r\n", [("q1", "a1")]),
        ("sep.csv", '"sep=;"\r\nquestion;answer,x\r\nq1;a1\r\n', None),
        ("sep.csv", "\n\nsep=;\nquestion;answer\nq1,;a1\n", [("q1,", "a1")]),
        ("long.csv", f'question,answer\nq,"{"word " * 30_000}"\n', [("q", ("word " * 30_000).strip())]),
        ("lines.csv", 'question,answer\nq,"a\r\nb\rc\n\nd"\n', [("q", "a\r\nb\rc\n\nd")]),
        (
            "marco.tsv",
            'question\tanswer\n"what is x\tx is one\nwhat is y"\ty is two\n"q"\t"a ""b"" c"\n',
            [('"what is x', "x is one"), ('what is y"', "y is two"), ("q", 'a "b" c')],
        ),
        ("quoted.tsv", 'question\tanswer\nq\t"a\nb"\n"q\t2"\ta\n', [("q", "a\nb"), ("q\t2", "a")]),
        ("index.tsv", "\tquestion\tanswer\n0\tq\ta\n", [("q", "a")]),
    ],
)
def test_tables_of_every_program_are_read(tmp_path, name, content, expected):
    if expected is None:
        with pytest.raises(InputError, match='the field "answer" is missing; there are question, answer,x'):
            read(tmp_path / name, content)
    else:
        assert read(tmp_path / name, content) == expected


def test_no_row_of_a_tsv_takes_in_another_whatever_quotes_it_has(tmp_path):
    draw = random.Random(0)
    for _ in range(50):
        pairs = [
            ("".join(draw.choices('ab" ', k=6)) + "x", "".join(draw.choices('ab" ', k=6)) + "x") for _ in range(20)
        ]
        content = "question\tanswer\n" + "".join(f"{q}\t{a}\n" for q, a in pairs)
        assert read(tmp_path / "a.tsv", content) == [(q.strip(), a.strip()) for q, a in pairs]


@pytest.mark.parametrize("question", ["question", "Question", "QUERY", "prompt", "q", "anchor", " question "])
@pytest.mark.parametrize("answer", ["answer", "Answer", "response", "Reply", "completion", "a", "positive"])
def test_columns_are_found_whatever_their_case_and_usual_name(tmp_path, question, answer):
    expected = [("x", "y")]
    assert read(tmp_path / "a.jsonl", rows({question: "x", answer: "y", "other": 1})) == expected
    assert read(tmp_path / "a.csv", f"{question},{answer},other\nx,y,1\n") == expected
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({question: ["x"], answer: ["y"], "other": [1]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert [(d.question, d.answer) for d in load_dialogues(tmp_path / "a.parquet")] == expected


def test_a_tsv_may_be_longer_than_a_record_may_be(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("question\tanswer\n" + "".join(f"q {i} {'x' * 1000}\ta {i}\n" for i in range(1500)))
    assert len(load_dialogues(path, limits=LimitsConfig(line_mb=1))) == 1500


def test_a_column_that_is_set_is_taken_before_others(tmp_path):
    both = rows({"question": "x", "query": "z", "Answer": "y", "answer": "w"})
    with pytest.raises(
        InputError, match="the answer may be any of the fields Answer, answer. Say which, such as data.columns.answer=A"
    ):
        read(tmp_path / "a.jsonl", both)
    with pytest.raises(InputError, match=r"Say which, such as data.columns.answer=Answer$"):
        read(tmp_path / "a.jsonl", rows({"question": "x", "answer": "w", "Answer": "y"}))
    assert read(tmp_path / "a.jsonl", both, answer="Answer") == [("x", "y")]
    assert read(tmp_path / "a.jsonl", both, question="query", answer="Answer") == [("z", "y")]
    with pytest.raises(InputError, match="the question may be any of the fields query, prompt"):
        read(tmp_path / "a.jsonl", rows({"query": "x", "prompt": "z", "answer": "y"}))


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "x", "output": "y"},
        {"INSTRUCTION": "x", "output": "y"},
        {"prompt": "x", "chosen": "y", "rejected": "w"},
        {"query": "x", "document": "y"},
        {"user": "x", "assistant": "y"},
        {"query": "x", "input": "more", "response": "y", "document": "source"},
    ],
)
def test_other_names_that_people_have_are_found_where_no_likelier_one_is(tmp_path, fields):
    assert read(tmp_path / "a.jsonl", rows(fields)) == [("x", "y")]
    assert read(tmp_path / "a.csv", f"{','.join(fields)}\n{','.join(fields.values())}\n") == [("x", "y")]


def test_an_instruction_with_an_input_of_its_own_is_not_guessed_at(tmp_path):
    with pytest.raises(InputError, match="the question may be any of the fields instruction, input. Say which"):
        read(tmp_path / "a.jsonl", rows({"instruction": "x", "input": "z", "output": "y"}))


@pytest.mark.parametrize(
    "names", [("Frage", "Antwort"), ("My question", "It's said: an answer"), ("0", "1"), ("yes", "no")]
)
def test_the_key_of_a_message_works_when_it_is_pasted(tmp_path, names):
    path = tmp_path / "a.csv"
    path.write_text(f"{names[0]},{names[1]}\nx,y\n")
    with pytest.raises(InputError, match='the field "question" is missing') as refused:
        load_dialogues(path)
    given = shlex.split(str(refused.value).split("such as ")[1])
    assert [each.partition("=")[0] for each in given] == ["data.columns.question", "data.columns.answer"]
    found = load_dialogues(path, columns=TrainingConfig.load(None, given).data.columns)
    assert [(d.question, d.answer) for d in found] == [("x", "y")]


def test_a_table_without_a_header_is_told_to_have_one(tmp_path):
    with pytest.raises(
        InputError, match="data.columns.question=NAME. If these are texts, put a first line with the names"
    ):
        read(tmp_path / "a.csv", "What is x?,It is y\nWhat is z?,It is w\n")


def test_a_workbook_is_not_taken_for_a_table(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match='a.xlsx is a workbook, which is not read: save the sheet as "CSV UTF-8"'):
        load_dialogues(tmp_path / "a.xlsx")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet", "yml"])
def test_what_is_said_twice_is_refused_in_every_format(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    twice = '{"question": "x", "question": "z", "answer": "y"}'
    content = {
        "jsonl": twice,
        "json": f"[{twice}]",
        "csv": "question,question,answer\nx,z,y\n",
        "tsv": "question\tquestion\tanswer\nx\tz\ty\n",
        "yml": "conversations: [[a, b]]\nconversations: [[c, d]]\n",
    }
    if suffix == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        table = pyarrow.Table.from_arrays([pyarrow.array(["x"])] * 3, names=["question", "question", "answer"])
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    else:
        path.write_text(content[suffix])
    with pytest.raises(InputError, match="twice|need different names"):
        load_dialogues(path)


NAMES = [
    (None, ""),
    ("", ""),
    (" ", ""),
    (float("nan"), ""),
    (np.float64("nan"), ""),
    (Decimal("NaN"), ""),
    *((text, "") for text in ("nan", "NaN", "None", "null", "NULL", "<NA>", "NaT")),
    (1, "1"),
    (1.0, "1"),
    ("1", "1"),
    ("1.0", "1"),
    ("-1.00", "-1"),
    (np.float32(1), "1"),
    (Decimal("1.0"), "1"),
    (-0.0, "0"),
    (1.5, "1.5"),
    ("1.5", "1.5"),
    ("v1.0", "v1.0"),
    ("1.0.0", "1.0.0"),
    ("Cafe\u0301", "Caf\xe9"),
    (10**30, str(10**30)),
]


@pytest.mark.parametrize(("value", "name"), NAMES, ids=repr)
def test_a_name_is_one_however_its_column_spells_it(value, name):
    assert name_field(value, "x", "group") == name


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("inf"), '"group" is inf; give a text or a finite number'),
        (Decimal("-Infinity"), '"group" is -Infinity'),
        ("\ud800", '"group" has half a surrogate pair'),
        ([1], "must be a text or a number; got \\[1\\]"),
        (b"x", "must be a text or a number; got b'x'"),
    ],
)
def test_a_name_that_is_none_is_refused(value, message):
    with pytest.raises(InputError, match=message):
        name_field(value, "x", "group")


def test_rows_without_a_group_are_no_group_in_any_format(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    groups = [7.0, float("nan"), float("nan")]
    fields = {"question": ["q1", "q2", "q3"], "answer": ["a1", "a2", "a3"]}
    parquet.write_table(pyarrow.table({**fields, "group": groups}), tmp_path / "a.parquet")
    table = [
        dict(zip(("question", "answer", "group"), row, strict=True))
        for row in zip(*fields.values(), groups, strict=True)
    ]
    (tmp_path / "a.jsonl").write_text(rows(*table))  # json writes NaN
    (tmp_path / "a.csv").write_text("question,answer,group\nq1,a1,7.0\nq2,a2,nan\nq3,a3,\n")
    (tmp_path / "a.tsv").write_text("question\tanswer\tGroup\nq1\ta1\t7\nq2\ta2\tNone\nq3\ta3\t\n")
    for path in sorted(tmp_path.iterdir()):
        assert [d.group for d in load_dialogues(path)] == ["7", "a2", "a3"], path
    given = create_dialogue_dataset(table, encoder=HashingEncoder(64), cache=tmp_path / "cache")
    assert [d.group for d in given.dialogues] == ["7", "a2", "a3"]


def test_half_a_surrogate_pair_in_a_domain_is_refused(tmp_path):
    with pytest.raises(InputError, match='line 1: "domain" has half a surrogate pair'):
        read(tmp_path / "a.jsonl", '{"question": "q", "answer": "a", "domain": "\\ud800"}')


def test_several_answers_are_a_pair_each(tmp_path):
    squad = {"context": "c", "question": "q", "answers": {"text": ["a", "a", "b"], "answer_start": [0, 0, 4]}}
    assert read(tmp_path / "a.jsonl", rows(squad)) == [("q", "a"), ("q", "b")]
    assert read(tmp_path / "a.jsonl", rows({"query": "q", "pos": ["a", "b"]})) == [("q", "a"), ("q", "b")]
    with pytest.raises(
        InputError, match="has no text: a question without an answer, as in SQuAD 2. Leave the record out"
    ):
        read(tmp_path / "a.jsonl", rows({"question": "q", "answers": {"text": [], "answer_start": []}}))
    with pytest.raises(InputError, match='"pos" must be a text that is not blank; got None'):
        read(tmp_path / "a.jsonl", rows({"query": "q", "pos": ["a", None]}))
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist([squad]), tmp_path / "a.parquet")
    assert [d.answer for d in load_dialogues(tmp_path / "a.parquet")] == ["a", "b"]


def test_chats_with_tools_and_without_contents_are_read(tmp_path):
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "How warm is it?"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "weather"}}]},
        {"role": "tool", "content": "5", "tool_call_id": "1"},
        {"role": "assistant", "content": "5 degrees."},
        {"role": "user", "content": "Thanks."},
        {"role": "assistant", "content": "", "function_call": {"name": "end"}},
        {"role": "function", "content": None},
        {"role": "assistant", "content": "Bye."},
    ]
    assert read(tmp_path / "a.jsonl", rows({"messages": messages})) == [
        ("How warm is it?", "5 degrees."),
        ("Thanks.", "Bye."),
    ]
    with pytest.raises(InputError, match='message 1: "content" must be a text that is not blank; got None'):
        read(tmp_path / "a.jsonl", rows({"messages": [{"role": "user", "content": None}]}))


def test_the_group_and_domain_of_a_chat_are_found_whatever_their_case(tmp_path):
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": said, "Group": "g", "DOMAIN": "d"}))
    (dialogue,) = load_dialogues(tmp_path / "chat.jsonl")
    assert (dialogue.group, dialogue.domain) == ("g", "d")


def test_chats_of_sharegpt_are_read(tmp_path):
    turns = [{"from": "system", "value": "s"}, {"from": "Human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert read(tmp_path / "a.jsonl", rows({"id": 1, "conversations": turns})) == [("q", "a")]


# --- What is given in Python


def made(source, tmp_path, make=create_dialogue_dataset):
    return make(source, encoder=HashingEncoder(64), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    "source",
    [
        [("q1 x", "a1 x"), ("q2 x", "a2 x")],
        [["q1 x", "a1 x"], ["q2 x", "a2 x"]],
        np.array([("q1 x", "a1 x"), ("q2 x", "a2 x")]),
        [{"question": "q1 x", "answer": "a1 x"}, {"Query": "q2 x", "response": "a2 x"}],
        [
            {"messages": [{"role": "user", "content": f"q{i} x"}, {"role": "assistant", "content": f"a{i} x"}]}
            for i in (1, 2)
        ],
    ],
    ids=["tuples", "lists", "array", "mappings", "chats"],
)
@pytest.mark.parametrize("kind", [list, iter, tuple])
def test_pairs_of_every_kind_make_the_same_data_set(source, kind, tmp_path):
    dataset = made(kind(source), tmp_path)
    assert [(d.question, d.answer) for d in dataset.dialogues] == [("q1 x", "a1 x"), ("q2 x", "a2 x")]


def test_a_data_frame_makes_a_data_set(tmp_path):
    frame = pytest.importorskip("pandas").DataFrame({"question": ["q1 x"], "answer": ["a1 x"], "group": [np.nan]})
    assert [(d.question, d.group) for d in made(frame, tmp_path).dialogues] == [("q1 x", "a1 x")]


def test_texts_and_conversations_may_come_one_by_one(tmp_path):
    assert len(made((f"text {i}" for i in range(3)), tmp_path, create_text_dataset)) == 3
    assert len(made(np.array(["a b", "c d"]), tmp_path, create_text_dataset)) == 2
    turns = (iter(("q x", "a x", "r x", "b x")) for _ in range(1))
    assert len(made(turns, tmp_path, create_conversation_dataset)) == 2


@pytest.mark.parametrize(
    ("source", "make", "message"),
    [
        (
            {"question": ["q"], "answer": ["a"]},
            create_dialogue_dataset,
            "a list of items.*got a mapping of question, answer",
        ),
        (3, create_dialogue_dataset, "expected a list of items, one for each row; got 3"),
        ([("q",)], create_dialogue_dataset, "item 0 must be .question, answer., which wrong answers may follow"),
        ([("q", "a", "")], create_dialogue_dataset, 'item 0: "negative" must be a text that is not blank'),
        (
            [("q", "a"), 3],
            create_dialogue_dataset,
            "item 1 must be .question, answer., which wrong answers may follow; got 3",
        ),
        (
            [{"question": "q", "answer": "a"}, ("q", "a")],
            create_dialogue_dataset,
            "item 1 must be a mapping, as item 0 is",
        ),
        ([("q", float("nan"))], create_dialogue_dataset, "item 0: .answer. must be a text that is not blank; got nan"),
        ("one text", create_text_dataset, "expected a list of items, one for each row; got 'one text'"),
        (["a", float("nan")], create_text_dataset, "text 1: .text. must be a text that is not blank; got nan"),
        (["\ud800"], create_text_dataset, "text 0: .text. has half a surrogate pair"),
        (["hello", "world"], create_conversation_dataset, "expected a list of items, one for each row; got 'hello'"),
        ([["q", 3]], create_conversation_dataset, "item 0: .answer. must be a text that is not blank; got 3"),
    ],
)
def test_what_is_given_wrongly_is_refused_in_words(tmp_path, source, make, message):
    with pytest.raises(InputError, match=message):
        made(source, tmp_path, make)


def test_a_path_may_be_one(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(rows({"question": "q1 x", "answer": "a1 x"}))
    assert len(made(Path(path), tmp_path)) == 1
    assert load_texts(Path(path)) == ["q1 x", "a1 x"]


# --- Damage


def test_a_damaged_parquet_file_is_refused_wherever_the_damage_is(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    fields = {"question": [f"q{i}" for i in range(200)], "answer": [f"a{i}" for i in range(200)], "group": [1.0] * 200}
    path = tmp_path / "a.parquet"
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(fields), path, compression="none")
    good = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(200):
        bad = bytearray(good)
        for _ in range(draw.choice((1, 3, 10))):
            bad[draw.randrange(4, len(bad))] = draw.randrange(256)
        path.write_bytes(bad[: draw.choice((len(bad), draw.randrange(len(bad))))])
        try:
            load_dialogues(path)
        except InputError:
            refused += 1
    assert refused > 50
