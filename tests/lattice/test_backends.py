"""Which backend runs, and what is said when one cannot."""

import os
import subprocess
import sys

import pytest
import torch

import cubefast
from cubefast import Topology, lattice_rollout, use_backend
from cubefast.lattice import _native, backends

from .rollouts import Problem


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


def test_auto_takes_the_compiled_kernel_on_the_cpu():
    assert backends.unavailable("cpp") == "", "this environment has no compiled kernel; reinstall"
    assert backends.resolve("auto", torch.zeros(1)) == "cpp"
    assert backends.resolve("auto", torch.zeros(1, dtype=torch.float64)) == "cpp"


def test_auto_takes_the_reference_for_everything_else():
    assert backends.resolve("auto", torch.zeros(1, dtype=torch.float8_e4m3fn)) == "torch"
    assert backends.resolve("auto", torch.zeros(1, device="meta")) == "torch"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", ["auto", "numba"])
def test_half_precision_on_the_cpu_is_computed_in_float32_by_the_kernels(dtype, backend):
    half = Problem(Topology((2, 2, 2)), dtype=dtype)
    single = [t.detach().float().requires_grad_() for t in half.tensors()]
    final = half.run(single, backend)
    gradients = torch.autograd.grad(final.to(dtype).sum(), single)
    tensors = half.tensors()
    got = half.run(tensors, backend)
    assert torch.equal(got, final.to(dtype))
    for ours, exact in zip(torch.autograd.grad(got.sum(), tensors), gradients, strict=True):
        assert torch.equal(ours, exact.to(dtype))


def test_half_precision_in_a_compiled_graph_and_under_no_grad():
    problem = Problem(Topology((2, 2, 2)), dtype=torch.bfloat16)
    tensors = [t.detach() for t in problem.tensors()]
    graph = torch.compile(lambda *t: problem.run(list(t), "auto"), fullgraph=True, backend="aot_eager")
    assert torch.equal(graph(*tensors), problem.run(tensors, "auto"))


def test_use_backend_holds_for_a_block_or_from_now_on():
    with use_backend("torch"):
        assert backends.active_backend()[0] == "torch"
        with use_backend("numba"):
            assert backends.active_backend()[0] == "numba"
        assert backends.active_backend()[0] == "torch"
    use_backend("numba")
    try:
        assert backends.active_backend()[0] == "numba"
    finally:
        use_backend("auto")
    assert backends.active_backend()[0] == "cpp"


def test_the_environment_chooses_too():
    code = "import cubefast.lattice.diagnostics as b; print(b.active_backend()[0])"
    assert run_python(code, CUBEFAST_BACKEND="numba").stdout.strip() == "numba"
    failed = run_python(code, CUBEFAST_BACKEND="cuda")
    assert "backend must be one of auto, cpp, numba, torch; got 'cuda'" in failed.stderr


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_the_instruction_set_can_be_forced(isa):
    native, _ = _native.load()
    if isa not in native.build_info()["isas"]:
        pytest.skip(f"this CPU or build has no {isa}")
    code = "import cubefast.lattice.diagnostics as b; print(b.facts()['kernel']['isa'])"
    assert run_python(code, CUBEFAST_ISA=isa).stdout.strip() == isa


def test_an_instruction_set_that_cannot_run_is_refused_in_words():
    code = "import cubefast; cubefast.doctor()"
    failed = run_python(code, CUBEFAST_ISA="avx99")
    assert failed.returncode == 1
    assert "CUBEFAST_ISA=avx99 cannot run here: this build on this CPU has baseline" in failed.stderr


