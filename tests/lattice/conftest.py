"""The backends under test: those that are there, and a word about those that are not."""

import pytest

from cubefast.lattice.backends import unavailable

COMPILED = [
    pytest.param(name, marks=pytest.mark.skipif(unavailable(name) != "", reason=unavailable(name) or "there"))
    for name in ("cpp", "numba")
]


@pytest.fixture(params=COMPILED)
def compiled(request) -> str:
    """A compiled backend."""
    return request.param
