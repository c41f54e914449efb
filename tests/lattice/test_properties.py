"""What is true of every lattice, whatever its weights."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cubefast import Topology
from cubefast.lattice.backends import resolve

from .rollouts import Problem

BACKEND = resolve("auto", torch.empty(0))
shapes = st.tuples(*[st.integers(1, 4)] * 3)
few_steps = st.integers(0, 4)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(shapes, few_steps, st.tuples(*[st.integers(0, 3)] * 3), st.sampled_from(["von_neumann", "moore"]))
def test_a_periodic_lattice_has_no_place(shape, steps, shift, neighborhood):
    problem = Problem(Topology(shape, neighborhood, "periodic"), steps=steps, batch=1)
    state, drive, *weights = (t.detach() for t in problem.tensors())

    def moved(cells):
        return cells.reshape(1, *shape, -1).roll(shift, dims=(1, 2, 3)).reshape(cells.shape)

    there = problem.run([moved(state), moved(drive), *weights], BACKEND)
    assert torch.allclose(there, moved(problem.run([state, drive, *weights], BACKEND)), atol=1e-12)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(few_steps, st.integers(6, 9), st.sampled_from(["tanh", "residual", "residual_tanh"]))
def test_nothing_is_faster_than_one_cell_a_step(steps, length, update):
    problem = Problem(Topology((1, 1, length)), steps=steps, batch=1, update=update)
    tensors = [t.detach() for t in problem.tensors()]
    before = problem.run(tensors, BACKEND)
    tensors[0][0, 0] += 1.0
    after = problem.run(tensors, BACKEND)
    assert torch.equal(before[0, steps + 1 :], after[0, steps + 1 :])
    assert not torch.equal(before[0, : steps + 1], after[0, : steps + 1])


@settings(deadline=None, max_examples=40, derandomize=True)
@given(shapes, few_steps, few_steps)
def test_a_rollout_can_be_cut_anywhere(shape, first, second):
    whole = Problem(Topology(shape), steps=first + second)
    tensors = [t.detach() for t in whole.tensors()]
    middle = Problem(Topology(shape), steps=first).run(tensors, BACKEND)
    end = Problem(Topology(shape), steps=second).run([middle, *tensors[1:]], BACKEND)
    assert torch.equal(end, whole.run(tensors, BACKEND))


@settings(deadline=None, max_examples=20, derandomize=True)
@given(shapes, st.permutations(range(4)))
def test_samples_do_not_know_of_each_other(shape, order):
    problem = Problem(Topology(shape), batch=4)
    state, drive, *weights = (t.detach() for t in problem.tensors())
    together = problem.run([state, drive, *weights], BACKEND)
    assert torch.equal(problem.run([state[order], drive[order], *weights], BACKEND), together[order])
