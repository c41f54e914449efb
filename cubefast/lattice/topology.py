"""Who hears whom: a lattice's neighborhood and boundary, as a table.

The kernels know no geometry. They read one table: for each cell, which cell stands in each of its neighbor slots.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .checks import check_choice, check_count

NEIGHBORHOODS = ("von_neumann", "moore")
"""von_neumann: the 6 cells that share a face, in the order -x +x -y +y -z +z. moore: all 26 around."""

BOUNDARIES = ("walls", "periodic", "reflecting", "absorbing")
"""What stands beyond the edge: nothing (walls and absorbing read zeros), the far side, or a mirror."""


class Topology:
    """A neighbor table and its reverse.

    Args:
        shape: cells along x, y and z; z is the fastest axis of the flat order.
        neighborhood: ``"von_neumann"`` (6 neighbors: -x +x -y +y -z +z) or ``"moore"`` (26, in the lexicographic
            order of their offsets).
        boundary: ``"walls"`` and ``"absorbing"`` read zeros beyond the edge, ``"periodic"`` wraps around,
            ``"reflecting"`` reads the cell mirrored at the wall (index -1 reads 1, index n reads n-2; along an axis
            of one cell it reads the cell itself).
        dilation: how many cells away a neighbor stands along each axis it differs in.

    Attributes:
        cells: N, the number of cells.
        slots: K, the neighbors and the cell itself, which comes last.
        neighbors: int32 [N, K-1], on the CPU; -1 where there is none.
        reader_offsets, readers: the reverse in CSR form. Cell c is read by ``readers[reader_offsets[c] :
            reader_offsets[c + 1]]``, each entry being ``reading cell * (K-1) + slot``, in increasing order.

    Two topologies of the same arguments share their tables. Raises ValueError for a bad argument.
    """

    shape: tuple[int, ...]
    neighborhood: str
    boundary: str
    dilation: int
    neighbors: torch.Tensor
    reader_offsets: torch.Tensor
    readers: torch.Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        neighborhood: str = "von_neumann",
        boundary: str = "walls",
        dilation: int = 1,
    ) -> None:
        shape = tuple(shape)  # type: ignore[assignment]
        if len(shape) != 3:
            raise ValueError(f"shape must be three numbers of cells (X, Y, Z); got {shape!r}")
        for axis, count in zip("XYZ", shape, strict=True):
            check_count(f"{axis} of shape {shape}", count, 1)
        check_choice("neighborhood", neighborhood, NEIGHBORHOODS)
        check_choice("boundary", boundary, BOUNDARIES)
        check_count("dilation", dilation, 1)
        self.shape = shape
        self.neighborhood = neighborhood
        self.boundary = boundary
        self.dilation = dilation
        self.neighbors, self.reader_offsets, self.readers = _tables(shape, neighborhood, boundary, dilation)

    @classmethod
    def from_table(cls, neighbors: ArrayLike) -> Topology:
        """Any graph of fixed degree: ``neighbors`` is [N, K-1] whole numbers, -1 where there is none.

        Its ``shape`` is (N,). Raises ValueError for a table of another form or with cells that do not exist.
        """
        table = np.asarray(neighbors)
        if table.ndim != 2 or table.shape[0] == 0 or not np.issubdtype(table.dtype, np.integer):
            raise ValueError(
                "neighbors must be whole numbers [N, K-1] with at least one cell; "
                f"got {table.dtype} {list(table.shape)}"
            )
        if table.size and (table.min() < -1 or table.max() >= len(table)):
            raise ValueError(
                f"neighbors must name cells 0..{len(table) - 1}, or -1 for none; got {table.min()}..{table.max()}"
            )
        topology = cls.__new__(cls)
        topology.shape = (len(table),)
        topology.neighborhood = "table"
        topology.boundary = "table"
        topology.dilation = 1
        topology.neighbors, topology.reader_offsets, topology.readers = _with_reverse(table)
        return topology

    @property
    def cells(self) -> int:
        """N, the number of cells."""
        return self.neighbors.shape[0]

    @property
    def slots(self) -> int:
        """K: the neighbors of a cell and the cell itself, which is the last slot."""
        return self.neighbors.shape[1] + 1

    def __repr__(self) -> str:
        if self.neighborhood == "table":
            return f"Topology.from_table(<{self.cells} cells, {self.slots - 1} neighbors each>)"
        apart = f", dilation={self.dilation}" if self.dilation > 1 else ""
        return f"Topology({self.shape}, {self.neighborhood!r}, {self.boundary!r}{apart})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Topology):
            return NotImplemented
        return self.shape == other.shape and torch.equal(self.neighbors, other.neighbors)

    def __hash__(self) -> int:
        return hash((self.shape, self.slots))  # what is equal has one hash, whatever its names


@lru_cache(maxsize=64)
def _tables(
    shape: tuple[int, int, int], neighborhood: str, boundary: str, dilation: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if neighborhood == "von_neumann":
        offsets = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
    else:
        offsets = [(dx, dy, dz) for dx, dy, dz in itertools.product((-1, 0, 1), repeat=3) if (dx, dy, dz) != (0, 0, 0)]
    here = np.indices(shape).reshape(3, -1)  # the coordinates of each cell, in flat order
    columns = []
    for offset in offsets:
        index = np.zeros(here.shape[1], dtype=np.int64)
        missing = np.zeros(here.shape[1], dtype=bool)
        for axis, size in enumerate(shape):
            place = here[axis] + dilation * offset[axis]
            if boundary == "periodic":
                place %= size
            elif boundary == "reflecting":
                there_and_back = max(1, 2 * (size - 1))
                place %= there_and_back
                place = np.where(place >= size, there_and_back - place, place)
            else:
                missing |= (place < 0) | (place >= size)
            index = index * size + place
        columns.append(np.where(missing, -1, index))
    return _with_reverse(np.stack(columns, axis=1))


def _with_reverse(table: NDArray[np.integer]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if table.size > np.iinfo(np.int32).max:
        raise ValueError(f"a lattice may have 2^31 neighbor links at most; this has {table.size}")
    flat = table.reshape(-1)
    present = np.flatnonzero(flat >= 0)
    readers = present[np.argsort(flat[present], kind="stable")].astype(np.int32)
    counts = np.bincount(flat[present], minlength=len(table))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    neighbors = np.ascontiguousarray(table, dtype=np.int32)
    return torch.from_numpy(neighbors.copy()), torch.from_numpy(offsets), torch.from_numpy(readers)
