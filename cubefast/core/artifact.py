"""A saved core: one file, checked before a core is made of it. Nothing in it is executed.

``model.safetensors`` holds its tensors and, in its header, its arguments, the version of the format and a SHA-256 of
all that: what was changed or cut short is refused. That finds damage and edits; it is no signature, for whoever writes
the file can write a new sum. As it is one file, renamed into place, a save over another core that is killed leaves one
of the two behind, whole.

``config.json`` repeats the arguments for people and for the hub. Nothing is made of it; one that was edited is refused,
as its reader would be misled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .._version import __version__
from ..config import bounds
from ..errors import ArtifactError, InputError
from ..utils.files import open_regular, why, write_atomically, write_json, writing
from ..utils.messages import shown

FORMAT_VERSION = 7
"""The version of the file format. Version 1 had no SHA-256; 2 had tables of a gain and a bias for each cell; 3 had no
phases; 4 had no summary and no trust; 5 had no memory, and kept the arguments in a file of their own; 6 had no map of
answers.
"""

CONFIG, WEIGHTS = "config.json", "model.safetensors"

_ENTRY = "cubefast"
"""The entry in the metadata of the header. There is only one, because safetensors writes several in any order."""

_LONGEST_HEADER = 10 * 2**20
_ROTATION = "reshaper.rotation"


def write_artifact(folder: Path, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a core into ``folder``, made if it is not there. The same core gives the same bytes.

    Raises InputError for tensors that hold NaN or Inf and for arguments beyond :mod:`cubefast.config.bounds`, DiskError
    where it cannot be written; what was there before is kept.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if bad := _not_finite(stored):
        raise InputError(f"the core is not saved: {bad} holds NaN or Inf, so it would be of no use")
    if wrong := _beyond_bounds(config):
        raise InputError(f"the core is not saved, since it could not be loaded: {wrong}")
    described = {"format_version": FORMAT_VERSION, "cubefast": __version__, "core": config}
    described["sha256"] = _sum(described, stored)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, safetensors.torch.save(stored, {_ENTRY: json.dumps(described)}))
    write_json(folder / CONFIG, described)


def read_artifact(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The arguments of the core in ``folder``, and its tensors, all of one floating-point dtype.

    No more memory is taken than twice the bytes of the file, whatever the arguments say.

    Raises:
        ArtifactError: a file is missing, damaged, of another format, or was changed.
    """
    path = folder / WEIGHTS
    try:
        with open_regular(path) as file:  # opened once: another process may put a new one in its place meanwhile
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
            described = _described(header, path)
            shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
            _check_sizes(described["core"], shapes, path)
            file.seek(0)
            tensors = safetensors.torch.load(file.read())
    except FileNotFoundError:
        raise ArtifactError(f"no saved core in {folder}: {WEIGHTS} is missing") from None
    except ArtifactError:
        raise
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        *(RecursionError, MemoryError, safetensors.SafetensorError),
    ) as error:
        raise ArtifactError(f"{path} is damaged or truncated: {why(error)}") from None
    if _sum(described, tensors) != described.get("sha256"):
        raise ArtifactError(
            f"{path} was changed or damaged since the core was saved: it does not have the SHA-256 that was kept. "
            "Fetch or save it again"
        )
    _check_copy(folder / CONFIG, described)
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) != 1 or not all(dtype.is_floating_point for dtype in dtypes):
        raise ArtifactError(f"{path} must hold floating-point numbers of one kind; got {sorted(map(str, dtypes))}")
    if bad := _not_finite(tensors):
        raise ArtifactError(f"{path} is of no use: {bad} holds NaN or Inf")
    return described["core"], tensors


def _described(header: Any, path: Path) -> dict[str, Any]:
    """The description of the core in the header: ``format_version``, ``cubefast``, ``core`` and ``sha256``."""
    metadata = header.get("__metadata__") or {}
    if _ENTRY not in metadata:
        raise ArtifactError(
            f"{path} is no core of this format: its header has no {_ENTRY!r}. It is another program's, or of a "
            "cubefast before format version 6; use that"
        )
    described = json.loads(metadata[_ENTRY])
    version = described.get("format_version")
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} is of format version {version}; this cubefast {__version__} reads version "
            f"{FORMAT_VERSION}. Use the cubefast that wrote it ({described.get('cubefast')})"
        )
    if not isinstance(described.get("core"), dict):
        raise ArtifactError(f"{path} does not describe a core: its arguments must be a mapping")
    return dict(described)


