"""What pip makes of this folder: a compiled wheel, a pure wheel, a source distribution, an editable install.

`python -m cubefast.X` started in the source folder imports cubefast/ from there and not what was installed. The
compiled kernel must be found all the same, which is why it is a top-level module: installed once, seen everywhere.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from .programs import SMALL

pytestmark = pytest.mark.slow

FACTS = """
import json, cubefast
from cubefast.lattice import diagnostics
print(json.dumps({"file": cubefast.__file__, **diagnostics.facts()}))
"""
OURS = ("cubefast", "_cubefast", "__editable__")


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory, request) -> Path:
    """A clean copy of the source folder."""
    root = Path(request.config.rootpath)
    copy = tmp_path_factory.mktemp("source") / "cubefast"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "runs", "venv", "__pycache__", "*.so", "*.egg-info")
    shutil.copytree(root, copy, ignore=left_out)
    return copy


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", out, source, cwd=out)
    return next(out.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """This environment's packages but for cubefast: in one folder for all tests, so that Python compiles them once."""
    packages = tmp_path_factory.mktemp("packages")
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(folder).iterdir():
            if not entry.name.startswith(OURS) and not (packages / entry.name).exists():
                (packages / entry.name).symlink_to(entry)
    return packages


@pytest.fixture
def python(tmp_path, packages) -> Path:
    """The interpreter of a fresh environment that has this one's packages, but no cubefast."""
    venv.create(tmp_path / "venv")
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    (site / "packages.pth").write_text(f"{packages}\n")
    return tmp_path / "venv" / "bin" / "python"


def install(python: Path, *what: object, **environment: str) -> None:
    """Without optimisation of the kernel, which takes a third of the time to build; .ci/run installs it with."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--config-settings=cmake.build-type=Debug",
    ]
    run(*pip, "--no-index", *what, cwd=python.parent, **environment)


def facts(python: Path, cwd: Path) -> dict:
    return json.loads(run(python, "-c", FACTS, cwd=cwd))


def test_the_source_distribution_installs_and_runs_compiled_from_the_root_and_elsewhere(
    source, sdist, python, tmp_path
):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"csrc/kernel.cpp", "CMakeLists.txt", "cubefast/py.typed", "tests/test_packaging.py", "LICENSE"} <= names
    install(python, sdist)
    here, there = facts(python, source), facts(python, tmp_path)
    assert Path(here["file"]).parent == source / "cubefast"
    assert Path(there["file"]).is_relative_to(tmp_path / "venv")
    assert here["backend"] == there["backend"] == "cpp"

    printed = run(python, "-m", "cubefast.train", f"runs={tmp_path / 'runs'}", "name=r", *SMALL, cwd=source)
    assert "backend     cpp (" in printed
    assert json.loads((tmp_path / "runs" / "r" / "environment.json").read_text())["backend"] == "cpp"


def test_an_editable_install_runs_compiled_and_sees_edits(source, python, tmp_path):
    install(python, "-e", source)
    here, there = facts(python, source), facts(python, tmp_path)
    for found in (here, there):
        assert Path(found["file"]).parent == source / "cubefast"
        assert found["backend"] == "cpp"
    (source / "cubefast" / "edited.py").write_text("")
    try:
        run(python, "-c", "import cubefast.edited", cwd=tmp_path)
    finally:
        (source / "cubefast" / "edited.py").unlink()


def test_without_the_extension_the_wheel_is_pure_and_runs_on_numba(source, python, tmp_path):
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, source]
    run(*build, cwd=tmp_path, CUBEFAST_NO_EXTENSION="1")
    (wheel,) = wheels.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "cubefast/py.typed" in names
    assert "cubefast/data/samples/dialogues.jsonl" in names
    assert not [name for name in names if name.endswith((".so", ".pyd"))]

    install(python, wheel)
    for cwd in (source, tmp_path):
        found = facts(python, cwd)
        assert found["backend"] == "numba"
        assert "the C++ extension is not installed. Run `pip install .`" in found["backend_why"]
    printed = run(python, "-m", "cubefast.train", "name=r", *SMALL, cwd=tmp_path)
    assert "backend     numba, " in printed
