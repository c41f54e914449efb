"""A folder to publish, made from a run: the core, its card, its config and its report. Nothing is uploaded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TypeVar

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, field_validator

from ..core.answer_side import AnswerSide
from ..data.statistics import DatasetStatistics
from ..errors import ArtifactError
from ..evaluation.score_table import Score
from ..training.run_folder import RunFolder
from ..utils.files import new_folder_atomically, read_json, write_atomically, write_json
from .model_card import CardContent, model_card
from .onnx_export import check_installed, save_onnx
from .public_config import without_paths
from .torch_export import Operators, save_exported

T = TypeVar("T")
# What of a report has figures and words about them; the rest may show texts of the data.
_PUBLIC = {"verdict", "verdicts", "scores", "limits"}


def write_model_folder(
    run: str | Path,
    folder: str | Path,
    *,
    operators: Operators | None = None,
    onnx: bool = False,
    license: str | None = None,
) -> list[str]:
    """Make ``folder`` from a finished run; returns the names of its files.

    ``config.json`` and ``model.safetensors`` (what ``CubicCore.from_pretrained`` reads), ``README.md`` (the card, for
    people and for the hub), ``report.json``, ``data.json``, ``config.yaml`` with names in the place of folders,
    ``mean.npy`` where embeddings are centred first and, if wanted, ``core.pt2`` and ``core.onnx``. The bank of
    answers is texts of the data set and stays in the run.

    Args:
        run: the run's folder.
        folder: a new or empty one. It appears whole or not at all.
        operators: of ``core.pt2`` and, for a core on both sides, ``answers.pt2``, see
            :func:`~cubefast.integrations.torch_export.export_core`; None: no such files.
        onnx: whether to write ``core.onnx`` and, for a core on both sides, ``answers.onnx``, see
            :func:`~cubefast.integrations.onnx_export.onnx_model`.
        license: for the card, by its identifier on the hub, such as apache-2.0.

    Raises:
        ArtifactError: no finished run with a report, or a damaged file in it.
        InputError: a folder that is in use or cannot be written; with ``onnx``, the packages that write it are missing.
    """
    if onnx:
        check_installed()
    source = RunFolder.open(run)
    config = source.load_config()
    core = source.load_best_core()
    report = _read(source, "report.json", _REPORT)
    bank = source.load_answers()
    mean = bank.prepare.mean if bank else None
    if config.data.centre and mean is None:
        raise ArtifactError(
            f"{run} was trained on centred embeddings, and the mean that was taken off them is not in it: without that "
            "the core is of no use to others"
        )
    public = without_paths(config)
    settings = public.model_dump(mode="json", exclude={"name", "runs", "cache", "cache_limit_mb", "tensorboard"})
    statistics = _read(source, "data.json", _STATISTICS).as_dict()
    card = CardContent(
        name=source.path.resolve().name,
        config=public,
        core=core,
        scores=report.scores,
        verdict=report.verdict.sentence if report.verdict else None,
        limits=report.limits,
        statistics=statistics,
        fingerprint=bank.fingerprint if bank else None,
        centred=mean is not None,
        exported=operators is not None,
        onnx=onnx,
        license=license,
    )
    with new_folder_atomically(Path(folder).resolve()) as place:
        core.save_pretrained(place)
        write_atomically(place / "README.md", model_card(card))
        write_atomically(place / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
        write_json(place / "report.json", report.model_dump(mode="json", include=_PUBLIC, exclude_unset=True))
        write_json(place / "data.json", statistics)
        if mean is not None:
            array = io.BytesIO()
            np.save(array, mean, allow_pickle=False)
            write_atomically(place / "mean.npy", array.getvalue())
        if operators is not None:
            save_exported(core, place / "core.pt2", operators)
            if core.answer_map is not None:
                save_exported(AnswerSide(core), place / "answers.pt2", operators)
        if onnx:
            save_onnx(core, place / "core.onnx")
            if core.answer_map is not None:
                save_onnx(AnswerSide(core), place / "answers.onnx")
        return sorted(file.name for file in place.iterdir())


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="allow")
    sentence: str


class _Report(BaseModel):
    """The fields of a report, of the training or of ``cubefast.evaluate``, that a model card uses."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    scores: list[Score]
    verdict: _Verdict | None = None
    limits: list[str] = []

    @field_validator("scores")
    @classmethod
    def _can_be(cls, scores: list[Score]) -> list[Score]:
        for each in scores:
            shares = (each.recall_at_1, each.recall_at_10, each.mrr, abs(each.cosine))
            if min(each.parameters, each.queries - 1, each.pool - 1) < 0 or not all(0 <= x <= 1.001 for x in shares):
                raise ValueError(f"no model can have the scores {each}")
        return scores


_REPORT = TypeAdapter(_Report)
_STATISTICS = TypeAdapter(DatasetStatistics)


def _read(run: RunFolder, name: str, kind: TypeAdapter[T]) -> T:
    """Read a JSON file of the run."""
    if not (run.path / name).exists():
        raise ArtifactError(
            f"{run.path} has no {name}: it was stopped before it was done. Go on with: python -m cubefast.train "
            f"--resume {run.path}"
        )
    return read_json(run.path / name, kind)
