import gzip
import json
import os
import sys
import types

import pytest

from cubefast.config.data import ColumnsConfig
from cubefast.data.reading.dialogues import Dialogue, load_dialogues, load_texts
from cubefast.errors import InputError

# What follows of a file that is not UTF-8.
AS_UTF8 = ', such as with iconv -f CP1252 -t UTF-8 for one of Windows (in a spreadsheet: save it as "CSV UTF-8")'

PAIRS = [
    Dialogue("Why, then?", 'He said "so".', "life", "g", (), 0),
    Dialogue("Who?", "Ünal\nEr.", "", "ünal er.", (), 1),
]
CSV = '\ufeffquestion,answer,domain,group\r\n"Why, then?","He said ""so"".",life,g\r\n\r\nWho?,"Ünal\nEr.",,\r\n'
OBJECTS = [
    {"question": "Why, then?", "answer": 'He said "so".', "domain": "life", "group": "g"},
    {"question": "Who?", "answer": "Ünal\nEr."},
]


def save(path, content):
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def refusal(path, format="auto", load=load_dialogues):
    with pytest.raises(InputError) as error:
        load(path, format)
    return str(error.value).replace(str(path), path.name if hasattr(path, "name") else str(path))


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.tsv", CSV.replace(",", "\t").replace("Why\t then", "Why, then")),
        ("a.json", json.dumps(OBJECTS)),
        ("a.jsonl", "\n".join(map(json.dumps, OBJECTS))),
        ("a.NDJSON", "\n".join(map(json.dumps, OBJECTS))),
    ],
)
def test_every_format_gives_the_same_dialogues(tmp_path, name, content, ending):
    assert load_dialogues(save(tmp_path / (name + ending), content)) == PAIRS


def test_a_given_format_goes_before_the_suffix(tmp_path):
    assert load_dialogues(save(tmp_path / "a.txt", CSV), "csv") == PAIRS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv has no question/answer pairs"),
        ("a.csv", "question,answer\n", "a.csv has no question/answer pairs"),
        (
            "a.csv",
            "frage,antwort\nq,a\n",
            'a.csv, line 2: the field "question" is missing; there are frage, antwort. '
            "Say what it is called, such as data.columns.question=frage data.columns.answer=antwort",
        ),
        (
            "a.csv",
            'question,answer\n"q\nq",a\nWell, then,a\n',
            "a.csv, line 4: 3 fields, but the header has 2 (question, answer). Put a text with a comma in quotes",
        ),
        (
            "a.csv",
            "question,answer\nq\n",
            "a.csv, line 2: 1 fields, but the header has 2 (question, answer). Put a text with a comma in quotes",
        ),
        (
            "a.tsv",
            "question\tanswer\nq\ta\tb\n",
            "a.tsv, line 2: 3 fields, but the header has 2 (question, answer). Put a text with a tab in quotes",
        ),
        ("a.csv", "question,answer\n,a\n", "a.csv, line 2: \"question\" must be a text that is not blank; got ''"),
        (
            "a.csv",
            'question,answer\nq,"a\nb,c\n',
            "a.csv, line 2: not CSV (unexpected end of data). "
            'Put a text with a quote in quotes, and its quotes twice: "so ""quoted"" text"',
        ),
        (
            "a.tsv",
            'question\tanswer\n"so" he said\ta\nq\t"a\nb"\n',
            "a.tsv, line 2: not TSV ('\t' expected after '\"'). "
            'Put a text with a quote in quotes, and its quotes twice: "so ""quoted"" text"',
        ),
        (
            "a.csv",
            "question,answer\nq,a\0\n",
            "a.csv, line 2: a NUL byte, which no text has. Is the file UTF-16, or binary?",
        ),
        (
            "a.csv",
            "question,answer,answer\nq,a,b\n",
            "a.csv, line 1: the columns need different names; got ['question', 'answer', 'answer']",
        ),
        (
            "a.csv",
            b"question,answer\nq,caf\xe9\n",
            "a.csv, line 2: not UTF-8 (invalid continuation byte at byte 5). Convert the file to UTF-8" + AS_UTF8,
        ),
        ("a.json", " \n", "a.json has no question/answer pairs"),
        ("a.json", "[]", "a.json has no question/answer pairs"),
        (
            "a.json",
            '{"data": []}',
            "a.json: expected a list of JSON objects, got dict of data. "
            "Give the list of records alone (with pandas: to_json(path, orient='records'))",
        ),
        ("a.json", '[{"question": "q", "answer": "a"}, 3]', "a.json, record 2: expected a JSON object, got int"),
        (
            "a.json",
            '{"question": "q", "answer": "a"}\n{}',
            "a.json: not JSON (Extra data: line 2 column 1 (char 33)). "
            "It must be a list of objects; for an object on each line set data.format=jsonl",
        ),
        (
            "a.json",
            b'["a",\n"\xff"]',
            "a.json, line 2: not UTF-8 (invalid start byte at byte 1). Convert the file to UTF-8" + AS_UTF8,
        ),
        (
            "a.doc",
            "x",
            "the format of a.doc is unclear: its suffix .doc is not known. "
            "Known are .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .yml, .yaml, .txt (also with .gz); "
            "or set data.format to one of jsonl, json, csv, tsv, parquet, chat, chatterbot, text",
        ),
        (
            "a.gz",
            "x",
            "the format of a.gz is unclear: it has no suffix. "
            "Known are .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .yml, .yaml, .txt (also with .gz); "
            "or set data.format to one of jsonl, json, csv, tsv, parquet, chat, chatterbot, text",
        ),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path, name, content, message):
    assert refusal(save(tmp_path / name, content)) == message


