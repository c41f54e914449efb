import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cubefast import EmbeddingReshaper
from cubefast.core.reshaper import lattice_shape


@pytest.mark.parametrize(
    ("dim", "shape"),
    [
        (768, (8, 8, 12)),
        (384, (8, 8, 6)),
        (256, (8, 8, 4)),
        (640, (8, 8, 10)),
        (1024, (8, 8, 16)),
        (1, (1, 1, 1)),
        (7, (2, 2, 2)),  # prime: a padded box, not a rod of seven cells
    ],
)
def test_the_automatic_box_is_the_most_cubic(dim, shape):
    assert lattice_shape(dim) == shape
    assert EmbeddingReshaper(dim, placement="order").shape == shape


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(1, 300), st.sampled_from(["order", "principal"]))
def test_off_the_lattice_is_the_inverse_of_onto_it(dim, placement):
    random = torch.Generator().manual_seed(dim)
    embeddings = torch.randn(5, dim, generator=random, dtype=torch.float64)
    reshaper = EmbeddingReshaper(dim, placement=placement).double().fit(embeddings)
    lattice = reshaper.to_lattice(embeddings)
    assert lattice.shape == (5, *reshaper.shape)
    assert torch.allclose(reshaper.to_embedding(lattice), embeddings, atol=1e-10)


def test_order_is_exact_and_z_is_fastest():
    reshaper = EmbeddingReshaper(10, (2, 2, 3), placement="order")
    lattice = reshaper.to_lattice(torch.arange(10.0))
    assert lattice[0, 0].tolist() == [0, 1, 2]
    assert lattice[1, 1].tolist() == [9, 0, 0]  # the last two cells are padding
    assert torch.equal(reshaper.to_embedding(lattice), torch.arange(10.0))


def test_principal_keeps_cosines_and_orders_by_variance():
    random = torch.Generator().manual_seed(1)
    embeddings = torch.randn(200, 48, generator=random) * torch.linspace(0.1, 2, 48) + 1
    reshaper = EmbeddingReshaper(48).fit(embeddings)
    laid = reshaper.to_lattice(embeddings).flatten(1)
    pairs = torch.cosine_similarity(embeddings[:100], embeddings[100:])
    assert torch.allclose(torch.cosine_similarity(laid[:100], laid[100:]), pairs, atol=1e-6)
    variances = laid.var(dim=0)
    assert (variances.diff() <= 1e-5).all()
    assert torch.allclose(reshaper.to_embedding(reshaper.to_lattice(embeddings)), embeddings, atol=1e-5)


def test_fitting_needs_no_more_rows_than_one():
    reshaper = EmbeddingReshaper(12).fit(torch.randn(1, 12))
    assert reshaper.fitted
    assert torch.allclose(reshaper.rotation @ reshaper.rotation.T, torch.eye(12), atol=1e-6)


def test_numpy_in_numpy_out():
    values = np.random.default_rng(0).normal(size=(4, 24)).astype(np.float32)
    reshaper = EmbeddingReshaper(24).fit(values)
    lattice = reshaper.to_lattice(values)
    assert isinstance(lattice, np.ndarray)
    assert lattice.dtype == np.float32
    np.testing.assert_allclose(reshaper.to_embedding(lattice), values, atol=1e-5)


def test_an_unfitted_principal_placement_refuses_to_guess():
    with pytest.raises(RuntimeError, match="has not been fitted; call fit"):
        EmbeddingReshaper(8).to_lattice(torch.zeros(1, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: EmbeddingReshaper(10, (2, 2, 2)),
            r"shape 2x2x2 has 8 cells, too few .* of 10 numbers; \(2, 2, 3\) fits",
        ),
        (lambda: EmbeddingReshaper(0), "dim must be a whole number of at least 1; got 0"),
        (lambda: EmbeddingReshaper(8, placement="random"), "placement must be one of principal, order; got 'random'"),
        (lambda: EmbeddingReshaper(8).fit(torch.zeros(3, 7)), r"embeddings must be \[n, 8\], n >= 1; got \[3, 7\]"),
        (lambda: EmbeddingReshaper(8).fit(torch.zeros(0, 8)), "n >= 1"),
        (lambda: EmbeddingReshaper(2).fit(torch.tensor([[1.0, float("nan")]])), "embeddings hold NaN or Inf"),
        (
            lambda: EmbeddingReshaper(8, placement="order").to_lattice(torch.zeros(3, 7)),
            r"embedding must be \[..., 8\]",
        ),
        (lambda: EmbeddingReshaper(8, placement="order").to_embedding(torch.zeros(2, 2, 3)), r"lattice must be"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
