"""If you run only one file, run this: the kernel is there, agrees with the reference, and a core learns."""

import torch

import cubefast


def test_the_compiled_kernel_is_there_and_agrees_with_the_reference():
    assert cubefast.doctor()["backend"] == "cpp"
    lattice = cubefast.Lattice3D((4, 4, 4), steps=8)
    state, drive = torch.randn(4, 64, 16), torch.randn(4, 64, 64)
    compiled = lattice(state, drive)
    with cubefast.use_backend("torch"):
        assert torch.allclose(lattice(state, drive), compiled, atol=1e-5)


def test_a_core_learns():
    x = torch.randn(64, 27)
    y = x.roll(1, dims=1)
    core = cubefast.CubicCore(27, steps=6)
    assert torch.equal(core(x), x)
    optimizer = torch.optim.Adam(core.parameters(), 1e-2)
    for _ in range(60):
        loss = 1 - torch.cosine_similarity(core(x), y).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
