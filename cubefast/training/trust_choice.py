"""Scores a core on validation, and chooses how far it is trusted: one curve for all regimes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..core import CubicCore, predict
from ..core.trust import Trust, evaluate_curve, repel
from ..data.pairs import PairDataset
from ..evaluation.metrics import TIE, retrieval_ranks
from ..utils.threads import torch_threads
from .distributed import Processes
from .validation import MIN_QUERIES_PER_REGIME, Validation

T = TypeVar("T")

SAMPLE = 20_000  # training questions among which prototypes are looked for

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights at which ranks are computed; between them 1 / rank is taken to be a straight line."""

ANSWER_WEIGHTS = (1.0, 0.5, 0.0)
"""The weights of the map of stored answers to compare. With 0, a core without trust is the identity."""

SHORTFALL_PENALTY = 3.0
"""What a point of MRR below the identity costs, beside the points that are gained elsewhere."""

_QUANTILES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_WIDTHS = (0.1, 0.5)  # in standard deviations of the familiarity
_ENDS = ((0.0, 1.0), (0.0, 0.75), (0.0, 0.5), (0.25, 1.0), (0.5, 1.0))
_DOUBT = 1.0  # standard errors that are taken off a difference to the identity before it counts as a shortfall
_MARGIN = 0.002  # MRR that a curve must gain on a constant: with few questions a curve fits chance
_GAIN_MARGIN = 0.001  # of the objective, that memory or a handicap must gain to be used
_STRENGTHS = (0.05, 0.1, 0.2)
_HANDICAPS = (0.02, 0.04, 0.06, 0.08, 0.12)
_CURVES_WITH_MEMORY = 2  # the best ones, that are tried with it
_QUERIES = 256  # ranked at once


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """The result of a core on validation, and the buffers of the core that were chosen there.

    Attributes:
        metrics: the metrics of :meth:`Validation.metrics`, with the trust that was chosen.
        objective: the value by which the best epoch is chosen: the metric, or for MRR and a core with trust
            :func:`penalized_mrr`.
        chosen: the chosen buffers of the core by name: the curve of its :class:`~cubefast.core.trust.Trust`, float32
            [4], and for a core with a map of answers the weight of that map.
    """

    metrics: dict[str, float]
    objective: float
    chosen: dict[str, Tensor]


@torch.no_grad()
def validate(core: CubicCore, validation: Validation, metric: str, processes: Processes) -> ValidationResult:
    """Score a core on validation, with the trust that is best there.

    Args:
        core: a trained core at full trust.
        validation: the pairs and the bank.
        metric: the validation metric that chooses the best epoch.
        processes: the processes, each of which predicts its share of the pairs.
    """
    inputs = validation.inputs
    own_inputs = processes.share(inputs)
    trust = core.trust
    if trust is None:
        predicted = processes.gather(predict(core, own_inputs), len(inputs))
        metrics = validation.metrics(predicted, core.map_answers(validation.bank))
        return ValidationResult(metrics, metrics[metric], {})
    change = processes.gather(_changes(core, own_inputs), len(inputs))
    familiarity = trust.familiarity(inputs)
    candidates = []
    for weight in ANSWER_WEIGHTS if core.answer_map is not None else ANSWER_WEIGHTS[:1]:
        bank = _mapped(core, validation.bank, weight)
        curve, objective = choose_curve(_ranks(validation, change, familiarity, bank))
        candidates.append((objective, curve, weight, bank))
    objective, curve, weight, bank = max(candidates, key=lambda each: each[0])
    metrics = validation.metrics(inputs + evaluate_curve(familiarity, curve)[:, None] * change, bank)
    chosen = {"trust.curve": curve}
    if core.answer_map is not None:
        chosen["answer_weight"] = torch.tensor(weight)
    return ValidationResult(metrics, objective if metric == "mrr" else metrics[metric], chosen)


