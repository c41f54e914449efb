"""The benchmark measures what it says, and would notice a wrong answer. No test here asserts a time."""

import json
import subprocess
import sys

import pytest

from cubefast.lattice.checks import ACTIVATIONS, UPDATES
from cubefast.lattice.topology import BOUNDARIES, NEIGHBORHOODS
from cubefast.speed.measure import WrongAnswer, check, interleaved, peak_memory_mb
from cubefast.speed.peers import PEERS, Peer
from cubefast.speed.sweeps import check_variant, variants
from cubefast.speed.targets import Target
from cubefast.speed.workloads import SMALL, W1, Workload

LITTLE = Workload("little", shape=(2, 3, 2), batch=2, state_size=4, hidden_size=8, steps=3)


@pytest.mark.parametrize("name", ["cubefast", "cubefast numba", "Conv3d"])
@pytest.mark.parametrize("inputs", [0, 5])
@pytest.mark.parametrize("update", ["residual", "tanh"])
def test_peers_compute_the_same(name, inputs, update):
    workload = Workload("little", (2, 3, 2), 2, 4, 8, 3, inputs=inputs, update=update)
    check(PEERS[name], workload, workload.tensors())


def test_a_peer_with_a_wrong_answer_is_not_timed():
    right = PEERS["eager torch"]
    wrong = Peer("wrong", lambda w: lambda tensors: right.prepare(w)(tensors) * 1.01)
    with pytest.raises(WrongAnswer, match="wrong: the final state is off by 0.01 of its largest number on little"):
        check(wrong, LITTLE, LITTLE.tensors())


def test_useful_operations_are_counted_as_the_readme_says():
    assert W1.cell_steps == 64 * 768 * 32
    assert W1.forward_flops == 64 * 768 * 32 * (2 * 7 * 16 * 64 + 2 * 64 * 16)


def test_every_named_option_is_a_variant_that_computes_what_the_reference_does():
    found = variants(LITTLE)
    names = [workload.name for workload in found]
    assert set(names) >= {*ACTIVATIONS, *UPDATES, *BOUNDARIES, *NEIGHBORHOODS, "float64"} - {
        LITTLE.activation,
        LITTLE.update,
        LITTLE.boundary,
        LITTLE.neighborhood,
    }
    for workload in found:
        check_variant(workload)


def test_calls_take_turns():
    order = []
    interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order == ["a", "b"] + ["a", "a", "b", "b"] * 3  # once to warm up, and once more in each turn


def test_a_target_knows_its_direction():
    assert Target("speed", 2.0, 1.5, True).met
    assert not Target("speed", 1.4, 1.5, True).met
    assert Target("memory", 100, 130, False, "MB").met


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_of_the_kernel_is_far_below_eager_torch():
    kernel, eager = (peak_memory_mb(name, SMALL.name) for name in ("cubefast", "eager torch"))
    # SMALL's trajectory is 5 states of 8 * 96 * 16 floats, its gradients 8 * 96 * 80: half a megabyte in all.
    assert 0.2 < kernel < 4
    assert eager > 1.5 * kernel


def test_the_command_prints_a_table_and_writes_json_and_a_picture(tmp_path):
    arguments = ["--quick", "--rounds", "1", "--json", "b.json", "--plot", "b.png"]
    done = subprocess.run(
        [sys.executable, "-m", "cubefast.bench", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Useful GFLOP/s, medians of 1 rounds in turns" in done.stdout
    rows = json.loads((tmp_path / "b.json").read_text())["peers"]
    assert [row["name"] for row in rows] == ["sgemm 2048^3", "cubefast", "eager torch"]
    assert all(row["forward"] > 0 and row["forward+backward"] > 0 for row in rows)
    assert (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"
    done = subprocess.run([sys.executable, "-m", "cubefast.bench", "--json", "no/b.json"], cwd=tmp_path)
    assert done.returncode == 2
