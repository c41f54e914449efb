"""The linear map is trained as one matrix and kept as two thin ones: the same map, or the nearest of lower rank."""

import pytest
import torch

from cubefast import CubicCore
from cubefast.training.low_rank import with_linear_rank
from cubefast.training.trainer import CubeTrainer

from ..cores import shaken


def core_of_rank(rank, **keywords):
    return shaken(CubicCore(12, state_size=4, hidden_size=8, steps=4, linear_rank=rank, **keywords))


@pytest.mark.parametrize("sides", ["query", "both"])
def test_a_higher_rank_is_the_same_function(sides):
    core, x = core_of_rank(3, sides=sides), torch.randn(5, 12)
    for changed in (
        *(with_linear_rank(core, rank) for rank in (7, 12)),
        with_linear_rank(with_linear_rank(core, 12), 3),
    ):
        assert torch.allclose(changed(x), core(x), atol=1e-5)
        assert torch.allclose(changed.map_answers(x), core.map_answers(x), atol=1e-5)


def test_a_lower_rank_is_the_best_approximation():
    core = core_of_rank(12)
    low = with_linear_rank(core, 4)
    assert low.config["linear_rank"] == 4
    assert low.parameter_count() == core.parameter_count() - 12 * 12 + 2 * 4 * 12
    sizes = torch.linalg.svdvals(core.linear.w_full.detach())
    error = torch.linalg.matrix_norm((low.linear.matrix - core.linear.w_full).detach(), 2)
    assert float(error) == pytest.approx(float(sizes[4]), rel=1e-4)


def test_nothing_is_shared_with_the_core_and_no_random_number_is_drawn():
    core, x = core_of_rank(3), torch.randn(5, 12)
    before, state = core(x), torch.random.get_rng_state()
    copy = with_linear_rank(core, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(copy(x), before)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(1.0)
    assert torch.equal(core(x), before)


def test_a_core_without_a_linear_map_has_none_afterwards():
    core, x = core_of_rank(0), torch.randn(5, 12)
    assert torch.equal(with_linear_rank(core, 0)(x), core(x))


def test_what_is_trained_as_a_matrix_is_kept_with_the_rank_that_was_asked_for():
    inputs = torch.randn(80, 12, generator=torch.Generator().manual_seed(0))
    turned = inputs @ torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1))).Q
    small = {"state_size": 4, "hidden_size": 8, "steps": 4, "code_size": 4, "prototypes": 4, "linear_rank": 3}
    trainer = CubeTrainer({"core": small, "training": {"epochs": 3, "batch_size": 16}})
    result = trainer.fit((inputs[:60].numpy(), turned[:60].numpy()), (inputs[60:].numpy(), turned[60:].numpy()))
    assert result.core.config["linear_rank"] == 3
    assert result.core.parameter_count() == trainer.build_core(12).parameter_count()
    assert result.core.linear.w_up.abs().max() > 0