def test_what_is_no_readable_file_is_refused(tmp_path):
    assert refusal(tmp_path / "none.csv") == (
        "no data file none.csv. Give a file (.jsonl, .ndjson, .json, .csv, .tsv, .parquet, .yml, .yaml, .txt), "
        "a folder of ChatterBot YAML, hub:NAME or builtin"
    )
    assert refusal(tmp_path, "csv") == (
        f"the data file {tmp_path.name} cannot be read: it is a folder; format=csv needs a file"
    )
    assert refusal(tmp_path, "xml") == (
        "format 'xml' is not known; it must be one of auto, jsonl, json, csv, tsv, parquet, chat, chatterbot, text"
    )
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(b'{"question": "q", "answer": "a"}')[:-9])
    assert refusal(cut) == (
        "the data file cut.jsonl.gz cannot be read: Compressed file ended before the end-of-stream marker was reached"
    )
    plain = tmp_path / "plain.csv.gz"
    plain.write_bytes(CSV.encode())
    assert refusal(plain) == "the data file plain.csv.gz cannot be read: Not a gzipped file (b'\\xef\\xbb')"
    damaged = bytearray(gzip.compress(CSV.encode()))
    damaged[12:20] = b"\xff" * 8
    (tmp_path / "damaged.csv.gz").write_bytes(damaged)
    assert refusal(tmp_path / "damaged.csv.gz").startswith("the data file damaged.csv.gz cannot be read: Error -3 ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = save(tmp_path / "a.csv", CSV)
    path.chmod(0)
    assert refusal(path) == "the data file a.csv cannot be read: Permission denied"


def test_a_large_gzipped_file_is_read_line_by_line(tmp_path):
    import tracemalloc

    line = json.dumps({"question": "q", "answer": "a", "padding": "x" * 50_000}) + "\n"
    path = save(tmp_path / "a.jsonl.gz", line * 400)
    tracemalloc.start()
    try:
        assert len(load_dialogues(path)) == 400
        assert tracemalloc.get_traced_memory()[1] < 5_000_000, "of 20 MB"
    finally:
        tracemalloc.stop()


# --- Parquet


def parquet(path, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(pyarrow.table(columns), path)
    return path


def test_parquet_is_read_by_the_columns_that_matter(tmp_path):
    path = parquet(
        tmp_path / "a.parquet", prompt=["q1", " q2 "], answer=["a1", "a2"], group=[7, None], vector=[[1.0]] * 2
    )
    columns = ColumnsConfig(question="prompt")
    assert load_dialogues(path, columns=columns) == [
        Dialogue("q1", "a1", "", "7", (), 0),
        Dialogue("q2", "a2", "", "a2", (), 1),
    ]
    assert load_texts(path, columns=columns) == ["q1", "a1", "q2", "a2"]


def test_parquet_may_have_chats(tmp_path):
    messages = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]
    assert load_dialogues(parquet(tmp_path / "a.parquet", messages=messages, id=[3])) == [Dialogue("q", "a", "", "3")]


def test_bad_parquet_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    assert refusal(parquet(tmp_path / "a.parquet", question=["q"], vector=[[1.0]])) == (
        'a.parquet, record 1: the field "answer" is missing; there are question, vector. '
        "Say what it is called, such as data.columns.answer=vector"
    )
    assert refusal(parquet(tmp_path / "b.parquet", question=["q", "q"], answer=["a", None])) == (
        'b.parquet, record 2: "answer" must be a text that is not blank; got None'
    )
    assert refusal(parquet(tmp_path / "c.parquet", question=["q"], answer=[[1.5]])) == (
        'c.parquet, record 1: "answer" must be a text that is not blank; got 1.5'
    )
    assert refusal(parquet(tmp_path / "d.parquet", question=[], answer=[])) == "d.parquet has no question/answer pairs"
    assert refusal(save(tmp_path / "e.parquet", CSV)).startswith(
        "e.parquet: not a Parquet file that can be read (Parquet magic bytes not found in footer."
    )
    assert refusal(save(tmp_path / "f.parquet.gz", CSV)) == (
        "f.parquet.gz: a gzipped Parquet file is not read; gunzip it (Parquet is compressed inside)"
    )


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(save(tmp_path / "a.parquet", b"")) == (
        "a.parquet: Parquet files need pyarrow: pip install 'cubefast[parquet]'"
    )


# --- The hub


class Rows(list):
    @property
    def column_names(self):
        return list(self[0])

    def select_columns(self, names):
        return Rows({name: row[name] for name in names} for row in self)


def stand_in_for_the_hub(monkeypatch, load):
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))


