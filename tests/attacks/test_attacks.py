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


def attack(name, folder, rounds, *prefix):
    """The counts of what was tried; fails with everything that did not survive."""
    call = [*prefix, sys.executable, "-m", f"tests.attacks.{name}", str(folder), str(max(1, round(rounds * TIMES)))]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=600 * max(1, TIMES))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{name}: {found['tried']}")
    assert not found["failed"], "\n\n".join(found["failed"][:20])
    return found["tried"]


def test_kills_at_random_moments_of_every_writer(tmp_path):
    attack("kills", tmp_path, 3)


def test_disks_that_fill_up(tmp_path):
    alone = ["unshare", "-m"]  # so that what is mounted goes with the process
    may_mount = shutil.which("unshare") and subprocess.run([*alone, "true"], capture_output=True).returncode == 0
    attack("disks", tmp_path, 11, *(alone if may_mount else ()))


def test_files_of_a_run_damaged_or_of_wrong_types(tmp_path):
    attack("files", tmp_path, 5)


def test_files_of_vectors_made_to_do_harm(tmp_path):
    attack("vectors", tmp_path, 6)


def test_hostile_indexes_and_shards_of_the_cache(tmp_path):
    attack("caches", tmp_path, 30)


def test_two_askers_while_a_run_is_overwritten(tmp_path):
    attack("askers", tmp_path, 40)


def test_memory_that_runs_out_on_several_threads(tmp_path):
    attack("memory", tmp_path, 5)
