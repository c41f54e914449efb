"""What a run came to, in one sentence: how often the right answer comes first, before and with the cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .report import Score

IDENTITY = "identity"
"""The name of the model that leaves the cube out."""

FEWEST_QUERIES = 30
"""With fewer, a share of them is told with their number."""

_IN_WORDS = {"unseen paraphrase": "new wordings of known answers", "unseen group": "new topics"}


@dataclass(frozen=True)
class Regime:
    """How often the right answer comes first in one test.

    Attributes:
        name: of the test.
        queries: how many.
        identity, cube, rival: R@1 of leaving the cube out, of the cube, and of the strongest rival.
        rival_name: which that is; it was chosen on validation.
    """

    name: str
    queries: int
    identity: float
    cube: float
    rival: float
    rival_name: str


@dataclass(frozen=True)
class Chosen:
    """What validation says of the same three: the MRR, as a mean over the regimes.

    Attributes:
        identity, cube, rival: of leaving the cube out, of the cube, and of the strongest rival.
        rival_name: the rival that is the strongest there.
    """

    identity: float
    cube: float
    rival: float
    rival_name: str

    @classmethod
    def of(cls, validation: Mapping[str, Mapping[str, float]], cube: str = "cube") -> Chosen:
        """Of the metrics of each model by its name, among which there must be ``cube``, identity and a rival."""
        mrr = {name: metrics["mrr"] for name, metrics in validation.items()}
        rival = max((name for name in mrr if name not in (cube, IDENTITY)), key=lambda name: mrr[name])
        return cls(mrr[IDENTITY], mrr[cube], mrr[rival], rival)


def regimes_of(scores: Sequence[Score], rival: str, cube: str = "cube") -> list[Regime]:
    """Of the lines of a table, in its order: one per test. ``rival``: the strongest on validation, by name."""
    found = []
    for test in dict.fromkeys(each.test for each in scores):
        lines = {each.model: each for each in scores if each.test == test}
        found.append(
            Regime(
                name=test,
                queries=lines[cube].queries,
                identity=lines[IDENTITY].recall_at_1,
                cube=lines[cube].recall_at_1,
                rival=lines[rival].recall_at_1,
                rival_name=rival,
            )
        )
    return found


def headline(regimes: Sequence[Regime], chosen: Chosen | None = None) -> str:
    """What a reader wants to know first, in one sentence or two.

    "Right first answer: 68% before, 83% with the cube (best rival 81%), new wordings of known answers; 88% before, 88%
    with it (best rival 87%), new topics." Where identity or a rival is better on validation, there follows what to use
    instead: "On validation linear adapter finds more (MRR 0.845 against 0.835): use that instead."

    Args:
        regimes: of the tests, in the order they are told; none: there is no first sentence.
        chosen: on validation; None: nothing is said of it. What looks the same in three digits is no better.
    """
    parts = []
    for number, regime in enumerate(regimes):
        few = f" ({regime.queries} {'query' if regime.queries == 1 else 'queries'})"
        parts.append(
            f"{regime.identity:.0%} before, {regime.cube:.0%} with {'it' if number else 'the cube'} (best rival "
            f"{regime.rival:.0%}), {_IN_WORDS.get(regime.name, regime.name)}"
            f"{few if regime.queries < FEWEST_QUERIES else ''}"
        )
    sentences = [f"Right first answer: {'; '.join(parts)}."] if parts else []
    if chosen is not None:
        rival = chosen.rival_name.partition(",")[0]  # without its settings, which the table has
        name, best = max((("leaving the cube out", chosen.identity), (rival, chosen.rival)), key=lambda each: each[1])
        if round(best, 3) > round(chosen.cube, 3):
            sentences.append(
                f"On validation {name} finds more (MRR {best:.3f} against {chosen.cube:.3f}): use that instead."
            )
    return " ".join(sentences)
