"""The report of an evaluation: the one document that becomes report.md and report.html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data.config import BUILTIN
from ..evaluation.baselines import CUBE
from ..evaluation.report import ModelResult
from ..evaluation.verdict import FEWEST_GROUPS, RESAMPLES
from ..training.progress import METRIC_NAMES
from .analysis import Analysis, Bucket
from .cases import Case
from .document import Block, Bullets, Card, Cards, Code, Document, Figure, Heading, Paragraph, Strong, Table, Text
from .evaluation import Evaluation
from .figures import captions, file_of
from .limits import reliability_curve
from .results import VERDICT_METRICS, TestResult

_COLUMNS = (
    # name, key of ModelResult.as_dict(), format, whether less is better
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
_NOTEWORTHY = 0.1  # a correlation below it is not spoken of
_MOST_NAMED = 5  # parts that are named in a sentence
_LONGEST = 500  # characters of a text in a case

_MEANING = (
    "R@k: the share of queries whose right answer is among the first k of all answers. MRR: mean of 1 / rank. "
    "relevance: cosine of the answer found and the right one. cosine: of the output and the right answer, mean over "
    "queries. centred: the same with the mean training answer taken off, on which the mean answer scores 0. Bold: best "
    "of its column. tried: settings compared on validation. All are fitted on the training part alone."
)


def compose(evaluation: Evaluation, curves: bool) -> Document:
    """The report; ``curves``: whether the run has a curves.png to be shown."""
    figures = _figures(evaluation)
    blocks: list[Block] = [*_opening(evaluation), Heading("The table")]
    for test in evaluation.tests:
        blocks += _tables(test)
    blocks += [Paragraph(_MEANING, remark=True), *figures["similarity"], *figures["ranks"]]
    blocks += [Heading("What it cannot do"), Bullets(evaluation.limits), *_trust(evaluation), *figures["calibration"]]
    blocks.append(Heading("Cases to read"))
    for title, (worst, median) in evaluation.cases.items():
        blocks += [Heading(f"{title}: the {len(worst)} worst by cosine to the right answer", 3), Cards(_cards(worst))]
        if median:
            blocks += [Heading(f"{title}: {len(median)} from the middle", 3), Cards(_cards(median))]
    blocks.append(Heading("Where it is better and worse than ridge"))
    for title, analysis in evaluation.analyses.items():
        blocks += _analysis(title, analysis)
    blocks += [*figures["errors"], *figures["difficulty"]]
    blocks += [Heading("What it costs"), *_performance(evaluation.performance)]
    if curves:
        blocks.append(
            Figure(
                "curves.png",
                "Training loss, norm of the gradient, and validation cosine beside baselines, over epochs.",
                "The training, as it was drawn at its end.",
            )
        )
    blocks += [Heading("What to try next"), *_advice(evaluation)]
    return Document(evaluation.verdict, blocks)


def _figures(evaluation: Evaluation) -> dict[str, list[Figure]]:
    """Of each kind, one per regime."""
    figures: dict[str, list[Figure]] = {}
    for test in evaluation.analysed_tests:
        title = None if test is evaluation.main_test else test.title
        for kind, alt, caption in captions(test, evaluation.analyses[test.title]):
            figures.setdefault(kind, []).append(Figure(file_of(kind, title), alt, caption))
    return figures


def _opening(evaluation: Evaluation) -> list[Block]:
    run_data, head = evaluation.run_data, evaluation.main_test
    config, result = run_data.config, evaluation.results[0]
    data = "the built-in set" if config.data.path == BUILTIN else config.data.path
    x, y, z = run_data.core.reshaper.shape
    parts = result.task.parts
    chosen = [
        f"{head.strongest[metric]} by {METRIC_NAMES[metric]} "
        f"({result.validation[head.strongest[metric]][metric]:.3f}, the cube {result.validation[CUBE][metric]:.3f})"
        for metric in VERDICT_METRICS
    ]
    tested = (
        f"the run's own held-out tests of {data}"
        if run_data.source is None
        else f"all {head.cube.metrics.queries:,} pairs of {run_data.source}; all models learnt from {data} alone"
    )
    sentences = [f"{str(each)[0].upper()}{str(each)[1:]}." for each in evaluation.verdicts if each.enough_groups]
    blocks: list[Block] = [
        *([Paragraph(Strong(evaluation.headline))] if evaluation.headline else []),
        *([Bullets(sentences)] if sentences else []),
        Paragraph(
            (
                "Evaluation of ",
                Code(str(run_data.run.path)),
                f", mode {config.mode}, seed {config.seed}: a lattice of {x}x{y}x{z} cells, "
                f"{run_data.core.parameter_count():,} parameters, trained on {len(parts.train):,} pairs. "
                f"Tested on {tested}.",
            )
        ),
        Paragraph(
            "The baseline of the verdicts was chosen on validation, not on the test: of "
            f"{len(result.validation) - 1}, the strongest there was {' and '.join(chosen)}; MRR is the mean over the "
            "regimes. Intervals are paired, by "
            f"{RESAMPLES:,} resamples of whole groups; one that leaves 0 out is called better or worse, if there are "
            f"{FEWEST_GROUPS} groups or more. Many are given below, and of twenty where there is no difference one "
            "leaves 0 out by chance.",
            remark=True,
        ),
    ]
    return blocks + [Paragraph(note) for note in run_data.notes]


def _tables(test: TestResult) -> list[Block]:
    metrics = test.cube.metrics
    rows = [each.as_dict() | {"mse": 1000 * each.metrics.mse} for each in test.measured]
    best = {key: (min if less else max)(format_(row[key], how) for row in rows) for _, key, how, less in _COLUMNS}
    cells: list[list[Text]] = []
    for row in rows:
        line: list[Text] = [
            Strong(CUBE) if row["model"] == CUBE else row["model"],
            f"{row['parameters']:,}",
            str(row["tried"]),
        ]
        for _, key, how, _ in _COLUMNS:
            shown = f"{row[key]:{how}}"
            line.append(Strong(shown) if format_(row[key], how) == best[key] else shown)
        cells.append(line)
    counts = f"{metrics.queries:,} queries in {test.groups:,} groups"
    title = f"{test.title}: {counts}, ranked among all {metrics.pool:,} answers"
    outcome = ["the cube is"] if test.enough_groups else []  # of a test that cannot, the verdict says so
    differences = [column for metric in VERDICT_METRICS for column in (METRIC_NAMES[metric], "interval", *outcome)]
    blocks: list[Block] = [
        Heading(test.title[0].upper() + test.title[1:], 3),
        Table(title, ["model", "parameters", "tried", *(name for name, *_ in _COLUMNS)], cells),
        Table(
            f"{test.title}: difference to each baseline (cube - baseline), with 95% intervals",
            ["baseline", *differences],
            [_against(test, other) for other in test.measured[1:]],
        ),
        _structure(test),
    ]
    return blocks


def format_(value: float, how: str) -> float:
    """The number as it is shown: what looks the same is equally good."""
    return float(f"{value:{how}}")


def _against(test: TestResult, other: ModelResult) -> list[Text]:
    line: list[Text] = [other.model]
    for metric in VERDICT_METRICS:
        verdict = test.verdict(metric, other.model)
        line += [f"{verdict.difference:+.4f}", f"{verdict.low:+.4f} to {verdict.high:+.4f}"]
        if test.enough_groups:
            line.append(Strong(verdict.outcome) if verdict.outcome == "better" else verdict.outcome)
    return line


def _structure(test: TestResult) -> Table:
    """What is no mean over queries."""
    spoken = {"context_preservation": "keeps to the context", "dialogue_coherence": "answers hang together"}
    there = [key for key in spoken if getattr(test.cube.metrics, key) is not None]
    rows: list[list[Text]] = []
    for each in test.measured:
        found = each.metrics
        low, high = (f"{each.as_dict()[key]:.3f}" for key in ("cosine_p5", "cosine_p95"))
        row: list[Text] = [each.model, f"{found.semantic_preservation:.3f}", f"{low} to {high}"]
        for key in there:
            turn = getattr(found, key)
            row.append(f"{turn.predicted:.3f} (true answers {turn.true:.3f})")
        rows.append(row)
    return Table(
        f"{test.title}: whether similarities among answers survive (Spearman), and the middle 90% of the cosines",
        ["model", "similarities survive", "cosine, 5% to 95%", *(spoken[key] for key in there)],
        rows,
    )


def _trust(evaluation: Evaluation) -> list[Block]:
    blocks: list[Block] = []
    for test in evaluation.analysed_tests:
        separation = reliability_curve(test).separation
        if separation is not None:
            blocks.append(
                Paragraph(
                    f"On {test.title}, a right answer scores more than a wrong one in {separation:.0%} of all pairs of "
                    "the two (50%: the score says nothing)."
                )
            )
    return blocks


def _cards(cases: Sequence[Case]) -> list[Card]:
    cards = []
    for case in cases:
        fields = []
        if case.context:
            fields.append(("said before", _cut(" / ".join(case.context))))
        if case.expected is not None and case.expected != case.question:
            fields.append(("expected", _cut(case.expected)))
        if case.retrieved is not None:
            right = "the right one" if case.rank == 1 else _cut(case.retrieved)
            fields.append((f"found ({case.score:.3f})", right))
        fields.append(
            ("cosine", f"cube {case.cosine:.3f}, ridge {case.ridge_cosine:.3f}, identity {case.identity_cosine:.3f}")
        )
        fields.append(("rank", f"cube {case.rank:,}, ridge {case.ridge_rank:,}"))
        if case.domain:
            fields.append(("domain", case.domain))
        cards.append(Card(_cut(case.question) if case.question is not None else f"query {case.query}", fields))
    return cards


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} … ({len(text):,} characters)"


def _analysis(title: str, analysis: Analysis) -> list[Block]:
    blocks: list[Block] = [Heading(title[0].upper() + title[1:], 3)]
    if not analysis.buckets:
        return [*blocks, Paragraph("Too few queries to be cut into parts.")]
    rows: list[list[Text]] = []
    with_pairs = any(bucket.trained is not None for bucket in analysis.buckets)
    for bucket in analysis.buckets:
        row: list[Text] = [bucket.kind, bucket.name, f"{bucket.queries:,}", f"{bucket.groups:,}"]
        if with_pairs:
            row.append("" if bucket.trained is None else f"{bucket.trained:,}")
        row += [f"{value:.3f}" for value in (bucket.identity, bucket.ridge, bucket.cube)]
        row += [f"{bucket.difference:+.3f}", f"{bucket.low:+.3f} to {bucket.high:+.3f}", bucket.outcome]
        row += [f"{bucket.ridge_mrr:.3f}", f"{bucket.cube_mrr:.3f}"]
        rows.append(row)
    columns = ["by", "part", "queries", "groups", *(["trained pairs"] if with_pairs else [])]
    columns += ["identity", "ridge", "cube", "cube - ridge", "interval", "the cube is", "MRR, ridge", "MRR, cube"]
    blocks.append(Paragraph(_worse_where(analysis)))
    blocks.append(Paragraph(_goes_with(analysis)))
    blocks.append(Table(f"{title}: cosine by parts", columns, rows, words=2))
    meanings = "; ".join(f"{each.name}: {each.meaning}" for each in analysis.features)
    blocks.append(Paragraph(f"Each is cut into thirds. {meanings[0].upper()}{meanings[1:]}.", remark=True))
    return blocks


def _worse_where(analysis: Analysis) -> str:
    def named(bucket: Bucket) -> str:
        return f"{bucket.kind} {bucket.name} ({bucket.difference:+.3f}, {bucket.queries} queries)"

    ordered = sorted(analysis.buckets, key=lambda bucket: bucket.difference)
    worse = [bucket for bucket in ordered if bucket.outcome == "worse"]
    if not worse:
        return f"In none of {len(ordered)} parts is it worse than ridge beyond chance. Weakest: {named(ordered[0])}."
    least = f", the least so in {named(worse[-1])}" if len(worse) > _MOST_NAMED else ""
    return (
        f"Worse than ridge in {len(worse)} of {len(ordered)} parts: "
        f"{'; '.join(named(bucket) for bucket in worse[:_MOST_NAMED])}{least}."
    )


def _goes_with(analysis: Analysis) -> str:
    found = sorted(analysis.correlations.items(), key=lambda item: -abs(item[1]))
    sides = {each.name: (each.low, each.high) for each in analysis.features}
    strong = [
        f"{sides[name][1 if value > 0 else 0]} (by {name}, Spearman {value:+.2f})"
        for name, value in found
        if abs(value) >= _NOTEWORTHY
    ]
    if not strong:
        return (
            f"The lead over ridge goes with none of {', '.join(sides)} (all Spearman correlations below "
            f"{_NOTEWORTHY:g}): they do not explain where it is lost."
        )
    return f"Query by query, the lead over ridge is larger, or the loss smaller, where queries are {'; '.join(strong)}."


def _performance(found: dict[str, Any]) -> list[Block]:
    training, machine = found["training"], found["machine"]

    def latency(times: dict[str, float]) -> str:
        return f"{times['median_ms']:.2f} ms (95%: {times['p95_ms']:.2f} ms)"

    rows: list[list[Text]] = [
        ["parameters", f"{found['parameters']:,}"],
        ["size of best/", f"{found['bytes_on_disk'] / 1e6:.2f} MB"],
        ["training", f"{training['seconds']:.0f} s in {training['epochs']} epochs"],
    ]
    if training["epochs"]:
        rows.append(["training, pairs per second", f"{training['pairs_per_second']:,.0f}"])
        rows.append(["training, peak memory of the process", f"{training['peak_memory_mb']:,.0f} MB"])
    rows.append(["one query, the core alone", latency(found["one_query_core"])])
    rows.append(["one query, ridge alone", latency(found["one_query_ridge"])])
    if found["one_query_whole"]:
        rows.append(["one query, from text to text", latency(found["one_query_whole"])])
    rows.append([f"batches of {found['batch']}, the core alone", f"{found['queries_per_second']:,.0f} queries/s"])
    rows.append(["this evaluation, peak memory of the process", f"{found['peak_memory_mb']:,.0f} MB"])
    then = training["machine"]
    trained = (
        f"trained with backend {then['backend']}, {then['threads']} threads of {then['cpus']} CPUs, "
        f"{then['platform']}. "
        if then.get("backend")
        else ""
    )
    return [
        Table("Sizes, times and memory", ["what", "how much"], rows),
        Paragraph(
            f"Times are of this machine at this moment and differ from call to call: backend {machine['backend']}, "
            f"{machine['threads']} threads of {machine['cpus']} CPUs, {machine['platform']}; {trained}"
            "Memory is all that a process held at most, data and libraries included.",
            remark=True,
        ),
    ]


def _advice(evaluation: Evaluation) -> list[Block]:
    if not evaluation.recommendations:
        return [Paragraph("None of the rules found its condition met: nothing here says what to change.")]
    return [
        Bullets([(Strong(each.advice), " ", each.because) for each in evaluation.recommendations]),
    ]
