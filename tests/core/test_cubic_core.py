"""The core: identity at the start, the lattice really in the path, tensors, arrays or features in and out."""

import numpy as np
import pytest
import torch

from cubefast import CubicCore, use_backend
from cubefast.errors import InputError

from ..cores import principal, shaken


@pytest.mark.parametrize("io", ["volume", "faces"])
@pytest.mark.parametrize("placement", ["order", "principal"])
@pytest.mark.parametrize("dim", [32, 48])
def test_a_fresh_core_is_exactly_the_identity(io, placement, dim):
    core = CubicCore(dim, placement=placement, io=io, steps=8)
    core.reshaper.fit(torch.randn(50, dim))
    x = torch.randn(5, dim)
    assert torch.equal(core(x), x)


def test_the_defaults_are_the_768_lattice():
    core = CubicCore()
    assert core.reshaper.shape == (8, 8, 12)
    x = torch.randn(2, 768)
    assert torch.equal(core(x), x)


@pytest.mark.parametrize("dim", [7, 32, 50])
def test_any_leading_shape_and_dim(dim):
    core = shaken(CubicCore(dim, steps=4, state_size=4, hidden_size=8))
    x = torch.randn(2, 3, dim)
    assert core(x).shape == x.shape
    assert torch.allclose(core(x)[1, 2], core(x[1, 2]), atol=1e-6)
    assert core(x[:0]).shape == (0, 3, dim)


def test_drive_is_the_formula_of_the_docstring():
    core = shaken(principal())
    x = torch.randn(3, 32)
    laid = core.reshaper.to_lattice(x).reshape(3, 32, 1) * 32**0.5
    heard = laid @ core.w_input[:, :1].T * (1 + core.codes @ core.w_gain.T)
    wanted = heard + core.codes @ core.w_input[:, 1:].T + core.b_input
    got = core._drive(core.reshaper.to_lattice(x) * 32**0.5)
    assert torch.allclose(got, wanted, atol=1e-5)


def test_the_lattice_is_in_the_path():
    """What the plan this comes from got wrong: take the lattice away, and the output must change."""
    core = shaken(principal())
    x = torch.randn(4, 32)
    whole = core(x)
    for phase in core.lattice.phases:
        phase.steps = 0
    assert torch.equal(core(x), x)
    core.lattice.phases[0].steps = 1
    assert not torch.allclose(core(x), whole)


def test_cells_hear_each_other():
    """With neighbors cut off, an output number depends on its own input number only; with them, on its neighbors'."""
    core = shaken(CubicCore(27, (3, 3, 3), state_size=4, hidden_size=8, steps=3, phases=1))
    x = torch.randn(27, requires_grad=True)
    (gradient,) = torch.autograd.grad(core(x)[13], x)
    assert (gradient != 0).sum() > 7  # beyond the six next cells after three steps
    assert gradient[0] == 0  # a corner is three cells from the middle, and a number is heard at the first step
    with torch.no_grad():
        core.lattice.phases[0].w_perceive[:, :24] = 0
    (gradient,) = torch.autograd.grad(core(x)[13], x)
    assert (gradient != 0).nonzero().flatten().tolist() == [13]


def test_faces_carry_the_embedding_through_the_volume():
    small = {"residual": False, "state_size": 4, "hidden_size": 8, "phases": 1}
    core = shaken(CubicCore(16, (2, 2, 4), io="faces", steps=4, **small))
    x = torch.randn(16, requires_grad=True)
    (gradient,) = torch.autograd.grad(core(x).sum(), x)
    assert (gradient != 0).all()
    # Reaches the back face's states, which hear the third plane's, not yet the front's.
    core.lattice.phases[0].steps = 3
    (gradient,) = torch.autograd.grad(core(x).sum(), x)
    assert (gradient == 0).all()


def test_faces_that_would_be_neighbors_are_refused():
    assert CubicCore(16, (2, 2, 4), io="faces", steps=4).config["boundary"] == "walls"
    assert CubicCore(16, (2, 2, 4), steps=4).config["boundary"] == "periodic"
    with pytest.raises(ValueError, match='with boundary="periodic" the two faces are neighbors'):
        CubicCore(16, (2, 2, 4), io="faces", steps=4, boundary="periodic")


def test_without_the_residual_the_core_is_not_the_identity():
    core = CubicCore(32, residual=False, steps=4)
    x = torch.randn(4, 32)
    assert torch.cosine_similarity(core(x), x).abs().max() < 0.9


