"""The examples of the README and the pages run, and the commands and keys that they name exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cubefast import CubicCore

from .runs import make_run

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


EXAMPLES = [(page, number) for page in PAGES for number in range(len(blocks(page, "python")))]


@pytest.fixture(scope="module")
def faq_run(tmp_path_factory):
    """What the examples find: a run of that name, vectors of questions and of answers, and a run on ready vectors."""
    folder = tmp_path_factory.mktemp("faq")
    CubicCore(384, normalize=True).save_pretrained(folder / "runs" / "faq" / "refit")
    vectors = np.random.default_rng(0).standard_normal((7, 384)).astype(np.float32)
    np.save(folder / "question_vectors.npy", vectors[:3])
    np.save(folder / "answer_vectors.npy", vectors)
    make_run(folder / "runs", "ready", encoder=None)
    return folder


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/tour.md"])
def test_every_file_and_folder_that_is_named_is_there(document, root):
    named = set(re.findall(r"`((?:[\w.]+/)*(?:\w+\.(?:py|inl|cpp|h)|\w+/))`", (root / document).read_text()))
    rooms = ("benchmarks", "csrc", "cubefast", "docs", "tests")
    there = [f"/{path.relative_to(root)}/" for room in rooms for path in [root / room, *(root / room).rglob("*")]]
    named -= {"dist/", "cubefast/NAME.py"}
    missing = [name for name in named if not any(path.endswith(f"/{name.strip('/')}/") for path in there)]
    assert len(named) > 20
    assert not missing


def test_the_first_screen_has_exactly_the_two_set_up_commands(root):
    commands = [block.strip() for block in blocks("README.md", "sh")][:2]
    assert commands == [
        "pip install -c constraints.txt . && python -m cubefast.train",
        "pip install -c constraints.txt '.[test]' && python -m pytest -m \"not slow\" -n auto --dist loadfile",
    ]
    continuous_integration = (root / ".ci" / "run").read_text()
    assert "pip install --quiet -c constraints.txt --no-compile '.[test,docs]'" in continuous_integration
    assert "\npython -m pytest " in continuous_integration
    assert "not slow" not in continuous_integration, "it leaves none out"


def test_there_are_examples_in_the_readme_and_the_pages():
    assert {page for page, _ in EXAMPLES} >= {
        "README.md",
        "docs/integrations.md",
        "docs/automata.md",
        "docs/lattice.md",
    }


@pytest.mark.parametrize(("page", "number"), EXAMPLES)
def test_the_python_examples_run(page, number, tmp_path, faq_run):
    shutil.copytree(faq_run, tmp_path, dirs_exist_ok=True)
    example = blocks(page, "python")[number]
    done = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pictures_and_links_are_there(root):
    for document in (*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (root / document).read_text()):
            if "://" not in target:
                assert (root / document).parent.joinpath(target).exists(), f"{document} points to {target}"


def test_the_readme_is_a_page_and_the_site_has_every_other_one(root):
    assert len((root / "README.md").read_text().splitlines()) <= 170
    shown = (root / "mkdocs.yml").read_text()
    assert not [page for page in PAGES[1:] if Path(page).name not in shown]


def test_every_key_and_command_that_the_pages_name_exists():
    from cubefast.cli import COMMANDS
    from cubefast.config.run_config import TrainingConfig

    text = "\n".join(block for page in PAGES for block in blocks(page, "sh"))
    assert set(re.findall(r"python -m cubefast\.(\w+)", text)) <= set(COMMANDS)
    overrides = [re.findall(r"\s((?:\w+\.)*\w+=\S+)", line) for line in text.replace("\\\n", " ").splitlines()]
    assert any(overrides)
    for of_a_command in overrides:
        TrainingConfig.load(None, of_a_command)


def test_constraints_pin_torch(root):
    assert "torch==2.13.0" in (root / "constraints.txt").read_text().splitlines()