def test_every_instruction_set_gives_the_reference_result():
    native, _ = _native.load()
    code = (
        "import sys, torch; sys.path.insert(0, {root!r})\n"
        "from tests.lattice.rollouts import Problem, assert_agree\n"
        "from cubefast import Topology\n"
        "for size in ((5, 7), (16, 64), (13, 33)):\n"
        "    p = Problem(Topology((3, 2, 4)), state_size=size[0], hidden_size=size[1])\n"
        "    assert_agree(p.results('cpp'), p.results('torch'), 1e-12)\n"
        "    q = Problem(Topology((3, 2, 4)), state_size=size[0], hidden_size=size[1], dtype=torch.float32)\n"
        "    assert_agree(q.results('cpp'), p.results('torch'), 2e-5)\n"
        "options = {{'fire_rate': 0.5, 'seed': 3, 'alive': (0, 0.1), 'return_states': 2}}\n"
        "for filters in (None, 'shared', 'depthwise'):\n"
        "    p = Problem(Topology((5, 5), 'moore'), filters=filters, state_size=13, hidden_size=33, options=options)\n"
        "    assert_agree(p.results('cpp'), p.results('torch'), 1e-11)\n"
    ).format(root=str(__import__("tests.conftest").conftest.ROOT))
    for isa in native.build_info()["isas"]:
        done = run_python(code, CUBEFAST_ISA=isa)
        assert done.returncode == 0, f"{isa}: {done.stderr}"


def test_without_the_extension_auto_takes_numba_and_says_why():
    code = (
        "import sys; sys.modules['_cubefast_native'] = None\n"
        "import cubefast, cubefast.lattice.diagnostics as b; print(*b.active_backend())\n"
        "try: cubefast.use_backend('cpp')\n"
        "except RuntimeError as error: print(error)"
    )
    printed = run_python(code).stdout.splitlines()
    assert printed[0].startswith("numba the C++ extension")
    assert printed[1].startswith('backend "cpp" cannot run: the C++ extension')
    assert "Run `pip install .` again in the source folder" in printed[1]


def test_an_extension_of_another_version_is_not_used():
    code = (
        "import sys, types; old = types.ModuleType('_cubefast_native'); old.__version__ = '0.0.9'\n"
        "sys.modules['_cubefast_native'] = old\n"
        "import cubefast.lattice.diagnostics as b; print(*b.active_backend())"
    )
    printed = run_python(code).stdout
    assert printed.startswith("numba the installed C++ extension is of version 0.0.9 and this Python code of version ")
    assert "Run `pip install .` again" in printed


def test_a_forced_backend_that_cannot_serve_the_tensors_says_so():
    problem = Problem(Topology((2, 2, 2)))
    on_meta = [t.detach().to("meta") for t in problem.tensors()]
    with pytest.raises(RuntimeError, match=r'backend "cpp" cannot run: the tensors are on meta, not on the CPU'):
        problem.run(on_meta, "cpp")


def test_the_kernel_shares_torchs_openmp_runtime():
    # In a process of its own: here other tests may have loaded packages that bring one along.
    script = "import cubefast.lattice.diagnostics as b; print(*b.facts()['openmp_runtimes'], sep='\\n')"
    done = run_python(script)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) <= 1, done.stdout


def test_doctor_prints_what_it_returns(capsys):
    facts = cubefast.doctor()
    printed = capsys.readouterr().out
    assert f"backend      {facts['backend']}" in printed
    assert facts["kernel"]["isa"] in printed
    assert facts["versions"]["torch"] == torch.__version__


def test_importing_the_lattice_alone_loads_nothing_else_of_the_package():
    code = "import sys, cubefast.lattice; print([m for m in sys.modules if m.startswith('cubefast.')])"
    loaded = eval(run_python(code).stdout)
    assert {name.split(".")[1] for name in loaded} == {"_version", "lattice"}


def test_importing_cubefast_leaves_the_heavy_packages_alone():
    code = (
        "import sys, torch; before = set(sys.modules); import cubefast\n"
        "heavy = {'numba', 'matplotlib', 'wordllama', 'pydantic', 'tqdm', 'sqlite3'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    assert run_python(code).stdout.strip() == "[]"


def test_unknown_backend_is_refused_in_words():
    problem = Problem(Topology((2, 2, 2)))
    with pytest.raises(ValueError, match="backend must be one of auto, cpp, numba, torch; got 'fast'"):
        lattice_rollout(*problem.tensors(), topology=problem.topology, steps=1, backend="fast")
