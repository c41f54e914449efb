"""Cells that are not there, and slots that hold the same cell: not computed, and what comes out is what should."""

import copy
import pickle

import numpy as np
import pytest
import torch

from cubefast import Lattice3D, Topology, lattice_rollout
from cubefast.lattice.topology import BOUNDARIES, NEIGHBORHOODS

from .rollouts import Problem, assert_agree

HOLES = np.random.default_rng(0).random((4, 3, 3)) < 0.7
RING = np.ones((5, 5), bool)
RING[1:4, 1:4] = False
ALL = {"fire_rate": 0.6, "seed": 2, "alive": (0, -0.5), "return_states": 2}


def on_all_cells(problem, tensors):
    """The reference on the whole lattice, whose missing cells are set to zero before each step."""
    topology = problem.topology
    there = topology.mask.reshape(-1, 1)
    table = Topology.from_table(topology.neighbors)
    state = tensors[0] * there
    for _ in range(problem.steps):
        one = Problem(table, steps=1, activation=problem.activation, update=problem.update, filters=problem.filters)
        state = one.run([state, *tensors[1:]], "torch") * there
    return state


@pytest.mark.parametrize("backend", ["cpp", "numba", "torch"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("drive_form", Problem.DRIVES)
def test_cells_that_are_not_there_are_as_walls(backend, boundary, drive_form):
    problem = Problem(Topology((4, 3, 3), "moore", boundary, mask=HOLES), drive_form=drive_form, steps=3)
    tensors = problem.tensors()
    got, wanted = problem.run(tensors, backend), on_all_cells(problem, tensors)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    gradients = [torch.autograd.grad((result * weights).sum(), tensors) for result in (got, wanted)]
    assert_agree([got, *gradients[0]], [wanted, *gradients[1]], 1e-12)
    assert (got[:, ~torch.from_numpy(HOLES).reshape(-1)] == 0).all()


@pytest.mark.parametrize("filters", [None, "shared", "depthwise"])
def test_automata_with_holes_agree_with_the_reference(filters):
    problem = Problem(Topology((4, 3, 3), "moore", "periodic", mask=HOLES), filters=filters, options=ALL, steps=5)
    assert_agree(problem.results("cpp", 2), problem.results("torch"), 1e-11)


def test_nothing_crosses_an_inner_wall():
    cells = np.ones((1, 7), bool)
    cells[0, 3] = False
    lattice = Lattice3D(Topology((1, 7), mask=cells), 4, 8, 20)
    state = torch.randn(1, 7, 4)
    other = state.clone()
    other[0, 4:] += 1
    before, after = lattice(state), lattice(other)
    assert torch.equal(before[0, :4], after[0, :4])
    assert not torch.equal(before[0, 4:], after[0, 4:])
    assert (before[0, 3] == 0).all()


def test_a_masked_topology_says_what_it_is():
    topology = Topology((5, 5), mask=RING)
    assert (topology.cells, topology.slots) == (25, 5)
    assert torch.equal(topology.mask, torch.from_numpy(RING))
    assert topology.neighbors[12].tolist() == [-1] * 4
    assert topology.neighbors[11].tolist() == [-1] * 4
    assert topology.neighbors[1].tolist() == [-1, -1, 0, 2]
    assert repr(topology) == "Topology((5, 5), 'von_neumann', 'walls', mask=<16 cells are there>)"
    assert topology != Topology((5, 5))
    assert topology == Topology((5, 5), mask=torch.from_numpy(RING))
    assert pickle.loads(pickle.dumps(topology)) == copy.copy(topology)
    assert Topology((5, 5), mask=np.ones((5, 5), bool)).mask is None
    topology.mask.fill_(True)
    assert topology.mask.sum() == 16


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((5, 4), bool), r"mask must be truth values of shape \(5, 5\); got bool \(5, 4\)"),
        (np.ones((5, 5)), r"mask must be truth values of shape \(5, 5\); got float64"),
        (np.zeros((5, 5), bool), "mask must leave one cell at least; it leaves none"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        Topology((5, 5), mask=mask)


@pytest.mark.parametrize("filters", [None, "shared", "depthwise"])
@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", [(1, 4, 3), (2, 2, 3), (1, 1, 1), (1, 5), (2, 2)])
def test_slots_that_hold_the_same_cell_are_merged_and_mean_the_same(shape, boundary, neighborhood, filters):
    problem = Problem(Topology(shape, neighborhood, boundary), filters=filters)
    assert_agree(problem.results("cpp"), problem.results("torch"), 1e-11)


def test_a_flat_moore_lattice_reads_no_cell_twice():
    assert Topology((1, 8, 8), "moore", "periodic").for_kernels()[0].shape == (64, 8)
    assert Topology((1, 8, 8), "moore").for_kernels()[0].shape == (64, 8)
    assert Topology((2, 8, 8), "moore", "periodic").for_kernels()[0].shape == (128, 17)
    assert Topology((1, 8, 8), "moore", "periodic").neighbors.shape == (64, 26)
    plain = Topology((3, 8, 8), "moore", "periodic")
    assert plain.for_kernels()[0] is plain.tables.neighbors


@pytest.mark.parametrize(
    "topology", [Topology((4, 3, 3), mask=HOLES), Topology((1, 4, 3), "moore", "periodic")], ids=["mask", "merged"]
)
def test_a_compiled_graph_has_them_whole(topology):
    problem = Problem(topology, dtype=torch.float32)

    def loss(*tensors):
        return lattice_rollout(*tensors, topology=topology, steps=3).square().sum()

    tensors = problem.tensors()
    wanted = torch.autograd.grad(loss(*tensors), tensors)
    torch._dynamo.reset()
    got = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(*tensors), tensors)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, wanted, strict=True))
