"""Threads, forks and callers at once: the same bits, and nobody waits for ever."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cubefast import Topology

from .rollouts import Problem, assert_agree


@pytest.fixture
def threads():
    """Sets torch's thread count, and sets it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("drive_form", ["batch", "shared"])
def test_results_are_bitwise_the_same_for_any_thread_count_and_run(compiled, drive_form, threads):
    problem = Problem(Topology((3, 3, 2)), batch=37, dtype=torch.float32, drive_form=drive_form)
    threads(1)
    wanted = problem.results(compiled)
    for count in (1, 2, 3, 7, 2):
        threads(count)
        got = problem.results(compiled)
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True)), f"{count} threads"


def test_callers_at_once_do_not_disturb_each_other(compiled):
    problems = [Problem(Topology((3, 3, 2)), batch=9, seed=seed) for seed in range(8)]
    alone = [problem.results(compiled) for problem in problems]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda problem: problem.results(compiled), problems))
    for a, b in zip(alone, together, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _in_child(queue, backend):
    problem = Problem(Topology((3, 3, 2)), batch=9)
    queue.put([t.sum().item() for t in problem.results(backend)])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python's own word of warning about threads
def test_a_forked_child_does_not_hang(compiled):
    problem = Problem(Topology((3, 3, 2)), batch=9)
    wanted = [t.sum().item() for t in problem.results(compiled)]  # the parent's threads are running now
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, compiled))
    child.start()
    try:
        assert queue.get(timeout=60) == wanted
    finally:
        child.join(10)
        child.kill()


# PyTorch locks a parameter while an operator looks at it (AutogradMeta's mutex), with or without no_grad. A child that
# is forked at such a moment inherits the lock held and waits for ever at its own first operator on that parameter: of
# children that called nothing but parameter.unsqueeze(0), one in fourteen hung. So these children have parameters of
# their own, and share with the parent what is ours: the kernel.
FORKS = """
import copy, os, threading, time, warnings, torch
from cubefast import Lattice3D

warnings.simplefilter("ignore")  # Python's own word of warning about forks and threads
torch.set_num_threads(2)
lattice = Lattice3D((6, 6, 6), 8, 16, 6)
childs = copy.deepcopy(lattice)
state, going_on = torch.randn(6, 216, 8), True

def train():
    while going_on:
        lattice(state).sum().backward()

thread = threading.Thread(target=train)
thread.start()
for _ in range(40):
    child = os.fork()
    if child == 0:
        with torch.no_grad():
            childs(state)
        os._exit(0)
    end = time.monotonic() + 30
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            os._exit(3)
        time.sleep(0.001)
going_on = False
thread.join()
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_fork_while_another_thread_is_in_the_kernel_does_not_hang():
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("shape", "batch", "drive_form", "checkpoint_every"),
    [
        ((9, 9, 9), 1, "batch", None),  # fewer samples than threads: all of them on one lattice
        ((9, 9, 9), 3, "batch", 2),
        ((9, 9, 9), 2, "shared", None),
        ((30, 40, 40), 2, "batch", 2),  # too large for the cache: all threads on each sample in turn
        ((30, 40, 40), 2, "shared", None),
    ],
)
def test_one_lattice_is_shared_by_the_threads_with_the_same_bits(shape, batch, drive_form, checkpoint_every, threads):
    problem = Problem(
        Topology(shape),
        steps=3,
        batch=batch,
        hidden_size=32,
        dtype=torch.float32,
        drive_form=drive_form,
        update="residual_tanh",
    )
    threads(1)
    wanted = problem.results("cpp", checkpoint_every)
    assert_agree(wanted, problem.results("torch"), 2e-4)
    for count in (2, 3, 7):
        threads(count)
        got = problem.results("cpp", checkpoint_every)
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True)), f"{count} threads"


FORKED_FROM_A_BUSY_PARENT = """
import copy, os, sys, threading, time, warnings
import torch
from cubefast import Lattice3D

warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which is what is tried
torch.manual_seed(0)
lattice = Lattice3D((4, 4, 4), 8, 16, 8)
for parameter in lattice.parameters():
    parameter.data.add_(0.1 * torch.randn_like(parameter))
childs = copy.deepcopy(lattice)
state = torch.randn(32, 64, 8)

def results(lattice):
    x = state.clone().requires_grad_()
    final = lattice(x)
    return final.detach(), torch.autograd.grad(final.square().sum(), x)[0]

def busy():
    torch.set_num_threads(2)
    while True:
        results(lattice)

def child():
    torch.set_num_threads(1)  # for torch's own operators: the kernel works alone in a forked child by itself
    found = [None] * 3
    def work(place):
        found[place] = all(all(map(torch.equal, results(childs), wanted)) for _ in range(3))
    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    os._exit(0 if all(found) else 1)

wanted = results(lattice)
for _ in range(3):
    threading.Thread(target=busy, daemon=True).start()
codes = []
for number in range(int(sys.argv[1])):
    time.sleep(0.003 * (number % 7))
    pid = os.fork()
    if pid == 0:
        child()
    until = time.monotonic() + 30
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(pid, 9)
            ended = os.waitpid(pid, 0)
            break
        time.sleep(0.002)
    codes.append(os.waitstatus_to_exitcode(ended[1]))
print(codes, flush=True)
os._exit(0 if not any(codes) else 1)
"""


def test_a_child_forked_while_other_threads_are_in_the_kernel_works_on_several_threads():
    call = [sys.executable, "-c", FORKED_FROM_A_BUSY_PARENT, "12"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
