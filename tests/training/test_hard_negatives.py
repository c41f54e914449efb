"""Hard negatives: whose answers a pair is trained against."""

import pytest
import torch

from cubefast import CubeTrainer, EmbeddingPairs
from cubefast.config.training import LossConfig
from cubefast.data.pairs import PairDataset
from cubefast.training import hard_negatives
from cubefast.training.batches import TrainingBatch
from cubefast.training.hard_negatives import mine_hard_negatives
from cubefast.training.losses import NegativeQueue, info_nce, total_loss


def pairs_at(degrees, ids):
    """Pairs whose inputs lie on a circle, of unequal lengths."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    inputs = torch.stack([angle.cos(), angle.sin()], dim=1) * torch.arange(1, len(degrees) + 1)[:, None]
    return PairDataset.from_pairs(EmbeddingPairs.of(inputs, torch.randn(len(degrees), 2), torch.tensor(ids)))


def test_the_nearest_by_angle_come_first_and_the_same_answer_never():
    train = pairs_at([0, 10, 25, 180, 200], [7, 7, 8, 9, 10])
    assert mine_hard_negatives(train, 2).tolist() == [[2, 4], [2, 3], [1, 0], [4, 2], [3, 0]]


def test_a_pair_without_another_answer_does_not_stop_it():
    assert mine_hard_negatives(pairs_at([0, 90], [1, 1]), 5).shape == (2, 2)


def test_many_pairs_are_searched_by_part(monkeypatch):
    monkeypatch.setattr(hard_negatives, "CANDIDATES", 6)
    monkeypatch.setattr(hard_negatives, "_ROWS", 4)
    train = pairs_at(range(0, 90, 3), range(30))
    found = mine_hard_negatives(train, 2, seed=1)
    assert found.shape == (30, 2)
    assert len(found.unique()) <= 6
    assert torch.equal(found, mine_hard_negatives(train, 2, seed=1))
    assert not torch.equal(found, mine_hard_negatives(train, 2, seed=2))


def test_neighbors_are_negatives_beside_those_of_past_batches():
    predicted, target, past, near = (torch.randn(n, 8) for n in (4, 4, 3, 5))
    queue = NegativeQueue(3, 8)
    queue.push(past, torch.tensor([0, 20, 21]))
    near_ids = torch.tensor([30, 31, 1, 33, 34])
    weights = LossConfig(cosine=0, mse=0, crossfit=0, contrast=1, temperature=0.3)
    ids = torch.arange(4)
    got, _ = total_loss(weights, predicted, TrainingBatch(predicted, target, ids, negatives=(near, near_ids)), queue)
    wanted = info_nce(predicted, target, ids, 0.3, torch.cat([past, near]), torch.cat([queue.ids, near_ids]))
    assert got == wanted


@pytest.mark.parametrize(
    ("losses", "searched"), [({}, True), ({"contrast": 0.0}, False), ({"hard_negatives": 0}, False)]
)
def test_they_are_looked_for_where_a_loss_takes_them(monkeypatch, losses, searched):
    asked = []
    monkeypatch.setattr(
        "cubefast.training.trainer.mine_hard_negatives",
        lambda *given: asked.append(given[1:]) or mine_hard_negatives(*given),
    )
    small = {"state_size": 2, "hidden_size": 4, "steps": 2}
    trainer = CubeTrainer({"core": small, "seed": 5, "training": {"epochs": 1, "losses": {"cosine": 1, **losses}}})
    x = torch.randn(40, 8)
    trainer.fit((x, x.roll(1, 1)), (x, x.roll(1, 1)))
    assert asked == ([(8, 5)] if searched else [])
