"""Small cores whose output is not their input."""

import torch

from cubefast import CubicCore


def shaken(core: CubicCore) -> CubicCore:
    """The core with every parameter away from its start, so that nothing is zero."""
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return core


def principal(dim: int = 32, **keywords: object) -> CubicCore:
    """A core on the principal axes of random embeddings."""
    core = CubicCore(dim, placement="principal", state_size=4, hidden_size=8, steps=4, **keywords)
    core.reshaper.fit(torch.randn(100, dim))
    return core