def _beyond_bounds(config: Mapping[str, Any]) -> str | None:
    """A message about the first argument of a core that is not whole or beyond its bound; None if all are fine."""
    shape, dilations = config.get("shape"), config.get("dilations")
    for name, sizes, most, most_sizes in (
        ("shape", shape, bounds.SIDE, 3),
        ("dilations", dilations, bounds.SIDE, bounds.CORE["phases"]),
        *((name, [config.get(name)], most, 1) for name, most in bounds.CORE.items()),
    ):
        if not isinstance(sizes, (list, tuple)) or len(sizes) > most_sizes:
            return f"{name} must be a list of at most {most_sizes}; got {shown(sizes)}"
        for size in sizes:
            may_be_missing = size is None and name == "checkpoint_every"
            if not may_be_missing and (type(size) is not int or not 0 <= size <= most):
                return f"{name} must be a whole number of at most {most:,}; got {shown(size)}"
    return None


def _check_copy(path: Path, described: dict[str, Any]) -> None:
    """Raise ArtifactError if the ``config.json`` of this very save, which has the same sum, says something else. A copy
    of another save was left by a process that was killed between the two files.
    """
    try:
        with open_regular(path) as file:
            copy = json.loads(file.read())
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {why(error)}. Delete it: the core is in {WEIGHTS}") from None
    if not isinstance(copy, dict) or (copy.get("sha256") == described["sha256"] and copy != described):
        raise ArtifactError(
            f"{path} was changed since the core was saved. The core is in {WEIGHTS}, and nothing is made of this copy: "
            "delete it to go on with the core as it was saved"
        )


def _check_sizes(config: dict[str, Any], shapes: Mapping[str, list[int]], path: Path) -> None:
    """Raise ArtifactError unless the sizes in the arguments are those of the tensors."""
    if wrong_size := _beyond_bounds(config):
        raise ArtifactError(f"{path} does not describe a core: {wrong_size}")
    try:
        cells = math.prod(config["shape"])
        stated = {
            "codes": [cells, config["code_size"]],
            "w_gain": [config["hidden_size"], config["code_size"]],
        }
        phases = max(1, min(config["phases"], config["steps"] // 2, len(shapes)))  # one tensor each at least
        for phase in range(phases):
            stated[f"lattice.phases.{phase}.w_update"] = [config["state_size"], config["hidden_size"]]
        if config["summary_size"]:
            stated["w_summarize"] = [config["summary_size"], config["dim"]]
        for linear in ("linear", "answer_map") if config["sides"] == "both" else ("linear",):
            if config["linear_rank"] >= config["dim"]:
                stated[f"{linear}.w_full"] = [config["dim"]] * 2
            elif config["linear_rank"]:
                stated[f"{linear}.w_down"] = [config["linear_rank"], config["dim"]]
        if config["prototypes"]:
            stated["trust.prototypes"] = [config["prototypes"], config["dim"]]
            stated["trust.answers"] = [config["memory"], config["dim"]]
        if config["placement"] == "principal":
            stated[_ROTATION] = [config["dim"]] * 2
        fits_in = 1 <= config["dim"] <= cells
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} does not describe a core: {shown(error)}") from None
    misfits = [f"{name} {shapes.get(name)}, not {shape}" for name, shape in stated.items() if shapes.get(name) != shape]
    if misfits or not fits_in:
        what = "; ".join(misfits) or f"dim {config['dim']} in {cells} cells"
        raise ArtifactError(f"the tensors in {path} do not fit its arguments: it has {what}"[:1000])


def _sum(described: dict[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the arguments and of every tensor's name, dtype, shape and bytes: 64 hexadecimal digits."""
    words = {key: value for key, value in described.items() if key != "sha256"}
    whole = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor with NaN or Inf, or None. A rotation that is all NaN has not been fitted, and is allowed."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all() and not (name == _ROTATION and tensor.isnan().all()):
            return name
    return None
