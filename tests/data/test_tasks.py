import pytest
import torch

from cubefast import EmbeddingCache, EmbeddingPairs, HashingEncoder
from cubefast.data.dialogues import Dialogue, load_dialogues
from cubefast.data.tasks import build_task
from cubefast.errors import InputError

ENCODER = HashingEncoder(32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return EmbeddingCache(tmp_path_factory.mktemp("cache"))


def test_dialogue_pairs_a_question_with_its_answer(cache):
    dialogues = load_dialogues("builtin")
    task = build_task(dialogues, "dialogue", ENCODER, cache)
    answer_of = {d.question: d.answer for d in dialogues}
    vectors = dict(zip(answer_of, ENCODER.encode(list(answer_of)), strict=True))
    question = next(q for q, v in vectors.items() if torch.equal(torch.from_numpy(v), task.train.inputs[0]))
    assert task.answers[int(task.train.target_ids[0])] == answer_of[question]
    wanted = torch.from_numpy(ENCODER.encode([answer_of[question]])[0])
    assert torch.equal(task.train.targets[0], wanted)
    assert set(task.tests) == {"unseen paraphrase", "unseen group"}


def test_autoencoder_pairs_a_text_with_itself_and_keeps_parts_apart(cache):
    task = build_task(load_dialogues("builtin"), "autoencoder", ENCODER, cache)
    parts = [task.train, task.validation, *task.tests.values()]
    for pairs in parts:
        assert torch.equal(pairs.inputs, pairs.targets)
    ids = [set(pairs.target_ids.tolist()) for pairs in parts]
    assert len(set().union(*ids)) == sum(map(len, ids)), "a text stands in two parts"


def test_too_little_data_is_refused_in_words(cache):
    few = [Dialogue(f"question {i}", f"answer {i}", "", str(i)) for i in range(3)]
    with pytest.raises(InputError, match="3 pairs are too few to split"):
        build_task(few, "dialogue", ENCODER, cache)


@pytest.mark.parametrize(
    ("inputs", "targets", "ids", "message"),
    [
        (torch.zeros(2, 3), torch.ones(2, 3), None, r"row 0 of inputs is all zeros \(2 such rows\); remove them"),
        (torch.ones(2, 3), torch.full((2, 3), float("nan")), None, "row 0 of targets is NaN or Inf"),
        (torch.ones(2, 3), torch.ones(2, 4), None, r"inputs \[2, 3\] and targets \[2, 4\] must have one shape"),
        (torch.ones(0, 3), torch.ones(0, 3), None, r"inputs must be \[n, D\] with n and D of at least 1; got \[0, 3\]"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.zeros(3), r"target_ids must be \[2\]; got \[3\]"),
    ],
)
def test_pairs_that_cannot_be_trained_on_are_refused(inputs, targets, ids, message):
    with pytest.raises(InputError, match=message):
        EmbeddingPairs.of(inputs, targets, ids)


def test_equal_targets_are_one_answer():
    pairs = EmbeddingPairs.of(torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]]))
    assert pairs.target_ids[0] == pairs.target_ids[2] != pairs.target_ids[1]
