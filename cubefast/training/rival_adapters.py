"""The adapters that people put before an index today, trained as a core is: on the same pairs in the same order, with
the same losses, negatives and choice by validation. So a difference to them is one of the models, not of the training.

=====================  =====================================  =======================================
model                  output for an input x [D]              parameters
=====================  =====================================  =======================================
linear adapter         x + x W                                D D
two-layer adapter      x + W2 relu(W1 x + b1) + b2            (2 D + 1) hidden + D, at most D D
low-rank adapter       x + (x A) B                            2 D rank, at most the core's
residual MLP           x + (W2 gelu(W1 (s x) + b1) + b2) / s  (2 D + 1) hidden + D, at most the core's
=====================  =====================================  =======================================

s = sqrt(D) makes the numbers of a unit embedding about 1. Each starts as the identity: W, B, W2 and b2 are zero.

Beside a core that maps the stored answers too (``sides="both"``), each has a second map of its kind for these, and one
linear adapter is shared by both sides.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, normalize, relu
from torch.nn.utils import clip_grad_norm_

from ..config.training import LOSSES, LossConfig, OptimizationConfig
from ..data.pairs import PairDataset
from ..evaluation.baselines import Baseline
from ..utils.threads import torch_threads
from .batches import TrainingBatch, ordered_batches
from .losses import total_loss
from .optimizer import scheduler_of
from .validation import Validation

LEARNING_RATES = (3e-4, 1e-3, 3e-3)

_WEIGHT_DECAY, _WARMUP = 0.01, 0.05


@torch_threads(1)
def train_rivals(
    train: PairDataset,
    validation: Validation,
    options: OptimizationConfig,
    *,
    max_parameters: int,
    steps: int,
    sides: str = "query",
    validations: int = 12,
    crossfit_targets: Tensor | None = None,
    negative_rows: Tensor | None = None,
    seed: int = 0,
    on_step: Callable[[int], None] = lambda done: None,
) -> list[Baseline]:
    """Train the adapters, each at three learning rates, and keep of each what validates best.

    They see the batches of a core's training with this seed, one a step, with its losses and hard negatives. AdamW with
    weight decay 0.01 on matrices, the gradient clipped to ``options.clip``; the rate rises over 5% of the steps and
    falls by half a cosine to zero. ``validations`` times, the last time at the end, they are validated, and of all
    validations of a model the one with the best ``options.metric`` gives its rate and weights. The untrained model,
    which is the identity, is a candidate too.

    A rate that does badly is not trained to the end (successive halving: Jamieson and Talwalkar 2016). After a quarter
    of the steps, of each model's three rates the one whose best validation so far is the worst stops, and after half of
    them one of the other two; of equals the one whose last validation is worse. That leaves 58% of the work. On six
    validation sets and the four models, the best metric found so was on average 0.01 points of MRR, at most 0.2, below
    what all three rates to the end would have found.

    On one thread, so that every run finds the same bits; the process's own random numbers are left alone. 1,200 steps
    with 8 hard negatives a pair on 384 numbers take about half a minute, and 84 validations what they take.

    Args:
        train: n pairs, also more than fit in memory. Noise is drawn anew in every epoch.
        validation: the pairs and the bank.
        options: the options of the core's training, of which losses (without ``losses.memory``, the queue of past
            targets), batch_size, clip and metric are used.
        max_parameters: the most parameters of the low-rank adapter and the residual MLP: those of the core.
        steps: the number of steps of the optimizer.
        sides: ``"both"``: each also maps the answers.
        validations: how often each is scored during its training.
        crossfit_targets, negative_rows: see :func:`~cubefast.training.batches.ordered_batches`.
        seed: the seed of the weights and the order.
        on_step: called with the number of steps done, first with 0.

    Returns:
        One baseline for each model, in the order of the table above; a model of which not even the smallest fits is
        left out. A name tells what was chosen: "linear adapter, lr 0.001". A model whose training never validated
        better than the identity is "linear adapter, untrained", of 0 parameters.
    """
    inputs = validation.inputs

    def metric_of(model: _Model) -> float:
        with torch.no_grad():
            bank = None if model.answers is None else model.answers(validation.bank)
            return float(validation.metrics(model.query(inputs), bank)[options.metric])

    kinds = _kinds_on_both_sides(train.dim, max_parameters) if sides == "both" else _kinds(train.dim, max_parameters)
    untrained = metric_of(_Model(nn.Identity()))
    fits = [_Fit(kind, rate, untrained, options, steps, seed) for kind in kinds for rate in LEARNING_RATES]
    running, done = fits, 0
    batches = _batches(train, options.batch_size, crossfit_targets, negative_rows, seed)
    on_step(0)
    for step, batch in enumerate(itertools.islice(batches, steps), start=1):
        _summed_loss([fit.model for fit in running], options.losses, batch).backward()
        for fit in running:
            fit.step()
        if step % max(1, steps // validations) == 0 or step == steps:
            for fit in running:
                fit.validate(metric_of)
            done += 1
            if done in (max(1, validations // 4), max(2, validations // 2)):  # one rate of each model stops
                running = _without_worst(running)
        on_step(step)
    best = [max((fit for fit in fits if fit.kind is kind), key=lambda fit: fit.best_score) for kind in kinds]
    return [fit.result() for fit in best]


def hidden_within(parameters: int, dim: int) -> int:
    """The largest hidden layer of a two-layer adapter or residual MLP with at most so many parameters, or 0."""
    return max(0, (parameters - dim) // (2 * dim + 1))


@dataclass(frozen=True, eq=False)
class _Kind:
    """A kind of adapter: its name, its size in words, and a function that makes an untrained one."""

    name: str
    size: str
    make: Callable[[], _Model]


class _Model(nn.Module):
    """An adapter of questions and, if it has one, of stored answers.

    Attributes:
        query: [n, D] -> [n, D].
        answers: the same for stored answers; None: they stay as they are.
    """

    def __init__(self, query: nn.Module, answers: nn.Module | None = None) -> None:
        super().__init__()
        self.query, self.answers = query, answers


def _kinds(dim: int, parameters: int) -> list[_Kind]:
    wide, narrow, rank = hidden_within(dim * dim, dim), hidden_within(parameters, dim), parameters // (2 * dim)
    kinds = [_Kind("linear adapter", "", lambda: _Model(_Linear(dim)))]
    if wide:
        kinds.append(_Kind("two-layer adapter", f"hidden {wide}", lambda: _Model(_TwoLayer(dim, wide, relu))))
    if rank:
        rank = min(rank, dim)
        kinds.append(_Kind("low-rank adapter", f"rank {rank}", lambda: _Model(_LowRank(dim, rank))))
    if narrow:
        scale = math.sqrt(dim)
        kinds.append(_Kind("residual MLP", f"hidden {narrow}", lambda: _Model(_TwoLayer(dim, narrow, gelu, scale))))
    return kinds


def _kinds_on_both_sides(dim: int, parameters: int) -> list[_Kind]:
    """Adapters with a map for questions and one for answers, within the same parameters, and a shared linear one."""

    def shared() -> _Model:
        linear = _Linear(dim)
        return _Model(linear, linear)

    def twice(kind: _Kind) -> _Kind:
        return _Kind(f"{kind.name} on both sides", kind.size, lambda: _Model(kind.make().query, kind.make().query))

    return [_Kind("shared linear adapter on both sides", "", shared), *map(twice, _kinds(dim, parameters // 2))]


class _Linear(nn.Module):
    """A linear adapter [n, D] -> [n, D]: x + x W."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim, dim))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + inputs @ self.weight


