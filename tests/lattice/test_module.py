"""Lattice3D as a layer in somebody else's model."""

import copy

import pytest
import torch
from torch import nn

from cubefast import Lattice3D, Topology, lattice_rollout


def test_forward_is_the_rollout_of_its_parameters():
    lattice = Lattice3D((2, 3, 4), state_size=5, hidden_size=7, steps=3, activation="silu", update="tanh")
    state, drive = torch.randn(2, 24, 5), torch.randn(2, 24, 7)
    wanted = lattice_rollout(
        state,
        drive + lattice.bias,
        lattice.w_perceive,
        lattice.w_update,
        lattice.b_update,
        topology=Topology((2, 3, 4)),
        steps=3,
        activation="silu",
        update="tanh",
    )
    assert torch.equal(lattice(state, drive), wanted)
    assert torch.equal(lattice(state.reshape(2, 2, 3, 4, 5), drive).reshape(2, 24, 5), wanted)


@pytest.mark.parametrize("bias", [True, False])
def test_without_a_drive_the_cells_hear_the_bias_alone(bias):
    lattice = Lattice3D((2, 2, 2), bias=bias)
    state = torch.randn(1, 8, 16)
    heard = lattice.bias.expand(8, 64) if bias else torch.zeros(8, 64)
    lattice_without = Lattice3D((2, 2, 2), bias=False)
    lattice_without.load_state_dict({k: v for k, v in lattice.state_dict().items() if k != "bias"})
    assert torch.equal(lattice(state), lattice_without(state, heard))


def test_steps_can_be_given_per_call():
    lattice = Lattice3D((2, 2, 2), steps=5)
    state = torch.randn(1, 8, 16)
    assert torch.equal(lattice(state, steps=0), state)
    assert torch.equal(lattice(lattice(state, steps=2), steps=3), lattice(state))


def test_it_trains_inside_a_users_model():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Linear(3, 8 * 64)
            self.lattice = Lattice3D((2, 2, 2), steps=4)
            self.outside = nn.Linear(8 * 16, 1)

        def forward(self, x):
            state = self.lattice(x.new_zeros(len(x), 8, 16), self.inside(x).reshape(-1, 8, 64))
            return self.outside(state.flatten(1))

    model = Model()
    x = torch.randn(64, 3)
    y = x.prod(dim=1, keepdim=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    first = None
    for _ in range(60):
        loss = (model(x) - y).square().mean()
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
    assert loss.item() < 0.2 * first


def test_state_dict_and_deepcopy_keep_the_outputs():
    lattice = Lattice3D((2, 2, 2), boundary="periodic")
    twin = copy.deepcopy(lattice)
    other = Lattice3D((2, 2, 2), boundary="periodic")
    other.load_state_dict(lattice.state_dict())
    state = torch.randn(2, 8, 16)
    assert torch.equal(twin(state), lattice(state))
    assert torch.equal(other(state), lattice(state))


def test_a_ready_topology_can_be_given():
    ring = Topology.from_table([[1], [2], [0]])
    assert Lattice3D(ring, 4, 8, 2)(torch.zeros(1, 3, 4)).shape == (1, 3, 4)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"state_size": 0}, "state_size must be a whole number of at least 1; got 0"),
        ({"hidden_size": -3}, "hidden_size must be"),
        ({"steps": None}, "steps must be"),
        ({"activation": "x"}, "activation must be one of"),
        ({"update": "x"}, "update must be one of"),
        ({"boundary": "x"}, "boundary must be one of"),
    ],
)
def test_bad_arguments_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        Lattice3D((2, 2, 2), **keywords)


@pytest.mark.parametrize("perception", ["dense", "sobel", "depthwise"])
def test_an_automaton_is_the_rollout_of_its_parameters(perception):
    lattice = Lattice3D(
        (5, 6), 4, 8, 3, neighborhood="moore", perception=perception, filters=2, fire_rate=0.5, alive=(3, 0.1)
    )
    state = torch.randn(2, 5, 6, 4)
    wanted = lattice_rollout(
        state,
        lattice.bias,
        lattice.w_perceive,
        lattice.w_update,
        lattice.b_update,
        topology=lattice.topology,
        steps=3,
        filters=lattice.filters,
        fire_rate=0.5,
        seed=7,
        first_step=2,
        alive=(3, 0.1),
        return_states=1,
    )
    got = lattice(state, seed=7, first_step=2, return_states=1)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    parameters = dict(lattice.named_parameters())
    assert ("filters" in parameters) == (perception == "depthwise")
    assert lattice.w_perceive.shape == (8, {"dense": 9, "sobel": 3, "depthwise": 2}[perception] * 4)
    loss = sum(part.square().sum() for part in got)
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(loss, list(parameters.values())))


def test_the_chance_of_an_automaton_follows_torchs_seed():
    lattice = Lattice3D((4, 4, 4), fire_rate=0.5)
    state = torch.randn(1, 64, 16)
    torch.manual_seed(1)
    first = lattice(state)
    assert not torch.equal(lattice(state), first)
    torch.manual_seed(1)
    assert torch.equal(lattice(state), first)


def test_a_zero_start_changes_no_state_and_learns():
    lattice = Lattice3D((3, 3, 3), init="zero", steps=64)
    state = torch.randn(2, 27, 16)
    after = lattice(state)
    assert torch.equal(after, state)
    (gradient,) = torch.autograd.grad(after.square().sum(), lattice.w_update)
    assert gradient.abs().sum() > 0


def test_learned_filters_start_with_the_cell_itself():
    lattice = Lattice3D((3, 3), perception="depthwise", filters=3)
    assert lattice.filters[0, -1].eq(1).all()
    assert lattice.filters[0, :-1].eq(0).all()
    assert lattice.filters[1:].abs().min() > 0


def test_filters_follow_the_modules_dtype():
    lattice = Lattice3D((4, 4), neighborhood="moore", perception="sobel").double()
    assert lattice(torch.randn(1, 16, 16, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("strict", [True, False])
def test_weights_of_another_topology_are_refused(strict, tmp_path):
    class Model(nn.Module):
        def __init__(self, boundary):
            super().__init__()
            self.lattice = Lattice3D((3, 3, 3), boundary=boundary)

    walls = Model("walls")
    torch.save(walls.state_dict(), tmp_path / "walls.pt")
    weights = torch.load(tmp_path / "walls.pt", weights_only=True)
    with pytest.raises(
        RuntimeError, match=r"lattice\. were learned on Topology\(.*'walls'\) and this lattice is .*periodic"
    ):
        Model("periodic").load_state_dict(weights, strict=strict)
    Model("absorbing").load_state_dict(weights, strict=strict)  # another name of the same cells
    Model("periodic").load_state_dict(dict(weights))  # tensors alone say nothing of a topology


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"perception": "conv"}, "perception must be one of dense, sobel, depthwise; got 'conv'"),
        ({"perception": "sobel"}, 'sobel filters need the neighborhood "moore"'),
        ({"init": "he"}, "init must be one of uniform, zero; got 'he'"),
        ({"fire_rate": 2}, "fire_rate must be a number from 0 to 1; got 2"),
        ({"alive": (99, 0.1)}, "alive must be"),
        ({"filters": 0, "perception": "depthwise"}, "filters must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_options_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        Lattice3D((2, 2, 2), **keywords)