def _mapped(core: CubicCore, bank: Tensor, weight: float) -> Tensor:
    """The bank after the core's map of answers, applied with this weight."""
    if core.answer_map is None or weight == 0:
        return bank
    before = core.answer_weight.clone()
    core.answer_weight.fill_(weight)
    mapped = core.map_answers(bank)
    core.answer_weight.copy_(before)
    return mapped


class Repulsion(NamedTuple):
    """The curves of trust and repulsion of a core with memory, float32 [4]; see :class:`~cubefast.core.trust.Trust`."""

    curve: Tensor
    strength: Tensor


@torch_threads(1)
@torch.no_grad()
def choose_repulsion(core: CubicCore, validation: Validation, answers: Tensor) -> Repulsion | None:
    """Choose the trust and the repulsion of a core that remembers ``answers`` [m, D], as its map has them: those with
    the best mean objective over the regimes. None where that does not gain enough on the core without memory.

    Where validation has no new wordings of known answers, nothing shows what these lose, and only the least strength is
    allowed.
    """
    assert core.trust is not None
    inputs, familiarity = validation.inputs, core.trust.familiarity(validation.inputs)
    change = _changes(core, inputs)
    bank = core.map_answers(validation.bank)
    regimes = _ranks(validation, change, familiarity, bank)
    parts, right, units = _regime_sizes(validation), validation.right, normalize(answers, dim=1)

    def without_memory(curve: Tensor) -> float:
        return _objective(regimes, curve)

    def objective(repulsion: Repulsion) -> float:
        outputs = normalize(inputs + evaluate_curve(familiarity, repulsion.curve)[:, None] * change, dim=1).split(
            _QUERIES
        )
        strengths = evaluate_curve(familiarity, repulsion.strength).split(_QUERIES)
        kept = torch.cat([repel(output, units, by) for output, by in zip(outputs, strengths, strict=True)])
        reciprocal = (1 / retrieval_ranks(kept, bank, right).double()).split(parts)
        return penalized_mrr(reciprocal, [regime.identity for regime in regimes])

    curves = [core.trust.curve, _constant(1.0), _constant(0.5)]
    curves += sorted(_curves(familiarity), key=without_memory, reverse=True)[:_CURVES_WITH_MEMORY]
    strengths = _STRENGTHS if len(parts) > 1 else _STRENGTHS[:1]
    candidates = [
        Repulsion(curve, each) for curve in curves for each in _strength_curves(curve, familiarity, strengths)
    ]
    best, value = _best(candidates, objective)
    return best if value > without_memory(core.trust.curve) + _GAIN_MARGIN else None


def _strength_curves(curve: Tensor, familiarity: Tensor, strengths: Sequence[float]) -> Iterator[Tensor]:
    """Curves of the strength of repulsion to compare: constant, or zero for familiar inputs, where trust rises."""
    centre, width = curve[:2].tolist()
    if curve[2] == curve[3]:
        centre, width = float(familiarity.median()), 0.5 * float(familiarity.std()) if len(familiarity) > 1 else 0.0
    for strength in strengths:
        yield _constant(strength)
        if width:
            yield torch.tensor((centre, width, strength, 0.0))


@torch_threads(1)
@torch.no_grad()
def choose_handicap(core: CubicCore, validation: Validation, trained: Tensor) -> float:
    """Choose the handicap: the number that a search subtracts from the cosines to answers that the core was trained
    on. It is that with the best mean objective over the regimes, or 0 where none gains enough. Where validation has no
    new wordings of known answers, nothing shows what these lose, and only the least handicap is allowed.

    Args:
        core: the core that is kept.
        validation: the pairs and the bank.
        trained: bool [answers], which answers of the bank were trained.
    """
    parts, right = _regime_sizes(validation), validation.right.split(_QUERIES)
    inputs = validation.inputs.split(_QUERIES)

    def ranks(outputs: Sequence[Tensor], bank: Tensor, handicap: float) -> tuple[Tensor, ...]:
        scores = (normalize(part, dim=1) @ bank.T - handicap * trained for part in outputs)
        reciprocal = torch.cat([_reciprocal_ranks(*each) for each in zip(scores, right, strict=True)])
        return torch.split(reciprocal, parts)

    identity = ranks(inputs, normalize(validation.bank, dim=1), 0.0)
    outputs, bank = [core(part) for part in inputs], normalize(core.map_answers(validation.bank), dim=1)

    def objective(handicap: float) -> float:
        return penalized_mrr(ranks(outputs, bank, handicap), identity)

    best, value = _best(_HANDICAPS if len(parts) > 1 else _HANDICAPS[:1], objective)
    return best if value > objective(0.0) + _GAIN_MARGIN else 0.0


