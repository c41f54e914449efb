"""Single questions to be read: those the core puts right, those it spoils, and those that stay wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .task_results import TestResult

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
    found = []
    for title, chosen, badness in (
        ("Wrong before, right with the cube", (before > 1) & (after == 1), before),
        ("Right before, wrong with the cube", (before == 1) & (after > 1), after),
        ("Wrong before and with the cube", (before > 1) & (after > 1), after),
    ):
        rows = torch.nonzero(chosen).squeeze(1)
        first = rows[torch.argsort(badness[rows], descending=True, stable=True)[:COUNT]]
        if len(rows):
            found.append(CaseGroup(title, len(rows), [_case(test, row) for row in first.tolist()]))
    return found


def _case(test: TestResult, row: int) -> Case:
    pair = test.metadata.dialogues[row] if test.metadata.dialogues is not None else None
    return Case(
        query=row,
        question=pair.question if pair is not None else None,
        expected=pair.answer if pair is not None else None,
        retrieved=test.pool_texts[int(test.nearest[row])] if test.pool_texts is not None else None,
        context=pair.context if pair is not None else (),
        domain=(pair.domain or None) if pair is not None else None,
        before=int(test.identity.metrics.ranks[row]),
        after=int(test.cube.metrics.ranks[row]),
        cosine=float(test.cube.metrics.cosines[row]),
        score=float(test.scores[row]),
    )
