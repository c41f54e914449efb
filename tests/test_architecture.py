"""The rooms of the house, and that the arrows between them point one way."""

import ast
from pathlib import Path

import pytest

import cubefast

PACKAGE = Path(__file__).resolve().parent.parent / "cubefast"

_LOOKING_AT_A_RUN = {
    *(
        "answer_side",
        "config",
        "core",
        "data",
        "decoding",
        "drawing",
        "errors",
        "evaluation",
        "files",
        "lattice",
        "output",
        "pipeline",
        "training",
        "templates",
    )
}

# What each room may import of the others. A module directly in cubefast/ is a room of its own.
ALLOWED = {
    "_version": set(),
    "bounds": {"untrusted"},
    "errors": set(),
    "drawing": set(),
    "files": {"errors", "output"},
    "locks": {"errors"},
    "output": {"errors"},
    "templates": {"output", "terminal"},
    "terminal": set(),
    "threads": set(),
    "trust": set(),
    "lattice": {"_version"},
    "untrusted": {"errors"},
    "settings": {"bounds", "errors", "files", "untrusted"},
    # cli and terminal: its command, __main__.py
    "data": {"bounds", "lattice", "errors", "files", "settings", "untrusted", "cli", "terminal"},
    "artifact": {"bounds", "errors", "files", "untrusted", "_version"},
    "linear_map": set(),
    "answer_side": {"core"},
    "core": {"artifact", "lattice", "data", "errors", "linear_map", "trust"},
    "decoding": {"data", "errors", "files"},
    "evaluation": {"data", "core", "decoding", "drawing", "errors", "terminal", "threads"},
    "config_sections": {"bounds", "settings"},
    "config": {"bounds", "config_sections", "data", "files", "settings"},
    "training": {
        *(
            "artifact",
            "config",
            "config_sections",
            "core",
            "data",
            "decoding",
            "evaluation",
            "errors",
            "files",
            "linear_map",
        ),
        *("locks", "output", "terminal", "threads", "trust"),
    },
    "pipeline": {"config", "core", "data", "decoding", "files", "training", "errors", "untrusted"},
    "integrations": _LOOKING_AT_A_RUN,
    "reporting": _LOOKING_AT_A_RUN,
    "tuning": {"config", "config_sections", "data", "errors", "evaluation", "settings", "terminal", "training"},
    "serving": {
        *("_version", "config", "data", "decoding", "errors", "output", "pipeline", "training", "untrusted"),
    },
    "cli": {"_version", "errors", "output", "terminal"},
    "__init__": {"_version", "config", "core", "data", "decoding", "evaluation", "lattice", "pipeline", "training"},
    "__main__": {"cli"},
    "training_job": {"cli", "config", "core", "data", "evaluation", "lattice", "pipeline", "terminal", "training"},
    "train": {"cli", "config", "errors", "settings", "training", "training_job"},
    "evaluate": {"cli", "evaluation", "reporting", "terminal", "training"},
    "compare": {"cli", "errors", "files", "reporting", "terminal"},
    "tune": {"bounds", "cli", "config", "data", "errors", "evaluation", "terminal", "training", "tuning"},
    "ask": {"bounds", "cli", "data", "decoding", "errors", "output", "pipeline", "terminal", "training", "untrusted"},
    "serve": {"bounds", "cli", "data", "errors", "serving"},
    "export": {"cli", "integrations", "terminal"},
    "doctor": {"cli", "lattice"},
    "pairs": {"cli", "data", "errors", "files", "output"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file imports, at its top or inside a function."""
    here = ["cubefast", *path.relative_to(PACKAGE).parts[:-1]]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else []
            full = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*full, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        rooms |= {name[1] for name in names if name[0] == "cubefast" and len(name) > 1}
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    room = room_of(path)
    assert room in ALLOWED, f"{room} is a new room: say in this test what it may import"
    beyond = imported_rooms(path) - ALLOWED[room] - {room}
    assert not beyond, f"{path.name} imports {sorted(beyond)}, which {room} may not"


def test_the_allowed_arrows_have_no_circle():
    rooms = dict(ALLOWED)
    while rooms:
        free = [room for room, needs in rooms.items() if not needs & set(rooms)]
        assert free, f"a circle among {sorted(rooms)}"
        for room in free:
            del rooms[room]


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
