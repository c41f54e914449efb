"""The report of an evaluation as Markdown or HTML, of templates/report.jinja."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..data.config import BUILTIN
from ..data.encoder_names import short_name
from ..data.ready import is_ready
from ..evaluation.baselines import IDENTITY
from ..evaluation.plots import training_curves
from ..evaluation.verdict import FEWEST_GROUPS, RESAMPLES
from ..templates import render
from ..training.progress import METRIC_NAMES
from .cases import Case
from .evaluation import Evaluation
from .figures import CALIBRATION, SUMMARY, TRAINING, draw_calibration, draw_dots, in_words, summary_dots
from .performance import epochs_of
from .tables import MODEL_WORDS, main_table, metrics_table, parts_table, performance_table, trust_table

_LONGEST = 240  # characters of a text in a case
_MOST_LINES = 3  # of rivals beside the curve of the training


class _Card(NamedTuple):
    """One case: its title, and names and values."""

    title: str
    fields: list[tuple[str, str]]


def draw_pictures(evaluation: Evaluation) -> dict[str, bytes]:
    """The SVG of each picture by its file's name, of those for which there is enough to draw."""
    result, tests = evaluation.results[0], evaluation.analysed_tests
    pictures = {SUMMARY: draw_dots(summary_dots(result, tests), result.summary_metric)}
    if (calibration := draw_calibration(tests)) is not None:
        pictures[CALIBRATION] = calibration
    if records := epochs_of(evaluation.run_data):
        metric = evaluation.run_data.config.training.metric
        values = {name: found[metric] for name, found in result.validation.items() if name != result.cube.name}
        identity = tests[0].identity.model
        best = sorted((name for name in values if name != identity), key=lambda name: -values[name])[:_MOST_LINES]
        lines = {MODEL_WORDS[IDENTITY]: values[identity], **{name: values[name] for name in best}}
        pictures[TRAINING] = training_curves(records, metric, METRIC_NAMES[metric], lines, "svg")
    return pictures


def render_report(evaluation: Evaluation, form: str, pictures: Mapping[str, bytes]) -> str:
    """The report.

    Args:
        evaluation: what it is about.
        form: md or html.
        pictures: as of :func:`draw_pictures`; HTML holds them itself.
    """
    result, tests = evaluation.results[0], evaluation.analysed_tests
    run_data = evaluation.run_data
    path = run_data.config.data.path
    ready = is_ready(run_data.fingerprint)
    return render(
        "reporting/templates/report.jinja",
        form,
        evaluation=evaluation,
        tests=tests,
        sentences=[f"{str(each)[0].upper()}{str(each)[1:]}." for each in evaluation.verdicts],
        pictures=pictures,
        summary=(SUMMARY, in_words(summary_dots(result, tests))),
        main_table=main_table(result, tests),
        parts=parts_table(result, tests, evaluation.analyses),
        trust=trust_table(tests, evaluation.threshold),
        performance=performance_table(evaluation.performance),
        metrics=[metrics_table(test, result.verdict_metric) for test in evaluation.tests],
        embedded="given as embeddings" if ready else f"embedded by {short_name(run_data.config.encoder or '')}",
        data="the built-in set" if path == BUILTIN else path,
        resamples=RESAMPLES,
        fewest_groups=FEWEST_GROUPS,
        cards=_cards,
    )


def _cards(cases: Sequence[Case]) -> list[_Card]:
    cards = []
    for case in cases:
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
        cards.append(_Card(_cut(case.question) if case.question is not None else f"query {case.query}", fields))
    return cards


def _cut(text: str) -> str:
    return textwrap.shorten(text, _LONGEST, placeholder=" …") if len(text) > _LONGEST else text
