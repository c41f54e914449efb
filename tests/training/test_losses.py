import math

import pytest
import torch

from cubefast import CubeTrainer, TrainingConfig
from cubefast.config.training import LOSSES, LossConfig
from cubefast.errors import ConfigError, InputError
from cubefast.training.batches import TrainingBatch
from cubefast.training.losses import NegativeQueue, cosine_loss, distill, info_nce, relational, total_loss, triplet


def test_cosine_loss_on_a_case_done_by_hand():
    predicted = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    target = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert cosine_loss(predicted, target).item() == pytest.approx(1 - (1 + math.sqrt(0.5)) / 2, abs=1e-6)


def test_info_nce_on_a_case_done_by_hand():
    eye = torch.eye(2)
    wanted = -math.log(math.e**2 / (math.e**2 + 1))
    assert info_nce(eye, eye, torch.tensor([0, 1]), 0.5).item() == pytest.approx(wanted, abs=1e-6)


def test_the_same_answer_is_no_negative():
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    predicted = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    masked = info_nce(predicted, target, torch.tensor([4, 4, 9]), 1.0)
    assert masked.item() == pytest.approx(
        (2 * -math.log(math.e / (math.e + 1)) - math.log(math.e / (math.e + 2))) / 3, abs=1e-6
    )
    assert info_nce(predicted, target, torch.tensor([4, 5, 9]), 1.0) > masked


