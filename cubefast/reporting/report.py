"""The files of a report: the pages (of templates/report.jinja), their pictures, and the values of every query."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..config.data import BUILTIN
from ..data.embeddings.precomputed import is_precomputed
from ..data.encoding.display_names import short_name
from ..evaluation.baselines import IDENTITY
from ..evaluation.paired_bootstrap import FEWEST_GROUPS, RESAMPLES
from ..evaluation.training_curves import training_curves
from ..training.progress import METRIC_NAMES
from ..utils.files import plain_name, write_atomically, write_json, writing
from ..utils.templates import capital, render
from .analysis import PART_RESAMPLES
from .cases import Case
from .evaluate_run import Evaluation
from .figures import CALIBRATION, SUMMARY, TRAINING, Dot, alt_text, draw_calibration, draw_dots, summary_dots
from .run_data import RunData
from .tables import MODEL_WORDS, calibration_table, main_table, metrics_table, parts_table, performance_table
from .task_results import per_query

_LONGEST = 240  # characters of a text in a case
_MOST_LINES = 3  # of rivals beside the curve of the training


class _Card(NamedTuple):
    """One case: its title, and names and values."""

    title: str
    fields: list[tuple[str, str]]


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
    dots = summary_dots(evaluation.main, evaluation.analysed_tests)
    pictures = _draw_pictures(evaluation, dots)
    for name, picture in pictures.items():
        write_atomically(folder / name, picture)
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **per_query(evaluation.results))  # type: ignore[arg-type]  # taken for allow_pickle
    write_atomically(folder / "per_query.npz", arrays.getvalue())
    for form in ("html", "md"):
        write_atomically(folder / f"report.{form}", _render_report(evaluation, form, pictures, alt_text(dots)))
    write_json(folder / "report.json", evaluation.as_dict())


def _draw_pictures(evaluation: Evaluation, dots: Mapping[str, Sequence[Dot]]) -> dict[str, bytes]:
    """The SVG of each picture by its file's name, of those for which there is enough to draw."""
    result, tests = evaluation.main, evaluation.analysed_tests
    pictures = {SUMMARY: draw_dots(dots, result.summary_metric)}
    calibration = draw_calibration({test.words: evaluation.calibration[test.title] for test in tests})
    if calibration is not None:
        pictures[CALIBRATION] = calibration
    if records := [record.model_dump() for record in evaluation.run_data.run.load_epochs()]:
        metric = evaluation.run_data.config.training.metric
        values = {name: found[metric] for name, found in result.validation.items()}
        lines = {MODEL_WORDS[IDENTITY]: values[tests[0].identity.model]}
        lines |= {name: values[name] for name in result.best_rivals(metric)[:_MOST_LINES]}
        pictures[TRAINING] = training_curves(records, metric, METRIC_NAMES[metric], lines, "svg")
    return pictures


def _render_report(evaluation: Evaluation, form: str, pictures: Mapping[str, bytes], summary: str) -> str:
    """The report as md or html, which holds the pictures itself. ``summary``: what the first picture shows."""
    result, tests = evaluation.main, evaluation.analysed_tests
    run_data = evaluation.run_data
    path = run_data.config.data.path
    ready = is_precomputed(run_data.fingerprint)
    return render(
        "reporting/templates/report.jinja",
        form,
        evaluation=evaluation,
        tests=tests,
        sentences=[capital(f"{each}.") for each in result.verdicts],
        pictures=pictures,
        summary=(SUMMARY, summary),
        main_table=main_table(result, tests),
        parts=parts_table(result, tests, evaluation.analyses),
        trust=calibration_table(tests, evaluation.calibration, evaluation.threshold),
        performance=performance_table(evaluation.performance),
        metrics=[metrics_table(test, result.verdict_metric) for test in evaluation.tests],
        embedded="given as embeddings" if ready else f"embedded by {short_name(run_data.config.encoder or '')}",
        data="the built-in set" if path == BUILTIN else path,
        resamples=RESAMPLES,
        part_resamples=PART_RESAMPLES,
        fewest_groups=FEWEST_GROUPS,
        cards=lambda cases: list(map(_card, cases)),
    )


def _card(case: Case) -> _Card:
    fields = []
    if case.context:
        fields.append(("said before", _cut(" / ".join(case.context))))
    if case.expected is not None and case.expected != case.question:
        fields.append(("right answer", _cut(case.expected)))
    if case.retrieved is not None and case.after > 1:
        fields.append(("found instead", _cut(case.retrieved)))
    fields.append(("rank", f"{case.before:,} before, {case.after:,} with the cube"))
    if case.domain:
        fields.append(("domain", case.domain))
    return _Card(_cut(case.question) if case.question is not None else f"query {case.query}", fields)


def _cut(text: str) -> str:
    return textwrap.shorten(text, _LONGEST, placeholder=" …") if len(text) > _LONGEST else text
