import pytest

from cubefast.speed.measure import SGEMM_FLOPS, check, sgemm
from cubefast.speed.peers import PEERS


def record_rate(benchmark, flops):
    if benchmark.stats is not None:  # None under --benchmark-disable
        benchmark.extra_info["useful GFLOP/s"] = round(flops / benchmark.stats.stats.median / 1e9, 1)


@pytest.mark.parametrize("kind", ["forward", "forward+backward"])
@pytest.mark.parametrize("name", PEERS)
# torch.compile and JAX warn about themselves while they compile.
@pytest.mark.filterwarnings("ignore")
def test_peer(benchmark, workload, tensors, name, kind):
    peer = PEERS[name]
    if peer.missing:
        pytest.skip(peer.missing)
    check(peer, workload, tensors)
    run = peer.forward(workload) if kind == "forward" else peer.forward_backward(workload)
    benchmark.group = kind
    benchmark.pedantic(run, (tensors,), rounds=5, warmup_rounds=1)
    record_rate(benchmark, workload.forward_flops * (1 if kind == "forward" else 3))


@pytest.mark.parametrize("kind", ["forward", "forward+backward"])
def test_sgemm(benchmark, kind):
    benchmark.group = kind
    benchmark.pedantic(sgemm(), rounds=20, warmup_rounds=2)
    record_rate(benchmark, SGEMM_FLOPS)