def test_a_batch_of_one_answer_only_has_nothing_to_tell_apart():
    x = torch.randn(3, 4, requires_grad=True)
    loss = info_nce(x, x.detach(), torch.zeros(3, dtype=torch.int64), 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert x.grad.isfinite().all()


def test_past_targets_are_further_negatives_unless_they_are_the_same_answer():
    eye = torch.eye(3)
    past = torch.tensor([[1.0, 1.0, 0.0]])
    ids = torch.arange(3)
    alone = info_nce(eye, eye, ids, 1.0)
    other = info_nce(eye, eye, ids, 1.0, past, torch.tensor([9]))
    wanted = [-math.log(math.e / (math.e + 2 + extra)) for extra in (math.exp(0.5**0.5), math.exp(0.5**0.5), 1.0)]
    assert other.item() == pytest.approx(sum(wanted) / 3, abs=1e-6)
    same = info_nce(eye, eye, ids, 1.0, past, torch.tensor([0]))
    assert alone < same < other


def test_triplet_on_a_case_done_by_hand():
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    predicted = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    # row 0: 0.2 - 0.707 + 0.707; row 1: 0.2 - 1 + 0 < 0
    assert triplet(predicted, target, torch.tensor([0, 1]), 0.2).item() == pytest.approx(0.1, abs=1e-6)
    assert triplet(predicted, target, torch.tensor([3, 3]), 0.2).item() == 0, "the same answer is no negative"
    harder = triplet(predicted, target, torch.tensor([0, 1]), 0.2, torch.tensor([[0.0, 2.0]]), torch.tensor([7]))
    assert harder.item() == pytest.approx((0.2 + 0.2) / 2, abs=1e-6)


def test_relational_compares_similarities_and_a_teacher_may_have_another_dimension():
    x = torch.randn(6, 4)
    turned = x @ torch.linalg.qr(torch.randn(4, 4))[0]
    assert relational(x, 3 * turned).item() == pytest.approx(0, abs=1e-10)
    a, b = torch.eye(2), torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    assert relational(a, b).item() == pytest.approx(0.5, abs=1e-6)
    assert relational(a[:1], b[:1]).item() == 0


def test_distill_on_a_case_done_by_hand_with_teachers_of_two_dimensions():
    predicted = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # cosines 0, 0.707, 0.707
    flat = torch.tensor([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # 1, 0, 0
    line = torch.tensor([[1.0], [-1.0], [2.0]])  # -1, 1, -1
    half = math.sqrt(0.5)
    first = ((0 - 1) ** 2 + half**2 + half**2) / 3
    second = ((0 + 1) ** 2 + (half - 1) ** 2 + (half + 1) ** 2) / 3
    assert distill(predicted, [flat, line]).item() == pytest.approx((first + second) / 2, abs=1e-6)
    weights = LossConfig(cosine=0, mse=0, contrast=0, distill=2, crossfit=0)
    total, parts = total_loss(
        weights, predicted, TrainingBatch(predicted, predicted, torch.arange(3), teacher_targets=[flat, line])
    )
    assert parts == {"distill": pytest.approx((first + second) / 2, abs=1e-6)}
    assert total.item() == pytest.approx(first + second, abs=1e-5)


def test_following_the_teachers_alone_leads_to_the_mean_of_their_similarities():
    """(a - s)^2 + (b - s)^2 is least at s = (a + b) / 2, and in enough dimensions that mean can be reached."""
    teacher_targets = [torch.nn.functional.normalize(torch.randn(8, dim), dim=1) for dim in (3, 40)]
    mean = sum(teacher @ teacher.T for teacher in teacher_targets) / 2
    predicted = torch.randn(8, 16, requires_grad=True)

    def similarities():
        unit = torch.nn.functional.normalize(predicted, dim=1)
        return unit @ unit.T

    before = (similarities() - mean).abs().max()
    optimizer = torch.optim.Adam([predicted], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        distill(predicted, teacher_targets).backward()
        optimizer.step()
    assert before > 0.3
    assert (similarities() - mean).abs().max() < 0.01


def test_no_teacher_to_distill_from_is_refused_before_training():
    x = torch.randn(20, 8)
    trainer = CubeTrainer({"training": {"losses": {"distill": 0.1}}})
    with pytest.raises(InputError, match=r"training.losses.distill needs further teachers.*set teachers=\[NAME\]"):
        trainer.fit((x, x), (x, x))


@pytest.mark.parametrize("key", ["teachers", "data.teacher_vectors"])
def test_teachers_that_nobody_listens_to_are_refused(key):
    with pytest.raises(ConfigError, match="teach by training.losses.distill, which is 0: set it, such as to 0.5, or"):
        TrainingConfig.load(None, [f"{key}=[a]"])
    TrainingConfig.load(None, [f"{key}=[a]", "training.losses.distill=0.5"])
    with pytest.raises(ConfigError, match=rf"{key}.0: string should have at least 1 character"):
        TrainingConfig.load(None, [f'{key}=[""]', "training.losses.distill=0.5"])


def test_the_queue_keeps_the_newest():
    queue = NegativeQueue(3, 2)
    for i in range(4):
        queue.push(torch.full((1, 2), float(i)), torch.tensor([i]))
    assert queue.ids.tolist() == [1, 2, 3]
    assert queue.vectors[:, 0].tolist() == [1.0, 2.0, 3.0]
    queue.push(torch.zeros(5, 2), torch.arange(5))
    assert queue.ids.tolist() == [2, 3, 4]


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_goes_down_when_it_alone_is_followed(name):
    torch.manual_seed(3)
    inputs, target = torch.randn(16, 8), torch.randn(16, 8)
    weights = LossConfig(**{**dict.fromkeys(LOSSES, 0), name: 1})
    predicted = (target + 0.9 * torch.randn(16, 8)).requires_grad_()
    teacher_targets = [target @ torch.randn(8, 5)]

    def loss():
        batch = TrainingBatch(inputs, target, torch.arange(16), teacher_targets, crossfit_targets=target)
        return total_loss(weights, predicted, batch)

    before, parts = loss()
    assert parts == {name: pytest.approx(before.item())}
    optimizer = torch.optim.Adam([predicted], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        loss()[0].backward()
        optimizer.step()
    assert loss()[0] < 0.8 * before


def test_losses_are_added_up_by_their_weights():
    x, y, ids = torch.randn(5, 4), torch.randn(5, 4), torch.arange(5)
    total, parts = total_loss(LossConfig(cosine=2, mse=0.5, contrast=0), x, TrainingBatch(x, y, ids))
    assert set(parts) == {"cosine", "mse"}
    assert total.item() == pytest.approx(2 * parts["cosine"] + 0.5 * parts["mse"], rel=1e-5)
    assert parts["mse"] == pytest.approx((x - y).square().sum(dim=1).mean().item(), rel=1e-5)


def test_no_loss_at_all_is_refused():
    with pytest.raises(ConfigError, match=r"training.losses: one of cosine, mse, .* must be more than 0"):
        TrainingConfig.load({"training": {"losses": {"cosine": 0, "mse": 0, "contrast": 0, "crossfit": 0}}})
    with pytest.raises(ConfigError, match="mode=autoencoder needs another loss than training.losses.crossfit"):
        TrainingConfig.load({"mode": "autoencoder", "training": {"losses": {"cosine": 0, "mse": 0, "contrast": 0}}})
