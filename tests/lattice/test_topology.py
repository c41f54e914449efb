import copy
import pickle
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cubefast import Topology
from cubefast.lattice.topology import BOUNDARIES, NEIGHBORHOODS

shapes = st.tuples(*[st.integers(1, 5)] * 3)


def test_von_neumann_order_is_x_then_y_then_z_minus_first():
    topology = Topology((3, 3, 3))
    middle = 13  # (1, 1, 1); x steps by 9, y by 3, z by 1
    assert topology.neighbors[middle].tolist() == [4, 22, 10, 16, 12, 14]
    assert (topology.cells, topology.slots) == (27, 7)


def test_moore_has_all_26_around_in_lexicographic_order():
    around = Topology((3, 3, 3), "moore").neighbors[13].tolist()
    assert around == [cell for cell in range(27) if cell != 13]


@pytest.mark.parametrize("boundary", ["walls", "absorbing"])
def test_beyond_a_wall_there_is_nothing(boundary):
    assert Topology((3, 3, 3), boundary=boundary).neighbors[0].tolist() == [-1, 9, -1, 3, -1, 1]


def test_periodic_wraps_around():
    assert Topology((3, 3, 3), boundary="periodic").neighbors[0].tolist() == [18, 9, 6, 3, 2, 1]


def test_reflecting_reads_the_cell_mirrored_at_the_wall():
    line = Topology((1, 1, 4), boundary="reflecting").neighbors
    assert line[0].tolist() == [0, 0, 0, 0, 1, 1]  # an axis of one cell reads the cell itself
    assert line[3].tolist() == [3, 3, 3, 3, 2, 2]
    assert line[1].tolist() == [1, 1, 1, 1, 0, 2]


def test_dilated_neighbors_stand_further_away():
    line = (1, 1, 5)
    assert Topology(line, dilation=2).neighbors[:, 4:].tolist() == [[-1, 2], [-1, 3], [0, 4], [1, -1], [2, -1]]
    assert Topology(line, boundary="periodic", dilation=2).neighbors[0, 4:].tolist() == [3, 2]
    assert Topology(line, boundary="reflecting", dilation=2).neighbors[:, 4:].tolist() == [
        [2, 2],
        [1, 3],
        [0, 4],
        [1, 3],
        [2, 2],
    ]
    assert Topology((1, 1, 2), boundary="reflecting", dilation=3).neighbors[0].tolist() == [0, 0, 0, 0, 1, 1]
    corners = Topology((3, 3, 3), "moore", dilation=2).neighbors[0]
    assert corners[corners >= 0].tolist() == [2, 6, 8, 18, 20, 24, 26]


@given(shapes, st.sampled_from(NEIGHBORHOODS), st.sampled_from(BOUNDARIES), st.integers(1, 7))
def test_readers_are_the_reverse_of_neighbors(shape, neighborhood, boundary, dilation):
    topology = Topology(shape, neighborhood, boundary, dilation)
    forward = {
        (cell, slot, int(read))
        for cell, row in enumerate(topology.neighbors.tolist())
        for slot, read in enumerate(row)
        if read >= 0
    }
    degree = topology.slots - 1
    reverse = set()
    for cell in range(topology.cells):
        entries = topology.readers[topology.reader_offsets[cell] : topology.reader_offsets[cell + 1]].tolist()
        assert entries == sorted(entries)
        reverse |= {(entry // degree, entry % degree, cell) for entry in entries}
    assert reverse == forward
    assert len(topology.readers) == len(forward)


def test_any_table_of_fixed_degree_is_a_topology():
    ring = Topology.from_table([[-1, 1], [0, 2], [1, -1]])
    assert (ring.cells, ring.slots, ring.shape) == (3, 3, (3,))
    assert ring.readers.tolist() == [2, 1, 4, 3]


def test_topologies_compare_by_what_they_connect():
    assert Topology((2, 3, 4)) == Topology((2, 3, 4), boundary="absorbing")
    assert hash(Topology((2, 3, 4))) == hash(Topology((2, 3, 4), boundary="absorbing"))
    assert Topology((2, 3, 4)) != Topology((2, 3, 4), boundary="periodic")
    assert Topology((2, 3, 4)) != Topology((2, 3, 4), dilation=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((2,),), r"shape must be two or three numbers of cells, \(H, W\) or \(X, Y, Z\); got \(2,\)"),
        ((7,), "shape must be two or three numbers of cells, .*; got 7"),
        (((2.0, 2, 2),), "X of shape .* must be a whole number of at least 1; got 2.0"),
        (((10**6, 10**6, 10**6),), r"2\^31 neighbor links at most; \(1000000, .*\) cells with 6 neighbors have more"),
        (((2, 10**5000, 2),), "Y of shape .* may be 2147483647 at most; got a number of thousands of digits"),
        (((2, 0, 3),), r"Y of shape \(2, 0, 3\) must be a whole number of at least 1; got 0"),
        (((2, 2, 2), "hex"), "neighborhood must be one of von_neumann, moore; got 'hex'"),
        (((2, 2, 2), "moore", "walls", 0), "dilation must be a whole number of at least 1; got 0"),
        (
            ((2, 2, 2), "moore", "open"),
            "boundary must be one of walls, periodic, reflecting, absorbing, replicate; got 'open'",
        ),
    ],
)
def test_a_bad_argument_is_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        Topology(*arguments)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0.5]], "whole numbers"),
        ([0, 1], "whole numbers"),
        ([[3], [0]], r"must name cells 0..1, or -1 for none; got 0..3"),
    ],
)
def test_a_bad_table_is_refused_in_words(table, message):
    with pytest.raises(ValueError, match=message):
        Topology.from_table(table)