def test_a_data_set_of_the_hub_is_read(monkeypatch):
    asked = []

    def load(name, split):
        asked.append((name, split))
        return Rows([{"question": "q", "answer": "a", "image": b""}])

    stand_in_for_the_hub(monkeypatch, load)
    assert load_dialogues("hub:someone/pairs") == [Dialogue("q", "a", "", "a")]
    assert load_texts("hub:someone/pairs:test") == ["q", "a"]
    assert asked == [("someone/pairs", "train"), ("someone/pairs", "test")]


def test_chats_of_the_hub_are_known_by_their_messages(monkeypatch):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    stand_in_for_the_hub(monkeypatch, lambda name, split: Rows([{"messages": messages, "id": "c"}]))
    assert load_dialogues("hub:chats") == [Dialogue("q", "a", "", "c")]


def test_what_the_hub_does_not_give_is_refused(monkeypatch):
    def unreachable(name, split):
        raise ConnectionError("Couldn't reach it.\nA long story")

    stand_in_for_the_hub(monkeypatch, unreachable)
    assert refusal("hub:pairs:dev") == (
        'the split "dev" of pairs cannot be had from the hub: Couldn\'t reach it. '
        "Check the name, the split and the network, or give a file"
    )
    assert refusal("hub:pairs", "csv") == "hub:pairs: data.format=csv is for files; leave it at auto, or chat"
    assert refusal("hub:") == "'hub:' must be hub:NAME or hub:NAME:SPLIT, as hub:squad or hub:squad:validation"
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refusal("hub:pairs") == "hub:pairs: data sets of the hub need datasets: pip install 'cubefast[hub]'"


