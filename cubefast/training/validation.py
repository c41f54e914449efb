"""What is known of a model after an epoch: its metrics on the validation pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.pairs import EmbeddingPairs
from ..evaluation.baselines import identity
from ..evaluation.metrics import cosine
from ..evaluation.report import score

RETRIEVAL_SAMPLE = 4096  # pairs whose ranks are looked at


def validation_metrics(predicted: Tensor, validation: EmbeddingPairs) -> dict[str, float]:
    """The metrics that ``training.metric`` can name.

    cosine is the mean over all pairs; recall_at_1 and mrr are over at most RETRIEVAL_SAMPLE of them, evenly taken,
    whose different targets are the pool.

    Args:
        predicted: [n, D], what a model makes of the n inputs.
        validation: the n pairs.
    """
    places = torch.arange(0, len(validation), -(-len(validation) // RETRIEVAL_SAMPLE))
    sample = EmbeddingPairs(predicted[places], validation.targets[places], validation.target_ids[places])
    found = score("validation", identity(), sample)  # what was predicted, as it is
    return {
        "cosine": float(cosine(predicted, validation.targets).mean()),
        "recall_at_1": found.recall_at_1,
        "mrr": found.mrr,
    }
