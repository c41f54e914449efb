"""The table that compares a core with its baselines on held-out data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.datasets import GROUP, PARAPHRASE, TEXT
from ..data.pairs import EmbeddingPairs
from ..utils.terminal import wrapped
from .baselines import Baseline
from .conversation_metrics import PairStructure
from .embedding_metrics import EmbeddingMetrics
from .metrics import cosine, mean_reciprocal_rank, nearest, recall_at, retrieval_ranks, unique_targets

Regime = Literal["unseen_paraphrase", "unseen_group", "unseen_text", "other"]
"""What is new about the questions of a test: their wording (the answer was trained), their topic, their text (of an
autoencoder); other: the pairs of a file that the user gave."""

_REGIMES: dict[str, Regime] = {PARAPHRASE: "unseen_paraphrase", GROUP: "unseen_group", TEXT: "unseen_text"}
_COLUMNS = {"recall_at_1": "R@1", "recall_at_10": "R@10", "mrr": "MRR", "cosine": "cosine"}


def regime_of(part: str) -> Regime:
    """The regime of a part of a data set, by the part's name; "other" for any other name."""
    return _REGIMES.get(part, "other")


@dataclass(frozen=True, eq=False)
class HeldOutTest:
    """n pairs that models are scored on.

    Attributes:
        title: the part, with the noise, if any.
        pairs: inputs and targets.
        bank: [answers, D], all answers that the right one is ranked among, as an index ranks: of training and of other
            tests too. The target ids of ``pairs`` are its rows. None: the different targets of the pairs.
        part: the name of the part of the data set.
        noise: the standard deviation of the Gaussian noise on each number of the inputs; None: the inputs as they are.
        noise_trained: whether the core was trained on this noise; True without any.
        structure: the groups and conversations of the pairs.
    """

    title: str
    pairs: EmbeddingPairs
    bank: Tensor | None = None
    part: str = ""
    noise: float | None = None
    noise_trained: bool = True
    structure: PairStructure = field(default_factory=PairStructure)

    @property
    def regime(self) -> Regime:
        """What is new about its questions."""
        return regime_of(self.part)

    def answers(self) -> tuple[Tensor, Tensor]:
        """All answers that ranks are among, [answers, D], and the row of each pair's right one, int64 [n]."""
        ids = self.pairs.target_ids
        return unique_targets(self.pairs.targets, ids) if self.bank is None else (self.bank, ids)


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


def score(model: Baseline, test: HeldOutTest) -> Score:
    """Compute the mean cosine to the right answers and the retrieval metrics alone, which is quick. The answers are
    first put through the model's own map of answers, if it has one.
    """
    with torch.no_grad():
        predicted = model.predict(test.pairs.inputs)
    answers, right = test.answers()
    pool = model.stored(answers)
    ranks = retrieval_ranks(predicted, pool, right)
    return Score(
        test=test.title,
        model=model.name,
        parameters=model.parameters,
        queries=len(test.pairs),
        pool=len(pool),
        cosine=float(cosine(predicted, pool[right]).mean()),
        recall_at_1=recall_at(ranks, 1),
        recall_at_10=recall_at(ranks, 10),
        mrr=mean_reciprocal_rank(ranks),
        kind=model.kind,
        regime=test.regime,
        noise=test.noise,
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


def measure(model: Baseline, test: HeldOutTest, centre: Tensor | None = None) -> ModelResult:
    """All metrics of what a model makes of the inputs.

    A model that maps the stored answers is measured among what it makes of them; the centre is then their mean. The
    relevance of what is found is the encoder's all the same.

    Args:
        model, test: what is measured, and on what.
        centre: [D], the mean of the training targets, for the centred cosine.

    Raises InputError for predictions that are NaN, Inf or zero.
    """
    with torch.no_grad():
        predicted = model.predict(test.pairs.inputs)
    answers, right = test.answers()
    pool = model.stored(answers)
    metrics = EmbeddingMetrics.of(
        predicted,
        pool[right],
        right,
        pool=pool,
        centre=centre if model.map_answers is None else pool.mean(dim=0),
        groups=test.structure.groups,
        conversations=test.structure.conversations,
        context=test.structure.context,
    )
    if model.map_answers is not None:  # what an answer means, the encoder says
        given = nearest(predicted, pool)[1]
        metrics = replace(metrics, relevances=cosine(answers[given], answers[right]))
    return ModelResult(
        test.title, model.name, model.kind, test.regime, test.noise, model.parameters, model.tried, metrics
    )


def table(scores: Sequence[Score], width: int | None = None) -> str:
    """The scores as text, a :func:`table_of_test` for each test, in their order; ``width`` as there."""
    tests: dict[str, dict[str, Score]] = {}
    for each in scores:
        tests.setdefault(each.test, {})[each.model] = each
    blocks = []
    for test, models in tests.items():
        first = next(iter(models.values()))
        title = f"{test} ({first.queries:,} queries, ranked among all {first.pool:,} answers)"
        blocks.append(table_of_test(title, {name: each.as_dict() for name, each in models.items()}, width))
    return "\n".join(blocks)


def table_of_test(title: str, models: Mapping[str, Mapping[str, Any]], width: int | None = None) -> str:
    """A table as text, with an empty line before it; the best of each column is marked with a star.

    Args:
        title: its first line.
        models: by the name of each, its ``parameters`` and the metrics of a :class:`Score`, of which it may lack some.
        width: the characters of a line of the terminal; longer names are wrapped. None: every model has one line.
    """
    shown = {key: name for key, name in _COLUMNS.items() if all(key in each for each in models.values())}
    name_width = max(28, *(len(name) + 2 for name in models))
    if width is not None:
        name_width = max(20, min(name_width, width - 2 - 11 - 9 * len(shown)))
    lines = [f"\n{title}", f"  {'':<{name_width}}{'parameters':>11}" + "".join(f"{name:>9}" for name in shown.values())]
    best = {key: max(round(each[key], 3) for each in models.values()) for key in shown}
    for model, figures in models.items():
        cells = "".join(f"{figures[key]:>8.3f}{'*' if round(figures[key], 3) == best[key] else ' '}" for key in shown)
        name, *more = wrapped(model, name_width - 1).split("\n")
        lines.append(f"  {name:<{name_width}}{figures['parameters']:>11,}{cells}".rstrip())
        lines += [f"    {rest}" for rest in more]
    return "\n".join(lines)


def noisy(clean: Tensor, noise: float, seed: int) -> Tensor:
    """``clean`` with Gaussian noise of that standard deviation per number."""
    generator = torch.Generator().manual_seed(seed)
    return clean + noise * torch.randn(clean.shape, generator=generator)
