"""What models score on validation, where trials are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..evaluation.baselines import Baseline
from ..training.validation import Validation


@dataclass(frozen=True)
class ValidationScore:
    """The metrics that ``training.metric`` can name, as the trainer computes them after each epoch.

    Attributes:
        parameters: how many numbers the model has fitted.
        cosine, recall_at_1, mrr: as of :meth:`~cubefast.training.validation.Validation.metrics`.
    """

    parameters: int
    cosine: float
    recall_at_1: float
    mrr: float

    @classmethod
    def of_epoch(cls, record: Mapping[str, Any], parameters: int) -> ValidationScore:
        """That of a core after an epoch; ``record`` as in metrics.jsonl."""
        return cls(parameters, record["val_cosine"], record["val_recall_at_1"], record["val_mrr"])

    @classmethod
    def of_baseline(cls, baseline: Baseline, validation: Validation) -> ValidationScore:
        """That of a baseline, on the same pairs and among the same answers."""
        found = validation.metrics(baseline.predict(validation.inputs))
        return cls(baseline.parameters, found["cosine"], found["recall_at_1"], found["mrr"])
