"""Pairs that are made of documents without questions."""

import pytest

from cubefast.data.documents.find_documents import Document
from cubefast.data.documents.make_pairs import ANSWER_CHARS, KINDS, make_pairs
from cubefast.data.documents.markup import Block

LONG = "Cells share one small network and update their states again and again."
MORE = "A rollout of all steps is one call into a compiled kernel, forward and backward."


def document(name="a.md", *blocks, **rest):
    """Of texts such as "1 A heading" and "A paragraph"."""
    made = [
        Block("heading", b[2:], int(b[0])) if b[:1].isdigit() and b[1:2] == " " else Block("text", b) for b in blocks
    ]
    return Document(name, "", made, **rest)


def made(*documents, **options):
    return [(p.kind, p.question, p.answer) for p in make_pairs(documents, **{"kinds": KINDS, **options}).pairs]


def test_a_heading_with_those_above_it_asks_for_the_text_under_it():
    found = made(document("a.md", "1 The lattice", LONG, "2 Kernel", "3 Speed", MORE))
    assert found == [("heading", "The lattice", LONG), ("heading", "The lattice: Kernel: Speed", MORE)]


def test_every_title_of_a_file_with_several_leads_to_its_own_text_only():
    found = made(
        document("a.md", "2 Before it", MORE, "1 The lattice", LONG, "1 The kernel", "2 Speed", f"{LONG} {MORE}")
    )
    questions = [question for kind, question, _ in found if kind == "heading"]
    assert questions == ["Before it", "The lattice", "The kernel: Speed"]


def test_a_heading_that_says_the_title_again_is_the_title():
    blocks = [
        Block("heading", "The lattice", 2),
        Block("text", LONG),
        Block("heading", "Speed", 3),
        Block("text", MORE),
    ]
    found = made(Document("a.html", "The lattice", blocks))
    assert [question for _, question, _ in found] == ["The lattice", "The lattice: Speed"]


def test_a_first_sentence_asks_for_the_rest_of_its_passage():
    found = made(document("a.txt", f"{LONG} {MORE}", LONG))
    assert found == [("sentence", LONG, f"{MORE} {LONG}")]


def test_a_heading_that_asks_is_a_question_as_it_stands():
    assert made(document("a.md", "1 The lattice", "2 What do cells share?", LONG)) == [
        ("faq", "What do cells share?", LONG)
    ]


def test_a_faq_for_machines_is_not_made_twice():
    faq = [("What do cells share?", MORE), ("How fast is a rollout?", MORE)]
    found = made(document("a.html", "1 The lattice", "2 What do cells share?", LONG, faq=faq))
    assert found == [("faq", "What do cells share?", LONG), ("faq", "How fast is a rollout?", MORE)]


def test_long_sections_become_passages_that_an_encoder_reads_whole():
    sentences = [f"Sentence number {i} says that the cells of {i} rows share one network." for i in range(60)]
    found = made(document("a.md", "1 The lattice", " ".join(sentences), *sentences[:30], "x" * 3000))
    assert max(len(answer) for _, _, answer in found) <= ANSWER_CHARS[1]
    assert [question for kind, question, _ in found if kind == "heading"] == ["The lattice"]
    assert sum(kind == "sentence" for kind, _, _ in found) >= 4


def test_a_question_with_several_answers_and_a_repeated_pair_are_left_out():
    made_of = make_pairs(
        [document(f"{name}.md", "1 The guide", text) for name, text in [("a", LONG), ("b", MORE), ("c", LONG)]]
    )
    assert made_of.pairs == []
    assert made_of.left_out["pairs whose question has several answers"] == 3
    twice = make_pairs([document("a.md", "1 The guide", LONG), document("b.md", "1 the Guide", LONG)])
    assert len(twice.pairs) == 1
    assert twice.left_out == {"repeated pairs": 1}


def test_paragraphs_that_stand_in_several_files_are_no_answers():
    notice = "This page is a part of the manual, and was helpful to a hundred of its readers."
    found = make_pairs([document(f"{i}.md", f"1 Page {i} of it", notice, f"Rule {i}: {LONG}") for i in range(3)])
    assert [pair.answer for pair in found.pairs if pair.kind == "heading"] == [f"Rule {i}: {LONG}" for i in range(3)]
    assert found.left_out == {"paragraphs that stand in several files": 3}


def test_short_texts_are_left_out_and_counted():
    blocks = "1 The lattice", "Yes.", "2 " + "A long question " * 30 + "?", LONG, "1 2026-11-27", LONG
    found = make_pairs([document("a.md", *blocks)])
    assert found.pairs == []
    assert found.left_out == {
        "pairs that are too short": 1,
        "questions that are too long": 1,
        "questions without a letter": 1,
    }


def test_only_the_kinds_that_are_wanted_are_made():
    given = document("a.md", "1 The lattice", f"{LONG} {MORE}", "2 What do cells share?", LONG)
    assert {kind for kind, _, _ in made(given)} == {"faq", "heading", "sentence"}
    assert {kind for kind, _, _ in made(given, kinds=["sentence"])} == {"sentence"}
    assert {pair.kind for pair in make_pairs([given]).pairs} == {"faq", "heading"}


def test_groups_are_files_where_these_are_many_and_sections_where_they_are_few():
    def of(files):
        return [
            document(f"{i}.md", f"1 Page {i} of it", "2 Cells", f"Rule {i}: {LONG}", "3 More", MORE + str(i))
            for i in range(files)
        ]

    few, many = make_pairs(of(19)), make_pairs(of(20))
    assert (few.grouped_by, many.grouped_by) == ("section", "file")
    assert {pair.group for pair in few.pairs} == {f"{i}.md#Cells" for i in range(19)}
    assert {pair.group for pair in many.pairs} == {f"{i}.md" for i in range(20)}
    assert make_pairs(of(20), grouping="section").grouped_by == "section"
    assert few.pairs[1].source == "0.md#Page 0 of it > Cells > More"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (f"Dr. A. Smith of St. Mary saw 40 cells. {LONG}", "Dr. A. Smith of St. Mary saw 40 cells."),
        (f'Somebody asked: "Is it fast enough?" {LONG}', 'Somebody asked: "Is it fast enough?"'),
        (f"Version 1.5 of it is three times as fast! {LONG}", "Version 1.5 of it is three times as fast!"),
        ("細胞は一つの小さな網を分け合う。状態は何度も新しくなる。" * 3, "細胞は一つの小さな網を分け合う。"),
    ],
)  # fmt: skip
def test_sentences_end_where_readers_see_it(text, first):
    ((_, question, _),) = made(document("a.txt", text))
    assert question == first
