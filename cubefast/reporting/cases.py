"""Single questions to be read: the ten worst and ten from the middle, by cosine to the right answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..evaluation.baselines import CUBE
from .results import TestResult

COUNT = 10


@dataclass(frozen=True)
class Case:
    """One query of a test.

    Attributes:
        query: its number in the test, from 0.
        question, expected, retrieved: texts; None where none are known.
        context: the turns before the question.
        domain: of the pair, or None.
        rank, ridge_rank: of the right answer.
        cosine, ridge_cosine, identity_cosine: to the right answer.
        score: cosine of the core's output and the answer retrieved.
    """

    query: int
    question: str | None
    expected: str | None
    retrieved: str | None
    context: tuple[str, ...]
    domain: str | None
    rank: int
    ridge_rank: int
    cosine: float
    ridge_cosine: float
    identity_cosine: float
    score: float


def worst_and_median(test: TestResult) -> tuple[list[Case], list[Case]]:
    """The ten queries of least cosine, the worst first, and the ten around the median that are not among them."""
    order = np.argsort(test.cube.metrics.cosines.numpy(), kind="stable")
    worst, rest = order[:COUNT], order[COUNT:]
    begin = max(0, len(order) // 2 - COUNT // 2 - COUNT)
    median = rest[begin : begin + COUNT]
    return [_case(test, int(row)) for row in worst], [_case(test, int(row)) for row in median]


def _case(test: TestResult, row: int) -> Case:
    items, found = test.metadata, test.retrieved[CUBE]
    cube, ridge, identity = (each.metrics for each in (test.cube, test.ridge, test.identity))
    return Case(
        query=row,
        question=items.questions[row] if items.questions is not None else None,
        expected=items.answers[row] if items.answers is not None else None,
        retrieved=test.pool_texts[int(found.places[row])] if test.pool_texts is not None else None,
        context=items.contexts[row] if items.contexts is not None else (),
        domain=(items.domains[row] or None) if items.domains is not None else None,
        rank=int(cube.ranks[row]),
        ridge_rank=int(ridge.ranks[row]),
        cosine=float(cube.cosines[row]),
        ridge_cosine=float(ridge.cosines[row]),
        identity_cosine=float(identity.cosines[row]),
        score=float(found.scores[row]),
    )
