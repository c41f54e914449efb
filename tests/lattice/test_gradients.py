"""The hand-written backward against finite differences, in float64."""

import itertools

import pytest
import torch

from cubefast import Topology, lattice_rollout
from cubefast.lattice.checks import ACTIVATIONS, UPDATES
from cubefast.lattice.topology import BOUNDARIES, NEIGHBORHOODS

from .rollouts import Problem


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS)
def test_gradcheck_over_every_activation_and_update(compiled, neighborhood, boundary):
    topology = Topology((2, 1, 3), neighborhood, boundary)
    for activation, update in itertools.product(ACTIVATIONS, UPDATES):
        problem = Problem(
            topology, steps=3, batch=2, state_size=2, hidden_size=3, activation=activation, update=update, seed=1
        )
        assert torch.autograd.gradcheck(
            lambda *tensors, problem=problem: problem.run(list(tensors), compiled, 2), problem.tensors(), fast_mode=True
        )


@pytest.mark.parametrize("wanted", range(5))
def test_each_gradient_alone_is_the_same_as_among_all(compiled, wanted):
    problem = Problem(Topology((2, 2, 2)))
    everything = torch.autograd.grad(problem.run(tensors := problem.tensors(), compiled).square().sum(), tensors)
    alone = [t.detach().requires_grad_(i == wanted) for i, t in enumerate(tensors)]
    (gradient,) = torch.autograd.grad(problem.run(alone, compiled).square().sum(), alone[wanted])
    assert torch.equal(gradient, everything[wanted])


def test_second_order_gradients_are_refused_in_words(compiled):
    problem = Problem(Topology((2, 2, 2)))
    tensors = problem.tensors()
    loss = problem.run(tensors, compiled).square().sum()
    (first,) = torch.autograd.grad(loss, tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match='no second-order gradients.*backend="torch"'):
        torch.autograd.grad(first.sum(), tensors[0])


def test_the_reference_has_second_order_gradients():
    problem = Problem(Topology((1, 1, 2)), steps=2, batch=1, state_size=2, hidden_size=2)
    assert torch.autograd.gradgradcheck(lambda *t: problem.run(list(t), "torch"), problem.tensors(), fast_mode=True)


def test_without_gradients_nothing_is_kept(compiled):
    problem = Problem(Topology((2, 2, 2)))
    tensors = problem.tensors()
    with torch.no_grad():
        assert problem.run(tensors, compiled).grad_fn is None
    assert problem.run([t.detach() for t in tensors], compiled).grad_fn is None


def _awkward(form, tensors):
    """The same numbers in another layout: transposed, every other row of something larger, or one row repeated."""
    if form == "transposed":
        return [t.detach().mT.contiguous().mT.requires_grad_() if t.dim() > 1 else t for t in tensors]
    if form == "sliced":
        return [t.detach().repeat_interleave(2, 0)[::2].requires_grad_() for t in tensors]
    if form == "expanded":
        return [t.detach()[:1].expand(t.shape).requires_grad_() for t in tensors]
    return tensors


@pytest.mark.parametrize("form", ["plain", "transposed", "sliced", "expanded"])
def test_the_operators_pass_torchs_own_checks(compiled, form):
    problem = Problem(Topology((2, 1, 2)), steps=2, batch=2, state_size=2, hidden_size=3)
    t = problem.topology
    tables = (t.neighbors, t.reader_offsets, t.readers)
    tensors = _awkward(form, problem.tensors())
    rule = (2, "tanh", "residual", 1)
    torch.library.opcheck(torch.ops.cubefast.rollout.default, (*tensors, *tables, *rule, True, compiled))
    with torch.no_grad():
        final, trajectory = torch.ops.cubefast.rollout(*tensors, *tables, *rule, True, compiled)
    dfinal = torch.ones(1, 1, 1, dtype=torch.float64).expand(final.shape)
    torch.library.opcheck(
        torch.ops.cubefast.rollout_backward.default,
        (dfinal, *(x.detach() for x in tensors), *tables, final, trajectory, *rule, compiled, [True] * 5),
    )


def test_a_compiled_graph_has_the_rollout_whole(compiled):
    problem = Problem(Topology((2, 1, 2)), dtype=torch.float32)
    topology = problem.topology

    def loss(*tensors):
        return lattice_rollout(*tensors, topology=topology, steps=3, backend=compiled).square().sum()

    tensors = problem.tensors()
    wanted = torch.autograd.grad(loss(*tensors), tensors)
    graph = torch.compile(loss, fullgraph=True, backend="aot_eager")
    got = torch.autograd.grad(graph(*tensors), tensors)
    assert all(torch.allclose(a, b) for a, b in zip(got, wanted, strict=True))
