"""The tables of a report: rows of cells, from the figures of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..evaluation.baselines import CUBE, IDENTITY
from ..evaluation.conversation_metrics import TurnMetric
from ..evaluation.embedding_metrics import EmbeddingMetrics
from ..evaluation.paired_bootstrap import Verdict
from ..evaluation.score_table import ModelResult
from ..training.progress import METRIC_NAMES
from ..utils.templates import Strong, capital
from .analysis import Analysis
from .caveats import ReliabilityCurve, ThresholdResult
from .task_results import TaskResult, TestResult

MODEL_WORDS = {IDENTITY: "before (identity)", CUBE: "with the cube"}
"""What a reader calls the two models that every report has."""

_SHOWN = ("recall_at_1", "mrr", "cosine")
_METRICS: dict[str, tuple[Callable[[EmbeddingMetrics], float], str, bool]] = {
    # name: value, format, whether lower is better
    "R@5": (lambda m: m.recall_at_5, ".3f", False),
    "R@10": (lambda m: m.recall_at_10, ".3f", False),
    "nDCG@10": (lambda m: m.ndcg_at_10, ".3f", False),
    "median rank": (lambda m: m.median_rank, "g", True),
    "relevance": (lambda m: m.semantic_relevance, ".3f", False),
    "centred cosine": (lambda m: m.mean("centred_cosine"), ".3f", False),
    "1000 MSE": (lambda m: 1000 * m.mse, ".2f", True),
    "similarities kept": (lambda m: m.semantic_preservation, ".3f", False),
}
_TURN_METRICS: dict[str, Callable[[EmbeddingMetrics], TurnMetric | None]] = {
    "keeps to the context (true answers)": lambda m: m.context_preservation,
    "answers hang together (true answers)": lambda m: m.dialogue_coherence,
}


@dataclass(frozen=True)
class Table:
    """Rows of cells below a caption; the first ``words`` columns are words, the others numbers.

    A row of one cell is the heading of the rows below it.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


@dataclass(frozen=True)
class Line:
    """A model or run in a table of scores.

    Attributes:
        name: what it is called.
        values: recall_at_1, mrr and cosine.
        parameters: how many it has.
        verdict: the difference that is shown beside it; None for what it is a difference to.
    """

    name: str
    values: Mapping[str, float]
    parameters: int
    verdict: Verdict | None


def score_table(
    caption: str, what: str, difference: str, sections: Mapping[str, Sequence[Line]], metric: str = "mrr"
) -> Table:
    """R@1 and MRR, whether differences are more than chance, and what else matters; one section for each test.

    Args:
        caption: of the table.
        what: each line is: model or run.
        difference: how it is called, such as "cube - model".
        sections: the lines by the section's heading; the values of all are of the same metrics, R@1 and MRR first.
        metric: of the differences: mrr, or cosine, which then comes first.
    """
    there = next(lines[0].values for lines in sections.values())
    shown = sorted(there, key=lambda key: key != metric) if metric == "cosine" else [*there]
    rows: list[list[str]] = []
    for heading, lines in sections.items():
        cells = {key: _marked([line.values[key] for line in lines]) for key in shown}
        rows.append([heading])
        for line, *values in zip(lines, *cells.values(), strict=True):
            rows.append([line.name, *values[:2], *difference_cells(line.verdict), *values[2:], f"{line.parameters:,}"])
    names = [METRIC_NAMES[key] for key in shown]
    columns = [what, *names[:2], f"{METRIC_NAMES[metric]}: {difference}", "95% interval", "outcome", *names[2:]]
    return Table(caption, [*columns, "parameters"], rows)


def difference_cells(verdict: Verdict | None, digits: int = 4) -> list[str]:
    """A difference, its interval and what they say; three empty cells without a verdict."""
    if verdict is None:
        return ["", "", ""]
    difference, low, high = (
        f"{round(value, digits) + 0.0:+.{digits}f}" for value in (verdict.difference, verdict.low, verdict.high)
    )
    outcome = _strong(outcome_in_words(verdict), verdict.outcome in ("better", "worse"))
    return [difference, f"{low} to {high}" if verdict.enough_groups else "", outcome]


def outcome_in_words(verdict: Verdict) -> str:
    """Better, worse, no clear difference, the same, or too few groups."""
    if verdict.outcome != "not distinguishable":
        return verdict.outcome
    return "the same" if verdict.low == verdict.difference == verdict.high == 0 else "no clear difference"


def main_table(result: TaskResult, tests: Sequence[TestResult]) -> Table:
    """The core and every model beside it on these tests: what it begins with is what counts."""
    metric = result.verdict_metric
    sections = {}
    for test in tests:
        lines = []
        for each in _in_order(test, metric):
            name = short_name(test, each)
            verdict = None if each.kind == CUBE else test.verdict(metric, each.model)
            if each.model == test.strongest[metric]:
                name = Strong(f"{name} (strongest rival)")
            lines.append(
                Line(
                    Strong(name) if each.kind == CUBE else name,
                    {key: each.metrics.mean(key) for key in _SHOWN},
                    each.parameters,
                    verdict,
                )
            )
        sections[describe(test)] = lines
    return score_table("The cube beside every other model", "model", "cube - model", sections, metric)


def short_name(test: TestResult, model: ModelResult) -> str:
    """What a model is called in a report: without its settings, where no other of its kind is in the test."""
    if model.kind in MODEL_WORDS:
        return MODEL_WORDS[model.kind]
    return model.kind if [each.kind for each in test.measured].count(model.kind) == 1 else model.model


