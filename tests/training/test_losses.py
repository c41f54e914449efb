import math

import pytest
import torch

from cubefast.training.losses import cosine_loss, info_nce


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
