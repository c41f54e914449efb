"""The core: identity at the start, the lattice really in the path, saved and loaded bit for bit."""

import copy
import json

import pytest
import torch

from cubefast import CubicCore, use_backend
from cubefast.errors import ArtifactError


def shaken(core: CubicCore) -> CubicCore:
    """The core with every parameter away from its start, so that nothing is zero."""
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return core


def principal(dim=32, **keywords) -> CubicCore:
    core = CubicCore(dim, placement="principal", state_size=4, hidden_size=8, steps=4, **keywords)
    core.reshaper.fit(torch.randn(100, dim))
    return core


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
    heard = torch.cat([laid, core.code.expand(3, -1, -1)], dim=2)
    wanted = (heard @ core.w_input.T + core.b_input) * (1 + core.gain) + core.bias
    got = core._drive(core.reshaper.to_lattice(x) * 32**0.5)
    assert torch.allclose(got, wanted, atol=1e-5)


def test_the_lattice_is_in_the_path():
    """What the plan this comes from got wrong: take the lattice away, and the output must change."""
    core = shaken(principal())
    x = torch.randn(4, 32)
    whole = core(x)
    core.lattice.steps = 0
    assert torch.equal(core(x), x)
    core.lattice.steps = 1
    assert not torch.allclose(core(x), whole)


def test_cells_hear_each_other():
    """With neighbors cut off, an output number depends on its own input number only; with them, on its neighbors'."""
    core = shaken(CubicCore(27, (3, 3, 3), state_size=4, hidden_size=8, steps=3))
    x = torch.randn(27, requires_grad=True)
    (gradient,) = torch.autograd.grad(core(x)[13], x)
    assert (gradient != 0).sum() > 7  # beyond the six next cells after three steps
    assert gradient[0] == 0  # a corner is three cells from the middle, and a number is heard at the first step
    with torch.no_grad():
        core.lattice.w_perceive[:, :24] = 0
    (gradient,) = torch.autograd.grad(core(x)[13], x)
    assert (gradient != 0).nonzero().flatten().tolist() == [13]


def test_faces_carry_the_embedding_through_the_volume():
    core = shaken(CubicCore(16, (2, 2, 4), io="faces", residual=False, steps=4, state_size=4, hidden_size=8))
    x = torch.randn(16, requires_grad=True)
    (gradient,) = torch.autograd.grad(core(x).sum(), x)
    assert (gradient != 0).all()
    core.lattice.steps = 3  # reaches the back face's states, which hear the third plane's, not yet the front's
    (gradient,) = torch.autograd.grad(core(x).sum(), x)
    assert (gradient == 0).all()


def test_without_the_residual_the_core_is_not_the_identity():
    core = CubicCore(32, residual=False, steps=4)
    x = torch.randn(4, 32)
    assert torch.cosine_similarity(core(x), x).abs().max() < 0.9


@pytest.mark.parametrize("io", ["volume", "faces"])
def test_every_parameter_is_learnt(io):
    core = shaken(principal(io=io, update="residual_tanh"))
    core(torch.randn(4, 32)).square().sum().backward()
    for name, parameter in core.named_parameters():
        if io == "faces" and name in ("code", "gain", "bias"):
            continue  # most cells of a volume hear no number, but all hear their code
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


def test_saving_and_loading_keeps_every_bit(tmp_path):
    core = shaken(principal(boundary="periodic"))
    core.save_pretrained(tmp_path / "core")
    assert sorted(f.name for f in (tmp_path / "core").iterdir()) == ["config.json", "model.safetensors"]
    loaded = CubicCore.from_pretrained(tmp_path / "core")
    x = torch.randn(4, 32)
    assert torch.equal(loaded(x), core(x))
    assert loaded.config == core.config
    assert torch.equal(copy.deepcopy(core)(x), core(x))


def test_what_cannot_be_loaded_is_refused_in_words(tmp_path):
    folder = tmp_path / "core"
    with pytest.raises(ArtifactError, match=r"no saved core in .*core: config.json is missing"):
        CubicCore.from_pretrained(folder)
    principal().save_pretrained(folder)
    weights, config = folder / "model.safetensors", folder / "config.json"
    good_weights, good_config = weights.read_bytes(), json.loads(config.read_text())

    def refused(message):
        with pytest.raises(ArtifactError, match=message):
            CubicCore.from_pretrained(folder)

    weights.write_bytes(good_weights[:-10])
    refused("model.safetensors is damaged or truncated")
    weights.unlink()
    refused("model.safetensors is missing")
    weights.write_bytes(good_weights)
    config.write_text(json.dumps({**good_config, "format_version": 99}))
    refused("is of format version 99; this cubefast .* reads version 1")
    config.write_text(json.dumps({**good_config, "core": {**good_config["core"], "hidden_size": 9}}))
    refused("model.safetensors does not fit config.json")
    config.write_text(json.dumps({**good_config, "core": {**good_config["core"], "speed": 9}}))
    refused("does not describe a core")
    config.write_text("{")
    refused("config.json cannot be read")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"io": "edges"}, "io must be one of volume, faces; got 'edges'"),
        ({"io": "faces", "shape": (4, 4, 2), "steps": 1}, "needs steps >= the depth of 2 cells.*got 1"),
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
