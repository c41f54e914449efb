"""What training pulls on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def cosine_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cos; [n, D], [n, D] -> a number."""
    return 1 - torch.cosine_similarity(predicted, target, dim=1).mean()


def info_nce(predicted: Tensor, target: Tensor, target_ids: Tensor, temperature: float) -> Tensor:
    """InfoNCE over the batch: each prediction must be nearest to its own target (van den Oord et al. 2018).

    Targets that are the same answer as one's own (equal ``target_ids``) are no negatives and are left out.

    Args:
        predicted, target: [n, D].
        target_ids: int64 [n].
        temperature: what the cosines are divided by.
    """
    logits = normalize(predicted, dim=1) @ normalize(target, dim=1).T / temperature
    same = target_ids[:, None] == target_ids[None, :]
    same.fill_diagonal_(False)
    own = torch.arange(len(logits))
    return cross_entropy(logits.masked_fill(same, float("-inf")), own)
