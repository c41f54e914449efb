"""The numba backend where numba finds no place to keep what it compiles."""

import subprocess
import sys

PROGRAM = """
import warnings
from numba.core import caching

for kind in (caching.CacheImpl, *caching.CacheImpl.__subclasses__()):
    kind._locator_classes = []  # as for a user who can write neither the package nor a home folder
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("default")
    from cubefast.lattice._numba_math import compiled
assert compiled(lambda x: x + 1)(1) == 2
print([str(each.message) for each in told])
"""


def test_it_compiles_anew_and_names_the_setting_once():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("set NUMBA_CACHE_DIR to one that can be written") == 1
