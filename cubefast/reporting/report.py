"""The report of an evaluation as Markdown or HTML, of templates/report.jinja."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..data.config import BUILTIN
from ..data.encoder_names import short_name
from ..evaluation.baselines import CUBE
from ..evaluation.verdict import FEWEST_GROUPS, RESAMPLES
from ..templates import Strong, render
from ..training.progress import METRIC_NAMES
from .analysis import Analysis, Bucket
from .cases import Case
from .evaluation import Evaluation
from .figures import SUMMARY, captions, file_of, summary_models
from .limits import reliability_curve
from .results import VERDICT_METRICS
from .run_data import READY
from .tables import parts_table, performance_table, summary_table, tables_of

CURVES = "curves.png"

_NOTEWORTHY = 0.1  # a correlation below it is left out
_LONGEST = 500  # characters of a text in a case
_SUMMARY_CAPTION = (
    "Before the cube (identity), after it, and the rivals that are the best on validation, with 95% intervals by a "
    "bootstrap over groups. Whether a difference is more than chance, the paired intervals below say."
)


class _Figure(NamedTuple):
    """A picture: the name of a PNG, what it shows for those who cannot see it, and its caption."""

    name: str
    alt: str
    caption: str


class _Card(NamedTuple):
    """One case: its title, and names and values."""

    title: str
    fields: list[tuple[str, str]]


def render_report(evaluation: Evaluation, form: str, pictures: Mapping[str, bytes]) -> str:
    """The report.

    Args:
        evaluation: what it is about.
        form: md or html.
        pictures: the PNG of each figure by its name, which HTML holds itself; the curves of the training are shown
            where CURVES is one of them.
    """
    run_data = evaluation.run_data
    path = run_data.config.data.path
    is_ready = run_data.fingerprint.startswith(READY)
    return render(
        "reporting/templates/report.jinja",
        form,
        evaluation=evaluation,
        pictures=pictures,
        drawn=_figures(evaluation, CURVES in pictures),
        sentences=[f"{str(each)[0].upper()}{str(each)[1:]}." for each in evaluation.verdicts],
        summary=_Figure(SUMMARY, _summary_in_words(evaluation), _SUMMARY_CAPTION),
        summary_table=summary_table,
        embedded="given as embeddings" if is_ready else f"embedded by {short_name(run_data.config.encoder)}",
        data="the built-in set" if path == BUILTIN else path,
        metrics={metric: METRIC_NAMES[metric] for metric in VERDICT_METRICS},
        cube=CUBE,
        resamples=RESAMPLES,
        fewest_groups=FEWEST_GROUPS,
        noteworthy=_NOTEWORTHY,
        advice=[(Strong(each.advice), each.because) for each in evaluation.recommendations],
        cards=_cards,
        correlates=_correlates,
        named=_named,
        parts_table=parts_table,
        performance_table=performance_table,
        reliability_curve=reliability_curve,
        tables_of=tables_of,
    )


def _summary_in_words(evaluation: Evaluation) -> str:
    result = evaluation.results[0]
    models = summary_models(result)[:3]  # identity, the cube and the best rival: the table has all
    parts = []
    for test in evaluation.analysed_tests:
        means = (f"{each} {test.of(each).metrics.mean(result.summary_metric):.3f}" for each in models)
        parts.append(f"{test.title}: {', '.join(means)}")
    return f"{'R@1' if result.summary_metric == 'recall_at_1' else 'Cosine'} of the models. {'; '.join(parts)}."


def _figures(evaluation: Evaluation, curves: bool) -> dict[str, list[_Figure]]:
    """By kind, one for each test that is analysed."""
    figures: dict[str, list[_Figure]] = {"curves": []}
    for test in evaluation.analysed_tests:
        title = None if test is evaluation.main_test else test.title
        for kind, alt, caption in captions(test, evaluation.analyses[test.title]):
            figures.setdefault(kind, []).append(_Figure(file_of(kind, title), alt, caption))
    if curves:
        alt = "Training loss, norm of the gradient, and validation metric beside baselines, over epochs."
        figures["curves"].append(_Figure(CURVES, alt, "The training, as it was drawn at its end."))
    return figures


def _cards(cases: Sequence[Case]) -> list[_Card]:
    cards = []
    for case in cases:
        fields = []
        if case.context:
            fields.append(("said before", _cut(" / ".join(case.context))))
        if case.expected is not None and case.expected != case.question:
            fields.append(("expected", _cut(case.expected)))
        if case.retrieved is not None:
            right = "the right one" if case.rank == 1 else _cut(case.retrieved)
            fields.append((f"retrieved ({case.score:.3f})", right))
        fields.append(
            ("cosine", f"cube {case.cosine:.3f}, ridge {case.ridge_cosine:.3f}, identity {case.identity_cosine:.3f}")
        )
        fields.append(("rank", f"cube {case.rank:,}, ridge {case.ridge_rank:,}"))
        if case.domain:
            fields.append(("domain", case.domain))
        cards.append(_Card(_cut(case.question) if case.question is not None else f"query {case.query}", fields))
    return cards


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} … ({len(text):,} characters)"


def _named(bucket: Bucket) -> str:
    return f"{bucket.kind} {bucket.name} ({bucket.difference:+.3f}, {bucket.queries} queries)"


def _correlates(analysis: Analysis) -> list[str]:
    """The features that the lead over ridge is correlated with, the strongest first."""
    sides = {each.name: (each.low, each.high) for each in analysis.features}
    return [
        f"{sides[name][1 if value > 0 else 0]} (by {name}, Spearman {value:+.2f})"
        for name, value in sorted(analysis.correlations.items(), key=lambda item: -abs(item[1]))
        if abs(value) >= _NOTEWORTHY
    ]