# --- Chats


def chat(*messages, **fields):
    return {"messages": [{"role": role, "content": content} for role, content in messages], **fields}


def save_chats(path, *chats):
    return save(path, "\n".join(map(json.dumps, chats)))


def test_every_assistant_turn_after_a_user_turn_is_an_answer(tmp_path):
    first = chat(
        ("system", ""),
        ("assistant", "Hello!"),
        ("user", "Hi."),
        ("user", [{"type": "text", "text": "What is rain?"}, {"type": "text", "text": "Briefly."}]),
        ("system", "Be brief."),
        ("assistant", "Water"),
        ("assistant", "from clouds."),
        ("user", "Thanks"),
        id=12,
        domain="weather",
    )
    second = chat(
        ("user", "Bye"), ("assistant", "Bye!"), ("user", "Still there?"), ("assistant", "Yes"), group="g", id=1
    )
    path = save_chats(tmp_path / "a.jsonl", first, chat(("user", "Anyone?")), second)
    dialogues = [
        Dialogue("Hi.\nWhat is rain?\nBriefly.", "Water\nfrom clouds.", "weather", "12", ("Hello!",), 0),
        Dialogue("Bye", "Bye!", "", "g", (), 2),
        Dialogue("Still there?", "Yes", "", "g", ("Bye", "Bye!"), 2),
    ]
    assert load_dialogues(path) == dialogues
    assert load_dialogues(path, "chat") == dialogues
    assert load_texts(path)[:3] == ["Hello!", "Hi.\nWhat is rain?\nBriefly.", "Water\nfrom clouds."]
    assert load_dialogues(save(tmp_path / "b.json.gz", json.dumps([first, second])))[0] == dialogues[0]


def test_a_chat_without_a_name_is_grouped_by_what_was_said(tmp_path):
    one = chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    other = chat(("user", "a"), ("assistant", "x"))
    groups = [d.group for d in load_dialogues(save_chats(tmp_path / "a.jsonl", one, other, one))]
    assert groups[0] == groups[1] == groups[3] == groups[4] != groups[2]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": "hi"}, "line 1: \"messages\" must be a list; got 'hi'"),
        ({"messages": ["hi"]}, "line 1, message 1: expected an object with role and content; got 'hi'"),
        (
            chat(("user", "q"), ("narrator", "a")),
            'line 1, message 2: "role" must be one of user, assistant or system, or human, prompter, gpt, chatgpt, '
            "model, bot, developer, tool, function, observation; got 'narrator'",
        ),
        (
            {"messages": [{"content": "q"}]},
            'line 1, message 1: "role" must be one of user, assistant or system, or human, prompter, gpt, chatgpt, '
            "model, bot, developer, tool, function, observation; got None",
        ),
        (
            {"messages": [{"role": "user"}]},
            'line 1, message 1: "content" must be a text that is not blank; got None',
        ),
        (chat(("user", " ")), "line 1, message 1: \"content\" must be a text that is not blank; got ' '"),
        (chat(("user", [])), "line 1, message 1: \"content\" must be a text that is not blank; got ''"),
        (
            chat(("user", [{"type": "image_url", "image_url": "x"}])),
            'line 1, message 1: a part must be {"type": "text", "text": ...}; '
            "got {'type': 'image_url', 'image_url': 'x'}",
        ),
        (chat(("user", "q"), ("assistant", "a"), id={}), 'line 1: "id" must be a text or a number; got {}'),
    ],
)
def test_a_bad_chat_is_refused_by_its_message(tmp_path, record, message):
    assert refusal(save_chats(tmp_path / "a.jsonl", record)) == f"a.jsonl, {message}"


def test_chats_without_an_answer_are_refused(tmp_path):
    path = save_chats(tmp_path / "a.jsonl", chat(("user", "q")), chat(("assistant", "a"), ("user", "q")), chat())
    assert refusal(path) == "a.jsonl has no conversation in which a turn is answered"
    path = save_chats(tmp_path / "b.jsonl", {"question": "q", "answer": "a"})
    assert refusal(path, "chat") == (
        'b.jsonl, line 1: the field "messages" of a chat is missing; there are question, answer'
    )


