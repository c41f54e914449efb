from hypothesis import given, settings
from hypothesis import strategies as st

from cubefast.data.dialogues import Dialogue, load_dialogues, normalize
from cubefast.data.splits import check_leaks, split_dialogues

texts = st.integers(0, 30).map(lambda i: f"text {i}")
dialogues = st.lists(
    st.builds(Dialogue, texts, texts.map(lambda t: f"answer {t}"), st.just(""), st.integers(0, 40).map(str)),
    min_size=1,
    max_size=120,
    unique_by=lambda d: (d.question, d.answer),
)


def check(rows):
    split = split_dialogues(rows)
    parts = [split.train, split.validation, split.unseen_paraphrase, split.unseen_group]
    placed = sorted(row for part in parts for row in part)
    assert len(placed) == len(set(placed))
    known = {normalize(text) for row in placed for text in (rows[row].question, rows[row].answer)}
    for row in set(range(len(rows))) - set(placed):
        assert {normalize(rows[row].question), normalize(rows[row].answer)} & known, "left out without need"
    questions = [{normalize(rows[row].question) for row in part} for part in parts]
    for i, one in enumerate(questions):
        for other in questions[i + 1 :]:
            assert not one & other, "a question stands in two parts"
    answers = [{normalize(rows[row].answer) for row in part} for part in parts]
    groups = [{rows[row].group for row in part} for part in parts]
    train, _, paraphrase, group = 0, 1, 2, 3
    assert answers[paraphrase] <= answers[train], "a paraphrase's answer must have been trained"
    for seen in (0, 1, 2):
        assert not answers[group] & answers[seen]
        assert not groups[group] & groups[seen]
    return split


@settings(deadline=None, max_examples=150, derandomize=True)
@given(dialogues)
def test_no_text_and_no_group_leaks_whatever_the_data(rows):
    check(rows)


def test_the_built_in_set_splits_in_fair_shares():
    rows = load_dialogues("builtin")
    split = check(rows)
    parts = (split.train, split.validation, split.unseen_paraphrase, split.unseen_group)
    assert sum(map(len, parts)) == len(rows), "no row is left out"
    assert len(split.train) > 0.5 * len(rows)
    assert 0.05 < len(split.unseen_group) / len(rows) < 0.15
    assert len(split.unseen_paraphrase) > 0.15 * len(rows)
    assert len(split.validation) > 0.08 * len(rows)


def test_adding_rows_moves_none():
    rows = load_dialogues("builtin")
    half = split_dialogues(rows[: len(rows) // 8 * 4])
    whole = split_dialogues(rows)
    for name in ("train", "validation", "unseen_paraphrase", "unseen_group"):
        assert set(getattr(half, name)) <= set(getattr(whole, name))


def test_chats_that_share_what_everybody_says_are_still_split():
    chats = [
        Dialogue(question, answer, "", f"chat {i}")
        for i in range(200)
        for question, answer in ((f"Where is number {i}?", f"At place {i}."), ("Thanks.", "You're welcome."))
    ]
    split = check(chats)
    assert len(split.train) > 250
    assert len(split.unseen_group) > 5
    assert len(split.validation) > 3
    held_out = [chats[row] for row in (*split.unseen_group, *split.validation)]
    check_leaks([chats[row] for row in split.train], held_out)
    assert not {d.group for d in held_out} & {chats[row].group for row in split.train}
    assert "Thanks." not in {d.question for d in held_out}
