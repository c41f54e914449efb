"""Cross-fitted targets: a prediction of each pair's target from all other pairs.

A target is one answer of many that would have been right; what is special about it cannot be learnt from the question,
only remembered. A smooth regression fitted without the pair shows the part that can be learnt. Following that as well
as the target is distillation with cross-fitting (Dao et al. 2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..data.pairs import PairDataset
from ..errors import InputError
from ..utils.threads import torch_threads

FOLDS = 5
LANDMARKS = 1024
WIDTHS = (0.4, 1.2)
RIDGES = (0.01, 0.1, 1.0)

_LINE = 0.2  # the weight of the linear features; their kernel is its square, 0.04 x.y
_CHUNK = 1024  # pairs lifted at once
_JITTER = 1e-5  # of the landmarks' own kernel, without which repeated inputs could not be factored


@dataclass(frozen=True)
class CrossFit:
    """The targets that the regression predicts.

    Attributes:
        targets: float16 [n, D], for each pair what regressions fitted on the folds without it predict.
        cosine: the mean cosine of these predictions to the pairs' own targets.
        width, ridge: the settings with the best such cosine.
    """

    targets: Tensor
    cosine: float
    width: float
    ridge: float


@torch_threads(1)
def cross_fit(train: PairDataset, seed: int = 0) -> CrossFit:
    """Fit kernel ridge regression on all folds but one and predict that one, for each of FOLDS.

    The regression is of target - input on the kernel 0.04 x.y + exp(-width |x - y|^2). The kernel is the sum of a
    linear and a Gaussian part; the Gaussian part is approximated by Nystroem's method with at most LANDMARKS inputs
    (Williams & Seeger 2001). With m = LANDMARKS + D it takes two passes over the pairs for each of WIDTHS, and memory
    for a chunk of them, FOLDS matrices [m, m] and a float16 [n, D] for each of RIDGES. It takes about 5 s for
    13,000 pairs of 384 numbers, on one thread, so that a resumed run finds the same bits.

    Args:
        train: n pairs; their noise is left out.
        seed: the seed of the folds and the landmarks.

    Raises InputError for fewer pairs than folds.
    """
    count = len(train)
    if count < FOLDS:
        raise InputError(
            f"cross-fitted targets need {FOLDS} pairs at least; got {count}. Or set training.losses.crossfit=0"
        )
    generator = torch.Generator().manual_seed(seed)
    folds = torch.randperm(count, generator=generator) % FOLDS
    chosen = torch.randperm(count, generator=generator)[:LANDMARKS]
    landmarks = train.batch(chosen, noisy=False)[0]
    return max((_fit(train, folds, landmarks, width) for width in WIDTHS), key=lambda candidate: candidate.cosine)


def _fit(train: PairDataset, folds: Tensor, landmarks: Tensor, width: float) -> CrossFit:
    """The best fit of RIDGES for one width."""
    features = _Features(landmarks, width)
    size, dim = len(landmarks) + train.dim, train.dim
    gram, moment = torch.zeros(FOLDS, size, size), torch.zeros(FOLDS, size, dim)
    for rows, inputs, targets in _chunks(train):
        lifted, change = features(inputs), targets - inputs
        for number in range(FOLDS):
            in_fold = folds[rows] == number
            gram[number].addmm_(lifted[in_fold].T, lifted[in_fold])
            moment[number].addmm_(lifted[in_fold].T, change[in_fold])
    whole_gram, whole_moment = gram.sum(dim=0), moment.sum(dim=0)
    weights = torch.empty(len(RIDGES), FOLDS, size, dim)
    for number in range(FOLDS):
        others = whole_gram - gram[number]
        for place, strength in enumerate(RIDGES):
            factor = torch.linalg.cholesky(others + strength * torch.eye(size))
            weights[place, number] = torch.cholesky_solve(whole_moment - moment[number], factor)
    predicted = torch.empty(len(RIDGES), len(train), dim, dtype=torch.float16)
    cosines = torch.zeros(len(RIDGES))
    for rows, inputs, targets in _chunks(train):
        lifted, outputs = features(inputs), inputs.repeat(len(RIDGES), 1, 1)
        for number in range(FOLDS):
            in_fold = folds[rows] == number
            outputs[:, in_fold] += lifted[in_fold] @ weights[:, number]
        predicted[:, rows] = outputs.half()
        cosines += cosine_similarity(outputs, targets, dim=2).sum(dim=1)
    best = int(cosines.argmax())
    return CrossFit(predicted[best].clone(), float(cosines[best] / len(train)), width, RIDGES[best])


def _chunks(train: PairDataset) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The row numbers, inputs and targets of all pairs, in chunks."""
    for rows in torch.arange(len(train)).split(_CHUNK):
        inputs, targets, _ = train.batch(rows, noisy=False)
        yield rows, inputs, targets


class _Features:
    """Features [n, D] -> [n, m + D] whose products are the kernel, its nonlinear part by Nystroem's approximation."""

    def __init__(self, landmarks: Tensor, width: float) -> None:
        self.landmarks, self.width = landmarks, width
        own = self._kernel(landmarks.double(), landmarks.double())
        own.diagonal().add_(_JITTER)
        root = torch.linalg.cholesky(own)
        self.whitening = torch.linalg.inv(root).T.float()

    def _kernel(self, inputs: Tensor, landmarks: Tensor) -> Tensor:
        return torch.exp(-self.width * torch.cdist(inputs, landmarks).square())

    def __call__(self, inputs: Tensor) -> Tensor:
        return torch.cat([self._kernel(inputs, self.landmarks) @ self.whitening, _LINE * inputs], dim=1)
