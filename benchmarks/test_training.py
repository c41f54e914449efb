"""Epochs of the real trainer beside sgemm, the kernel's share of them, and the memory of the process that trains."""

import sys

import pytest

from cubefast.speed.training import LITTLE, MEDQUAD, time_training


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_training(benchmark, request):
    source, epochs = (LITTLE, 1) if request.config.getoption("benchmark_disable") else (MEDQUAD, 3)
    benchmark.group = "training: all epochs, sgemm between them, and the start of the process"
    trained = benchmark.pedantic(time_training, (source, epochs), rounds=1)
    benchmark.extra_info["s/epoch"] = round(trained.seconds, 1)
    benchmark.extra_info["useful GFLOP/s"] = round(trained.gflops, 1)
    benchmark.extra_info["x sgemm"] = round(trained.times_sgemm, 2)
    benchmark.extra_info["not kernel, %"] = round(trained.outside_percent, 1)
    benchmark.extra_info["peak MB"] = round(trained.peak_mb)
