"""Who hears whom: a lattice's neighborhood and boundary, as a table.

The kernels know no geometry. They read one table: for each cell, which cell stands in each of its neighbor slots.
"""

from __future__ import annotations

import itertools
from typing import Any, NoReturn
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from . import _native
from .checks import MOST_NUMBERS, check_choice, check_count, shown

NEIGHBORHOODS = ("von_neumann", "moore")
"""von_neumann: the 6 cells that share a face, in the order -x +x -y +y -z +z. moore: all 26 around."""

BOUNDARIES = ("walls", "periodic", "reflecting", "absorbing", "replicate")
"""What stands beyond the edge: nothing (walls and absorbing read zeros), the far side, a mirror, or the edge again."""


class Topology:
    """A neighbor table and its reverse. It never changes: its tables are its own, and what it hands out are copies.

    Args:
        shape: (X, Y, Z) or (H, W) cells; the last is the fastest axis of the flat order.
        neighborhood: ``"von_neumann"`` (6 neighbors: -x +x -y +y -z +z; in two dimensions 4) or ``"moore"`` (26, in
            the lexicographic order of their offsets; in two dimensions 8).
        boundary: ``"walls"`` and ``"absorbing"`` read zeros beyond the edge, ``"periodic"`` wraps around,
            ``"reflecting"`` reads the cell mirrored at the wall (index -1 reads 1, index n reads n-2; along an axis
            of one cell it reads the cell itself), ``"replicate"`` reads the cell at the edge.
        dilation: how many cells away a neighbor stands along each axis it differs in.

    Attributes:
        cells: N, the number of cells.
        slots: K, the neighbors and the cell itself, which comes last.
        neighbors: int32 [N, K-1], on the CPU; -1 where there is none. A copy.
        reader_offsets, readers: the reverse in CSR form. Cell c is read by ``readers[reader_offsets[c] :
            reader_offsets[c + 1]]``, each entry being ``reading cell * (K-1) + slot``, in increasing order. Copies.

    Topologies of the same arguments share their tables while one of them is in use. Raises ValueError for a bad
    argument, or more than 2^31 neighbor links.
    """

    __slots__ = ("_tables", "boundary", "dilation", "neighborhood", "shape")

    shape: tuple[int, ...]
    neighborhood: str
    boundary: str
    dilation: int
    _tables: _Tables

    def __init__(
        self,
        shape: tuple[int, int, int] | tuple[int, int],
        neighborhood: str = "von_neumann",
        boundary: str = "walls",
        dilation: int = 1,
    ) -> None:
        sides = _checked_shape(shape)
        check_choice("neighborhood", neighborhood, NEIGHBORHOODS)
        check_choice("boundary", boundary, BOUNDARIES)
        dilation = check_count("dilation", dilation, 1)
        degree = len(_offsets(neighborhood, len(sides)))
        if np.prod(sides, dtype=object) * degree > MOST_NUMBERS:
            raise ValueError(
                f"a lattice may have 2^31 neighbor links at most; {shown(sides)} cells with {degree} neighbors "
                "have more"
            )
        self._set(sides, neighborhood, boundary, dilation, _shared_tables(sides, neighborhood, boundary, dilation))

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
        if table.size > MOST_NUMBERS:
            raise ValueError(f"a table may have 2^31 neighbor links at most; got {table.size}")
        topology = cls.__new__(cls)
        own = np.array(table, dtype=np.int32, order="C")  # a copy in any case
        topology._set((len(table),), "table", "table", 1, _Tables(own))
        return topology

    def _set(self, shape: tuple[int, ...], neighborhood: str, boundary: str, dilation: int, tables: _Tables) -> None:
        values = {"shape": shape, "neighborhood": neighborhood, "boundary": boundary, "dilation": dilation}
        for name, value in {**values, "_tables": tables}.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Topology does not change, so {name} cannot be set; make another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Topology does not change, so {name} cannot be deleted; make another one")

    def __copy__(self) -> Topology:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Topology:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.neighborhood == "table":
            return Topology.from_table, (self.neighbors.numpy(),)
        return Topology, (self.shape, self.neighborhood, self.boundary, self.dilation)

    @property
    def cells(self) -> int:
        """N, the number of cells."""
        return self._tables.neighbors.shape[0]

    @property
    def slots(self) -> int:
        """K: the neighbors of a cell and the cell itself, which is the last slot."""
        return self._tables.neighbors.shape[1] + 1

    @property
    def neighbors(self) -> torch.Tensor:
        """int32 [N, K-1], a copy; -1 where there is no neighbor."""
        return self._tables.neighbors.clone()

    @property
    def reader_offsets(self) -> torch.Tensor:
        """int32 [N+1], a copy: where in ``readers`` those of each cell stand."""
        return self._tables.reader_offsets.clone()

    @property
    def readers(self) -> torch.Tensor:
        """int32, a copy: ``reading cell * (K-1) + slot``."""
        return self._tables.readers.clone()

    def for_kernels(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``neighbors``, ``reader_offsets`` and ``readers``, not copied: only to be read."""
        return self._tables.neighbors, self._tables.reader_offsets, self._tables.readers

    def __repr__(self) -> str:
        if self.neighborhood == "table":
            return f"Topology.from_table(<{self.cells} cells, {self.slots - 1} neighbors each>)"
        apart = f", dilation={self.dilation}" if self.dilation > 1 else ""
        return f"Topology({self.shape}, {self.neighborhood!r}, {self.boundary!r}{apart})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Topology):
            return NotImplemented
        mine, others = self._tables.neighbors, other._tables.neighbors
        return self.shape == other.shape and (mine is others or torch.equal(mine, others))

    def __hash__(self) -> int:
        return hash((self.shape, self.slots))  # what is equal has one hash, whatever its names


class _Tables:
    """The tables of one or several topologies."""

    def __init__(self, neighbors: NDArray[np.int32]) -> None:
        self.neighbors = torch.from_numpy(neighbors)
        self.reader_offsets, self.readers = _reversed(self.neighbors)


_in_use: WeakValueDictionary[tuple[Any, ...], _Tables] = WeakValueDictionary()


def _shared_tables(shape: tuple[int, ...], neighborhood: str, boundary: str, dilation: int) -> _Tables:
    key = (shape, neighborhood, boundary, dilation)
    tables = _in_use.get(key)
    if tables is None:
        tables = _in_use.setdefault(key, _Tables(_neighbors(*key)))
    return tables


def _checked_shape(shape: Any) -> tuple[int, ...]:
    wanted = "shape must be two or three numbers of cells, (H, W) or (X, Y, Z)"
    try:
        sides = tuple(shape)
    except TypeError:
        raise ValueError(f"{wanted}; got {shown(shape)}") from None
    if len(sides) not in (2, 3):
        raise ValueError(f"{wanted}; got {shown(sides)}")
    axes = "XYZ" if len(sides) == 3 else "HW"
    return tuple(
        check_count(f"{axis} of shape {shown(sides)}", count, 1) for axis, count in zip(axes, sides, strict=True)
    )


def _offsets(neighborhood: str, dimensions: int) -> list[tuple[int, ...]]:
    """Where the neighbors stand, in the order of their slots."""
    if neighborhood == "von_neumann":
        return [tuple(way * (i == axis) for i in range(dimensions)) for axis in range(dimensions) for way in (-1, 1)]
    return [offset for offset in itertools.product((-1, 0, 1), repeat=dimensions) if any(offset)]


def _neighbors(shape: tuple[int, ...], neighborhood: str, boundary: str, dilation: int) -> NDArray[np.int32]:
    """The table [N, K-1], a column at a time: it may fill a large part of the memory that there is."""
    offsets = _offsets(neighborhood, len(shape))
    table = np.empty((*shape, len(offsets)), np.int32)
    for slot, offset in enumerate(offsets):
        index = np.zeros((1,) * len(shape), np.int32)
        missing = np.zeros((1,) * len(shape), np.bool_)
        for axis, size in enumerate(shape):
            place = np.arange(size, dtype=np.int64) + dilation * offset[axis]
            beyond = np.zeros(size, np.bool_)
            if boundary == "periodic":
                place %= size
            elif boundary == "reflecting":
                there_and_back = max(1, 2 * (size - 1))
                place %= there_and_back
                place = np.where(place >= size, there_and_back - place, place)
            elif boundary == "replicate":
                place = place.clip(0, size - 1)
            else:
                beyond = (place < 0) | (place >= size)
                place[beyond] = 0
            along = [size if i == axis else 1 for i in range(len(shape))]
            index = index * np.int32(size) + place.astype(np.int32).reshape(along)
            missing = missing | beyond.reshape(along)
        table[..., slot] = np.where(missing, np.int32(-1), index)
    return table.reshape(-1, len(offsets))


def _reversed(neighbors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    cells, degree = neighbors.shape
    flat = neighbors.numpy().reshape(-1)
    native, _ = _native.load()
    if native is not None:  # a second where sorting takes several, and without the sort's memory
        offsets = torch.empty(cells + 1, dtype=torch.int32)
        readers = torch.empty(int(np.count_nonzero(flat >= 0)), dtype=torch.int32)
        native.reverse_table(neighbors.data_ptr(), cells, degree, offsets.data_ptr(), readers.data_ptr())
        return offsets, readers
    present = np.flatnonzero(flat >= 0)
    order = present[np.argsort(flat[present], kind="stable")].astype(np.int32)
    counts = np.bincount(flat[present], minlength=cells)
    return torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)), torch.from_numpy(order)
