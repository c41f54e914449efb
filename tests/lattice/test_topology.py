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
    assert Topology((2, 3, 4)).neighbors is Topology((2, 3, 4)).neighbors  # one table for both


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((2, 3),), r"shape must be three numbers of cells \(X, Y, Z\); got \(2, 3\)"),
        (((2, 0, 3),), r"Y of shape \(2, 0, 3\) must be a whole number of at least 1; got 0"),
        (((2, 2, 2), "hex"), "neighborhood must be one of von_neumann, moore; got 'hex'"),
        (((2, 2, 2), "moore", "walls", 0), "dilation must be a whole number of at least 1; got 0"),
        (((2, 2, 2), "moore", "open"), "boundary must be one of walls, periodic, reflecting, absorbing; got 'open'"),
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


def test_tables_are_int32_on_the_cpu():
    topology = Topology((2, 2, 2))
    for tensor in (topology.neighbors, topology.reader_offsets, topology.readers):
        assert tensor.dtype == torch.int32
        assert isinstance(tensor.numpy(), np.ndarray)
