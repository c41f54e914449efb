"""The hand-written backward against finite differences, in float64."""

import itertools

import pytest
import torch

from cubefast import Topology, lattice_rollout
from cubefast.lattice.checks import ACTIVATIONS, UPDATES
from cubefast.lattice.topology import BOUNDARIES, NEIGHBORHOODS

from .rollouts import Problem

# Of torch about itself, at the first forward-mode derivative of a process.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


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


def _tangent_of_the_state(problem, backend, state, tangent, frozen):
    _, *rest = (t.detach().requires_grad_(not frozen) for t in problem.tensors())
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(state, tangent)
        return torch.autograd.forward_ad.unpack_dual(problem.run([dual, *rest], backend)).tangent


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.enable_grad])
def test_forward_mode_derivatives_are_computed_in_every_mode_of_autograd(grad_mode, frozen):
    problem = Problem(Topology((2, 1, 2)))
    state = problem.tensors()[0].detach()
    rest = [t.detach() for t in problem.tensors()[1:]]
    direction = torch.randn(state.shape, generator=torch.Generator().manual_seed(5), dtype=state.dtype)
    _, wanted = torch.func.jvp(lambda s: problem.run([s, *rest], "torch"), (state,), (direction,))
    with grad_mode():
        got = _tangent_of_the_state(problem, "auto", state, direction, frozen)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.enable_grad])
def test_forward_mode_derivatives_of_a_kernel_asked_for_by_name_are_refused(compiled, grad_mode):
    problem = Problem(Topology((2, 2, 2)))
    tensors = [t.detach() for t in problem.tensors()]
    tables = problem.topology.for_kernels()
    for place in range(5):
        with grad_mode(), torch.autograd.forward_ad.dual_level():
            duals = list(tensors)
            duals[place] = torch.autograd.forward_ad.make_dual(tensors[place], torch.ones_like(tensors[place]))
            with pytest.raises(RuntimeError, match=f'backend "{compiled}" cannot run: forward-mode derivatives'):
                problem.run(duals, compiled)
            with pytest.raises(RuntimeError, match=r"no forward-mode derivatives|does not implement|jvp"):
                torch.ops.cubefast.rollout(*duals, *tables, 2, "tanh", "residual", 1, False, compiled)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorized_jacobians_agree_with_the_plain_one(strategy):
    problem = Problem(Topology((2, 1, 2)), batch=1)
    state, *rest = (t.detach() for t in problem.tensors())

    def run(state):
        return problem.run([state, *rest], "auto")

    plain = torch.autograd.functional.jacobian(run, state)
    got = torch.autograd.functional.jacobian(run, state, vectorize=True, strategy=strategy)
    torch.testing.assert_close(got, plain)
    assert plain.abs().sum() > 0


def test_batched_gradients_agree_with_finite_differences(compiled):
    problem = Problem(Topology((2, 1, 2)), steps=2, batch=2, state_size=2, hidden_size=3)
    assert torch.autograd.gradcheck(
        lambda *t: problem.run(list(t), compiled), problem.tensors(), fast_mode=True, check_batched_grad=True
    )


def test_a_residual_rollout_may_be_changed_in_place(compiled):
    problem = Problem(Topology((2, 2, 2)), steps=1)
    gradients = []
    for backend in ("torch", compiled):
        state, drive, *weights = problem.tensors()
        x = state
        for _ in range(3):
            x = problem.run([x, drive, *weights], backend)
            x *= x.abs() > 0.1  # the living mask of a growing automaton
        gradients.append(torch.autograd.grad(x.sum(), [state, drive, *weights]))
    for got, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(got, wanted)


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
        final, trajectory, _, kept = torch.ops.cubefast.rollout(*tensors, *tables, *rule, True, compiled)
    dfinal = torch.ones(1, 1, 1, dtype=torch.float64).expand(final.shape)
    torch.library.opcheck(
        torch.ops.cubefast.rollout_backward.default,
        (
            dfinal,
            None,
            final,
            trajectory,
            kept,
            [True] * 6,
            *(x.detach() for x in tensors),
            *tables,
            *rule,
            True,
            compiled,
        ),
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
