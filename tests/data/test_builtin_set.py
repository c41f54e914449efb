"""The built-in questions and answers keep what the README promises of them."""

from collections import Counter, defaultdict

import pytest

from cubefast.data.reading.dialogues import load_dialogues, normalize

DIALOGUES = load_dialogues("builtin")


def test_it_is_large_and_wide_enough():
    answers = defaultdict(set)
    for dialogue in DIALOGUES:
        answers[dialogue.domain].add(dialogue.answer)
    assert len(answers) >= 12
    assert sum(map(len, answers.values())) >= 240
    assert min(map(len, answers.values())) >= 15
    assert "cubefast" in answers


def test_every_answer_has_four_questions_of_its_own():
    by_answer = Counter(d.answer for d in DIALOGUES)
    assert set(by_answer.values()) == {4}
    assert len({normalize(d.question) for d in DIALOGUES}) == len(DIALOGUES)
    assert len({(d.group, d.answer) for d in DIALOGUES}) == len({d.group for d in DIALOGUES}) == len(by_answer)
    assert all(d.group.startswith(f"{d.domain}/") for d in DIALOGUES)


def test_answers_are_one_to_three_sentences_of_substance():
    for answer in {d.answer for d in DIALOGUES}:
        assert 20 <= len(answer.split()) <= 75, answer
        assert answer[-1] in ".)", answer


def test_questions_are_not_made_from_templates():
    openings = Counter(" ".join(d.question.lower().split()[:2]) for d in DIALOGUES)
    opening, count = openings.most_common(1)[0]
    assert count <= 0.06 * len(DIALOGUES), f"{count} questions begin with {opening!r}"


@pytest.mark.parametrize("text", ["lorem", "todo", "xxx", "lorem ipsum", "question 1"])
def test_no_filler(text):
    assert not [d for d in DIALOGUES if text in d.question.lower() or text in d.answer.lower()]
