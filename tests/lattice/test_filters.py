"""The filters with a name, against the convolutions that papers write."""

import pytest
import torch

from cubefast import Topology

PLANE = Topology((3, 3), "moore")


def as_kernel(filters):
    """[F, 9] in the order of the slots -> [F, 3, 3]."""
    return filters[:, [0, 1, 2, 3, 8, 4, 5, 6, 7]].reshape(-1, 3, 3)


def test_filters_of_a_plane_are_the_papers():
    identity, down, right = as_kernel(PLANE.filters("identity", "sobel"))
    assert identity.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    assert torch.equal(right, sobel)
    assert torch.equal(down, sobel.t())
    assert torch.equal(
        as_kernel(PLANE.filters("laplacian"))[0] * 4, torch.tensor([[1.0, 2, 1], [2, -12, 2], [1, 2, 1]])
    )
    assert PLANE.filters("gradient")[1].tolist() == [0, 0, 0, -0.5, 0.5, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "topology", [PLANE, Topology((3, 3)), Topology((3, 3, 3), "moore"), Topology((2, 2, 2))], ids=str
)
def test_differences_of_a_slope_are_its_steepness_and_of_a_constant_nothing(topology):
    from cubefast.lattice.filters import offsets_of

    dimensions = len(topology.shape)
    slots = torch.tensor([*offsets_of(topology.neighborhood, dimensions), (0,) * dimensions], dtype=torch.float64)
    names = ["gradient", "sobel"] if topology.neighborhood == "moore" else ["gradient"]
    for name in names:
        filters = topology.filters(name, dtype=torch.float64)
        assert filters.shape == (dimensions, topology.slots)
        torch.testing.assert_close(filters @ slots, torch.eye(dimensions, dtype=torch.float64))
        assert filters.sum(dim=1).abs().max() < 1e-12
    assert topology.filters("laplacian").sum().abs() < 1e-6


@pytest.mark.parametrize(
    ("topology", "names", "message"),
    [
        (PLANE, ["gauss"], "a filter's name must be one of identity, sobel, gradient, laplacian; got 'gauss'"),
        (PLANE, [], "name one filter at least"),
        (Topology((3, 3)), ["sobel"], 'sobel filters need the neighborhood "moore"'),
        (Topology.from_table([[0]]), ["identity"], "a topology made of a table has no directions"),
    ],
)
def test_filters_that_cannot_be_had_are_refused_in_words(topology, names, message):
    with pytest.raises(ValueError, match=message):
        topology.filters(*names)
