"""Single questions to be read: those the core puts right, those it spoils, and those that stay wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .results import TestResult

COUNT = 4  # of each kind


@dataclass(frozen=True)
class Case:
    """One query of a test.

    Attributes:
        query: its number in the test, from 0.
        question, expected, retrieved: texts; None where none are known.
        context: the turns before the question.
        domain: of the pair, or None.
        before, after: the rank of the right answer without the core and with it.
        cosine: of the core's output and the right answer.
        score: of the core's output and the answer retrieved.
    """

    query: int
    question: str | None
    expected: str | None
    retrieved: str | None
    context: tuple[str, ...]
    domain: str | None
    before: int
    after: int
    cosine: float
    score: float


@dataclass(frozen=True)
class CaseGroup:
    """Cases of one kind.

    Attributes:
        title: the kind, such as "Wrong before, right with the cube".
        total: how many queries there are of the kind.
        cases: at most COUNT of them, those whose rank changed most or is worst first.
    """

    title: str
    total: int
    cases: list[Case]


def list_cases(test: TestResult) -> list[CaseGroup]:
    """The cases of each kind that there are; of equal ranks the first queries of the test."""
    before, after = test.identity.metrics.ranks, test.cube.metrics.ranks
    right_before, right_after = before == 1, after == 1
    kinds: dict[str, tuple[Tensor, Tensor]] = {
        "Wrong before, right with the cube": (~right_before & right_after, before),
        "Right before, wrong with the cube": (right_before & ~right_after, after),
        "Wrong before and with the cube": (~right_before & ~right_after, after),
    }
    found = []
    for title, (chosen, badness) in kinds.items():
        rows = torch.nonzero(chosen).squeeze(1)
        first = rows[torch.argsort(badness[rows], descending=True, stable=True)[:COUNT]]
        if len(rows):
            found.append(CaseGroup(title, len(rows), [_case(test, row) for row in first.tolist()]))
    return found


def _case(test: TestResult, row: int) -> Case:
    items, found = test.metadata, test.retrieved
    return Case(
        query=row,
        question=items.questions[row] if items.questions is not None else None,
        expected=items.answers[row] if items.answers is not None else None,
        retrieved=test.pool_texts[int(found.places[row])] if test.pool_texts is not None else None,
        context=items.contexts[row] if items.contexts is not None else (),
        domain=(items.domains[row] or None) if items.domains is not None else None,
        before=int(test.identity.metrics.ranks[row]),
        after=int(test.cube.metrics.ranks[row]),
        cosine=float(test.cube.metrics.cosines[row]),
        score=float(found.scores[row]),
    )
