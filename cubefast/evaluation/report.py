"""The table that every number of a run stands in: the core beside its baselines, on held-out data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.datasets import GROUP, PARAPHRASE, TEXT
from ..data.pairs import EmbeddingPairs
from ..terminal import wrapped
from .baselines import Baseline
from .embedding_metrics import EmbeddingMetrics
from .metrics import cosine, different, mean_reciprocal_rank, nearest, recall_at, retrieval_ranks
from .turns import PairStructure

Regime = Literal["unseen_paraphrase", "unseen_group", "unseen_text", "other"]
"""What is new about the questions of a test: their wording (the answer was trained), their topic, their text (of an
autoencoder); other: the pairs of a file that the user gave."""

_REGIMES: dict[str, Regime] = {PARAPHRASE: "unseen_paraphrase", GROUP: "unseen_group", TEXT: "unseen_text"}


def regime_of(part: str) -> Regime:
    """The regime of a part of a data set, by the part's name; "other" for any other name."""
    return _REGIMES.get(part, "other")


@dataclass(frozen=True)
class Score:
    """One model on one test: a line of the table.

    Attributes:
        test: the title of the test.
        model: the name of the model.
        parameters: how many numbers the model has fitted.
        queries: how many the test has.
        pool: among how many answers the right one was ranked.
        cosine, recall_at_1, recall_at_10, mrr: means over the queries.
        kind: the model's, as of a :class:`~cubefast.evaluation.baselines.Baseline`; empty: not known.
        regime: of the test.
        noise: the standard deviation of the Gaussian noise on each number of the inputs; None: the inputs as they are.
    """

    test: str
    model: str
    parameters: int
    queries: int
    pool: int
    cosine: float
    recall_at_1: float
    recall_at_10: float
    mrr: float
    kind: str = ""
    regime: Regime = "other"
    noise: float | None = None

    def as_dict(self) -> dict[str, str | int | float | None]:
        """For JSON; ``Score(**...)`` takes it back."""
        return asdict(self)


def score(
    test: str,
    model: Baseline,
    pairs: EmbeddingPairs,
    bank: Tensor | None = None,
    *,
    regime: Regime = "other",
    noise: float | None = None,
) -> Score:
    """Mean cosine to the target, and retrieval; no more, so it is quick. Both are among what the model makes of the
    stored answers.

    Args:
        test: its name.
        model: the model.
        pairs: the test.
        bank: [answers, D], all answers that the right one is ranked among, as an index ranks: of training and of other
            tests too. The target ids of ``pairs`` are its rows. None: the different targets of the test.
        regime, noise: of the test, for the line.
    """
    with torch.no_grad():
        predicted = model.predict(pairs.inputs)
    pool, right = different(pairs.targets, pairs.target_ids) if bank is None else (bank, pairs.target_ids)
    pool = model.stored(pool)
    ranks = retrieval_ranks(predicted, pool, right)
    return Score(
        test=test,
        model=model.name,
        parameters=model.parameters,
        queries=len(pairs),
        pool=len(pool),
        cosine=float(cosine(predicted, pool[right]).mean()),
        recall_at_1=recall_at(ranks, 1),
        recall_at_10=recall_at(ranks, 10),
        mrr=mean_reciprocal_rank(ranks),
        kind=model.kind,
        regime=regime,
        noise=noise,
    )


@dataclass(frozen=True, eq=False)
class ModelResult:
    """One model on one test, with all metrics and the values of every query.

    Attributes:
        test, model: the title of the test and the name of the model.
        kind: of the model, as of a :class:`~cubefast.evaluation.baselines.Baseline`.
        regime, noise: of the test, as of a :class:`Score`.
        parameters: how many numbers the model has fitted.
        tried: how many settings of it were compared on validation.
        metrics: what it came to.
    """

    test: str
    model: str
    kind: str
    regime: Regime
    noise: float | None
    parameters: int
    tried: int
    metrics: EmbeddingMetrics

    @property
    def score(self) -> Score:
        """Its line of the table."""
        names = [each.name for each in fields(Score)]
        return Score(**{name: getattr(self if hasattr(self, name) else self.metrics, name) for name in names})

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all but the values of single queries."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "metrics"}
        return {**own, **self.metrics.as_dict()}