class _LowRank(nn.Module):
    """A low-rank adapter [n, D] -> [n, D]: x + (x A) B."""

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(dim, rank) / math.sqrt(dim))
        self.up = nn.Parameter(torch.zeros(rank, dim))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + (inputs @ self.down) @ self.up


class _TwoLayer(nn.Module):
    """A two-layer adapter [n, D] -> [n, D]: x + (W2 activation(W1 scale x + b1) + b2) / scale."""

    def __init__(self, dim: int, hidden: int, activation: Callable[[Tensor], Tensor], scale: float = 1.0) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        self.activation, self.scale = activation, scale

    def forward(self, inputs: Tensor) -> Tensor:
        change: Tensor = self.outer(self.activation(self.inner(inputs * self.scale)))
        return inputs + change / self.scale


def _summed_loss(models: Sequence[_Model], losses: LossConfig, batch: TrainingBatch) -> Tensor:
    """The sum of :func:`total_loss` over the models."""
    predicted = [model.query(batch.inputs) for model in models]
    only_contrast = [name for name in LOSSES if getattr(losses, name)] == ["contrast"]
    if only_contrast and all(model.answers is None for model in models):
        return losses.contrast * _summed_contrast(predicted, batch, losses.temperature)
    totals = [
        total_loss(losses, outputs, batch, map_answers=model.answers)[0]
        for outputs, model in zip(predicted, models, strict=True)
    ]
    return torch.stack(totals).sum()


