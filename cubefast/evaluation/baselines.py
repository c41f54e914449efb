"""What a core must beat. Each is fitted on the training pairs only; ridge picks its penalty on validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.pairs import EmbeddingPairs, PairDataset
from .metrics import cosine

RIDGE_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Baseline:
    """A map from embeddings [n, D] to embeddings [n, D], with the number of its fitted parameters."""

    name: str
    parameters: int
    predict: Callable[[Tensor], Tensor]


def identity() -> Baseline:
    """The input as it is."""
    return Baseline("identity", 0, lambda inputs: inputs)


def mean_target(train: PairDataset | EmbeddingPairs, name: str = "mean answer") -> Baseline:
    """The mean of the training targets, whatever the input."""
    mean = (_sums(train, lambda x, y: y.sum(dim=0)) / len(train)).float()
    return Baseline(name, mean.numel(), mean.expand_as)


def ridge(train: PairDataset | EmbeddingPairs, validation: EmbeddingPairs) -> Baseline:
    """Linear regression with an L2 penalty: W = (X'X + lambda I)^-1 X'Y on centred X and Y, and an intercept.

    lambda is the one of RIDGE_PENALTIES with the best mean cosine on validation; computed in float64, the training
    set read in parts.
    """
    count = len(train)
    x_mean = _sums(train, lambda x, y: x.sum(dim=0)) / count
    y_mean = _sums(train, lambda x, y: y.sum(dim=0)) / count
    gram = _sums(train, lambda x, y: (x - x_mean).T @ (x - x_mean))
    moment = _sums(train, lambda x, y: (x - x_mean).T @ (y - y_mean))
    best: tuple[float, float, Tensor] | None = None
    for penalty in RIDGE_PENALTIES:
        weights = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), moment)
        predicted = (validation.inputs.double() - x_mean) @ weights + y_mean
        score = float(cosine(predicted, validation.targets.double()).mean())
        if best is None or score > best[0]:
            best = (score, penalty, weights)
    assert best is not None
    _, penalty, weights = best
    return Baseline(
        f"ridge, lambda {penalty:g}",
        weights.numel() + y_mean.numel(),
        lambda inputs: ((inputs.double() - x_mean) @ weights + y_mean).float(),
    )


def wiener(train: PairDataset | EmbeddingPairs, noise: float) -> Baseline:
    """The best linear denoiser in closed form, told the noise: each principal axis of the clean training targets is
    shrunk by variance / (variance + noise^2) around their mean.
    """
    mean = _sums(train, lambda x, y: y.sum(dim=0)) / len(train)
    variances, axes = torch.linalg.eigh(_sums(train, lambda x, y: (y - mean).T @ (y - mean)) / len(train))
    variances = variances.clamp(min=0)
    shrink = (axes * (variances / (variances + noise**2).clamp(min=1e-30))) @ axes.T
    return Baseline(
        "PCA-Wiener (told the noise)",
        shrink.numel() + mean.numel(),
        lambda inputs: ((inputs.double() - mean) @ shrink + mean).float(),
    )


def _sums(train: PairDataset | EmbeddingPairs, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The sum over parts of the training set of ``of(inputs, targets)``, in float64."""
    parts = (of(inputs.double(), targets.double()) for inputs, targets, _ in train.batches())
    total = next(parts)
    for part in parts:
        total = total + part
    return total
