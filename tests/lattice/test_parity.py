"""Every backend means the same: the compiled ones against the plain torch reference, values and gradients."""

import itertools

import pytest
import torch

from cubefast import Topology
from cubefast.lattice.checks import ACTIVATIONS, UPDATES
from cubefast.lattice.topology import BOUNDARIES, NEIGHBORHOODS

from .rollouts import Problem, assert_agree


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS)
def test_float64_agrees_over_every_activation_and_update(compiled, neighborhood, boundary):
    topology = Topology((3, 2, 4), neighborhood, boundary)
    for activation, update in itertools.product(ACTIVATIONS, UPDATES):
        problem = Problem(topology, activation=activation, update=update)
        assert_agree(problem.results(compiled), problem.results("torch"), 1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("update", UPDATES)
def test_float32_agrees_with_the_float64_reference(compiled, activation, update):
    exact = Problem(Topology((3, 2, 4)), activation=activation, update=update, steps=8)
    single = Problem(Topology((3, 2, 4)), activation=activation, update=update, steps=8, dtype=torch.float32)
    assert_agree(single.results(compiled), exact.results("torch"), 2e-5)


@pytest.mark.parametrize(
    ("shape", "state_size", "hidden_size"),
    [((1, 1, 1), 1, 1), ((1, 1, 7), 16, 64), ((5, 1, 1), 3, 17), ((2, 3, 1), 8, 16), ((3, 3, 3), 13, 33)],
)
def test_odd_sizes_agree(compiled, shape, state_size, hidden_size):
    problem = Problem(Topology(shape), state_size=state_size, hidden_size=hidden_size)
    assert_agree(problem.results(compiled), problem.results("torch"), 1e-12)


# A product of few columns, or of a few more than whole vectors, sums each in several lanes; 6 is no multiple of 4.
@pytest.mark.parametrize("state_size", [1, 2, 3, 4, 6, 8, 12, 16, 18, 20, 24, 36])
@pytest.mark.parametrize("hidden_size", [4, 6, 20, 36, 68, 80])
def test_float32_agrees_where_columns_do_not_fill_the_vectors(state_size, hidden_size):
    sizes = {"state_size": state_size, "hidden_size": hidden_size, "steps": 2}
    exact = Problem(Topology((2, 2, 4)), **sizes)
    single = Problem(Topology((2, 2, 4)), dtype=torch.float32, **sizes)
    assert_agree(single.results("cpp"), exact.results("torch"), 2e-5)


@pytest.mark.parametrize("drive_form", ["batch", "shared", "one"])
@pytest.mark.parametrize("batch", [0, 1, 67])
def test_every_form_of_drive_and_batch_agrees(compiled, drive_form, batch):
    problem = Problem(Topology((2, 1, 3)), drive_form=drive_form, batch=batch)
    if batch == 0:
        assert problem.results(compiled)[0].shape == (0, 6, 5)
        assert all(t.abs().sum() == 0 for backend in (compiled, "torch") for t in problem.results(backend))
    else:
        assert_agree(problem.results(compiled), problem.results("torch"), 1e-12)


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
@pytest.mark.parametrize("checkpoint_every", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("update", UPDATES)
def test_checkpointing_changes_no_gradient(compiled, steps, checkpoint_every, update):
    problem = Problem(Topology((3, 2, 2)), steps=steps, update=update)
    kept = problem.results(compiled)
    recomputed = problem.results(compiled, checkpoint_every)
    assert all(torch.equal(a, b) for a, b in zip(kept, recomputed, strict=True))
    assert_agree(recomputed, problem.results("torch", checkpoint_every), 1e-12)


def test_a_graph_that_is_no_lattice_agrees(compiled):
    random = torch.Generator().manual_seed(3)
    table = torch.randint(-1, 9, (9, 4), generator=random).numpy()
    problem = Problem(Topology.from_table(table))
    assert_agree(problem.results(compiled), problem.results("torch"), 1e-12)


def test_a_cell_with_no_neighbors_hears_only_itself(compiled):
    problem = Problem(Topology.from_table(torch.empty(4, 0, dtype=torch.int32).numpy()))
    assert_agree(problem.results(compiled), problem.results("torch"), 1e-12)


def test_noncontiguous_tensors_give_the_same(compiled):
    problem = Problem(Topology((2, 2, 3)))
    plain = problem.results(compiled)
    tensors = problem.tensors()
    awkward = [t.detach().mT.contiguous().mT.requires_grad_() if t.dim() > 1 else t for t in tensors]
    assert not awkward[0].is_contiguous()
    final = problem.run(awkward, compiled)
    weights = torch.randn(final.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    gradients = torch.autograd.grad((final * weights).sum(), awkward)
    assert all(torch.equal(a, b) for a, b in zip([final.detach(), *gradients], plain, strict=True))
    # The gradient of a plain sum comes in expanded, every number the same memory.
    expanded = torch.autograd.grad(problem.run(awkward, compiled).sum(), awkward)
    reference = torch.autograd.grad(problem.run(tensors, "torch").sum(), tensors)
    assert all(torch.allclose(a, b) for a, b in zip(expanded, reference, strict=True))


def test_five_dimensions_are_the_same_lattice(compiled):
    problem = Problem(Topology((2, 3, 4)))
    state, *rest = (t.detach() for t in problem.tensors())
    flat = problem.run([state, *rest], compiled)
    box = problem.run([state.reshape(3, 2, 3, 4, 5), *rest], compiled)
    assert torch.equal(box.reshape(flat.shape), flat)


@pytest.mark.parametrize("backend", ["cpp", "numba", "torch"])
def test_no_steps_returns_a_fresh_copy(backend):
    problem = Problem(Topology((2, 2, 2)), steps=0)
    tensors = [t.detach() for t in problem.tensors()]
    result = problem.run(tensors, backend)
    assert torch.equal(result, tensors[0])
    assert result.data_ptr() != tensors[0].data_ptr()


def test_nan_and_inf_pass_through(compiled):
    problem = Problem(Topology((1, 1, 9)), steps=2, activation="relu")
    tensors = [t.detach() for t in problem.tensors()]
    tensors[0][0, 0, 0] = float("nan")
    tensors[0][1, 8, 0] = float("inf")
    got, wanted = problem.run(tensors, compiled), problem.run(tensors, "torch")
    assert torch.equal(got.isfinite(), wanted.isfinite())
    assert not got[0, 0].isfinite().any()
    assert got[2].isfinite().all()


def test_float64_tanh_is_exact_to_a_few_units_in_the_last_place():
    problem = Problem(Topology.from_table(torch.empty(40001, 0, dtype=torch.int32).numpy()), steps=1, batch=1)
    size = torch.logspace(-300, 2, 20000, dtype=torch.float64)
    drive = torch.cat([size, -size, torch.tensor([0.0], dtype=torch.float64)])[:, None]
    one = torch.ones(1, 1, dtype=torch.float64)
    got = problem.run([torch.zeros(1, 40001, 1, dtype=torch.float64), drive, 0 * one, one, 0 * one[0]], "cpp").flatten()
    exact = torch.tanh(drive.flatten())
    assert ((got - exact).abs() <= 4 * torch.finfo(torch.float64).eps * exact.abs()).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_activations_hold_their_stated_error(activation):
    """One cell, no neighbors, identity weights: the output is activation(drive)."""
    problem = Problem(Topology.from_table(torch.empty(20001, 0, dtype=torch.int32).numpy()), steps=1, batch=1)
    drive = torch.cat([torch.linspace(-20, 20, 10001), torch.logspace(-30, 1.5, 10000)])[:, None]
    arguments = [
        torch.zeros(1, 20001, 1),
        drive,
        torch.zeros(1, 1),
        torch.ones(1, 1),
        torch.zeros(1),
    ]
    problem.activation = activation
    got = problem.run(arguments, "cpp").flatten().double()
    exact = problem.run([a.double() for a in arguments], "torch").flatten()
    error = (got - exact).abs()
    if activation == "tanh":
        ulp = torch.finfo(torch.float32).eps / 2 * 2 ** torch.floor(torch.log2(exact.abs()) + 1)
        assert (error / ulp).max() <= 6
    elif activation == "relu":
        assert error.max() == 0
    else:
        assert (error / drive.flatten().abs().clamp(min=1)).max() <= 3e-7