@pytest.mark.parametrize("table", ["neighbors", "reader_offsets", "readers"])
def test_what_is_done_to_a_table_that_was_handed_out_changes_no_topology(table):
    topology = Topology((3, 2, 2))
    before = getattr(topology, table).clone()
    getattr(topology, table).fill_(10**6)
    getattr(topology, table).numpy()[0] = -1
    assert torch.equal(getattr(topology, table), before)
    assert torch.equal(getattr(Topology((3, 2, 2)), table), before)


def test_an_array_given_as_a_table_stays_its_owners():
    array = np.array([[1], [0]], dtype=np.int32)
    topology = Topology.from_table(array)
    array[0, 0] = 10**6
    assert topology.neighbors.tolist() == [[1], [0]]


@pytest.mark.parametrize("name", ["neighbors", "readers", "reader_offsets", "shape", "boundary", "dilation", "mine"])
def test_a_topology_cannot_be_changed(name):
    topology = Topology((2, 2, 2))
    with pytest.raises(AttributeError, match=f"a Topology does not change, so {name} cannot be set; make another one"):
        setattr(topology, name, torch.zeros(8, 6, dtype=torch.int64))
    with pytest.raises(AttributeError, match="a Topology does not change"):
        del topology.shape


@pytest.mark.parametrize(
    "topology", [Topology((2, 3, 2), "moore", "periodic", 2), Topology((3, 4)), Topology.from_table([[1, -1], [0, 0]])]
)
def test_copies_and_pickles_are_equal(topology):
    assert copy.deepcopy(topology) is topology
    again = pickle.loads(pickle.dumps(topology))
    assert again == topology
    assert repr(again) == repr(topology)
    assert again.shape == topology.shape


def test_numpy_integers_and_arrays_are_shapes():
    assert Topology(np.array([2, 3, 4]), dilation=np.int64(1)) == Topology((2, 3, 4))
    assert Topology(torch.tensor([2, 3, 4])).shape == (2, 3, 4)
    assert all(type(side) is int for side in Topology(np.array([2, 3, 4])).shape)


def test_tables_are_shared_while_in_use_and_freed_with_their_last_topology():
    first, second = Topology((5, 7, 3)), Topology((5, 7, 3))
    assert first.for_kernels()[0] is second.for_kernels()[0]
    table = weakref.ref(first.for_kernels()[0])
    del first
    assert table() is not None
    del second
    assert table() is None


def test_two_dimensions_have_slots_of_their_own():
    plane = Topology((3, 4))
    assert (plane.cells, plane.slots) == (12, 5)
    assert plane.neighbors[5].tolist() == [1, 9, 4, 6]  # -h +h -w +w
    assert Topology((3, 4), "moore").neighbors[5].tolist() == [0, 1, 2, 4, 6, 8, 9, 10]
    assert Topology((3, 4), boundary="periodic").neighbors[0].tolist() == [8, 4, 3, 1]


def test_replicate_reads_the_edge_again():
    line = Topology((1, 4), boundary="replicate").neighbors
    assert line.tolist() == [[0, 0, 0, 1], [1, 1, 0, 2], [2, 2, 1, 3], [3, 3, 2, 3]]
    assert Topology((2, 2), "moore", "replicate").neighbors[0].tolist() == [0, 0, 1, 0, 1, 2, 2, 3]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory the way Linux gives it")
def test_a_large_moore_lattice_is_built_within_its_memory():
    code = (
        "import resource, cubefast\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "topology = cubefast.Topology((128, 128, 128), 'moore'); topology.for_kernels()\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 600  # MB; the two tables have 436


def test_tables_are_int32_on_the_cpu():
    topology = Topology((2, 2, 2))
    for tensor in (topology.neighbors, topology.reader_offsets, topology.readers):
        assert tensor.dtype == torch.int32
        assert isinstance(tensor.numpy(), np.ndarray)
