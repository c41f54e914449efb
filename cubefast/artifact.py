"""A saved core: two files in a folder, checked before anything is made of them. Nothing in them is executed.

``config.json`` holds the version of the format and the core's arguments. ``model.safetensors`` holds its tensors and,
in its header, a SHA-256 of the arguments and the tensors: what was changed, cut short or mixed up since is refused.
That finds damage and edits; it is no signature, for whoever writes the files can write a new sum.
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

from ._version import __version__
from .errors import ArtifactError, InputError
from .files import write_atomically, write_json

FORMAT_VERSION = 6
"""Version 1 had no sum, 2 tables of a gain and a bias per cell, 3 no phases, 4 no summary and no trust, 5 no memory."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"

_ROTATION = "reshaper.rotation"


def write_artifact(folder: Path, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files into ``folder``, made if it is not there. The same core gives the same bytes.

    Each file is replaced at once, and the sum is within the file of the tensors: whoever saves a core of the same
    arguments over another and is killed leaves one of the two behind.

    Raises InputError for tensors that hold NaN or Inf; what was there before is kept.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if bad := _not_finite(stored):
        raise InputError(f"the core is not saved: {bad} holds NaN or Inf, so it would be of no use")
    folder.mkdir(parents=True, exist_ok=True)
    # One entry only: safetensors writes several in any order.
    write_atomically(folder / WEIGHTS, safetensors.torch.save(stored, {"sha256": _sum(config, stored)}))
    write_json(folder / CONFIG, {"format_version": FORMAT_VERSION, "cubefast": __version__, "core": config})


def read_artifact(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The arguments of the core in ``folder``, and its tensors, all of one floating-point dtype.

    No more memory is taken than the file of the tensors has bytes, whatever the arguments say.

    Raises:
        ArtifactError: a file is missing, damaged, of another format, or does not fit the other.
    """
    config = _read_config(folder)
    path = folder / WEIGHTS
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()
            _check_sizes(config, {name: file.get_slice(name).get_shape() for name in names}, folder)
            tensors = {name: file.get_tensor(name) for name in names}
            stated = (file.metadata() or {}).get("sha256")
    except FileNotFoundError:
        raise ArtifactError(f"no saved core in {folder}: {WEIGHTS} is missing") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"{path} is damaged or truncated: {error}") from None
    if _sum(config, tensors) != stated:
        raise ArtifactError(
            f"{CONFIG} or {WEIGHTS} in {folder} was changed or damaged since the core was saved: they do not have the "
            "SHA-256 that was kept. Fetch or save it again"
        )
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) != 1 or not all(dtype.is_floating_point for dtype in dtypes):
        raise ArtifactError(f"{path} must hold floating-point numbers of one kind; got {sorted(map(str, dtypes))}")
    if bad := _not_finite(tensors):
        raise ArtifactError(f"{path} is of no use: {bad} holds NaN or Inf")
    return config, tensors


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        saved = json.loads(path.read_text("utf-8"))
        version, config = saved["format_version"], saved["core"]
    except FileNotFoundError:
        raise ArtifactError(f"no saved core in {folder}: {CONFIG} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error!r}") from None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} is of format version {version}; this cubefast {__version__} reads version {FORMAT_VERSION}. Use "
            f"the cubefast that wrote it ({saved.get('cubefast')})"
        )
    if not isinstance(config, dict):
        raise ArtifactError(f"{path} does not describe a core: its arguments must be a mapping")
    return config


def _check_sizes(config: dict[str, Any], shapes: Mapping[str, list[int]], folder: Path) -> None:
    """The sizes that the arguments state must be those of the tensors, whose bytes are all in the file."""
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
        if config["linear_rank"] >= config["dim"]:
            stated["w_linear"] = [config["dim"]] * 2
        elif config["linear_rank"]:
            stated["w_down"] = [config["linear_rank"], config["dim"]]
        if config["prototypes"]:
            stated["trust.prototypes"] = [config["prototypes"], config["dim"]]
            stated["trust.answers"] = [config["memory"], config["dim"]]
        if config["placement"] == "principal":
            stated[_ROTATION] = [config["dim"]] * 2
        fits_in = 1 <= config["dim"] <= cells
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / CONFIG} does not describe a core: {error!r}") from None
    wrong = [f"{name} {shapes.get(name)}, not {shape}" for name, shape in stated.items() if shapes.get(name) != shape]
    if wrong or not fits_in:
        found = "; ".join(wrong) or f"dim {config['dim']} in {cells} cells"
        raise ArtifactError(f"{folder / WEIGHTS} does not fit {CONFIG}: it has {found}")


def _sum(config: dict[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the arguments and of every tensor's name, dtype, shape and bytes: 64 hexadecimal digits."""
    whole = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor with NaN or Inf; a rotation that is NaN throughout has not been fitted, which is allowed."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all() and not (name == _ROTATION and tensor.isnan().all()):
            return name
    return None
