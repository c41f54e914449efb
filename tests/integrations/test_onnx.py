"""A core as an ONNX model: what onnxruntime computes is what torch computes, for every part of a core."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from cubefast import AnswerSide, CubicCore
from cubefast.errors import InputError
from cubefast.integrations import onnx_export
from cubefast.integrations.model_folder import write_model_folder
from cubefast.integrations.onnx_export import onnx_model, save_onnx

from ..cores import principal, shaken
from ..programs import SMALL, command

onnx = pytest.importorskip("onnx", reason="pip install 'cubefast[onnx]'")
pytest.importorskip("onnxscript", reason="pip install 'cubefast[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'cubefast[test]'")


def outputs(model, inputs):
    """What onnxruntime makes of the inputs."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"embedding": inputs})[0]


def trusting(core):
    """The core with prototypes and a trust that is neither 0 nor 1."""
    core.trust.fit(torch.randn(50, core.dim))
    core.trust.curve = torch.tensor([0.2, 0.2, 0.1, 0.9])
    return core


def remembering():
    core = trusting(principal(prototypes=5, normalize=True, linear_rank=4, summary_size=3))
    core.remember(torch.randn(20, 32), torch.tensor([0.2, 0.3, 0.6, 0.1]))
    return core


def both_sides():
    return principal(linear_rank=4, sides="both", normalize=True)


CORES = {
    "memory": remembering,
    "volume": lambda: CubicCore(32, state_size=4, hidden_size=8, steps=3),
    "faces": lambda: principal(io="faces", shape=(2, 4, 4)),
    "padding": lambda: principal(shape=(3, 3, 4), neighborhood="moore", boundary="replicate"),
    "prototypes": lambda: trusting(principal(prototypes=5)),
    "normalize": lambda: principal(normalize=True, linear_rank=32, activation="silu", update="residual_tanh"),
    "both": both_sides,
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in CORES if name != "memory"]


@pytest.mark.parametrize("name", ["memory", *SLOW])
def test_outputs_are_those_of_torch_for_any_batch(name):
    torch.manual_seed(0)
    core = shaken(CORES[name]())
    model = onnx_model(core)
    for count in (1, 2, 7, 300):
        inputs = torch.randn(count, 32)
        wanted = core.transform(inputs.numpy())
        assert np.abs(wanted - inputs.numpy()).max() > 0.01
        np.testing.assert_allclose(outputs(model, inputs.numpy()), wanted, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_default_core_agrees_on_embeddings_of_unit_length():
    core = shaken(trusting(CubicCore(384, steps=16, prototypes=64, normalize=True, linear_rank=None)))
    inputs = torch.nn.functional.normalize(torch.randn(50, 384)).numpy()
    np.testing.assert_allclose(outputs(onnx_model(core), inputs), core.transform(inputs), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_map_of_answers_is_a_model_too(tmp_path):
    core = shaken(both_sides())
    save_onnx(AnswerSide(core), tmp_path / "answers.onnx")
    answers = torch.randn(7, 32).numpy()
    wanted = core.transform_answers(answers)
    assert np.abs(wanted - answers).max() > 0.01
    np.testing.assert_allclose(outputs(str(tmp_path / "answers.onnx"), answers), wanted, atol=1e-5, rtol=0)


RUN = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession("core.onnx", providers=["CPUExecutionProvider"])
numpy.save("found.npy", session.run(None, {"embedding": numpy.load("x.npy")})[0])
assert not {"cubefast", "torch"} & set(sys.modules)
"""


def test_the_model_is_standard_and_runs_without_cubefast_and_torch(tmp_path, root):
    core, x = shaken(principal()), torch.randn(5, 32).numpy()
    save_onnx(core, tmp_path / "core.onnx")
    model = onnx.load(tmp_path / "core.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {""}
    assert not model.functions
    (given,), (made,) = model.graph.input, model.graph.output
    for value, name in ((given, "embedding"), (made, "output")):
        batch, dim = value.type.tensor_type.shape.dim
        assert (value.name, batch.dim_param, dim.dim_value) == (name, "batch", 32)
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert str(root).encode() not in (tmp_path / "core.onnx").read_bytes()
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), core.transform(x), atol=1e-5, rtol=0)


def test_a_core_that_cannot_be_exported_is_refused_in_words():
    with pytest.raises(
        InputError, match=r"float32, and the core's weights are torch.float64; call core.float\(\) first"
    ):
        onnx_model(shaken(principal()).double())
    with pytest.raises(InputError, match="placement is not fitted"):
        onnx_model(CubicCore(32, placement="principal", steps=4))


def test_a_core_larger_than_a_file_may_be_is_refused_before_it_is_exported(monkeypatch):
    monkeypatch.setattr(onnx_export, "_LARGEST", 1000)
    with pytest.raises(InputError, match="one ONNX file holds 1e-06 GB at most; train with a smaller memory"):
        onnx_model(principal())


def test_without_the_packages_the_extra_is_named_and_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "_NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(InputError, match=r"missing: no_such_package\. pip install 'cubefast\[onnx\]'"):
        write_model_folder(tmp_path / "run", tmp_path / "public", onnx=True)
    assert not (tmp_path / "public").exists()


@pytest.mark.slow
def test_the_command_writes_the_models_of_both_sides_into_the_folder(tmp_path):
    trained = command("train", "name=both", "sides=both", "core.linear_rank=4", *SMALL, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    done = command("export", "runs/both", "public", "--onnx", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    core = CubicCore.from_pretrained(tmp_path / "public")
    x = torch.randn(9, core.dim).numpy()
    for name, wanted in (("core", core.transform(x)), ("answers", core.transform_answers(x))):
        np.testing.assert_allclose(outputs(str(tmp_path / "public" / f"{name}.onnx"), x), wanted, atol=1e-5, rtol=0)
    card = (tmp_path / "public" / "README.md").read_text()
    assert "`core.onnx` is the core for whatever runs ONNX" in card
    assert "`answers.onnx` does the same for answers" in card