@pytest.mark.parametrize("io", ["volume", "faces"])
def test_every_parameter_is_learnt(io):
    core = shaken(principal(io=io, update="residual_tanh"))
    core(torch.randn(4, 32)).square().sum().backward()
    for name, parameter in core.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("backend", ["cpp", "numba"])
def test_backends_give_the_same_core(backend):
    core = shaken(principal())
    x = torch.randn(4, 32)
    with use_backend("torch"):
        wanted = core(x)
    with use_backend(backend):
        assert torch.allclose(core(x), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"io": "edges"}, "io must be one of volume, faces; got 'edges'"),
        (
            {"io": "faces", "shape": (4, 4, 2), "steps": 1},
            "needs more steps: after 1, with .* has reached the back face through 2 cells",
        ),
        ({"io": "faces", "shape": (4, 4, 4), "dilations": [2]}, "after 16, with dilations .2., nothing has reached"),
        ({"io": "faces", "shape": (3, 4, 3)}, r"needs dim divisible by the X\*Y = 12 cells of a face; got 32"),
        ({"shape": (2, 2, 2)}, "too few for an embedding of 32 numbers"),
        ({"code_size": -1}, "code_size must be a whole number of at least 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        CubicCore(32, **keywords)


def test_an_embedding_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"embedding must be \[..., 32\]; got \[4, 31\]"):
        CubicCore(32)(torch.zeros(4, 31))


def test_features_of_sentence_transformers_come_back_with_their_embedding_turned():
    core = shaken(principal())
    x = torch.randn(4, 32, requires_grad=True)
    mask = torch.ones(4, 7)
    features = {"attention_mask": mask, "sentence_embedding": x}
    assert core(features) is features
    assert torch.equal(features["sentence_embedding"], core(x))
    assert features["attention_mask"] is mask
    (gradient,) = torch.autograd.grad(features["sentence_embedding"].sum(), x)
    assert (gradient != 0).any()
    with pytest.raises(ValueError, match="no sentence_embedding, but input_ids. Put the core after .*Pooling"):
        core({"input_ids": mask})
    with pytest.raises(TypeError, match=r"embedding must be a tensor; got ndarray. For arrays there is transform"):
        core(np.zeros((4, 32)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "bool"])
def test_transform_takes_arrays_of_any_real_dtype_and_gives_float32(dtype):
    core = shaken(principal())
    x = (3 * np.random.default_rng(0).standard_normal((5, 32))).astype(dtype)
    out = core.transform(x)
    assert (out.dtype, out.shape) == (np.float32, (5, 32))
    with torch.no_grad():
        wanted = core(torch.from_numpy(x.astype(np.float32))).numpy()
    np.testing.assert_array_equal(out, wanted)
    np.testing.assert_allclose(core.transform(x[3]), out[3], atol=1e-5)
    np.testing.assert_allclose(core.transform(x, batch_size=2), out, atol=1e-5)
    np.testing.assert_array_equal(core.transform(x[::-1])[::-1][:1], core.transform(x[::-1])[-1:])
    assert core.transform(x[:0]).shape == (0, 32)


def test_transform_serves_cores_of_other_dtypes_and_lists():
    core = shaken(principal())
    x = np.random.default_rng(0).standard_normal((5, 32))
    wide = core.transform(x)
    np.testing.assert_array_equal(core.transform(x.tolist()), wide)
    assert core.double().transform(x).dtype == np.float32
    np.testing.assert_allclose(core.transform(x), wide, atol=1e-5)


def test_transform_reads_a_memory_map_a_batch_at_a_time(tmp_path):
    x = np.random.default_rng(0).standard_normal((10, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    core, seen = shaken(principal()), []
    wanted = core.transform(x)
    core.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_allclose(core.transform(mapped, batch_size=4), wanted, atol=1e-5)
    assert seen == [4, 4, 2]
    np.testing.assert_array_equal(mapped, x)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((2, 31)), r"embeddings must be \[n, 32\] or \[32\]; got \[2, 31\]"),
        (np.zeros((1, 2, 32)), r"got \[1, 2, 32\]"),
        (np.float32(1), r"got \[\]"),
        (np.full((2, 32), "a"), "embeddings must be real numbers; got an array of <U1"),
        (np.zeros((2, 32), complex), "real numbers; got an array of complex128"),
        (np.array([[0.0] * 32, [0.0] * 31 + [np.nan]]), "row 1 holds NaN, Inf or a number too large for float32"),
        (np.array([[1e300] * 32]), "row 0 holds NaN, Inf or a number too large"),
    ],
)
def test_transform_refuses_what_is_no_embedding(bad, message):
    with pytest.raises(InputError, match=message):
        principal().transform(bad)
