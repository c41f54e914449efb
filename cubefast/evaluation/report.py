"""The table that every number of a run stands in: the core beside its baselines, on held-out data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ..data.pairs import EmbeddingPairs
from .baselines import Baseline
from .metrics import cosine, mean_reciprocal_rank, recall_at, retrieval_ranks


@dataclass(frozen=True)
class Score:
    """One model on one test. ``pool``: how many answers the right one had to be found among."""

    test: str
    model: str
    parameters: int
    queries: int
    pool: int
    cosine: float
    recall_at_1: float
    recall_at_10: float
    mrr: float

    def as_dict(self) -> dict[str, str | int | float]:
        """For JSON."""
        return asdict(self)


def score(test: str, model: Baseline, pairs: EmbeddingPairs) -> Score:
    """Mean cosine to the target, and retrieval among all different targets of the test."""
    with torch.no_grad():
        predicted = model.predict(pairs.inputs)
    pool_ids, right = torch.unique(pairs.target_ids, return_inverse=True)
    places = torch.arange(len(right))
    first = torch.full_like(pool_ids, len(right)).scatter_reduce(0, right, places, "amin")
    ranks = retrieval_ranks(predicted, pairs.targets[first], right)
    return Score(
        test=test,
        model=model.name,
        parameters=model.parameters,
        queries=len(pairs),
        pool=len(pool_ids),
        cosine=float(cosine(predicted, pairs.targets).mean()),
        recall_at_1=recall_at(ranks, 1),
        recall_at_10=recall_at(ranks, 10),
        mrr=mean_reciprocal_rank(ranks),
    )


def table(scores: Sequence[Score]) -> str:
    """The scores as text, one block per test, the best of each column marked with a star."""
    columns: list[tuple[str, Callable[[Score], float]]] = [
        ("cosine", lambda s: s.cosine),
        ("R@1", lambda s: s.recall_at_1),
        ("R@10", lambda s: s.recall_at_10),
        ("MRR", lambda s: s.mrr),
    ]
    lines = []
    for test in dict.fromkeys(each.test for each in scores):
        block = [each for each in scores if each.test == test]
        title = f"{test} ({block[0].queries} queries, {block[0].pool} answers to find)"
        lines.append(f"\n{title}")
        lines.append(f"  {'':<28}{'parameters':>11}" + "".join(f"{name:>9}" for name, _ in columns))
        best = [max(round(value(each), 3) for each in block) for _, value in columns]
        for each in block:
            cells = "".join(
                f"{value(each):>8.3f}{'*' if round(value(each), 3) == top else ' '}"
                for (_, value), top in zip(columns, best, strict=True)
            )
            lines.append(f"  {each.model:<28}{each.parameters:>11,}{cells}".rstrip())
    return "\n".join(lines)


def noisy(clean: Tensor, noise: float, seed: int) -> Tensor:
    """``clean`` with Gaussian noise of that standard deviation per number."""
    generator = torch.Generator().manual_seed(seed)
    return clean + noise * torch.randn(clean.shape, generator=generator)
