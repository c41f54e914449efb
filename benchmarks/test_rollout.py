"""Forward and backward of one rollout on every backend: `pytest benchmarks`. Each answer is checked before it is timed.

The workload is a training batch of the built-in set's lattice: 64 samples, 8x8x4 cells, 16 steps. Compare the rows of
one run with each other; absolute times say more about the machine than about the code.
"""

import pytest
import torch

from cubefast import Topology, lattice_rollout
from cubefast.lattice.backends import BACKENDS, unavailable

BATCH, STATE, HIDDEN, STEPS = 64, 16, 64, 16
TOPOLOGY = Topology((8, 8, 4))


@pytest.fixture(scope="module")
def tensors() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    width = TOPOLOGY.slots * STATE
    shapes = [
        (BATCH, TOPOLOGY.cells, STATE),
        (BATCH, TOPOLOGY.cells, HIDDEN),
        (HIDDEN, width),
        (STATE, HIDDEN),
        (STATE,),
    ]
    scales = [1.0, 1.0, width**-0.5, HIDDEN**-0.5 / STEPS, 0.1]
    return [
        (scale * torch.randn(shape, generator=random)).requires_grad_()
        for shape, scale in zip(shapes, scales, strict=True)
    ]


def forward_backward(tensors: list[torch.Tensor], backend: str) -> tuple[torch.Tensor, ...]:
    final = lattice_rollout(*tensors, topology=TOPOLOGY, steps=STEPS, backend=backend)
    return torch.autograd.grad(final.square().mean(), tensors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forward_and_backward(benchmark, tensors, backend):
    if reason := unavailable(backend):
        pytest.skip(reason)
    for got, wanted in zip(forward_backward(tensors, backend), forward_backward(tensors, "torch"), strict=True):
        assert (got - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    flops = 3 * 2 * BATCH * TOPOLOGY.cells * STEPS * HIDDEN * STATE * (TOPOLOGY.slots + 1)
    benchmark.pedantic(forward_backward, (tensors, backend), rounds=5, warmup_rounds=1)
    if benchmark.stats is not None:  # None under --benchmark-disable
        benchmark.extra_info["useful GFLOP/s"] = round(flops / benchmark.stats.stats.median / 1e9, 1)
