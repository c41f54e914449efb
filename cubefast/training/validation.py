"""The validation set of all regimes, and the metrics of a model on it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.datasets import Parts
from ..data.pairs import EmbeddingPairs
from ..errors import InputError
from ..evaluation.baseline_comparison import VALIDATION_SEED
from ..evaluation.baselines import Baseline
from ..evaluation.headline import headline
from ..evaluation.metrics import cosine, mean_reciprocal_rank, recall_at, retrieval_ranks, unique_targets
from ..evaluation.paired_bootstrap import Verdict
from ..evaluation.score_table import Score

RETRIEVAL_SAMPLE = 4096
"""The most pairs of a regime whose ranks are computed."""

MIN_QUERIES_PER_REGIME = 10
"""The fewest queries with which every regime has equal weight; with fewer, every query has equal weight."""


def validation_metrics(predicted: Tensor, right: Tensor, bank: Tensor) -> dict[str, float]:
    """The metrics that ``training.metric`` can name, of one set of pairs.

    cosine is the mean over all pairs; recall_at_1 and mrr are over at most RETRIEVAL_SAMPLE of them, evenly taken.

    Args:
        predicted: [n, D], what a model makes of the n inputs.
        right: int64 [n], the row of the bank that is wanted.
        bank: [answers, D], all answers that the right one is looked for among.
    """
    places = torch.arange(0, len(right), -(-len(right) // RETRIEVAL_SAMPLE))
    ranks = retrieval_ranks(predicted[places], bank, right[places])
    return {
        "cosine": float(cosine(predicted, bank[right]).mean()),
        "recall_at_1": recall_at(ranks, 1),
        "mrr": mean_reciprocal_rank(ranks),
    }


@dataclass(frozen=True, eq=False)
class Validation:
    """The validation pairs of all regimes, ranked among the whole bank; every choice is made on them.

    Attributes:
        regimes: pairs by the regime's name, whose target ids are rows of the bank.
        bank: [answers, D], all answers, those of training and test too; of any length.
    """

    regimes: dict[str, EmbeddingPairs]
    bank: Tensor

    @classmethod
    def of(cls, validation: Mapping[str, EmbeddingPairs], bank: Tensor, rows: Tensor | None = None) -> Validation:
        """A validation set of these regimes, without those that have no pairs.

        Args:
            validation: pairs by the regime's name.
            bank: [answers, D].
            rows: int64 [n], the row of the bank for each pair, regime after regime; None: its target id.

        Raises InputError for no pairs, or target ids that are no rows of the bank.
        """
        if rows is not None:
            places = rows.split([len(pairs) for pairs in validation.values()])
            validation = {
                name: replace(pairs, target_ids=place)
                for (name, pairs), place in zip(validation.items(), places, strict=True)
            }
        regimes = {name: pairs for name, pairs in validation.items() if len(pairs)}
        if not regimes:
            raise InputError("validation needs a regime that has pairs; got none")
        for name, pairs in regimes.items():
            low, high = int(pairs.target_ids.min()), int(pairs.target_ids.max())
            if low < 0 or high >= len(bank):
                raise InputError(
                    f"target_ids of {name} are from {low} to {high}; they must be rows of the bank, which has "
                    f"{len(bank)}"
                )
        return cls(regimes, bank)

    @classmethod
    def of_parts(cls, parts: Parts) -> Validation:
        """The validation set of a data set, whose bank is all answers; for an autoencoder, the distinct targets."""
        regimes = {name: part.pairs(noisy=True, seed=VALIDATION_SEED) for name, part in parts.validations.items()}
        if parts.bank is not None:
            return cls.of(regimes, torch.from_numpy(parts.bank))
        targets = torch.cat([pairs.targets for pairs in regimes.values()])
        ids = torch.cat([pairs.target_ids for pairs in regimes.values()])
        return cls.of(regimes, *unique_targets(targets, ids))

    def __len__(self) -> int:
        return sum(len(pairs) for pairs in self.regimes.values())

    @property
    def inputs(self) -> Tensor:
        """The inputs of all regimes, one regime after the other: [n, D]."""
        return torch.cat([pairs.inputs for pairs in self.regimes.values()])

    @property
    def right(self) -> Tensor:
        """The row of the bank that answers each of :attr:`inputs`: int64 [n]."""
        return torch.cat([pairs.target_ids for pairs in self.regimes.values()])

    def metrics(self, predicted: Tensor, bank: Tensor | None = None) -> dict[str, float]:
        """The metrics that ``training.metric`` can name, over all regimes, and those of each.

        cosine is the mean over all pairs. recall_at_1 and mrr are the mean over the regimes, so that a large one does
        not drown a small one; where one has fewer than MIN_QUERIES_PER_REGIME, the mean over all queries instead, so
        that a few do not decide. Of each regime there is recall_at_1 and mrr, such as ``mrr_unseen_group``.

        Args:
            predicted: [n, D], what a model makes of :attr:`inputs`.
            bank: [answers, D], what it makes of :attr:`bank`; None: nothing.
        """
        bank = self.bank if bank is None else bank
        sizes = [len(pairs) for pairs in self.regimes.values()]
        by_regime = {
            name: validation_metrics(part, pairs.target_ids, bank)
            for (name, pairs), part in zip(self.regimes.items(), predicted.split(sizes), strict=True)
        }
        weights = sizes if min(sizes) < MIN_QUERIES_PER_REGIME else [1] * len(sizes)

        def mean(metric: str, weights: Sequence[int]) -> float:
            values = [each[metric] for each in by_regime.values()]
            return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)

        metrics = {"cosine": mean("cosine", sizes)}
        metrics |= {metric: mean(metric, weights) for metric in ("recall_at_1", "mrr")}
        for name, each in by_regime.items():
            metrics |= {f"{metric}_{name.replace(' ', '_')}": each[metric] for metric in ("recall_at_1", "mrr")}
        return metrics


def validate_models(models: Sequence[Baseline], validation: Validation) -> dict[str, dict[str, float]]:
    """Compute the metrics of each model on the validation set, by the model's name; see :meth:`Validation.metrics`."""
    inputs = validation.inputs
    with torch.no_grad():
        return {
            model.name: validation.metrics(model.predict(inputs), model.stored(validation.bank)) for model in models
        }


def validated_headline(
    cube: Baseline,
    baselines: Sequence[Baseline],
    validation: Validation,
    validated: Mapping[str, Mapping[str, float]],
    scores: Sequence[Score],
) -> str:
    """The :func:`~cubefast.evaluation.headline.headline` of a core, whose advice rests on the validation set.

    Args:
        cube, baselines: the core and the models beside it.
        validation: the validation set.
        validated: what :func:`validate_models` gave for all of them.
        scores: of all of them on the tests.
    """
    against = functools.partial(compare_on_validation, cube, validation=validation)
    return headline([cube, *baselines], validated, scores, against)


@torch.no_grad()
def compare_on_validation(model: Baseline, other: Baseline, validation: Validation) -> Verdict:
    """The verdict on ``model`` against ``other`` by MRR, on at most RETRIEVAL_SAMPLE of the questions of validation,
    evenly taken. Questions with one answer are a group.
    """
    rows = torch.arange(0, len(validation), -(-len(validation) // RETRIEVAL_SAMPLE))
    inputs, right = validation.inputs[rows], validation.right[rows]
    ours, theirs = (
        1 / retrieval_ranks(each.predict(inputs), each.stored(validation.bank), right).double()
        for each in (model, other)
    )
    return Verdict.of(model.name, other.name, "mrr", ours, theirs, right)