def known_answers(train: PairDataset, count: int, seed: int) -> Tensor:
    """At most ``count`` of the distinct answers of training: float32 [m, D], of unit length."""
    target_of: dict[int, Tensor] = {}
    for _, targets, ids in train.batches(noisy=False):
        for target, number in zip(targets, ids.tolist(), strict=True):
            target_of.setdefault(number, target)
    answers = torch.stack(list(target_of.values()))
    rows = torch.randperm(len(answers), generator=torch.Generator().manual_seed(seed))[:count]
    return normalize(answers[rows.sort().values], dim=1)


def _changes(core: CubicCore, inputs: Tensor) -> Tensor:
    """The change that the core adds to each input at full trust: [n, D] -> [n, D]."""
    return torch.cat([core.change(batch) for batch in inputs.split(_QUERIES)])


def _regime_sizes(validation: Validation) -> list[int]:
    """The number of questions of each regime; if one has too few to choose by, all questions count as one regime."""
    sizes = [len(pairs) for pairs in validation.regimes.values()]
    return [sum(sizes)] if min(sizes) < MIN_QUERIES_PER_REGIME else sizes


def _ranks(validation: Validation, change: Tensor, familiarity: Tensor, bank: Tensor) -> list[RegimeRanks]:
    """The ranks of each regime at each level of trust, in a ``bank`` [answers, D] that the core may have mapped."""
    parts = _regime_sizes(validation)
    split = (part.split(parts) for part in (validation.inputs, change, familiarity, validation.right))
    plain_bank = None if bank is validation.bank else validation.bank
    return [RegimeRanks.of(x, add, known, bank, ids, plain_bank) for x, add, known, ids in zip(*split, strict=True)]


@torch_threads(1)
def fit_trust(trust: Trust, train: PairDataset, seed: int) -> None:
    """Fit the trust's prototypes to at most SAMPLE training questions, reproducibly on one thread."""
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:SAMPLE]
    trust.fit(torch.cat([train.batch(part, noisy=False)[0] for part in rows.split(1024)]), seed)


@dataclass(frozen=True, eq=False)
class RegimeRanks:
    """The ranks of the questions of one regime at each level of trust.

    Attributes:
        reciprocal: float64 [levels, n], 1 / rank of the right answer in the whole bank at each of LEVELS.
        familiarity: float32 [n].
        identity: float64 [n], 1 / rank without the core.
    """

    reciprocal: Tensor
    familiarity: Tensor
    identity: Tensor

    @classmethod
    def of(
        cls,
        inputs: Tensor,
        change: Tensor,
        familiarity: Tensor,
        bank: Tensor,
        right: Tensor,
        plain_bank: Tensor | None = None,
    ) -> RegimeRanks:
        """Rank the answers of inputs + level * change at each level of trust.

        Args:
            inputs, change: [n, D], questions and what the core adds to them.
            familiarity: [n].
            bank: [answers, D], all answers.
            right: int64 [n], the row of each question's answer.
            plain_bank: [answers, D], the answers without the core's map; None: ``bank``.
        """
        units = normalize(bank, dim=1)
        parts = []
        for rows in torch.arange(len(inputs)).split(_QUERIES):
            scores, changes = inputs[rows] @ units.T, change[rows] @ units.T
            ranks = []
            for level in LEVELS:
                length = (inputs[rows] + level * change[rows]).norm(dim=1, keepdim=True).clamp(min=1e-12)
                ranks.append(_reciprocal_ranks(torch.add(scores, changes, alpha=level), right[rows], TIE * length))
            parts.append(torch.stack(ranks))
        reciprocal = torch.cat(parts, dim=1)
        identity = reciprocal[0]
        if plain_bank is not None:
            identity = 1 / retrieval_ranks(inputs, plain_bank, right).double()
        return cls(reciprocal, familiarity, identity)

    def values(self, curve: Tensor) -> Tensor:
        """1 / rank of every question with this curve, float64 [n], by interpolation between the levels."""
        place = evaluate_curve(self.familiarity, curve).double().clamp(0, 1) * (len(LEVELS) - 1)
        below = place.floor().clamp(max=len(LEVELS) - 2).long()
        part = place - below
        low, high = self.reciprocal.gather(0, below[None])[0], self.reciprocal.gather(0, below[None] + 1)[0]
        return low + part * (high - low)


