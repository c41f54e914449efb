"""Conversations: staying with what was said, following from each other."""

import pytest
import torch

from cubefast import DatasetConfig, HashingEncoder, create_conversation_dataset, create_dialogue_dataset
from cubefast.evaluation.conversation_metrics import (
    PairStructure,
    context_embeddings,
    context_preservation,
    dialogue_coherence,
)

EAST, NORTH, NORTHEAST = [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]


def test_context_preservation_by_hand():
    context = torch.tensor([EAST, [0.0, 0.0], NORTH])  # nothing was said before the second
    predicted, target = torch.tensor([EAST, EAST, NORTHEAST]), torch.tensor([NORTH, NORTH, NORTH])
    found = context_preservation(predicted, target, context)
    assert (found.predicted, found.true, found.count) == (pytest.approx((1 + 0.5**0.5) / 2), 0.5, 2)
    assert str(found) == "0.854 (true answers 0.500; 2 of them)"


def test_coherence_by_hand():
    predicted = torch.tensor([EAST, NORTH, EAST, NORTHEAST, NORTH])
    target = torch.tensor([EAST, EAST, EAST, EAST, NORTH])
    conversations = torch.tensor([4, 2, 4, 2, 4])  # rows 0, 2, 4 and 1, 3
    found = dialogue_coherence(predicted, target, conversations)
    assert found.count == 3
    assert found.predicted == pytest.approx((1 + 0 + 0.5**0.5) / 3)
    assert found.true == pytest.approx((1 + 0 + 1) / 3)


def test_the_true_answers_are_as_good_as_themselves():
    answers, context = torch.randn(20, 6), torch.randn(20, 6)
    for found in (
        context_preservation(answers, answers, context),
        dialogue_coherence(answers, answers, torch.arange(20) // 4),
    ):
        assert found.predicted == found.true


def test_single_questions_have_neither():
    answers = torch.randn(4, 6)
    assert context_preservation(answers, answers, torch.zeros(4, 6)) is None
    assert dialogue_coherence(answers, answers, torch.arange(4)) is None


def test_the_origin_of_conversations(tmp_path):
    talks = [[f"hello {n}", f"hi {n}", f"what is {n}", f"a number {n}", "and why", f"because of {n}"] for n in range(5)]
    config = DatasetConfig.load({"context": {"window": 2}})
    encoder = HashingEncoder(16)
    dataset = create_conversation_dataset(talks, config, encoder=encoder, cache=tmp_path)
    structure = PairStructure.of(dataset.dialogues, dataset)
    assert structure.conversations.tolist() == [n for n in range(5) for _ in range(3)]
    assert len(structure.groups.unique()) == 5
    assert not structure.context[0].any()
    said = torch.from_numpy(encoder.encode(["what is 0", "a number 0"]))  # the last two turns before "and why"
    assert torch.allclose(structure.context[2], said.mean(dim=0), atol=1e-6)
    assert torch.allclose(context_embeddings(dataset.subset([2]))[0], structure.context[2])


def test_a_data_set_that_hears_no_turns_has_no_context(tmp_path):
    dataset = create_dialogue_dataset([("why", "because")], encoder=HashingEncoder(16), cache=tmp_path)
    assert PairStructure.of(dataset.dialogues, dataset).context is None
