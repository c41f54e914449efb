"""The tables of a topology: who stands in which slot, its reverse, and what of it the kernels are given."""

from __future__ import annotations

import zlib
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from . import _native
from .filters import offsets_of


class Tables:
    """The tables of one or several topologies.

    The kernels compute no cell that is not there, and no slot twice. For them there is another table of the cells
    ``present`` (None: all), with slots that always hold the same cell merged: ``merged`` gives for each slot its place
    among theirs, -1 where it never holds a cell (None: each is its own).
    """

    def __init__(
        self, neighbors: NDArray[np.int32], mask: NDArray[np.bool_] | None = None, merged: list[int] | None = None
    ) -> None:
        if mask is not None:
            neighbors = _without(neighbors, mask)
        self.neighbors = torch.from_numpy(neighbors)
        self.reader_offsets, self.readers = _reversed(self.neighbors)
        self.present = None if mask is None else torch.from_numpy(np.flatnonzero(mask))
        self.merged = None if merged is None else torch.tensor(merged)
        self.among_present = self.neighbors if mask is None else torch.from_numpy(_compact(neighbors, mask))
        self.for_kernels = (self.neighbors, self.reader_offsets, self.readers)
        if mask is not None or merged is not None:
            table = self.among_present
            if merged is not None:
                table = table[:, _first_of_each(merged)].contiguous()
            self.for_kernels = (table, *_reversed(table))

    @cached_property
    def checksum(self) -> int:
        """A number that two tables share if they connect the same cells in the same slots, and the same are there."""
        there = b"" if self.present is None else self.present.numpy().data
        return zlib.crc32(there, zlib.crc32(self.neighbors.numpy().data))


_in_use: WeakValueDictionary[tuple[Any, ...], Tables] = WeakValueDictionary()


def lattice_tables(
    shape: tuple[int, ...], neighborhood: str, boundary: str, dilation: int, mask: NDArray[np.bool_] | None
) -> Tables:
    """Those of a lattice, made once for all that are in use."""
    key = (shape, neighborhood, boundary, dilation, None if mask is None else mask.tobytes())
    tables = _in_use.get(key)
    if tables is None:
        offsets = offsets_of(neighborhood, len(shape))
        places = _places(shape, boundary, dilation)
        made = Tables(_neighbors(shape, offsets, places), mask, _merged(offsets, places))
        tables = _in_use.setdefault(key, made)
    return tables


def _places(shape: tuple[int, ...], boundary: str, dilation: int) -> list[dict[int, NDArray[np.int32]]]:
    """For each axis and each of the ways -1, 0, 1 along it, where every place on the axis leads; -1: nowhere."""
    places = []
    for size in shape:
        ways = {}
        for way in (-1, 0, 1):
            place = np.arange(size, dtype=np.int64) + dilation * way
            if boundary == "periodic":
                place %= size
            elif boundary == "reflecting":
                there_and_back = max(1, 2 * (size - 1))
                place %= there_and_back
                place = np.where(place >= size, there_and_back - place, place)
            elif boundary == "replicate":
                place = place.clip(0, size - 1)
            else:
                place[(place < 0) | (place >= size)] = -1
            ways[way] = place.astype(np.int32)
        places.append(ways)
    return places


def _neighbors(
    shape: tuple[int, ...], offsets: list[tuple[int, ...]], places: list[dict[int, NDArray[np.int32]]]
) -> NDArray[np.int32]:
    """The table [N, K-1], a column at a time: it may fill a large part of the memory that there is."""
    table = np.empty((*shape, len(offsets)), np.int32)
    for slot, offset in enumerate(offsets):
        index = np.zeros((1,) * len(shape), np.int32)
        missing = np.zeros((1,) * len(shape), np.bool_)
        for axis, (size, way) in enumerate(zip(shape, offset, strict=True)):
            along = [size if i == axis else 1 for i in range(len(shape))]
            place = places[axis][way].reshape(along)
            index = index * np.int32(size) + place
            missing = missing | (place < 0)
        table[..., slot] = np.where(missing, np.int32(-1), index)
    return table.reshape(-1, len(offsets))


def _merged(offsets: list[tuple[int, ...]], places: list[dict[int, NDArray[np.int32]]]) -> list[int] | None:
    """For each slot the first that always holds the same cell, counted among those; None if each is its own."""
    slots = [*offsets, (0,) * len(places)]
    leads = [tuple(places[axis][way].tobytes() for axis, way in enumerate(offset)) for offset in slots]
    nowhere = [any((places[axis][way] < 0).all() for axis, way in enumerate(offset)) for offset in slots]
    kept = [lead for lead, never in zip(leads[:-1], nowhere, strict=False) if not never and lead != leads[-1]]
    order = {lead: place for place, lead in enumerate(dict.fromkeys(kept))}
    order[leads[-1]] = len(order)  # the cell itself stays the last
    merged = [-1 if never else order[lead] for lead, never in zip(leads, nowhere, strict=True)]
    return None if merged == list(range(len(slots))) else merged


def _first_of_each(merged: list[int]) -> list[int]:
    """A slot for each merged one but the last, which is the cell itself."""
    return [merged.index(place) for place in range(merged[-1])]


def _without(neighbors: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The table without the links from and to cells that are not there."""
    there = mask[neighbors] & (neighbors >= 0) & mask[:, None]
    return np.where(there, neighbors, np.int32(-1))


def _compact(neighbors: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The rows of the cells that are there, counted among themselves."""
    number = np.cumsum(mask, dtype=np.int32) - np.int32(1)
    rows = neighbors[mask]
    return np.asarray(np.where(rows >= 0, number[rows], np.int32(-1)))


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
