"""Which cells each cell reads: a lattice's neighborhood and boundary, as a table.

The kernels know no geometry. They read one table: for each cell, which cell stands in each of its neighbor slots.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .checks import MOST_NUMBERS, check_choice, check_count, shown
from .filters import named_filters, offsets_of
from .neighbor_tables import Tables, lattice_tables

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
        mask: which cells are there, truth values of that shape (None: all). The others are as what is beyond a wall:
            nobody reads them, they are not computed, and in a rollout's result they are zeros. Those that are there
            are counted among themselves for the chance to fire.

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
    _tables: Tables

    def __init__(
        self,
        shape: tuple[int, int, int] | tuple[int, int],
        neighborhood: str = "von_neumann",
        boundary: str = "walls",
        dilation: int = 1,
        mask: ArrayLike | None = None,
    ) -> None:
        sides = _checked_shape(shape)
        check_choice("neighborhood", neighborhood, NEIGHBORHOODS)
        check_choice("boundary", boundary, BOUNDARIES)
        dilation = check_count("dilation", dilation, 1)
        degree = len(offsets_of(neighborhood, len(sides)))
        if np.prod(sides, dtype=object) * degree > MOST_NUMBERS:
            raise ValueError(
                f"a lattice may have 2^31 neighbor links at most; {shown(sides)} cells with {degree} neighbors "
                "have more"
            )
        mask = None if mask is None else _checked_mask(mask, sides)
        self._set(
            sides, neighborhood, boundary, dilation, lattice_tables(sides, neighborhood, boundary, dilation, mask)
        )

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
        topology._set((len(table),), "table", "table", 1, Tables(own))
        return topology

    def _set(self, shape: tuple[int, ...], neighborhood: str, boundary: str, dilation: int, tables: Tables) -> None:
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
        mask = None if self.mask is None else self.mask.numpy()
        return Topology, (self.shape, self.neighborhood, self.boundary, self.dilation, mask)

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

    @property
    def checksum(self) -> int:
        """A number that two topologies share if they connect the same cells in the same slots."""
        return self._tables.checksum

    @property
    def mask(self) -> torch.Tensor | None:
        """bool of the lattice's shape, a copy: which cells are there; None: all."""
        if self._tables.present is None:
            return None
        mask = torch.zeros(self.cells, dtype=torch.bool)
        mask[self._tables.present] = True
        return mask.reshape(self.shape)

    @property
    def tables(self) -> Tables:
        """What rollouts run on, not copied: only to be read."""
        return self._tables

    def for_kernels(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The three tables of the cells that are there, in merged slots, not copied: only to be read."""
        return self._tables.for_kernels

    def filters(self, *names: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Perception filters [F, K] in the order of the slots, for ``filters`` of :func:`cubefast.lattice_rollout`.

        Args:
            names: ``"identity"``, the cell itself. ``"sobel"``, a filter along each axis (the differences of the two
                sides, smoothed by 1 2 1 across, divided by 2 * 4^(dimensions - 1): by 8 on a plane, as in Mordvintsev
                et al., 2020). ``"gradient"``, the same without smoothing: half the difference of the two sides.
                ``"laplacian"``, the cells around less the cell itself as often: with the Moore neighborhood they count
                1 2 1 along each axis, divided by 4^(dimensions - 1) (on a plane 1 2 1, 2 -12 2, 1 2 1, by 4), and with
                von Neumann's 1 each.
            dtype: of the result.

        Raises ValueError for an unknown name, for sobel without the Moore neighborhood, and for a topology that was
        made of a table, whose slots have no directions.
        """
        if self.neighborhood == "table":
            raise ValueError("a topology made of a table has no directions, so no named filters; write them yourself")
        return torch.from_numpy(named_filters(names, self.neighborhood, len(self.shape))).to(dtype)

    def __repr__(self) -> str:
        if self.neighborhood == "table":
            return f"Topology.from_table(<{self.cells} cells, {self.slots - 1} neighbors each>)"
        apart = f", dilation={self.dilation}" if self.dilation > 1 else ""
        holes = "" if (there := self._tables.present) is None else f", mask=<{len(there)} cells are there>"
        return f"Topology({self.shape}, {self.neighborhood!r}, {self.boundary!r}{apart}{holes})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Topology):
            return NotImplemented
        mine, others = self._tables, other._tables
        if mine is others:
            return True
        same = self.shape == other.shape and torch.equal(mine.neighbors, others.neighbors)
        if mine.present is None or others.present is None:
            return same and mine.present is others.present
        return same and torch.equal(mine.present, others.present)

    def __hash__(self) -> int:
        return hash((self.shape, self.slots))  # what is equal has one hash, whatever its names


def _checked_mask(mask: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Flat; None where all cells are there."""
    cells = np.asarray(mask)
    if cells.dtype != np.bool_ or cells.shape != shape:
        raise ValueError(f"mask must be truth values of shape {shape}; got {cells.dtype} {cells.shape}")
    if not cells.any():
        raise ValueError("mask must leave one cell at least; it leaves none")
    return None if cells.all() else cells.reshape(-1).copy()


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
