"""The curriculum: the difficulty of pairs, the share of them in each epoch, and how many batches that makes."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from ..config.training import CurriculumConfig, OptimizationConfig
from ..core import CubicCore
from ..data.pairs import PairDataset


def difficulty(train: PairDataset, by: str, core: CubicCore) -> NDArray[np.float32]:
    """The difficulty of each pair, float32 [n]; larger is harder.

    cosine: 1 - cos(input, target). length: the number of characters of the question and answer. loss:
    1 - cos(core(input), target) with the core as it is now.
    """
    if by == "length":
        assert train.lengths is not None  # the trainer has checked
        return train.lengths.astype(np.float32)
    losses = []
    with torch.no_grad():
        for inputs, targets, _ in train.batches(noisy=False):
            for x, y in zip(inputs.split(256), targets.split(256), strict=True):
                predicted = core(x) if by == "loss" else x
                losses.append(1 - torch.cosine_similarity(predicted, y, dim=1))
    return torch.cat(losses).numpy()


def share_of_pairs(curriculum: CurriculumConfig, epoch: int) -> float:
    """The share of the pairs, the easiest ones, that an epoch (from 1) trains on.

    From ``start`` in the first epoch to 1 after ``epochs`` of them: evenly (linear), fast at first (root: the square
    root of an even growth of the square, Platanios et al. 2019), or in three steps (step).
    """
    done = min(1.0, (epoch - 1) / curriculum.epochs)
    if curriculum.pacing == "root":
        return math.sqrt(curriculum.start**2 + (1 - curriculum.start**2) * done)
    if curriculum.pacing == "step":
        done = int(done * 3) / 3
    return curriculum.start + (1 - curriculum.start) * done


def pairs_of_epoch(curriculum: CurriculumConfig, epoch: int, count: int) -> int:
    """The number of pairs, of ``count``, that an epoch (from 1) trains on."""
    return count if curriculum.order == "none" else max(1, round(share_of_pairs(curriculum, epoch) * count))


def batches_of_epochs(options: OptimizationConfig, pairs: int, epochs: int, most: int | None = None) -> list[int]:
    """The number of batches in each epoch; with ``most``, in as many epochs as have that many batches together."""
    batches: list[int] = []
    while len(batches) < epochs if most is None else sum(batches) < most:
        count = math.ceil(pairs_of_epoch(options.curriculum, len(batches) + 1, pairs) / options.batch_size)
        batches.append(count if most is None else min(count, most - sum(batches)))
    return batches


def easiest(hardness: NDArray[np.float32], count: int) -> torch.Tensor:
    """The numbers of the easiest ``count`` pairs, int64 [count]."""
    return torch.from_numpy(np.sort(np.argsort(hardness, kind="stable")[:count]))
