"""The baselines that a core is compared with. Each is fitted on the training pairs only, and what it has to choose is
chosen on validation, by the mean cosine. All that are in closed form are here; those that are trained, by the core's
own losses, are in ``cubefast.training.rival_adapters``.

=========================  ============================================================
baseline                   settings compared on validation
=========================  ============================================================
identity, mean answer      none
Procrustes                 none
nearest training question  none
ridge                      9 penalties
residual ridge             9 penalties, each with about 9 ranks
PCA-Wiener                 none; it is given the noise of the test
=========================  ============================================================

The core chooses on validation too: its epoch, the curve of its trust, the weight of its map of answers, and whether it
remembers answers of training. Its ``tried`` is 1, because these choices are not counted. Settings tuned beyond that
must be reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import CubicCore, predict
from ..data.pairs import EmbeddingPairs, PairDataset
from ..errors import InputError
from .metrics import cosine, nearest

RIDGE_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

Pairs = PairDataset | EmbeddingPairs

CUBE, IDENTITY, RIDGE = "cube", "identity", "ridge"
"""The kinds of the three models that every report has."""


@dataclass(frozen=True)
class Baseline:
    """A map from embeddings [n, D] to embeddings [n, D].

    Attributes:
        kind: its short name, such as "ridge": what programs look for.
        parameters: how many numbers it has fitted and must keep.
        predict: the map.
        tried: the number of settings that were compared on validation; 1 for the core, whose own choices are not
            counted.
        map_answers: embeddings of stored answers [n, D] -> [n, D], among which the right one is looked for; None: they
            stay as they are.
        settings: what was chosen on validation, such as "lambda 0.3"; empty where nothing was.
    """

    kind: str
    parameters: int
    predict: Callable[[Tensor], Tensor]
    tried: int = 1
    map_answers: Callable[[Tensor], Tensor] | None = None
    settings: str = ""

    @property
    def name(self) -> str:
        """What it is called in a report: its kind and settings, such as "ridge, lambda 0.3"."""
        return f"{self.kind}, {self.settings}" if self.settings else self.kind

    def stored(self, answers: Tensor) -> Tensor:
        """Map the embeddings of stored answers, [n, D] -> [n, D], as an index for this model holds them."""
        if self.map_answers is None:
            return answers
        with torch.no_grad():
            return torch.cat([self.map_answers(part) for part in answers.split(4096)])


@dataclass(frozen=True)
class Moments:
    """What the linear baselines need of the training pairs, gathered in one pass in float64.

    Attributes:
        count: n.
        x_mean, y_mean: [D], of inputs and targets.
        xx, xy, yy: [D, D], X'X, X'Y and Y'Y of the centred inputs X and targets Y.
    """

    count: int
    x_mean: Tensor
    y_mean: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, pairs: Pairs | Moments) -> Moments:
        """Compute the moments of pairs, which need not fit in memory. Moments are returned unchanged."""
        if isinstance(pairs, Moments):
            return pairs
        count = len(pairs)
        x_sum = y_sum = torch.zeros(pairs.dim, dtype=torch.float64)
        xx = xy = yy = torch.zeros(pairs.dim, pairs.dim, dtype=torch.float64)
        for inputs, targets, _ in pairs.batches():
            x, y = inputs.double(), targets.double()
            x_sum, y_sum = x_sum + x.sum(dim=0), y_sum + y.sum(dim=0)
            xx, xy, yy = xx + x.T @ x, xy + x.T @ y, yy + y.T @ y
        x_mean, y_mean = x_sum / count, y_sum / count
        return cls(
            count,
            x_mean,
            y_mean,
            xx - torch.outer(x_sum, x_mean),
            xy - torch.outer(x_sum, y_mean),
            yy - torch.outer(y_sum, y_mean),
        )

    def residual(self) -> Moments:
        """The moments of the same inputs with the differences (targets - inputs) as targets."""
        return Moments(
            self.count,
            self.x_mean,
            self.y_mean - self.x_mean,
            self.xx,
            self.xy - self.xx,
            self.yy - self.xy - self.xy.T + self.xx,
        )

    def affine(self, weights: Tensor) -> Callable[[Tensor], Tensor]:
        """x -> (x - x_mean) weights + y_mean, in float64, to float32."""
        return lambda inputs: ((inputs.double() - self.x_mean) @ weights + self.y_mean).float()


def as_baseline(core: CubicCore) -> Baseline:
    """The core in the form that its baselines have, of the kind CUBE."""
    map_answers = None if core.answer_map is None else core.map_answers
    return Baseline(CUBE, core.parameter_count(), lambda inputs: predict(core, inputs), map_answers=map_answers)


def identity() -> Baseline:
    """The input as it is."""
    return Baseline(IDENTITY, 0, lambda inputs: inputs)


def mean_target(train: Pairs | Moments, kind: str = "mean answer") -> Baseline:
    """The mean of the training targets, whatever the input."""
    mean = Moments.of(train).y_mean.float()
    return Baseline(kind, mean.numel(), mean.expand_as)


def procrustes(train: Pairs | Moments) -> Baseline:
    """Orthogonal Procrustes around the means: y = s (x - x_mean) R + y_mean, with the orthogonal R and the number s of
    least squared error. With U S V' the singular value decomposition of X'Y of the centred pairs, R = U V' and
    s = sum(S) / |X|^2 (Schönemann 1966; Schönemann and Carroll 1970).
    """
    moments = Moments.of(train)
    u, values, vh = torch.linalg.svd(moments.xy)
    weights = (u @ vh) * (values.sum() / moments.xx.trace().clamp(min=1e-30))
    return Baseline("Procrustes", weights.numel() + moments.y_mean.numel(), moments.affine(weights))


def ridge(train: Pairs | Moments, validation: EmbeddingPairs) -> Baseline:
    """Linear regression with an L2 penalty: W = (X'X + lambda I)^-1 X'Y on centred X and Y, and an intercept.

    lambda is the one of RIDGE_PENALTIES with the best mean cosine on validation.
    """
    moments = Moments.of(train)
    fits = [(penalty, _ridge_weights(moments, penalty)) for penalty in RIDGE_PENALTIES]
    x, y = validation.inputs, validation.targets
    scores = [float(cosine(moments.affine(weights)(x), y).double().mean()) for _, weights in fits]
    penalty, weights = fits[scores.index(max(scores))]  # the smallest of equals
    return Baseline(
        RIDGE,
        weights.numel() + moments.y_mean.numel(),
        moments.affine(weights),
        tried=len(fits),
        settings=f"lambda {penalty:g}",
    )


def residual_ridge(train: Pairs | Moments, validation: EmbeddingPairs, ranks: Sequence[int]) -> Baseline:
    """Ridge regression of what is to be added to the input, Y - X, with a W of low rank.

    A penalty then pulls towards the identity, where a pretrained encoder is right already, and not towards the mean
    answer: the linear counterpart of a core or MLP that adds to its input. A W of rank r takes 2 D r + D numbers:
    W_r = W V V', where W is ridge's and V [D, r] the first eigenvectors of (Y - X)'X W = W'(X'X + lambda I) W. No other
    W of rank r has less penalised squared error (Mukherjee and Zhu 2011).

    Args:
        train, validation: the pairs.
        ranks: those tried, each with each of RIDGE_PENALTIES; the best mean cosine on validation decides. Rank D is
            ridge regression itself.

    Raises InputError for a rank that is not from 1 to D.
    """
    moments = Moments.of(train).residual()
    dim = len(moments.y_mean)
    if not ranks or min(ranks) < 1 or max(ranks) > dim:
        raise InputError(f"ranks must be from 1 to {dim}; got {list(ranks)}")
    x, y = validation.inputs.double(), validation.targets.double()
    best_score, best = float("-inf"), (0, 0.0, moments.xy, moments.xy)
    for penalty in RIDGE_PENALTIES:
        weights = _ridge_weights(moments, penalty)
        fitted = moments.xy.T @ weights
        axes = torch.linalg.eigh((fitted + fitted.T) / 2).eigenvectors.flip(1)  # the largest first
        rotated = (x - moments.x_mean) @ weights @ axes
        for rank in ranks:
            first = axes[:, :rank]
            score = float(cosine(x + moments.y_mean + rotated[:, :rank] @ first.T, y).mean())
            if score > best_score:
                best_score, best = score, (rank, penalty, weights @ first, first)
    rank, penalty, narrow, wide = best

    def predict(inputs: Tensor) -> Tensor:
        x = inputs.double()
        return (x + (x - moments.x_mean) @ narrow @ wide.T + moments.y_mean).float()

    return Baseline(
        "residual ridge",
        min(2 * dim * rank, dim * dim) + dim,  # two matrices, or multiplied out
        predict,
        tried=len(RIDGE_PENALTIES) * len(ranks),
        settings=f"rank {rank}, lambda {penalty:g}",
    )


def nearest_question(train: Pairs, kind: str = "nearest training question") -> Baseline:
    """The target of the training pair whose (clean) input has the highest cosine to the input: what a search among past
    questions would answer. It keeps all training pairs, and goes through them in parts.
    """
    source = train if isinstance(train, PairDataset) else PairDataset.from_pairs(train)

    def predict(inputs: Tensor) -> Tensor:
        best = torch.full((len(inputs),), float("-inf"))
        answers = torch.zeros_like(inputs)
        for known, targets, _ in source.batches(noisy=False):
            cosines, places = nearest(inputs, known)
            better = cosines > best
            best[better], answers[better] = cosines[better], targets[places[better]]
        return answers

    return Baseline(kind, 2 * len(source) * source.dim, predict)


def wiener(train: Pairs | Moments, noise: float) -> Baseline:
    """The best linear denoiser in closed form, given the noise: each principal axis of the clean training targets is
    shrunk by variance / (variance + noise^2) around their mean.
    """
    moments = Moments.of(train)
    mean = moments.y_mean
    variances, axes = torch.linalg.eigh(moments.yy / moments.count)
    variances = variances.clamp(min=0)
    shrink = (axes * (variances / (variances + noise**2).clamp(min=1e-30))) @ axes.T
    return Baseline(
        "PCA-Wiener",
        shrink.numel() + mean.numel(),
        lambda inputs: ((inputs.double() - mean) @ shrink + mean).float(),
        settings="given the noise",
    )


def _ridge_weights(moments: Moments, penalty: float) -> Tensor:
    penalised = moments.xx + penalty * torch.eye(len(moments.xx), dtype=torch.float64)
    weights: Tensor = torch.linalg.solve(penalised, moments.xy)
    return weights
