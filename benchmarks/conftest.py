"""`pytest benchmarks`: every peer on W1, each answer checked before it is timed.

Compare the rows of one run with each other, and with the sgemm row: absolute times say more about the machine than
about the code. `python -m cubefast.bench` prints the same as ratios, with the peers in turns, and the targets.
Under --benchmark-disable a small workload runs once each, to see that everything still works.
"""

import pytest

from cubefast.speed.workloads import SMALL, W1


@pytest.fixture(scope="session")
def workload(request):
    return SMALL if request.config.getoption("benchmark_disable") else W1


@pytest.fixture(scope="session")
def tensors(workload):
    return workload.tensors()
