"""A folder to publish, made of a run: the core, its card, and what it was trained and scored with. Nothing is sent."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import yaml
from numpy.typing import NDArray

from ..config import TrainingConfig
from ..core import CubicCore
from ..errors import ArtifactError, InputError
from ..evaluation.report import Score
from ..files import flush_folder, write_atomically, write_json
from ..pipeline import ANSWERS
from ..training.run_folder import RunFolder
from .model_card import Trained, model_card
from .public_config import without_places
from .torch_export import Operators, save_exported

# What of a report has figures and words about them; the rest may show texts of the data.
_PUBLIC = ("verdict", "verdicts", "scores", "limits")


def write_model_folder(
    run: str | Path, folder: str | Path, *, operators: Operators | None = None, license: str | None = None
) -> list[str]:
    """Make ``folder`` of a finished run; the names of its files.

    ``config.json`` and ``model.safetensors`` (what ``CubicCore.from_pretrained`` reads), ``README.md`` (the card, for
    people and for the hub), ``report.json``, ``data.json``, ``config.yaml`` with names in the place of folders,
    ``mean.npy`` where embeddings are centred first and, if wanted, ``core.pt2``. The bank of answers is texts of the
    data set and stays in the run.

    Args:
        run: the run's folder.
        folder: a new or empty one. It appears whole or not at all.
        operators: of ``core.pt2``, see :func:`~cubefast.integrations.torch_export.export_core`; None: no such file.
        license: for the card, by its identifier on the hub, such as apache-2.0.

    Raises:
        ArtifactError: no finished run with a report, or a damaged file in it.
        InputError: a folder that is in use or cannot be written.
    """
    source = RunFolder.open(run)
    config = TrainingConfig.load(source.path / "config.yaml")
    core = CubicCore.from_pretrained(source.path / "best")
    report = _read(source, "report.json")
    fingerprint, mean = _bank(source)
    if config.data.centre and mean is None:
        raise ArtifactError(
            f"{run} was trained on centred embeddings, and the mean that was taken off them is not in it: without that "
            "the core is of no use to others"
        )
    public = without_places(config)
    settings = public.model_dump(mode="json", exclude={"name", "runs", "cache", "cache_limit_mb", "tensorboard"})
    statistics = _read(source, "data.json")
    card = Trained(
        name=source.path.resolve().name,
        config=public,
        core=core,
        **_from_report(report, source),
        statistics=statistics,
        fingerprint=fingerprint,
        centred=mean is not None,
        exported=operators is not None,
        license=license,
    )
    with _appearing(Path(folder).resolve()) as place:
        core.save_pretrained(place)
        write_atomically(place / "README.md", model_card(card))
        write_atomically(place / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
        write_json(place / "report.json", {key: report[key] for key in _PUBLIC if key in report})
        write_json(place / "data.json", statistics)
        if mean is not None:
            array = io.BytesIO()
            np.save(array, mean, allow_pickle=False)
            write_atomically(place / "mean.npy", array.getvalue())
        if operators is not None:
            save_exported(core, place / "core.pt2", operators)
        return sorted(file.name for file in place.iterdir())


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` that takes its name in the end, or goes if anything fails."""
    unfinished = folder.parent / f".{folder.name}.{os.getpid()}"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is there already and not an empty folder; choose another, or delete it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made: {error.strerror}") from None
    try:
        yield unfinished
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    flush_folder(folder.parent)


def _read(run: RunFolder, name: str) -> dict[str, Any]:
    """A JSON file of the run."""
    path = run.path / name
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{run.path} has no {name}: it was stopped before it was done. Go on with: python -m cubefast.train "
            f"--resume {run.path}"
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} must be a mapping; got {type(content).__name__}")
    return content


def _from_report(report: dict[str, Any], run: RunFolder) -> dict[str, Any]:
    """What a card has from a report of the training or, with verdict and limits, of ``cubefast.evaluate``."""
    try:
        return {
            "scores": [Score(**{field.name: row[field.name] for field in fields(Score)}) for row in report["scores"]],
            "verdict": report["verdict"]["sentence"] if "verdict" in report else None,
            "limits": [str(limit) for limit in report.get("limits", [])],
        }
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{run.path / 'report.json'} is not the report of a run: {error!r}") from None


def _bank(run: RunFolder) -> tuple[str | None, NDArray[np.float32] | None]:
    """The encoder's fingerprint and the mean taken off the embeddings, as far as the run's bank has them."""
    path = run.path / ANSWERS
    if not path.exists():
        return None, None
    try:
        with safetensors.safe_open(path, framework="np") as file:
            mean = file.get_tensor("mean") if "mean" in file.keys() else None  # noqa: SIM118
            return (file.metadata() or {}).get("fingerprint"), mean
    except (OSError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
