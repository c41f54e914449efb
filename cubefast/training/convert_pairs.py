"""Converts what a trainer is given, in any form, to training pairs and a validation set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..config.data import NoiseConfig
from ..config.run_config import TrainingConfig
from ..data.pairs import EmbeddingPairs, PairDataset
from ..errors import InputError
from ..evaluation.baseline_comparison import VALIDATION_SEED
from ..utils.arrays import real_tensor
from .validation import Validation


def training_pairs(config: TrainingConfig, data: Any) -> PairDataset:
    """The pairs to train on, with noise, and mixed with single embeddings where ``mode=mixed``.

    Args:
        config: the config of the run.
        data: a :class:`PairDataset`, :class:`EmbeddingPairs`, or (inputs, targets[, ids]) as arrays [n, D]. In
            autoencoder mode the latter two get the noise of ``data.noise``.

    Raises InputError for anything else, or pairs that the config's settings do not fit.
    """
    pairs = _dataset(config, data)
    if pairs.negative_rows is not None and not config.training.losses.takes_negatives:
        pairs = pairs.without_negatives()
    if config.training.curriculum.order == "length" and pairs.lengths is None:
        raise InputError("training.curriculum.order=length needs texts; embeddings alone have no length")
    if config.training.losses.distill and not pairs.teachers:
        raise InputError(
            "training.losses.distill needs further teachers, and the data set has none: set teachers=[NAME], or "
            "data.teacher_vectors=[FILE]; a data set made in Python takes teachers=[...]"
        )
    if config.training.input_noise and config.mode == "dialogue":
        pairs = pairs.with_noise(NoiseConfig(levels=(config.training.input_noise,)), config.seed)
    return pairs.mixed(config.mix, config.data.noise, config.seed) if config.mode == "mixed" else pairs


def validation_of(config: TrainingConfig, train: PairDataset, data: Any, bank: Any) -> Validation:
    """The validation set by which every choice is made.

    Args:
        config: the config of the run.
        train: the pairs to train on.
        data: pairs in the forms that :func:`training_pairs` takes, a mapping of the regimes' names to such pairs, or a
            :class:`Validation`.
        bank: [answers, D], whose rows the target ids of ``data`` are; None: the different targets of training and
            validation, or of validation alone in autoencoder mode.

    Raises InputError for pairs or a bank of another dimension than the pairs of ``train``, and for a bank beside a
    :class:`Validation`, which has its own.
    """
    if isinstance(data, Validation):
        if bank is not None:
            raise InputError("a Validation has a bank of its own: leave bank out")
        if train.dim != data.bank.shape[1]:
            raise InputError(f"train has {train.dim} numbers per row, validation {data.bank.shape[1]}")
        return data
    regimes = data if isinstance(data, Mapping) else {"validation": data}
    pairs = {name: _dataset(config, part).pairs(noisy=True, seed=VALIDATION_SEED) for name, part in regimes.items()}
    for part in pairs.values():
        if train.dim != part.dim:
            raise InputError(f"train has {train.dim} numbers per row, validation {part.dim}")
    if bank is not None:
        answers = real_tensor("bank", bank)
        if answers.dim() != 2 or answers.shape[1] != train.dim or not answers.isfinite().all():
            raise InputError(f"bank must be [answers, {train.dim}], without NaN or Inf; got {list(answers.shape)}")
        return Validation.of(pairs, answers)
    # Ids are compared within one set of pairs only; between two sets, equal targets are one answer.
    targets = [part.targets for part in pairs.values()]
    if config.mode != "autoencoder":
        targets += [batch for _, batch, _ in train.batches(noisy=False)]
    bank, rows = torch.unique(torch.cat(targets), dim=0, return_inverse=True)
    return Validation.of(pairs, bank, rows[: sum(map(len, pairs.values()))])


def as_pairs(data: Any) -> EmbeddingPairs:
    """EmbeddingPairs as they are, or (inputs, targets[, ids]) as such pairs. Raises InputError for anything else."""
    if isinstance(data, EmbeddingPairs):
        return data
    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        return EmbeddingPairs.of(*data)
    raise InputError(f"expected a PairDataset, EmbeddingPairs or (inputs, targets); got {type(data).__name__}")


def _dataset(config: TrainingConfig, data: Any) -> PairDataset:
    if isinstance(data, PairDataset):
        return data
    noise = config.data.noise if config.mode == "autoencoder" else None
    return PairDataset.from_pairs(as_pairs(data), noise, config.seed)
