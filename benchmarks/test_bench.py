"""bench.py measures the kernel and its peers, and refuses a wrong result. No test here asserts a time."""

import json
import subprocess
import sys
from dataclasses import replace

import bench
import pytest
import torch
from speed.measure import WrongAnswer, check, interleaved
from speed.memory import peak_memory_mb
from speed.peers import PEERS, Peer
from speed.sweeps import check_variant, variants
from speed.targets import Target
from speed.workloads import SMALL, W1, Workload

from cubefast.lattice.checks import ACTIVATIONS, UPDATES
from cubefast.lattice.topology import BOUNDARIES, NEIGHBORHOODS

LITTLE = Workload("little", shape=(2, 3, 2), batch=2, state_size=4, hidden_size=8, steps=3)


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["cubefast", "cubefast numba", "Conv3d"])
@pytest.mark.parametrize("inputs", [0, 5])
@pytest.mark.parametrize("update", ["residual", "tanh"])
def test_peers_compute_the_same(name, inputs, update):
    workload = replace(LITTLE, inputs=inputs, update=update)
    check(PEERS[name], workload, workload.tensors())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.compile and JAX warn about themselves while they compile
@pytest.mark.parametrize("name", ["torch.compile", "torch.compile max-autotune", "JAX", "JAX with remat"])
def test_compiled_peers_compute_the_same(name):
    if PEERS[name].missing:
        pytest.skip(PEERS[name].missing)
    workload = replace(LITTLE, inputs=5, update="tanh", steps=2)
    check(PEERS[name], workload, workload.tensors())


def test_a_peer_with_a_wrong_answer_is_not_timed():
    right = PEERS["eager torch"]
    wrong = Peer("wrong", lambda w: lambda tensors: right.prepare(w)(tensors) * 1.01)
    with pytest.raises(WrongAnswer, match="wrong: the final state is off by 0.01 of its largest number on little"):
        check(wrong, LITTLE, LITTLE.tensors())


def test_useful_operations_are_two_matrix_products_per_cell_and_step():
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


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_of_the_kernel_is_far_below_eager_torch(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # one thread finds its scratch in memory that is there
    kernel, eager = (peak_memory_mb(name, SMALL.name) for name in ("cubefast", "eager torch"))
    # SMALL's trajectory is 5 states of 8 * 96 * 16 floats, its gradients 8 * 96 * 80: half a megabyte in all.
    assert 0.2 < kernel < 4
    assert eager > 1.5 * kernel


def test_the_command_prints_a_table_and_writes_json_and_a_picture(tmp_path, capsys):
    table, picture = tmp_path / "b.json", tmp_path / "b.png"
    assert bench.main(["--quick", "--rounds", "1", "--json", str(table), "--plot", str(picture)]) == 0
    assert "Useful GFLOP/s, medians of 1 rounds in turns" in capsys.readouterr().out
    rows = json.loads(table.read_text())["peers"]
    assert [row["name"] for row in rows] == ["sgemm", "cubefast", "eager torch"]
    assert all(row["forward"] > 0 and row["forward+backward"] > 0 for row in rows)
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_wrong_result_ends_the_command(monkeypatch, capsys):
    wrong = Peer("cubefast", lambda w: lambda tensors: PEERS["eager torch"].prepare(w)(tensors) * 1.01)
    monkeypatch.setitem(PEERS, "cubefast", wrong)
    assert bench.main(["--quick"]) == 1
    assert "error: cubefast: the final state is off by 0.01" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "no/b.json"], "no/b.json cannot be written: there is no folder no"),
        (["--pairs", "5"], "--pairs: only with --training"),
        (["--training", "--plot", "t.png"], "--plot: only without --training"),
        (["--training", "--vectors", "v.npz"], "--vectors needs --data"),
        (["--training", "--data", "d.jsonl", "--dim", "8"], "--pairs and --dim are of random pairs"),
        (["--training", "--epochs", "0"], "must be a whole number from 1 to 10,000; got '0'"),
        (["--training", "--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--training", "--pairs", "2000000", "--dim", "100000"], "are more than 2,147,483,648 numbers; ask for fewer"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_it_starts_from_any_folder(tmp_path):
    call = [sys.executable, bench.__file__, "--json", "no/b.json"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith("bench.py: error: no/b.json cannot be written: there is no folder no\n")
