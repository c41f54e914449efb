"""The losses of [n, D] predictions, and their weighted sum.

:func:`info_nce` and :func:`triplet` also take further negatives than the batch has: targets of past batches, hard
negatives, and wrong answers of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, l1_loss, mse_loss, normalize, relu

from ..config.training import LossConfig
from .batches import TrainingBatch


def cosine_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """The mean of 1 - cosine of predictions and targets [n, D]; a scalar."""
    return 1 - torch.cosine_similarity(predicted, target, dim=1).mean()


def info_nce(
    predicted: Tensor,
    target: Tensor,
    target_ids: Tensor,
    temperature: float,
    further: Tensor | None = None,
    further_ids: Tensor | None = None,
) -> Tensor:
    """InfoNCE: each prediction must be nearest to its own target (van den Oord et al. 2018), among the batch's targets
    and further ones, such as those of past batches (He et al. 2020; ours need no momentum, the targets are frozen).

    Targets that are the same answer as one's own (equal ids) are no negatives and are left out.

    Args:
        predicted, target: [n, D].
        target_ids: int64 [n].
        temperature: what the cosines are divided by.
        further, further_ids: targets of other pairs [m, D] and their ids [m].
    """
    logits, same = _similarities(predicted, target, target_ids, further, further_ids)
    own = torch.arange(len(predicted))
    return cross_entropy((logits / temperature).masked_fill(same, float("-inf")), own)


def triplet(
    predicted: Tensor,
    target: Tensor,
    target_ids: Tensor,
    margin: float,
    further: Tensor | None = None,
    further_ids: Tensor | None = None,
) -> Tensor:
    """Mean of max(0, margin - cos to the own target + cos to the nearest other), the hardest negative of the batch and
    the further ones (Schroff et al. 2015, on cosines). The same answer is no negative; without any, a row counts 0.
    """
    cosines, same = _similarities(predicted, target, target_ids, further, further_ids)
    own = cosines.diagonal()
    same.fill_diagonal_(True)
    hardest = cosines.masked_fill(same, float("-inf")).amax(dim=1)
    return relu(margin - own + hardest).mean()


def relational(predicted: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of the cosine matrices of a batch and of a teacher, off the diagonal (Park et al.
    2019, on cosines). The teacher may have another dimension.

    Args:
        predicted: [n, D].
        teacher: [n, E].
    """
    if len(predicted) < 2:
        return predicted.sum() * 0
    ours, theirs = (normalize(x, dim=1) for x in (predicted, teacher))
    difference = (ours @ ours.T - theirs @ theirs.T).square()
    off_diagonal = difference.sum() - difference.diagonal().sum()
    return off_diagonal / (len(predicted) * (len(predicted) - 1))


def distill(predicted: Tensor, teacher_targets: Sequence[Tensor]) -> Tensor:
    """The mean of :func:`relational` over several teachers. It is least when the similarities within the batch are the
    mean of the teachers' similarities.

    Args:
        predicted: [n, D].
        teacher_targets: of each teacher (one at least) the batch's targets, [n, E] with an E of its own.
    """
    return torch.stack([relational(predicted, teacher) for teacher in teacher_targets]).mean()


class NegativeQueue:
    """The newest ``size`` targets of past batches, as further negatives.

    Attributes:
        vectors: float32 [m, D].
        ids: int64 [m].
    """

    def __init__(self, size: int, dim: int) -> None:
        self.size = size
        self.vectors = torch.empty(0, dim)
        self.ids = torch.empty(0, dtype=torch.int64)

    def push(self, targets: Tensor, ids: Tensor) -> None:
        """Add the targets of a batch and drop the oldest beyond ``size``."""
        if self.size > 0:
            self.vectors = torch.cat([self.vectors, targets.detach()])[-self.size :]
            self.ids = torch.cat([self.ids, ids])[-self.size :]


def total_loss(
    weights: LossConfig,
    predicted: Tensor,
    batch: TrainingBatch,
    queue: NegativeQueue | None = None,
    map_answers: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum of the losses whose weight is not 0, and the value of each of them, unweighted, by its name.

    Args:
        weights: the weights of the losses.
        predicted: [n, D], the model's outputs for ``batch.inputs``.
        batch: the n pairs; without ``crossfit_targets`` that loss is left out.
        queue: targets of past batches, as further negatives for ``contrast`` and ``triplet``.
        map_answers: the model's map of stored answers, [n, D] -> [n, D], which targets and negatives go through; None:
            they stay as they are.
    """
    target, target_ids = batch.targets, batch.target_ids
    others = [each for each in (queue and (queue.vectors, queue.ids), batch.negatives) if each is not None]
    further, further_ids = (torch.cat(each) for each in zip(*others, strict=True)) if others else (None, None)
    if map_answers is not None:
        mapped = map_answers(target if further is None else torch.cat([target, further]))
        target, further = mapped[: len(target)], None if further is None else mapped[len(target) :]
    parts = {}
    if weights.cosine:
        parts["cosine"] = cosine_loss(predicted, target)
    if weights.mse:
        parts["mse"] = mse_loss(predicted, target) * predicted.shape[1]  # per embedding, not per number
    if weights.l1:
        parts["l1"] = l1_loss(predicted, target) * predicted.shape[1] ** 0.5
    if weights.contrast:
        parts["contrast"] = info_nce(predicted, target, target_ids, weights.temperature, further, further_ids)
    if weights.triplet:
        parts["triplet"] = triplet(predicted, target, target_ids, weights.margin, further, further_ids)
    if weights.relational:
        parts["relational"] = relational(predicted, target)
    if weights.preservation:
        parts["preservation"] = relational(predicted, batch.inputs)
    if weights.distill:
        parts["distill"] = distill(predicted, batch.teacher_targets)
    if weights.crossfit and batch.crossfit_targets is not None:
        parts["crossfit"] = cosine_loss(predicted, batch.crossfit_targets)
    total = torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()
    return total, {name: float(value.detach()) for name, value in parts.items()}


def _similarities(
    predicted: Tensor, target: Tensor, target_ids: Tensor, further: Tensor | None, further_ids: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The cosines [n, n + m] of predictions to the batch's targets and the further ones, and a mask, bool [n, n + m],
    of the other columns that hold the row's own answer.
    """
    targets, ids = target, target_ids
    if further is not None and further_ids is not None:
        targets, ids = torch.cat([target, further]), torch.cat([target_ids, further_ids])
    cosines = normalize(predicted, dim=1) @ normalize(targets, dim=1).T
    same = target_ids[:, None] == ids[None, :]
    same[:, : len(target)].fill_diagonal_(False)
    return cosines, same
