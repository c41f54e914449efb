"""The residual MLP: what a plain network of as many parameters learns from the same pairs."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.optim.lr_scheduler import LambdaLR

from ..data.pairs import EmbeddingPairs, PairDataset
from ..errors import InputError
from ..threads import torch_threads
from .baselines import Baseline, Pairs
from .metrics import cosine

RATES = (3e-4, 1e-3, 3e-3)

_EPOCHS, _PATIENCE, _WARMUP = 20, 5, 0.05
_BATCH = 64
_WEIGHT_DECAY, _CLIP = 0.01, 1.0
_CONTRAST, _TEMPERATURE = 0.1, 0.05


def residual_mlp(train: Pairs, validation: EmbeddingPairs, parameters: int, *, seed: int = 0) -> Baseline:
    """x + W2 gelu(W1 x + b1) + b2, as wide as ``parameters`` allow. W2 and b2 start at zero: it starts as the identity,
    as a core does.

    Trained as such a network usually is: 1 - cosine plus 0.1 InfoNCE (temperature 0.05; the negatives are the batch's
    other targets, less those that are the same answer), AdamW with weight decay 0.01 on matrices only, batch 64, clip
    1. What a core has beyond that by default, cross-fitted targets and averaged weights, is of the core's training.
    With each of RATES, up to 20 epochs of a warm-up and half a cosine, fewer where 5 bring no progress; the rate and
    the epoch with the best mean cosine on validation are kept.

    Args:
        train: pairs, also more than fit in memory. Noise is drawn anew in every epoch.
        validation: pairs.
        parameters: (2 D + 1) hidden + D at most.
        seed: of the weights and the order; the process's own random numbers are left alone.

    Raises InputError where not one hidden number fits.
    """
    hidden = hidden_within(parameters, train.dim)
    if hidden == 0:
        needed = 3 * train.dim + 1
        raise InputError(f"a residual MLP on {train.dim} numbers needs {needed} parameters at least; got {parameters}")
    source = PairDataset.from_pairs(train) if isinstance(train, EmbeddingPairs) else train.with_seed(train.seed)
    order = torch.Generator().manual_seed(seed)
    steps = _EPOCHS * math.ceil(len(source) / _BATCH)
    fits = [_Fit(source.dim, hidden, rate, steps, seed) for rate in RATES]
    with torch_threads(1):
        for epoch in range(1, _EPOCHS + 1):
            going = [fit for fit in fits if epoch - fit.best_epoch <= _PATIENCE]
            if not going:
                break
            source.set_epoch(epoch)
            for rows in torch.randperm(len(source), generator=order).split(_BATCH):
                batch = source.batch(rows)
                for fit in going:
                    fit.step(*batch)
            for fit in going:
                fit.validate(validation, epoch)
    best = max(fits, key=lambda fit: fit.best_score)
    best.model.load_state_dict(best.best_weights)

    def predict(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([best.model(part) for part in inputs.split(4096)])

    count = sum(parameter.numel() for parameter in best.model.parameters())
    return Baseline(f"residual MLP, hidden {hidden}, lr {best.rate:g}", count, predict, tried=len(RATES))


def hidden_within(parameters: int, dim: int) -> int:
    """The largest hidden layer with which the MLP has at most so many parameters; 0 if there is none."""
    return max(0, (parameters - dim) // (2 * dim + 1))


class _ResidualMLP(nn.Module):
    """[n, D] -> [n, D]. Inside, numbers are about 1: a unit embedding's are 1 / sqrt(D)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        self.scale = math.sqrt(dim)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.inner(inputs * self.scale))
        change: Tensor = self.outer(hidden)
        return inputs + change / self.scale


class _Fit:
    """A network that is trained with one learning rate, and the weights of its best epoch so far."""

    def __init__(self, dim: int, hidden: int, rate: float, steps: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = _ResidualMLP(dim, hidden)
        self.rate = rate
        matrices = [parameter for parameter in self.model.parameters() if parameter.dim() > 1]
        vectors = [parameter for parameter in self.model.parameters() if parameter.dim() == 1]
        groups = [{"params": matrices, "weight_decay": _WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=rate)
        self.scheduler = LambdaLR(self.optimizer, lambda step: _share_of_rate(step, steps))
        self.best_score, self.best_epoch = float("-inf"), 0
        self.best_weights = self.model.state_dict()

    def step(self, inputs: Tensor, targets: Tensor, ids: Tensor) -> None:
        _loss(self.model(inputs), targets, ids).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()

    @torch.no_grad()
    def validate(self, pairs: EmbeddingPairs, epoch: int) -> None:
        score = float(cosine(self.model(pairs.inputs), pairs.targets).double().mean())
        if score > self.best_score:
            self.best_score, self.best_epoch = score, epoch
            self.best_weights = copy.deepcopy(self.model.state_dict())


def _share_of_rate(step: int, steps: int) -> float:
    warm = (step + 1) / (_WARMUP * steps)
    return min(1.0, warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _loss(predicted: Tensor, targets: Tensor, ids: Tensor) -> Tensor:
    away = 1 - cosine(predicted, targets).mean()
    logits = normalize(predicted, dim=1) @ normalize(targets, dim=1).T / _TEMPERATURE
    same = (ids[:, None] == ids[None, :]).fill_diagonal_(False)
    return away + _CONTRAST * cross_entropy(logits.masked_fill(same, float("-inf")), torch.arange(len(ids)))