def _summed_contrast(predicted: Sequence[Tensor], batch: TrainingBatch, temperature: float) -> Tensor:
    """The sum of :func:`~cubefast.training.losses.info_nce` over the models, in one product: a third less time."""
    own_ids = batch.target_ids
    targets, ids = batch.targets, own_ids
    if batch.negatives is not None:
        targets, ids = torch.cat([targets, batch.negatives[0]]), torch.cat([ids, batch.negatives[1]])
    same = own_ids[:, None] == ids[None, :]
    same[:, : len(own_ids)].fill_diagonal_(False)
    query, answer = same.nonzero(as_tuple=True)  # few: less work than a mask of all
    pool = normalize(targets, dim=1) / temperature
    logits = (normalize(torch.cat(list(predicted)), dim=1) @ pool.T).view(len(predicted), *same.shape)
    logits[:, query, answer] = float("-inf")
    own = torch.arange(len(own_ids)).repeat(len(predicted))
    return cross_entropy(logits.flatten(0, 1), own, reduction="sum") / len(own_ids)


def _batches(
    train: PairDataset, batch_size: int, crossfit_targets: Tensor | None, negative_rows: Tensor | None, seed: int
) -> Iterator[TrainingBatch]:
    """The batches of an endless training, in the order of a core's training with this seed."""
    source = train.with_seed(train.seed)  # the caller's keeps its epoch
    order = torch.Generator().manual_seed(seed)
    for epoch in itertools.count(1):
        source.set_epoch(epoch)
        rows = torch.randperm(len(source), generator=order).split(batch_size)
        yield from ordered_batches(source, rows, 0, negative_rows, crossfit_targets)


class _Fit:
    """An adapter in training at one learning rate, with its best weights so far.

    Attributes:
        kind: what is trained.
        score: the metric of the last validation, -inf for one that is not a number.
        best_score: the best one, that of the untrained model included.
    """

    def __init__(
        self, kind: _Kind, rate: float, untrained: float, options: OptimizationConfig, steps: int, seed: int
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = kind.make()
        self.kind, self.rate, self.clip = kind, rate, options.clip
        matrices = [parameter for parameter in self.model.parameters() if parameter.dim() > 1]
        vectors = [parameter for parameter in self.model.parameters() if parameter.dim() == 1]
        groups = [{"params": matrices, "weight_decay": _WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, fused=True)
        schedule = options.model_copy(update={"schedule": "cosine", "warmup": _WARMUP})
        self.scheduler = scheduler_of(self.optimizer, schedule, steps)
        self.score = self.best_score = untrained
        self.best_weights: dict[str, Tensor] | None = None

    def step(self) -> None:
        """Take a step of the optimizer with the present gradients."""
        clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()

    def validate(self, metric_of: Callable[[_Model], float]) -> None:
        """Score the model, and keep its weights if they are the best so far."""
        score = metric_of(self.model)
        self.score = score if math.isfinite(score) else float("-inf")
        if self.score > self.best_score:
            self.best_score, self.best_weights = self.score, copy.deepcopy(self.model.state_dict())

    def result(self) -> Baseline:
        """The model with its best weights, as a baseline."""
        chosen = "untrained" if self.best_weights is None else f"lr {self.rate:g}"
        settings = f"{self.kind.size}, {chosen}" if self.kind.size else chosen
        if self.best_weights is None:
            return Baseline(self.kind.name, 0, lambda inputs: inputs, len(LEARNING_RATES), settings=settings)
        self.model.load_state_dict(self.best_weights)
        query, answers = self.model.query, self.model.answers

        def predict(inputs: Tensor) -> Tensor:
            with torch.no_grad():
                return torch.cat([query(part) for part in inputs.split(4096)])

        count = sum(parameter.numel() for parameter in self.model.parameters())
        return Baseline(self.kind.name, count, predict, len(LEARNING_RATES), answers, settings)


def _without_worst(fits: list[_Fit]) -> list[_Fit]:
    """The fits without the worst of each kind that has several. Of equals, the one with the worse last validation or
    the higher rate is left out.
    """
    kept: list[_Fit] = []
    for _, group in itertools.groupby(fits, key=lambda fit: fit.kind):
        best_first = sorted(group, key=lambda fit: (fit.best_score, fit.score, -fit.rate), reverse=True)
        kept += best_first[:-1] or best_first
    return kept
