"""The tables of a report: rows of cells, from the figures of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..evaluation.baselines import CUBE
from ..templates import Strong
from ..training.progress import METRIC_NAMES
from .analysis import Analysis
from .results import VERDICT_METRICS, TestResult

_COLUMNS = (
    # name, key of ModelResult.as_dict(), format, whether lower is better
    ("R@1", "recall_at_1", ".3f", False),
    ("R@5", "recall_at_5", ".3f", False),
    ("R@10", "recall_at_10", ".3f", False),
    ("MRR", "mrr", ".3f", False),
    ("median rank", "median_rank", "g", True),
    ("relevance", "semantic_relevance", ".3f", False),
    ("cosine", "cosine", ".3f", False),
    ("centred", "centred_cosine", ".3f", False),
    ("1000 MSE", "mse", ".2f", True),
)
_TURN_METRICS = {"context_preservation": "keeps to the context", "dialogue_coherence": "answers hang together"}


@dataclass(frozen=True)
class Table:
    """Rows of cells below a caption; the first ``words`` columns are words, the others numbers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


def summary_table(tests: Sequence[TestResult]) -> Table:
    """R@1 and MRR of every model on each of the tests, which have the same models."""
    values: list[list[float]] = [[], *([] for _ in tests[0].measured[1:])]
    for test in tests:
        for row, each in zip(values, test.measured, strict=True):
            row += [round(each.metrics.recall_at_1, 3), round(each.metrics.mrr, 3)]
    best = [max(column) for column in zip(*values, strict=True)]
    rows = [
        [
            Strong(CUBE) if model.kind == CUBE else model.model,
            *(Strong(f"{x:.3f}") if x == most else f"{x:.3f}" for x, most in zip(row, best, strict=True)),
        ]
        for model, row in zip(tests[0].measured, values, strict=True)
    ]
    columns = [f"{metric}, {test.title}" for test in tests for metric in ("R@1", "MRR")]
    return Table("How often the right answer is first (R@1), and the mean of 1 / rank (MRR)", ["model", *columns], rows)


def tables_of(test: TestResult) -> list[Table]:
    """The scores of one test, the differences to each baseline, and what is no mean over queries."""
    return [_scores(test), _differences(test), _structure(test)]


def _scores(test: TestResult) -> Table:
    metrics = test.cube.metrics
    rows = [each.as_dict() | {"mse": 1000 * each.metrics.mse} for each in test.measured]
    # Compared as they are shown: what looks the same is equally good.
    best = {key: (min if low else max)(float(f"{row[key]:{form}}") for row in rows) for _, key, form, low in _COLUMNS}
    cells: list[list[str]] = []
    for row in rows:
        line = [
            Strong(CUBE) if row["kind"] == CUBE else row["model"],
            f"{row['parameters']:,}",
            str(row["tried"]),
        ]
        for _, key, form, _ in _COLUMNS:
            shown = f"{row[key]:{form}}"
            line.append(Strong(shown) if float(shown) == best[key] else shown)
        cells.append(line)
    counts = f"{metrics.queries:,} queries in {test.groups:,} groups, ranked among all {metrics.pool:,} answers"
    return Table(f"{test.title}: {counts}", ["model", "parameters", "tried", *(name for name, *_ in _COLUMNS)], cells)


def _differences(test: TestResult) -> Table:
    rows = []
    for other in test.measured[1:]:
        line = [other.model]
        for metric in VERDICT_METRICS:
            verdict = test.verdict(metric, other.model)
            line += [f"{verdict.difference:+.4f}", f"{verdict.low:+.4f} to {verdict.high:+.4f}"]
            if test.enough_groups:  # of a test that has too few, the verdict says so
                line.append(Strong(verdict.outcome) if verdict.outcome == "better" else verdict.outcome)
        rows.append(line)
    outcome = ["the cube is"] if test.enough_groups else []
    columns = [column for metric in VERDICT_METRICS for column in (METRIC_NAMES[metric], "interval", *outcome)]
    caption = f"{test.title}: difference to each baseline (cube - baseline), with 95% intervals"
    return Table(caption, ["baseline", *columns], rows)


def _structure(test: TestResult) -> Table:
    there = [key for key in _TURN_METRICS if getattr(test.cube.metrics, key) is not None]
    rows = []
    for each in test.measured:
        low, high = (f"{each.as_dict()[key]:.3f}" for key in ("cosine_p5", "cosine_p95"))
        turns = [getattr(each.metrics, key) for key in there]
        rows.append(
            [
                each.model,
                f"{each.metrics.semantic_preservation:.3f}",
                f"{low} to {high}",
                *(f"{turn.predicted:.3f} (true answers {turn.true:.3f})" for turn in turns),
            ]
        )
    return Table(
        f"{test.title}: whether similarities among answers survive (Spearman), and the middle 90% of the cosines",
        ["model", "similarities survive", "cosine, 5% to 95%", *(_TURN_METRICS[key] for key in there)],
        rows,
    )


def parts_table(title: str, analysis: Analysis) -> Table:
    """The buckets of an analysis."""
    rows = []
    with_pairs = any(bucket.trained is not None for bucket in analysis.buckets)
    for bucket in analysis.buckets:
        row = [bucket.kind, bucket.name, f"{bucket.queries:,}", f"{bucket.groups:,}"]
        if with_pairs:
            row.append("" if bucket.trained is None else f"{bucket.trained:,}")
        row += [f"{value:.3f}" for value in (bucket.identity, bucket.ridge, bucket.cube)]
        row += [f"{bucket.difference:+.3f}", f"{bucket.low:+.3f} to {bucket.high:+.3f}", bucket.outcome]
        row += [f"{bucket.ridge_mrr:.3f}", f"{bucket.cube_mrr:.3f}"]
        rows.append(row)
    columns = ["by", "part", "queries", "groups", *(["trained pairs"] if with_pairs else [])]
    columns += ["identity", "ridge", "cube", "cube - ridge", "interval", "the cube is", "MRR, ridge", "MRR, cube"]
    return Table(f"{title}: cosine by parts", columns, rows, words=2)


def performance_table(performance: dict[str, Any]) -> Table:
    """Sizes, times and memory, of what :func:`~cubefast.reporting.performance.measure_performance` gives."""

    def latency(key: str) -> str:
        return f"{performance[key]['median_ms']:.2f} ms (95%: {performance[key]['p95_ms']:.2f} ms)"

    training = performance["training"]
    rows = {
        "parameters": f"{performance['parameters']:,}",
        "size of best/": f"{performance['bytes_on_disk'] / 1e6:.2f} MB",
        "training": f"{training['seconds']:.0f} s in {training['epochs']} epochs",
    }
    if training["epochs"]:
        rows["training, pairs per second"] = f"{training['pairs_per_second']:,.0f}"
        rows["training, peak memory of the process"] = f"{training['peak_memory_mb']:,.0f} MB"
    rows["one query, the core alone"] = latency("one_query_core")
    rows["one query, ridge alone"] = latency("one_query_ridge")
    if performance["one_query_whole"]:
        rows["one query, from text to text"] = latency("one_query_whole")
    rows[f"batches of {performance['batch']}, the core alone"] = f"{performance['queries_per_second']:,.0f} queries/s"
    rows["this evaluation, peak memory of the process"] = f"{performance['peak_memory_mb']:,.0f} MB"
    return Table("Sizes, times and memory", ["what", "how much"], [[*row] for row in rows.items()])
