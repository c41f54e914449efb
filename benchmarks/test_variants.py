"""The kernel with every named option by itself: none may be a slow path without showing it here."""

from dataclasses import replace

import pytest

from cubefast.speed.peers import PEERS
from cubefast.speed.sweeps import check_variant, variants
from cubefast.speed.workloads import SMALL, W1


@pytest.mark.parametrize("place", range(len(variants())), ids=[workload.name for workload in variants()])
def test_variant(benchmark, request, place):
    quick = request.config.getoption("benchmark_disable")
    workload = variants(SMALL if quick else replace(W1, batch=16))[place]
    tensors = workload.tensors()
    check_variant(workload)
    benchmark.group = "variants, forward+backward"
    benchmark.pedantic(PEERS["cubefast"].forward_backward(workload), (tensors,), rounds=7, warmup_rounds=1)
    if not quick:
        rate = 3 * workload.forward_flops / benchmark.stats.stats.median / 1e9
        benchmark.extra_info["useful GFLOP/s"] = round(rate, 1)
