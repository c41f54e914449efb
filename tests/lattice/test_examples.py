"""The example scripts and the page that names them: they run, and what they promise is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=[script.stem for script in EXAMPLES])
def test_an_example_runs_to_its_picture(script, tmp_path):
    done = subprocess.run(
        [sys.executable, script, "--iterations", "2", "--into", "picture.png"],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "iteration     1  loss" in done.stdout
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_the_page_of_automata_names_every_example_and_its_code_runs():
    page = (DOCS / "automata.md").read_text()
    for script in EXAMPLES:
        assert f"(examples/{script.name})" in page
    code = page.split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    assert names["after"].shape == (4, 40, 40, 16)
    assert names["states"].shape == (4, 8, 40, 40, 16)
