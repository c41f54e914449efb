"""Scores, what is measured, and the table."""

import torch

from cubefast import EmbeddingPairs
from cubefast.evaluation.baselines import Baseline, identity, mean_target
from cubefast.evaluation.conversation_metrics import PairStructure
from cubefast.evaluation.score_table import HeldOutTest, Score, measure, score, table


def answered(count=80, dim=8):
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, dim, generator=random)
    ids = torch.arange(count) // 2
    return EmbeddingPairs.of(inputs, torch.randn(count, dim, generator=random)[ids] + 2, ids)


def halfway(pairs, share, name):
    return Baseline(name, 3, lambda inputs: (1 - share) * inputs + share * pairs.targets)


def test_score_counts_each_answer_once_in_the_pool():
    targets = torch.eye(3)[[0, 0, 1, 2]]
    pairs = EmbeddingPairs.of(targets, targets, torch.tensor([5, 5, 7, 9]))
    perfect = score(identity(), HeldOutTest("test", pairs))
    assert (perfect.queries, perfect.pool) == (4, 3)
    assert (perfect.cosine, perfect.recall_at_1, perfect.mrr) == (1, 1, 1)
    wrong = score(Baseline("wrong", 0, lambda x: x.roll(1, dims=1)), HeldOutTest("test", pairs))
    assert wrong.recall_at_1 == 0
    assert wrong.recall_at_10 == 1


def test_ranks_are_among_the_whole_bank_that_is_given():
    bank = torch.eye(3)
    pairs = EmbeddingPairs.of(torch.tensor([[0.6, 0.0, 1.0], [0.0, 1.0, 0.0]]), bank[:2], torch.tensor([0, 1]))
    assert (
        score(identity(), HeldOutTest("test", pairs)).pool,
        score(identity(), HeldOutTest("test", pairs)).recall_at_1,
    ) == (2, 1)
    for found in (
        score(identity(), HeldOutTest("test", pairs, bank)),
        measure(identity(), HeldOutTest("test", pairs, bank)).score,
    ):
        assert (found.pool, found.recall_at_1, found.mrr) == (3, 0.5, 0.75)


def test_a_score_comes_back_from_its_dictionary():
    pairs = answered()
    found = score(identity(), HeldOutTest("test", pairs))
    assert Score(**found.as_dict()) == found


def test_what_is_measured_has_the_same_score_and_more():
    pairs = answered()
    model = halfway(pairs, 0.3, "model")
    structure = PairStructure(groups=torch.arange(80) // 8, conversations=torch.arange(80) // 8)
    found = measure(model, HeldOutTest("test", pairs, structure=structure), pairs.targets.mean(0))
    quick, full = score(model, HeldOutTest("test", pairs)).as_dict(), found.score.as_dict()
    assert {**full, "cosine": round(full["cosine"], 6)} == {**quick, "cosine": round(quick["cosine"], 6)}
    saved = found.as_dict()
    assert (saved["test"], saved["model"], saved["parameters"], saved["tried"]) == ("test", "model", 3, 1)
    assert saved["groups"] == 10
    assert saved["dialogue_coherence"]["count"] == 70
    assert saved["centred_cosine"] < saved["cosine"]  # all targets lie to one side


def test_the_table_names_the_test_and_stars_the_best():
    pairs = EmbeddingPairs.of(torch.eye(3), torch.eye(3))
    text = table(
        [score(identity(), HeldOutTest("unseen", pairs)), score(mean_target(pairs), HeldOutTest("unseen", pairs))]
    )
    lines = text.strip().splitlines()
    assert lines[0] == "unseen (3 queries, ranked among all 3 answers)"
    assert lines[1].split() == ["parameters", "R@1", "R@10", "MRR", "cosine"]
    assert lines[2].split() == ["identity", "0", "1.000*", "1.000*", "1.000*", "1.000*"]
    assert lines[3].split()[:3] == ["mean", "answer", "3"]
    assert lines[3].split()[6] == "0.577"


def test_the_table_makes_room_for_long_names():
    pairs = EmbeddingPairs.of(torch.eye(3), torch.eye(3))
    long = Baseline("a model whose name is longer than most", 123_456_789, lambda x: x)
    lines = (
        table([score(identity(), HeldOutTest("t", pairs)), score(long, HeldOutTest("t", pairs))]).strip().splitlines()
    )
    assert len({line.rfind("*") for line in lines[2:]}) == 1
    assert "than most  123,456,789" in lines[3]


def test_a_table_fits_its_window_in_which_long_names_take_several_lines():
    names = ["cube", "two-layer adapter, hidden 127, lr 0.0003", "low-rank adapter, rank 82, untrained"]
    scores = [Score("unseen group", name, 65_407, 104, 286, 0.4, 0.5, 0.9, 0.7) for name in names]
    wide, narrow = table(scores), table(scores, 80)
    assert table(scores, 200) == wide
    assert max(map(len, wide.splitlines())) > 80
    assert max(map(len, narrow.splitlines())) <= 80
    assert "  two-layer adapter, hidden 127,      65,407" in narrow
    assert "\n    lr 0.0003\n" in narrow
    assert [line[-42:] for line in wide.splitlines() if "65,407" in line] == [
        line[-42:] for line in narrow.splitlines() if "65,407" in line
    ]
