"""Muon: beside torch's own, which computes in bfloat16, and beside the formula."""

import copy
import math

import pytest
import torch
from torch.optim import AdamW

from cubefast import CubicCore
from cubefast.config.training import OptimizationConfig
from cubefast.training.optimizer import Muon, optimizer_of, orthogonalized


def core_with_gradients(seed=0):
    torch.manual_seed(seed)
    core = CubicCore(24, state_size=4, hidden_size=16, steps=4, code_size=4)
    for parameter in core.parameters():
        parameter.grad = torch.randn_like(parameter)
    return core


def stepped(core, optimizer, steps=3):
    random = torch.Generator().manual_seed(5)
    for _ in range(steps):
        for parameter in core.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random)
        optimizer.step()
    return core


def matrices(core):
    return {name for name, _ in core.named_parameters() if name.split(".")[-1].startswith("w_")}


@pytest.mark.parametrize("shape", [(6, 6), (5, 40), (40, 5), (1, 7)])
def test_an_orthogonalized_matrix_keeps_its_directions_and_loses_their_sizes(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonalized(matrix) @ vh.T
    sizes = found.diagonal()
    assert sizes.min() > 0.6
    assert sizes.max() < 1.25
    torch.testing.assert_close(found, torch.diag(sizes), atol=1e-4, rtol=0)
    torch.testing.assert_close(orthogonalized(1e-4 * matrix), orthogonalized(matrix), atol=1e-3, rtol=0)


def test_a_matrix_of_zeros_stays_one():
    assert torch.equal(orthogonalized(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_the_first_step_is_the_formula():
    core = core_with_gradients()
    before = copy.deepcopy(core)
    options = OptimizationConfig(optimizer="muon", lr=0.01, weight_decay=0.1)
    optimizer_of(core, options).step()
    for name, now in core.named_parameters():
        if name in matrices(core):
            was = dict(before.named_parameters())[name]
            size = 0.2 * math.sqrt(max(was.shape))
            expected = was * (1 - 0.01 * 0.1) - 0.01 * size * orthogonalized(now.grad)
            torch.testing.assert_close(now, expected, msg=name)


def test_matrices_go_where_muon_of_torch_takes_them():
    ours, theirs = core_with_gradients(), core_with_gradients()
    start = {name: parameter.detach().clone() for name, parameter in ours.named_parameters()}
    stepped(ours, optimizer_of(ours, OptimizationConfig(optimizer="muon", lr=0.01, weight_decay=0.1)))
    chosen = [parameter for name, parameter in theirs.named_parameters() if name in matrices(theirs)]
    stepped(theirs, torch.optim.Muon(chosen, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    for name in matrices(ours):
        way, their_way = (core.get_parameter(name).detach() - start[name] for core in (ours, theirs))
        assert float((way - their_way).norm() / their_way.norm()) < 0.03, name  # bfloat16


def test_all_else_goes_where_adamw_takes_it():
    ours, theirs = core_with_gradients(), core_with_gradients()
    stepped(ours, optimizer_of(ours, OptimizationConfig(optimizer="muon")))
    plain = optimizer_of(theirs, OptimizationConfig(optimizer="adamw"))
    assert type(plain) is AdamW
    stepped(theirs, plain)
    for (name, our), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(our, their) == (name not in matrices(ours)), name


def test_it_goes_on_from_its_saved_state_to_the_same_bits():
    whole = core_with_gradients()
    stepped(whole, optimizer_of(whole, OptimizationConfig(optimizer="muon")), 3)
    core = core_with_gradients()
    optimizer = optimizer_of(core, OptimizationConfig(optimizer="muon"))
    random = torch.Generator().manual_seed(5)
    for step in range(3):
        for parameter in core.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random)
        if step == 2:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = optimizer_of(core, OptimizationConfig(optimizer="muon"))
            optimizer.load_state_dict(saved)
        optimizer.step()
    for ours, theirs in zip(core.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_only_shared_matrices_are_decayed():
    core = core_with_gradients()
    optimizer = optimizer_of(core, OptimizationConfig(optimizer="muon", weight_decay=0.3))
    decayed, free = optimizer.param_groups
    names = {id(p): name for name, p in core.named_parameters()}
    assert isinstance(optimizer, Muon)
    shared = {f"lattice.phases.{phase}.{name}" for phase in range(2) for name in ("w_perceive", "w_update")}
    assert {names[id(p)] for p in decayed["params"]} == {"w_input", "w_gain", *shared}
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0)
