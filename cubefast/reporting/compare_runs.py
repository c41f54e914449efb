"""Evaluated runs side by side: the same test pairs, paired intervals, and the settings in which they differ.

Runs of different encoders are compared by the ranks of the right answers, of the same questions among the same answers.
Their cosines are of different spaces, and are left out.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter

from ..data.embeddings.precomputed import is_precomputed
from ..data.encoding.display_names import short_name
from ..errors import ArtifactError, InputError
from ..evaluation.baselines import CUBE, IDENTITY
from ..evaluation.headline import title_in_words
from ..evaluation.paired_bootstrap import FEWEST_GROUPS, RESAMPLES, Verdict
from ..utils.files import open_regular, read_json, why
from ..utils.templates import capital, render
from .figures import SUMMARY, Dot, alt_text, draw_dots
from .tables import MODEL_WORDS, Line, Table, outcome_in_words, score_table

_OF_THE_VECTORS = ("data.centre", "data.normalize")  # they change what a cosine is taken of
_NO_EFFECT = frozenset({"name", "runs", "cache", "cache_limit_mb", "tensorboard"})  # on what is learnt

_REPORT = TypeAdapter(dict[str, Any])
_LARGEST = 2**31  # bytes of per_query.npz, unpacked


@dataclass(frozen=True)
class EvaluatedRun:
    """The files of an evaluation of a run.

    Attributes:
        name: the folder, as it was given.
        fingerprint: of the encoder, as in report.json.
        config: of the run, as in report.json.
        arrays: the arrays of per_query.npz by name.
    """

    name: str
    fingerprint: str
    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def read(cls, path: str | Path) -> EvaluatedRun:
        """Read a run's folder, or RUN/evaluations/NAME. Raises ArtifactError where it has not been evaluated."""
        folder = Path(path)
        unread = f"the evaluation in {folder} cannot be read"
        try:
            if not folder.is_dir():
                raise ArtifactError(f"no run at {folder}")
            with open_regular(folder / "per_query.npz") as stream:
                report = read_json(folder / "report.json", _REPORT)
                if "verdict" not in report:
                    raise FileNotFoundError
                known = _Report.model_validate(report)
                arrays = _arrays(stream)
        except FileNotFoundError:
            raise ArtifactError(
                f"{folder} has not been evaluated; do `python -m cubefast.evaluate {folder}` first"
            ) from None
        except ArtifactError:
            raise
        except (OSError, ValueError, KeyError, MemoryError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ArtifactError(f"{unread}: {why(error)}") from None
        return cls(str(path), known.run.fingerprint, known.config, arrays)

    @property
    def encoder(self) -> str:
        """The encoder's name in its config; of ready embeddings, their fingerprint."""
        known = self.fingerprint
        return known if is_precomputed(known) else str(self.config.get("encoder") or known)

    @property
    def vectors(self) -> tuple[str, ...]:
        """What two runs have in common whose cosines can be compared."""
        settings = dict(_flat(self.config))
        return (self.fingerprint, *(str(settings.get(key)) for key in _OF_THE_VECTORS))

    @property
    def tests(self) -> list[str]:
        """The titles of its tests."""
        return [str(title) for title in self.arrays["tests"]]

    def model(self, test: int, kind: str) -> int:
        """The place of the first model of this kind."""
        place: int = self.arrays[f"{test}/kinds"].tolist().index(kind)
        return place

    def pool(self, test: int) -> int:
        """The number of answers that its ranks are among."""
        return int(self.arrays[f"{test}/pool"])

    def values(self, test: int, metric: str, model: int = 0) -> NDArray[np.float64]:
        """float64 [n]: of each query, the model's cosine, 1 / rank (mrr) or whether it is right (recall_at_1)."""
        name = "cosine" if metric == "cosine" else "rank"
        found: NDArray[np.float64] = self.arrays[f"{test}/{name}"][model].astype(np.float64)
        if metric == "mrr":
            found = 1 / found
        elif metric == "recall_at_1":
            found = (found == 1).astype(np.float64)
        return found


class _Run(BaseModel):
    fingerprint: str


class _Report(BaseModel):
    """The part of report.json that is read here."""

    run: _Run
    config: dict[str, Any]


def _arrays(stream: BinaryIO) -> dict[str, NDArray[Any]]:
    """The arrays of per_query.npz that are read here; see :func:`~cubefast.reporting.task_results.per_query`.

    Raises ValueError or KeyError for arrays that are not there, or not of the types and sizes that belong together.
    """
    with zipfile.ZipFile(stream) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _LARGEST:
        raise ValueError(f"its arrays have {size:,} bytes; {_LARGEST:,} are the most")
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as file:
        arrays: dict[str, NDArray[Any]] = {}

        def take(name: str, kinds: str, *shape: int | None) -> tuple[int, ...]:
            array = arrays[name] = file[name]
            fits = array.ndim == len(shape) and all(b in (a, None) for a, b in zip(array.shape, shape, strict=True))
            if not fits or array.dtype.kind not in kinds:
                raise ValueError(f"{name} is an array {list(array.shape)} of {array.dtype}")
            return tuple(array.shape)

        for test in range(take("tests", "U", None)[0]):
            (models,) = take(f"{test}/models", "U", None)
            (queries,) = take(f"{test}/key", "U", None)
            take(f"{test}/parameters", "iu", models)
            take(f"{test}/rank", "iu", models, queries)
            take(f"{test}/cosine", "f", models, queries)
            take(f"{test}/groups", "iu", queries)
            take(f"{test}/pool", "iu")
            take(f"{test}/kinds", "U", models)
            kinds = arrays[f"{test}/kinds"].tolist()
            if not queries or IDENTITY not in kinds:
                raise ValueError(f"test {test} has {queries} queries, and the models {', '.join(kinds)[:200]}")
            if arrays[f"{test}/rank"].min() < 1 or not np.isfinite(arrays[f"{test}/cosine"]).all():
                raise ValueError(f"test {test} has ranks below 1, or cosines that are NaN or Inf")
    if not len(arrays["tests"]):
        raise ValueError("it has no tests")
    return arrays


@dataclass(frozen=True)
class RunComparison:
    """Evaluated runs side by side.

    Attributes:
        runs: their folders, as they were given.
        headline: what came of it, in a sentence.
        metric: what the picture shows: recall_at_1 or cosine.
        panels: of the picture: by test, identity and every run.
        scores: of every run, with the difference of each to the first.
        settings: those that differ.
        encoders: sentences on what the runs were trained on, and what can therefore be compared.
    """

    runs: list[str]
    headline: str
    metric: str
    panels: dict[str, list[Dot]]
    scores: Table
    settings: Table
    encoders: str = ""


def compare_runs(paths: Sequence[str]) -> RunComparison:
    """Each run against the first.

    Raises:
        InputError: fewer than two runs, or runs that were not tested on the same pairs among as many answers.
        ArtifactError: a run that has not been evaluated.
    """
    if len(paths) < 2:
        raise InputError(f"a comparison needs two runs or more; got {len(paths)}")
    first, *others = runs = [EvaluatedRun.read(path) for path in paths]
    for other in others:
        _check_same(first, other)
    names = [f"{number}. {run.name}" for number, run in enumerate(runs, start=1)]
    encoders = _encoders_in_words([run.encoder for run in runs])
    if len(set(encoders)) > 1:
        names = [f"{name} ({encoder})" for name, encoder in zip(names, encoders, strict=True)]
    same_vectors = len({run.vectors for run in runs}) == 1
    of_answers = first.config.get("mode") != "autoencoder" or not same_vectors
    metric, shown = ("mrr", "recall_at_1") if of_answers else ("cosine", "cosine")
    metrics = ("recall_at_1", "mrr", "cosine") if same_vectors else ("recall_at_1", "mrr")
    # One line for each encoder alone: that of the first run with its vectors.
    alone = {run.vectors: (run, encoder) for run, encoder in reversed([*zip(runs, encoders, strict=True)])}
    sections, panels, words = {}, {}, []
    for test, title in enumerate(first.tests):
        told, groups = title_in_words(title), torch.from_numpy(first.arrays[f"{test}/groups"])
        verdicts = [None, *(verdict_between(run, first, test, metric) for run in others)]
        without = [
            (MODEL_WORDS[IDENTITY] if same_vectors else f"{encoder} alone", run, run.model(test, IDENTITY), None)
            for run, encoder in reversed(alone.values())
        ]
        models = [*without, *((n, run, 0, v) for n, run, v in zip(names, runs, verdicts, strict=True))]
        lines = [_line(name, run, test, model, verdict, metrics) for name, run, model, verdict in models]
        heading = f"{capital(told)}: {len(groups):,} queries, ranked among {first.pool(test):,} answers"
        sections[heading] = lines
        panels[told] = [
            Dot.of(name, CUBE if model == 0 else IDENTITY, torch.from_numpy(run.values(test, shown, model)), groups)
            for name, run, model, _ in models
        ]
        words.append(f"{told}: {', '.join(_told(line, shown) for line in lines[len(without) :])}")
    return RunComparison(
        runs=[run.name for run in runs],
        headline=f"{'Right first answer' if of_answers else 'Mean cosine'}, {'; '.join(words)}.",
        metric=shown,
        panels=panels,
        scores=score_table("Runs on the same questions", "run", "run - run 1", sections, metric),
        settings=_settings(runs, names, encoders),
        encoders=_what_is_comparable(encoders, same_vectors),
    )


def _what_is_comparable(encoders: Sequence[str], same_vectors: bool) -> str:
    if same_vectors:
        return f"All runs are on embeddings by {encoders[0]}."
    what = "The encoders differ" if len(set(encoders)) > 1 else "The embeddings differ"
    return (
        f"{what}, so the runs are compared by the ranks of the right answers, of the same questions among the same "
        "answers. Their cosines cannot be compared."
    )


def _line(name: str, run: EvaluatedRun, test: int, model: int, verdict: Verdict | None, metrics: Sequence[str]) -> Line:
    values = {metric: float(run.values(test, metric, model).mean()) for metric in metrics}
    return Line(name, values, int(run.arrays[f"{test}/parameters"][model]), verdict)


def _told(line: Line, metric: str) -> str:
    """How a run did in one test, such as "41% with 2. runs/b (worse)"."""
    value = f"{line.values[metric]:.0%}" if metric == "recall_at_1" else f"{line.values[metric]:.3f}"
    return f"{value} with {line.name}{'' if line.verdict is None else f' ({outcome_in_words(line.verdict)})'}"


def render_comparison(comparison: RunComparison, form: str, columns: int | None = None) -> str:
    """A comparison as md, html or txt; HTML has the picture too.

    Args:
        comparison: of :func:`compare_runs`.
        form: md, html or txt.
        columns: of the window that txt is shown in; None: a table's lines are as long as they come.
    """
    pictures = {SUMMARY: draw_dots(comparison.panels, comparison.metric)} if form == "html" else {}
    return render(
        "reporting/templates/compare.jinja",
        form,
        comparison=comparison,
        pictures=pictures,
        summary=(SUMMARY, alt_text(comparison.panels)),
        resamples=RESAMPLES,
        fewest_groups=FEWEST_GROUPS,
        columns=columns,
    )


def _check_same(first: EvaluatedRun, other: EvaluatedRun) -> None:
    """Raise InputError unless the two were tested on the same pairs, among as many answers."""
    beginning = f"{first.name} and {other.name} cannot be compared: "
    if first.tests != other.tests:
        raise InputError(f"{beginning}the tests are {', '.join(first.tests)} and {', '.join(other.tests)}")
    for test, title in enumerate(first.tests):
        a, b = (each.arrays[f"{test}/key"] for each in (first, other))
        if not np.array_equal(a, b):
            only = [len(np.setdiff1d(*pair)) for pair in ((a, b), (b, a))]
            raise InputError(
                f"{beginning}the test {title} has {only[0]} pairs in {first.name} that {other.name} does not have, and "
                f"{only[1]} the other way round, of {len(a)} and {len(b)}. Evaluate both on one file: data=FILE"
            )
        pools = [each.pool(test) for each in (first, other)]
        if pools[0] != pools[1]:
            raise InputError(
                f"{beginning}in the test {title} the right answer is ranked among {pools[0]:,} in the one and among "
                f"{pools[1]:,} in the other. Train both on the same data"
            )


def verdict_between(run: EvaluatedRun, first: EvaluatedRun, test: int, metric: str) -> Verdict:
    """The core of one run against that of another on the same test, by cosine or mrr."""
    groups = torch.from_numpy(first.arrays[f"{test}/groups"])
    ours, theirs = (torch.from_numpy(each.values(test, metric)) for each in (run, first))
    return Verdict.of(f"{CUBE} of {run.name}", first.name, metric, ours, theirs, groups)


def _settings(runs: Sequence[EvaluatedRun], names: Sequence[str], encoders: Sequence[str]) -> Table:
    flat = [dict(_flat(run.config)) for run in runs]
    known = dict.fromkeys(key for each in flat for key in each)
    keys = [key for key in known if key not in _NO_EFFECT and any(each.get(key) != flat[0].get(key) for each in flat)]
    rows: list[list[str]] = [[key, *(json.dumps(each.get(key)) for each in flat)] for key in keys]
    if "encoder" in keys:
        rows[keys.index("encoder")] = ["encoder", *encoders]
    return Table("Of the runs' configs", ["key", *names], rows)


def _encoders_in_words(encoders: Sequence[str]) -> list[str]:
    """The short names of encoders, or their whole ones where different encoders would be called the same."""
    short = {each: short_name(each) for each in encoders}
    return [short[each] if len(set(short.values())) == len(short) else each for each in encoders]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