def measure(
    test: str,
    model: Baseline,
    pairs: EmbeddingPairs,
    bank: Tensor | None = None,
    *,
    centre: Tensor | None = None,
    structure: PairStructure | None = None,
    regime: Regime = "other",
    noise: float | None = None,
) -> ModelResult:
    """All metrics of what a model makes of the inputs.

    Args:
        test: its name.
        model: the model.
        pairs: the test.
        bank: [answers, D], as of :func:`score`.
        centre: [D], the mean of the training targets, for the centred cosine.
        structure: the groups and conversations of the pairs; None: each answer is a group, and there are none.
        regime, noise: of the test, for the line.

    A model that maps the stored answers is measured among what it makes of them; the centre is then their mean. The
    relevance of what is found is the encoder's all the same.

    Raises InputError for predictions that are NaN, Inf or zero.
    """
    structure = structure or PairStructure()
    with torch.no_grad():
        predicted = model.predict(pairs.inputs)
    pool, targets = bank, pairs.targets
    if model.map_answers is not None:
        pool, targets = None if bank is None else model.stored(bank), model.stored(targets)
        centre = (targets if pool is None else pool).mean(dim=0)
    metrics = EmbeddingMetrics.of(
        predicted,
        targets,
        pairs.target_ids,
        pool=pool,
        centre=centre,
        groups=structure.groups,
        conversations=structure.conversations,
        context=structure.context,
    )
    if model.map_answers is not None:  # what an answer means, the encoder says
        answers = bank if bank is not None else different(pairs.targets, pairs.target_ids)[0]
        given = nearest(predicted, model.stored(answers))[1]
        metrics = replace(metrics, relevances=cosine(answers[given], pairs.targets))
    return ModelResult(test, model.name, model.kind, regime, noise, model.parameters, model.tried, metrics)


def table(scores: Sequence[Score], columns: int | None = None) -> str:
    """The scores as text, one block per test in their order, the best of each column marked with a star.

    Args:
        scores: of any number of tests.
        columns: of the window, in which a long name takes several lines; None: each score has one line.
    """
    figures: list[tuple[str, Callable[[Score], float]]] = [
        ("R@1", lambda s: s.recall_at_1),
        ("R@10", lambda s: s.recall_at_10),
        ("MRR", lambda s: s.mrr),
        ("cosine", lambda s: s.cosine),
    ]
    width = max([28, *(len(each.model) + 2 for each in scores)])
    if columns is not None:
        width = max(20, min(width, columns - 2 - 11 - 9 * len(figures)))
    lines = []
    for test in dict.fromkeys(each.test for each in scores):
        block = [each for each in scores if each.test == test]
        title = f"{test} ({block[0].queries:,} queries, ranked among all {block[0].pool:,} answers)"
        lines.append(f"\n{title}")
        lines.append(f"  {'':<{width}}{'parameters':>11}" + "".join(f"{name:>9}" for name, _ in figures))
        best = [max(round(value(each), 3) for each in block) for _, value in figures]
        for each in block:
            cells = "".join(
                f"{value(each):>8.3f}{'*' if round(value(each), 3) == top else ' '}"
                for (_, value), top in zip(figures, best, strict=True)
            )
            name, *more = wrapped(each.model, width - 1).split("\n")
            lines.append(f"  {name:<{width}}{each.parameters:>11,}{cells}".rstrip())
            lines += [f"    {rest}" for rest in more]
    return "\n".join(lines)


def noisy(clean: Tensor, noise: float, seed: int) -> Tensor:
    """``clean`` with Gaussian noise of that standard deviation per number."""
    generator = torch.Generator().manual_seed(seed)
    return clean + noise * torch.randn(clean.shape, generator=generator)
