"""The rooms of the house, and that the arrows between them point one way."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import cubefast

PACKAGE = Path(__file__).resolve().parent.parent / "cubefast"

_LOOKING_AT_A_RUN = {
    *("config", "core", "data", "decoding", "errors", "evaluation", "lattice", "pipeline", "training", "utils"),
}

# What each room may import of the others. A module directly in cubefast/ is a room of its own.
ALLOWED = {
    "_version": set(),
    "errors": set(),
    "utils": {"errors"},
    "lattice": {"_version"},
    "config": {"errors", "utils"},
    "answer_side": {"core"},  # an alias
    "core": {"_version", "config", "errors", "lattice", "utils"},
    "cli": {"_version", "errors", "utils"},
    "data": {"cli", "config", "errors", "utils"},  # cli: its command, __main__.py
    "decoding": {"data", "errors", "utils"},
    "evaluation": {"config", "core", "data", "errors", "utils"},
    "training": {"config", "core", "data", "decoding", "errors", "evaluation", "utils"},
    "pipeline": {"config", "core", "data", "decoding", "errors", "training", "utils"},
    "integrations": _LOOKING_AT_A_RUN,
    "reporting": _LOOKING_AT_A_RUN,
    "tuning": {"config", "data", "errors", "evaluation", "training", "utils"},
    "serving": {"_version", "data", "decoding", "errors", "pipeline", "training", "utils"},
    "__init__": {"_version", "config", "core", "data", "decoding", "evaluation", "lattice", "pipeline", "training"},
    "__main__": {"cli"},
    "train_run": {
        "cli",
        "config",
        "core",
        "data",
        "decoding",
        "evaluation",
        "lattice",
        "pipeline",
        "training",
        "utils",
    },
    "train": {"cli", "config", "errors", "training", "train_run"},
    "evaluate": {"cli", "evaluation", "reporting", "training", "utils"},
    "compare": {"cli", "errors", "reporting", "utils"},
    "tune": {"cli", "config", "data", "errors", "evaluation", "training", "tuning", "utils"},
    "ask": {"cli", "config", "data", "decoding", "errors", "pipeline", "training", "utils"},
    "serve": {"cli", "config", "data", "errors", "serving"},
    "export": {"cli", "integrations", "utils"},
    "doctor": {"cli", "lattice"},
    "pairs": {"cli", "data", "errors", "utils"},
}


FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_files(path: Path) -> set[Path]:
    """The files of the package that a file imports, at its top or inside a function."""
    here = ["cubefast", *path.relative_to(PACKAGE).parts[:-1]]
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else []
            full = [*base, *(node.module.split(".") if node.module else [])]
            names += [[*full, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name.split(".") for alias in node.names]
    return {file_of(name) for name in names if name[0] == "cubefast"} - {path}


def file_of(name: list[str]) -> Path:
    """The file of a module, or of the module that a name is taken from."""
    place = PACKAGE.joinpath(*name[1:])
    if place.with_suffix(".py").exists():
        return place.with_suffix(".py")
    return place / "__init__.py" if place.is_dir() else file_of(name[:-1])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    room = room_of(path)
    assert room in ALLOWED, f"{room} is a new room: say in this test what it may import"
    beyond = {room_of(file) for file in imported_files(path)} - ALLOWED[room] - {room}
    assert not beyond, f"{path.name} imports {sorted(beyond)}, which {room} may not"


def test_the_allowed_arrows_have_no_circle():
    TopologicalSorter(ALLOWED).prepare()


def test_neither_files_nor_folders_import_each_other_in_a_circle():
    files = {path: imported_files(path) for path in FILES}
    folders: dict[Path, set[Path]] = {}
    for path, imported in files.items():
        if path.parent != PACKAGE:
            folders.setdefault(path.parent, set()).update(
                file.parent for file in imported if file.parent != path.parent
            )
    for graph in (files, folders):
        TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def test_only_ops_uses_torch_library():
    users = [p.name for p in PACKAGE.rglob("*.py") if "torch.library" in p.read_text().split('"""', 2)[-1]]
    assert users == ["ops.py"]


def test_no_file_holds_two_things():
    long = {p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 420}
    assert not long


def test_every_public_name_is_there():
    for name in cubefast.__all__:
        assert getattr(cubefast, name) is not None
    with pytest.raises(AttributeError, match="module 'cubefast' has no attribute 'Lattice4D'"):
        cubefast.Lattice4D  # noqa: B018
    assert set(cubefast.__all__) <= set(dir(cubefast))
