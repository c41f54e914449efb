"""Where the slots of a neighborhood stand, and the filters that automata perceive through."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .checks import check_choice

FILTERS = ("identity", "sobel", "gradient", "laplacian")
"""Those with a name, see :meth:`cubefast.Topology.filters`."""


def offsets_of(neighborhood: str, dimensions: int) -> list[tuple[int, ...]]:
    """Where the neighbors stand, in the order of their slots; the cell itself is not among them."""
    if neighborhood == "von_neumann":
        return [tuple(way * (i == axis) for i in range(dimensions)) for axis in range(dimensions) for way in (-1, 1)]
    return [offset for offset in itertools.product((-1, 0, 1), repeat=dimensions) if any(offset)]


def named_filters(names: Sequence[str], neighborhood: str, dimensions: int) -> NDArray[np.float64]:
    """The filters [F, K]; the cell itself is the last slot. Raises ValueError for a name that cannot be had."""
    slots = np.array([*offsets_of(neighborhood, dimensions), (0,) * dimensions])
    filters: list[NDArray[np.float64]] = []
    for name in names:
        check_choice("a filter's name", name, FILTERS)
        if name == "identity":
            filters.append((slots == 0).all(axis=1).astype(np.float64))
        elif name == "laplacian":
            filters.append(_laplacian(slots, neighborhood))
        elif name == "sobel" and neighborhood != "moore":
            raise ValueError('sobel filters need the neighborhood "moore"; "gradient" is there for any')
        else:
            filters += [_difference(slots, axis, smoothed=name == "sobel") for axis in range(dimensions)]
    if not filters:
        raise ValueError(f"name one filter at least, of {', '.join(FILTERS)}")
    return np.stack(filters)


def _difference(slots: NDArray[np.int64], axis: int, smoothed: bool) -> NDArray[np.float64]:
    across = np.delete(slots, axis, axis=1)
    weights = np.where(across == 0, 2.0, 1.0).prod(axis=1) / 4.0 ** across.shape[1]
    if not smoothed:
        weights = (across == 0).all(axis=1).astype(np.float64)
    return np.asarray(slots[:, axis] * weights / 2)


def _laplacian(slots: NDArray[np.int64], neighborhood: str) -> NDArray[np.float64]:
    if neighborhood == "von_neumann":
        weights = np.ones(len(slots))
    else:
        weights = np.where(slots == 0, 2.0, 1.0).prod(axis=1) / 4.0 ** (slots.shape[1] - 1)
    weights[-1] -= weights.sum()
    return weights
