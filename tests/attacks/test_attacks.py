"""Nothing that an accident or a hostile file does crashes, hangs, lies or loses: each attack, some rounds of it.

``CUBEFAST_ATTACKS=10 python -m pytest tests/attacks`` makes ten times as many; ``-s`` shows the counts.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow
TIMES = float(os.environ.get("CUBEFAST_ATTACKS", "1"))


@pytest.fixture(scope="module")
def attack():
    """Make an attack; returns the counts of what was tried, and fails with everything that did not survive."""
    alone = ["unshare", "-m"]  # so that what is mounted goes with the process
    may_mount = shutil.which("unshare") and subprocess.run([*alone, "true"], capture_output=True).returncode == 0
    call = [*(alone if may_mount else ()), sys.executable, "-m", "tests.attacks"]
    with subprocess.Popen(call, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attacks:
        assert attacks.stdin
        assert attacks.stdout

        def attack(name, rounds, folder):
            print(name, max(1, round(rounds * TIMES)), folder, file=attacks.stdin, flush=True)
            answer = attacks.stdout.readline()
            assert answer, f"the process of the attacks has ended: {attacks.wait()}"
            found = json.loads(answer)
            print(f"\n{name}: {found['tried']}")
            assert not found["failed"], "\n\n".join(found["failed"][:20])
            return found["tried"]

        yield attack


def test_kills_at_random_moments_of_every_writer(attack, tmp_path):
    attack("kills", 3, tmp_path)


def test_disks_that_fill_up(attack, tmp_path):
    attack("disks", 11, tmp_path)


def test_files_of_a_run_damaged_or_of_wrong_types(attack, tmp_path):
    attack("files", 5, tmp_path)


def test_files_of_vectors_made_to_do_harm(attack, tmp_path):
    attack("vectors", 6, tmp_path)


def test_hostile_indexes_and_shards_of_the_cache(attack, tmp_path):
    attack("caches", 30, tmp_path)


def test_two_askers_while_a_run_is_overwritten(attack, tmp_path):
    attack("askers", 40, tmp_path)


def test_memory_that_runs_out_on_several_threads(attack, tmp_path):
    attack("memory", 5, tmp_path)
