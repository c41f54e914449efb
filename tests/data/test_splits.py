from hypothesis import given, settings
from hypothesis import strategies as st

from cubefast.config.data import SplitConfig
from cubefast.data.reading.dialogues import Dialogue, load_dialogues, normalize
from cubefast.data.splits import check_leaks, split_dialogues

texts = st.integers(0, 30).map(lambda i: f"text {i}")
dialogues = st.lists(
    st.builds(Dialogue, texts, texts.map(lambda t: f"answer {t}"), st.just(""), st.integers(0, 40).map(str)),
    min_size=1,
    max_size=120,
    unique_by=lambda d: (d.question, d.answer),
)


percents = st.integers(0, 100)
shares = st.builds(
    SplitConfig,
    test_percent=st.integers(0, 50),
    validation_percent=st.integers(0, 50),
    test_paraphrase_percent=percents,
    validation_paraphrase_percent=percents,
)


def check(rows, shares=None):
    split = split_dialogues(rows, shares)
    parts = [
        split.train,
        split.validation_paraphrase,
        split.unseen_paraphrase,
        split.validation_group,
        split.unseen_group,
    ]
    for part in parts:
        assert part == sorted(part)
    assert split.validation == sorted(split.validation_paraphrase + split.validation_group)
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
    for paraphrase in (1, 2):
        assert answers[paraphrase] <= answers[0], "a paraphrase's answer must have been trained"
    for group, others in ((3, (0, 1, 2)), (4, (0, 1, 2, 3))):
        for other in others:
            assert not answers[group] & answers[other]
            assert not groups[group] & groups[other]
    return split


@settings(deadline=None, max_examples=150, derandomize=True)
@given(dialogues, shares)
def test_no_text_and_no_group_leaks_whatever_the_data_and_the_shares(rows, shares):
    check(rows)
    check(rows, shares)


def test_the_built_in_set_splits_in_fair_shares():
    rows = load_dialogues("builtin")
    split = check(rows)
    parts = (split.train, split.validation, split.unseen_paraphrase, split.unseen_group)
    assert sum(map(len, parts)) == len(rows), "no row is left out"
    assert [len(part) for part in parts] == [624, 170, 246, 104]
    assert (len(split.validation_paraphrase), len(split.validation_group)) == (114, 56)
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


def wordings(answers=200, count=4):
    """Answers that each have so many questions, and a group of their own."""
    return [Dialogue(f"Wording {i} of {n}?", f"Answer {n}.", "", str(n)) for n in range(answers) for i in range(count)]


def test_every_share_can_be_set_and_zero_holds_nothing_out():
    rows = wordings()
    nothing = dict.fromkeys(SplitConfig.model_fields, 0)
    assert check(rows, SplitConfig(**nothing)).train == list(range(len(rows)))
    for share, part in {
        "test_percent": "unseen_group",
        "validation_percent": "validation_group",
        "test_paraphrase_percent": "unseen_paraphrase",
        "validation_paraphrase_percent": "validation_paraphrase",
    }.items():
        split = check(rows, SplitConfig(**nothing | {share: 50}))
        held_out = getattr(split, part)
        assert len(split.train) + len(held_out) == len(rows), "nothing else is held out"
        per_answer = 4 if "group" in part else 1
        assert 0.35 * 200 < len(held_out) / per_answer < 0.65 * 200


def test_shares_of_paraphrases_are_taken_from_different_answers_while_there_are_some():
    rows = wordings()
    split = check(rows, SplitConfig(test_paraphrase_percent=60, validation_paraphrase_percent=40))
    tested, validated = (
        {rows[row].answer for row in part} for part in (split.unseen_paraphrase, split.validation_paraphrase)
    )
    assert tested
    assert validated
    assert not tested & validated
    both = check(rows, SplitConfig(test_percent=0, validation_percent=0, validation_paraphrase_percent=100))
    assert len(both.unseen_paraphrase) == len(both.validation_paraphrase) == 200


def test_raising_a_share_of_paraphrases_moves_no_other_answer():
    rows = wordings()
    few, many = (split_dialogues(rows, SplitConfig(test_paraphrase_percent=share)) for share in (30, 70))
    assert set(few.unseen_paraphrase) < set(many.unseen_paraphrase)
    assert few.unseen_group == many.unseen_group
    assert few.validation_group == many.validation_group


def test_two_wordings_are_too_few_to_hold_one_out():
    split = check(wordings(count=2), SplitConfig(validation_paraphrase_percent=100))
    assert split.unseen_paraphrase == split.validation_paraphrase == []
