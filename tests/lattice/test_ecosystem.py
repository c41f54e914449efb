"""The rollout inside what PyTorch users build around it."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cubefast import Lattice3D, Topology, lattice_rollout

from ..user_models import gradients, has_the_same_gradients_distributed
from .rollouts import Problem


class Model(nn.Module):
    """A user's model with a lattice in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(3, 8 * 32)
        self.lattice = Lattice3D((2, 2, 2), state_size=4, hidden_size=32, steps=3)
        self.outside = nn.Linear(8 * 4, 2)

    def forward(self, x):
        drive = self.inside(x).reshape(-1, 8, 32)
        state = torch.zeros(len(x), 8, 4)
        return self.outside(self.lattice(state, drive).flatten(1))


# inductor needs a C++ compiler when it runs, as this package does when it is built; it warns about itself.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_torch_compile_takes_the_whole_model_forward_and_backward(backend):
    model, x = Model(), torch.randn(5, 3)
    wanted = gradients(model, x)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    assert torch.allclose(compiled(x), model(x))
    for got, want in zip(gradients(compiled, x), wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-6)


def test_torch_export_keeps_the_rollout_as_one_operator(tmp_path):
    model, x = Model().eval(), torch.randn(5, 3)
    program = torch.export.export(model, (x,))
    assert "cubefast.rollout" in str(program.graph)
    assert torch.allclose(program.module()(x), model(x))
    torch.export.save(program, tmp_path / "model.pt2")
    assert torch.allclose(torch.export.load(tmp_path / "model.pt2").module()(x), model(x))


@pytest.mark.parametrize("perception", ["dense", "sobel", "depthwise"])
def test_torch_export_keeps_an_automaton_whole(perception, tmp_path):
    automaton = Lattice3D(
        (5, 5), 4, 8, 3, neighborhood="moore", perception=perception, fire_rate=0.5, alive=(3, 0.1)
    ).eval()
    state = torch.randn(2, 5, 5, 4)
    program = torch.export.export(automaton, (state,), {"seed": torch.tensor(5)})
    assert "cubefast.rollout" in str(program.graph)
    torch.export.save(program, tmp_path / "automaton.pt2")
    loaded = torch.export.load(tmp_path / "automaton.pt2").module()
    for seed in (5, 6):
        assert torch.equal(loaded(state, seed=torch.tensor(seed)), automaton(state, seed=seed))


def test_torch_export_keeps_a_drive_per_step():
    lattice = Lattice3D((3, 2), 4, 8, 3).eval()
    arguments = torch.randn(2, 3, 2, 4), torch.randn(3, 2, 6, 8)
    program = torch.export.export(lattice, arguments, {"drive_per_step": True})
    assert "cubefast.rollout" in str(program.graph)
    assert torch.equal(program.module()(*arguments, drive_per_step=True), lattice(*arguments, drive_per_step=True))


def test_activation_checkpointing_gives_the_same_gradients():
    model, x = Model(), torch.randn(5, 3)
    wanted = gradients(model, x)
    model.zero_grad()
    checkpoint(model, x, use_reentrant=False).square().sum().backward()
    assert all(torch.equal(p.grad, want) for p, want in zip(model.parameters(), wanted, strict=True))


def test_distributed_data_parallel_gives_the_same_gradients(tmp_path):
    assert has_the_same_gradients_distributed(Model, tmp_path / "rendezvous")


def test_autocast_runs_the_rollout_in_float32():
    model, x = Model(), torch.randn(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        drive = model.inside(x).reshape(-1, 8, 32)
        assert drive.dtype == torch.bfloat16
        state = model.lattice(torch.zeros(5, 8, 4), drive)
    assert state.dtype == torch.float32
    assert torch.equal(state, model.lattice(torch.zeros(5, 8, 4), drive.float()))
    state.sum().backward()
    assert model.inside.weight.grad.dtype == torch.float32


def test_meta_and_fake_tensors_have_the_shape_without_the_work():
    problem = Problem(Topology((2, 2, 2)), dtype=torch.float32)
    on_meta = [t.detach().to("meta") for t in problem.tensors()]
    assert problem.run(on_meta, "auto").shape == (3, 8, 5)
    with torch._subclasses.FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t.detach(), static_shapes=True) for t in problem.tensors()]
        final, trajectory, states, kept = torch.ops.cubefast.rollout(
            *fakes,
            *(mode.from_tensor(t) for t in problem.topology.for_kernels()),
            5, "tanh", "residual", 2, True, "cpp",
        )  # fmt: skip
    assert (final.shape, trajectory.shape) == ((3, 8, 5), (3, 2, 8, 5))
    assert (states.shape, kept.shape) == ((3, 0, 8, 5), (3, 0, 8))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch about itself, inside jvp
@pytest.mark.parametrize("transform", ["grad", "vmap", "jvp"])
def test_function_transforms_run_on_the_reference(transform):
    problem = Problem(Topology((2, 1, 2)))
    state, *rest = (t.detach() for t in problem.tensors())

    def run(state):
        return lattice_rollout(state, *rest, topology=problem.topology, steps=2)

    if transform == "grad":
        assert torch.func.grad(lambda s: run(s).sum())(state).shape == state.shape
    elif transform == "vmap":
        several = torch.stack([state, 2 * state])
        assert torch.allclose(torch.func.vmap(run)(several)[1], run(2 * state))
    else:
        value, tangent = torch.func.jvp(run, (state,), (torch.ones_like(state),))
        assert torch.allclose(value, run(state))
        assert tangent.shape == state.shape
