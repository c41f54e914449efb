"""A core inside what PyTorch users build around it, and as a program in a file."""

import copy
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from torch import nn

from cubefast import CubicCore, use_backend
from cubefast.errors import InputError
from cubefast.integrations.torch_export import export_core, save_exported

from ..cores import principal, shaken
from ..user_models import gradients, has_the_same_gradients_distributed


class Model(nn.Module):
    """A user's model with a core in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(3, 32)
        self.core = shaken(principal())
        self.outside = nn.Linear(32, 2)

    def forward(self, x):
        return self.outside(self.core(self.inside(x)))


def test_copies_have_the_same_bits_and_are_their_own(tmp_path):
    model, x = Model(), torch.randn(5, 3)
    wanted = model(x)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    loaded = Model()
    assert not torch.equal(loaded(x), wanted)
    loaded.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True), strict=True)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        assert torch.equal(copied(x), wanted)
        with torch.no_grad():
            copied.core.readout.zero_()
        assert torch.equal(model(x), wanted)


@pytest.mark.filterwarnings("ignore")  # inductor warns about itself
def test_torch_compile_takes_the_whole_model_forward_and_backward():
    model, x = Model(), torch.randn(5, 3)
    wanted = gradients(model, x)
    compiled = torch.compile(model, fullgraph=True)
    assert torch.allclose(compiled(x), model(x), atol=1e-6)
    for got, want in zip(gradients(compiled, x), wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-5)


def test_distributed_data_parallel_gives_the_same_gradients(tmp_path):
    assert has_the_same_gradients_distributed(Model, tmp_path / "rendezvous")


@pytest.mark.parametrize("operators", ["kernel", "plain"])
@pytest.mark.parametrize(
    "keywords", [{}, {"io": "faces", "shape": (2, 4, 4)}, {"shape": (3, 3, 4)}], ids=["volume", "faces", "padding"]
)
def test_exported_to_a_file_it_has_the_same_bits_for_any_batch(tmp_path, keywords, operators):
    core = shaken(principal(**keywords))
    save_exported(core, tmp_path / "core.pt2", operators)
    program = torch.export.load(tmp_path / "core.pt2").module()
    with torch.no_grad(), use_backend("auto" if operators == "kernel" else "torch"):
        for count in (1, 2, 7, 300):
            x = torch.randn(count, 32)
            assert torch.equal(program(x), core(x))


LOAD = """
import sys, torch
x = torch.load("x.pt")
plain = torch.export.load("plain.pt2").module()(x)
assert "cubefast" not in sys.modules
import cubefast.lattice
torch.save([plain, torch.export.load("kernel.pt2").module()(x)], "found.pt")
assert "cubefast.core.cubic_core" not in sys.modules
"""


def test_the_plain_program_runs_without_cubefast_and_the_other_with_its_operators_alone(tmp_path):
    core, x = shaken(principal()), torch.randn(5, 32)
    torch.save(x, tmp_path / "x.pt")
    for operators in ("plain", "kernel"):
        save_exported(core, tmp_path / f"{operators}.pt2", operators)
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    plain, kernel = torch.load(tmp_path / "found.pt")
    assert torch.equal(kernel, core(x))
    assert torch.allclose(plain, kernel, atol=1e-5)


def test_what_is_exported_names_no_folder_of_this_machine(tmp_path, root):
    save_exported(shaken(principal()), tmp_path / "core.pt2")
    with zipfile.ZipFile(tmp_path / "core.pt2") as archive:
        assert not [name for name in archive.namelist() if str(root).encode() in archive.read(name)]


def test_a_core_of_another_dtype_is_exported_as_it_is_and_one_not_fitted_is_not():
    core = shaken(principal()).double()
    x = torch.randn(3, 32, dtype=torch.float64)
    assert torch.equal(export_core(core).module()(x), core(x))
    with pytest.raises(InputError, match="placement is not fitted"):
        export_core(CubicCore(32, placement="principal", steps=4))
