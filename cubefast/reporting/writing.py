"""The files of a report: the pages, their figures, and the values of every query."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..files import plain_name, write_atomically, write_json, writing
from .evaluation import Evaluation
from .report import draw_pictures, render_report
from .results import per_query
from .run_data import RunData


def folder_of_report(run_data: RunData) -> Path:
    """Where the report goes: beside what the run has, or in a folder for the other file."""
    if run_data.source is None:
        return run_data.run.path
    name = Path(run_data.source).name
    for suffix in (".gz", Path(name.removesuffix(".gz")).suffix):
        name = name.removesuffix(suffix)
    return run_data.run.path / "evaluations" / plain_name(name, f"data={run_data.source}, without its suffix,")


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """All files of a report, each whole or not there; report.json comes last."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    pictures = draw_pictures(evaluation)
    for name, picture in pictures.items():
        write_atomically(folder / name, picture)
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **per_query(evaluation.results))  # type: ignore[arg-type]  # taken for allow_pickle
    write_atomically(folder / "per_query.npz", arrays.getvalue())
    for form in ("html", "md"):
        write_atomically(folder / f"report.{form}", render_report(evaluation, form, pictures))
    write_json(folder / "report.json", evaluation.as_dict())