# --- ChatterBot

CORPUS = """\ufeffcategories:
- conversation topics
- talk
conversations:
- - Is it 42?
  - yes
  - 42
- - Bist du da?
  - Ja:doch
- - nobody answers
- a text - where a list belongs
- - before
  -
  - after
  - 2024-01-01
"""


def test_each_turn_of_a_chatterbot_corpus_answers_the_one_before(tmp_path):
    dialogues = load_dialogues(save(tmp_path / "talk.yml", CORPUS))
    assert [(d.question, d.answer, d.context, d.row) for d in dialogues] == [
        ("Is it 42?", "yes", (), 0),
        ("yes", "42", ("Is it 42?",), 0),
        ("Bist du da?", "Ja:doch", (), 1),
        ("after", "2024-01-01", ("before",), 4),
    ]
    assert {d.domain for d in dialogues} == {"conversation topics"}
    assert dialogues[0].group == dialogues[1].group != dialogues[2].group
    assert load_texts(tmp_path / "talk.yml")[3:7] == [
        "Bist du da?",
        "Ja:doch",
        "nobody answers",
        "a text - where a list belongs",
    ]


def test_a_folder_of_corpora_is_read_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    save(tmp_path / "b" / "food.yaml", "conversations:\n- [hungry?, no]\n")
    save(tmp_path / "a.yml", "categories: [talk]\nconversations:\n- [hi, hello]\n")
    save(tmp_path / "c.yml", "categories:\n- empty\nconversations:\n")
    save(tmp_path / "README.md", "not a corpus")
    assert [(d.question, d.domain, d.row) for d in load_dialogues(tmp_path)] == [
        ("hi", "talk", 0),
        ("hungry?", "food", 1),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "a.yml, line 2: not YAML (did not find expected ',' or ']')"),
        ("a: \x01", "a.yml: not YAML (unacceptable character #x0001: control characters are not allowed)"),
        ("[" * 200_000, "a.yml: lists or mappings inside each other, more than 100 deep"),
        ("", "a.yml: a ChatterBot corpus has the keys categories and conversations; got None"),
        ("x: 1\ny: 2", "a.yml: a ChatterBot corpus has the keys categories and conversations; got x, y"),
        ("conversations: hi", "a.yml: conversations must be a list of lists of turns; got 'hi'"),
        ("conversations:\n- a: b", "a.yml, conversation 1: expected a list of turns, got {'a': 'b'}"),
        (
            "conversations:\n- - hi\n  - Note: hello",
            "a.yml, conversation 1, turn 2: expected a text, got {'Note': 'hello'}. "
            'Put a text that has ": " or starts with "- " in quotes',
        ),
        ("conversations:\n- [hi]", "a.yml has no conversation in which a turn is answered"),
        (
            b"conversations:\n- [caf\xe9]",
            "a.yml, line 2: not UTF-8 (invalid continuation byte at byte 6). Convert the file to UTF-8" + AS_UTF8,
        ),
    ],
)
def test_a_bad_corpus_is_refused(tmp_path, content, message):
    assert refusal(save(tmp_path / "a.yml", content)) == message


def test_a_folder_without_corpora_is_refused(tmp_path):
    assert refusal(tmp_path) == (
        f"the data file {tmp_path.name} cannot be read: it is a folder without ChatterBot YAML (.yml, .yaml)"
    )


def test_the_published_chatterbot_corpus_is_read_whole():
    corpus = pytest.importorskip("chatterbot_corpus.corpus")
    dialogues = load_dialogues(corpus.DATA_DIRECTORY)
    assert len(dialogues) > 10_000
    assert len({d.domain for d in dialogues}) > 50
    assert ("What is AI?", "AI") in {(d.question, d.domain) for d in dialogues}