def penalized_mrr(regimes: Sequence[Tensor], identities: Sequence[Tensor]) -> float:
    """The mean over the regimes of the MRR less SHORTFALL_PENALTY times its shortfall against the identity.

    A standard error of the difference counts as shortfall: with few questions, a core that seems harmless may well not
    be.

    Args:
        regimes: for each regime, 1 / rank of its questions, float64 [n].
        identities: for each regime, 1 / rank of its questions without the core, float64 [n].
    """
    total = 0.0
    for reciprocal, identity in zip(regimes, identities, strict=True):
        gain = reciprocal - identity
        doubt = _DOUBT * float(gain.std()) / len(gain) ** 0.5 if len(gain) > 1 else 0.0
        total += float(reciprocal.mean()) - SHORTFALL_PENALTY * max(0.0, doubt - float(gain.mean()))
    return total / len(regimes)


def _objective(regimes: Sequence[RegimeRanks], curve: Tensor) -> float:
    return penalized_mrr([each.values(curve) for each in regimes], [each.identity for each in regimes])


def _reciprocal_ranks(scores: Tensor, right: Tensor, tie: float | Tensor = TIE) -> Tensor:
    """1 / rank of the right answers, float64 [n], ties against them. scores: [n, answers]; right: int64 [n]."""
    least = scores.gather(1, right[:, None]) - tie
    return 1 / (~(scores < least)).sum(dim=1).double()  # so that NaN comes last


def choose_curve(regimes: list[RegimeRanks]) -> tuple[Tensor, float]:
    """The curve with the best mean objective over the regimes, and that objective.

    Constants are tried first, then curves; a curve must be better than the best constant by a margin. Of equals the
    one that trusts more is taken.
    """

    def objective(curve: Tensor) -> float:
        return _objective(regimes, curve)

    best = _best(map(_constant, reversed(LEVELS)), objective)
    if curves := _curves(torch.cat([regime.familiarity for regime in regimes])):
        candidate = _best(curves, objective)
        if candidate[1] > best[1] + _MARGIN:
            return candidate
    return best


def _best(candidates: Iterable[T], objective: Callable[[T], float]) -> tuple[T, float]:
    """The first candidate with the highest objective, and that."""
    return max(((candidate, objective(candidate)) for candidate in candidates), key=lambda pair: pair[1])


def _constant(level: float) -> Tensor:
    return torch.tensor((0.0, 1.0, level, level))


def _curves(familiarity: Tensor) -> list[Tensor]:
    """The curves to compare that rise with the familiarity [n]; none where that is the same for all."""
    spread = float(familiarity.std()) if len(familiarity) > 1 else 0.0
    if spread == 0:
        return []
    centres = familiarity.quantile(torch.tensor(_QUANTILES)).tolist()
    shapes = itertools.product(_ENDS, centres, _WIDTHS)
    return [torch.tensor((centre, width * spread, low, high)) for (low, high), centre, width in shapes]