def _in_order(test: TestResult, metric: str) -> list[ModelResult]:
    """Identity, the core, the strongest rival, and the others."""
    first = [test.identity, test.cube, test.of(test.strongest[metric])]
    return [each for place, each in enumerate(first) if each not in first[:place]] + [
        each for each in test.measured if each not in first
    ]


def describe(test: TestResult) -> str:
    """The title of a test with its size."""
    found = test.cube.metrics
    count = len(found.groups.unique())
    groups = "1 group" if count == 1 else f"{count:,} groups"
    queries = f"{found.queries:,} {'queries' if found.queries > 1 else 'query'}"
    return f"{capital(test.words)}: {queries} in {groups}, ranked among {found.pool:,} answers"


def metrics_table(test: TestResult, metric: str) -> Table:
    """What else is measured of each model."""
    turns = {name: each for name, each in _TURN_METRICS.items() if each(test.cube.metrics) is not None}
    models = _in_order(test, metric)
    columns = [
        _marked([value(model.metrics) for model in models], form, lower) for value, form, lower in _METRICS.values()
    ]
    rows: list[list[str]] = []
    for model, *cells in zip(models, *columns, strict=True):
        found = model.as_dict()
        pairs = [each(model.metrics) for each in turns.values()]
        answers = [f"{each.predicted:.3f} ({each.true:.3f})" for each in pairs if each is not None]
        spread = f"{found['cosine_p5']:.3f} to {found['cosine_p95']:.3f}"
        settings = model.model.removeprefix(model.kind).removeprefix(", ")
        tried = f"best of {model.tried}" if model.tried > 1 else ""
        rows.append([short_name(test, model), "; ".join(filter(None, (settings, tried))), *cells, spread, *answers])
    return Table(describe(test), ["model", "settings", *_METRICS, "cosine, 5% to 95%", *turns], rows, words=2)


def parts_table(result: TaskResult, tests: Sequence[TestResult], analyses: Mapping[str, Analysis]) -> Table:
    """The buckets of each test, the core against identity."""
    rows: list[list[str]] = []
    for test in tests:
        buckets = analyses[test.title].buckets
        rows += [[describe(test)]] if buckets else []
        for bucket in buckets:
            trained = "" if bucket.trained is None else f"{bucket.trained:,}"
            rows.append(
                [
                    bucket.name if bucket.kind == "domain" else f"{bucket.kind}: {bucket.name}",
                    f"{bucket.before:.3f}",
                    f"{bucket.after:.3f}",
                    *difference_cells(bucket.verdict, 3),
                    f"{bucket.verdict.queries:,}",
                    trained,
                ]
            )
    shown, metric = METRIC_NAMES[result.summary_metric], METRIC_NAMES[result.verdict_metric]
    columns = ["part", f"{shown} before", "with cube", f"{metric}: cube - before", "95% interval", "outcome"]
    return Table("Parts of the tests", [*columns, "queries", "trained pairs"], rows)


def calibration_table(
    tests: Sequence[TestResult], calibration: Mapping[str, ReliabilityCurve], threshold: ThresholdResult | None
) -> Table:
    """What the score of an answer says, and what comes of the threshold."""
    rows = []
    for test in tests:
        separation = calibration[test.title].separation
        row = [test.words, "" if separation is None else f"{separation:.0%}"]
        if threshold is not None:
            right = threshold.right[test.title]
            row += [f"{threshold.answered[test.title]:.0%}", "" if right is None else f"{right:.0%}"]
        rows.append(row)
    columns = ["test", "right scores above wrong"]
    if threshold is None:
        return Table("What the score says", columns, rows)
    at = "no threshold was found" if threshold.threshold is None else f"the threshold is {threshold.threshold:.3f}"
    return Table(f"What the score says; {at}", [*columns, "answered", "of these right"], rows)


def performance_table(performance: dict[str, Any]) -> Table:
    """Sizes, times and memory, of what :func:`~cubefast.reporting.performance.measure_performance` gives."""

    def latency(key: str) -> str:
        return f"{performance[key]['median_ms']:.2f} ms (95%: {performance[key]['p95_ms']:.2f} ms)"

    training = performance["training"]
    rows = {
        "parameters": f"{performance['parameters']:,}",
        "size on disk": f"{performance['bytes_on_disk'] / 1e6:.2f} MB",
        "training": f"{training['seconds']:.0f} s in {training['epochs']} epochs",
    }
    if training["epochs"]:
        rows["memory of the training process"] = f"{training['peak_memory_mb']:,.0f} MB"
    rows["one question, the cube alone"] = latency("one_query_core")
    if performance["one_query_whole"]:
        rows["one question, from text to answer"] = latency("one_query_whole")
    rows[f"batches of {performance['batch']}"] = f"{performance['queries_per_second']:,.0f} questions/s"
    return Table("Sizes, times and memory", ["what", "how much"], [[*row] for row in rows.items()])


def _marked(values: Sequence[float], form: str = ".3f", lower: bool = False) -> list[str]:
    """As text, the best of them strong. What looks the same is equally good; where all looks the same, none is best."""
    texts = [f"{value:{form}}" for value in values]
    best = (min if lower else max)(map(float, texts))
    return [_strong(text, float(text) == best and len(set(texts)) > 1) for text in texts]


def _strong(text: str, is_strong: bool) -> str:
    return Strong(text) if is_strong else text
