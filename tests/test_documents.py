"""The README's examples run, its commands are the ones that exist, and its table is in the form that is printed."""

import re
import subprocess
import sys

import pytest


def blocks(root, language):
    return re.findall(rf"```{language}\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)


def test_the_first_screen_has_exactly_the_two_set_up_commands(root):
    commands = [block.strip() for block in blocks(root, "sh")][:2]
    assert commands == [
        "pip install -c constraints.txt . && python -m cubefast.train",
        "pip install -c constraints.txt '.[test]' && python -m pytest",
    ]
    continuous_integration = (root / ".ci" / "run").read_text()
    assert "pip install --quiet -c constraints.txt '.[test]'" in continuous_integration
    assert "python -m pytest" in continuous_integration


@pytest.mark.parametrize("number", range(7))
def test_the_python_examples_run(root, number, tmp_path):
    examples = blocks(root, "python")
    assert len(examples) == 7
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", examples[number]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_pictures_and_links_are_there(root):
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (root / document).read_text()):
            if "://" not in target:
                assert (root / target).exists(), f"{document} points to {target}"


def test_every_key_and_command_that_the_readme_names_exists(root):
    from cubefast.cli import COMMANDS
    from cubefast.config import TrainingConfig

    text = "\n".join(blocks(root, "sh"))
    assert set(re.findall(r"python -m cubefast\.(\w+)", text)) <= set(COMMANDS)
    overrides = re.findall(r"\s((?:\w+\.)*\w+=\S+)", text)
    assert overrides
    for override in overrides:  # some stand in several commands, with other values
        TrainingConfig.load(None, [override])


def test_constraints_pin_torch(root):
    assert "torch==2.13.0" in (root / "constraints.txt").read_text().splitlines()
