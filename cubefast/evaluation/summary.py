"""What a run came to, in one sentence: how often the right answer comes first, before and with the cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .baselines import CUBE, IDENTITY, Baseline
from .report import Regime, Score, regime_of

FEWEST_QUERIES = 30
"""With fewer queries, a share of them is given with their number."""
TOO_FEW_QUERIES = 5
"""With fewer queries, a test is left out of the headline where another has more."""
MUCH = 0.01
"""Of MRR: how much better on validation a model must be to be advised without a reservation."""

_IN_WORDS: dict[Regime, str] = {"unseen_paraphrase": "new wordings of known answers", "unseen_group": "new topics"}


def title_in_words(title: str) -> str:
    """The title of a test as a reader knows it: "new topics" for "unseen group", "questions of FILE" for a file."""
    part, comma, noise = title.partition(", noise ")
    words = {**_IN_WORDS, "unseen_text": "new texts"}
    return f"{words.get(regime_of(part), f'questions of {part}')}{comma}{noise}"


@dataclass(frozen=True)
class RegimeRecall:
    """How often the right answer comes first in one test.

    Attributes:
        test: its title.
        regime: what is new about its questions.
        queries: how many.
        identity, cube, rival: R@1 without the cube, with it, and of the rival that was the strongest on validation.
    """

    test: str
    regime: Regime
    queries: int
    identity: float
    cube: float
    rival: float


@dataclass(frozen=True)
class ValidationSummary:
    """The MRR on validation, as a mean over the regimes, of the three models that the headline speaks of.

    Attributes:
        identity, cube, rival: without the cube, with it, and of the strongest rival.
        rival_name, rival_kind: which rival that is, with and without its settings.
    """

    identity: float
    cube: float
    rival: float
    rival_name: str
    rival_kind: str

    @classmethod
    def of(cls, models: Sequence[Baseline], validation: Mapping[str, Mapping[str, float]]) -> ValidationSummary:
        """The summary of all models, given the metrics of each on validation by the model's name.

        Raises KeyError or ValueError where there is no cube, no identity or no rival among the models.
        """
        mrr = {model.name: validation[model.name]["mrr"] for model in models}
        by_kind = {model.kind: model for model in models}
        cube, identity = by_kind[CUBE], by_kind[IDENTITY]
        rival = max((each for each in models if each not in (cube, identity)), key=lambda model: mrr[model.name])
        return cls(mrr[identity.name], mrr[cube.name], mrr[rival.name], rival.name, rival.kind)


def recall_by_regime(scores: Sequence[Score], rival: str) -> list[RegimeRecall]:
    """R@1 in each test of a table, in its order. ``rival``: the name of the strongest rival on validation."""
    found = []
    for test in dict.fromkeys(each.test for each in scores):
        lines = [each for each in scores if each.test == test]
        by_kind, by_name = {each.kind: each for each in lines}, {each.model: each for each in lines}
        cube = by_kind[CUBE]
        recalls = (each.recall_at_1 for each in (by_kind[IDENTITY], cube, by_name[rival]))
        found.append(RegimeRecall(test, cube.regime, cube.queries, *recalls))
    return found


def headline(regimes: Sequence[RegimeRecall], validation: ValidationSummary | None = None) -> str:
    """What a reader wants to know first, in one sentence or two.

    "Right first answer: 68% before, 83% with the cube (best rival 81%), new wordings of known answers; 88% before, 88%
    with it (best rival 87%), new topics." Where identity or a rival is better on validation, there follows what to use
    instead: "On validation linear adapter finds more (MRR 0.855 against 0.835): use that instead."; or, where it is
    better by little, that it may serve as well.

    Args:
        regimes: of the tests, in the order of the sentence; none: there is no first sentence.
        validation: None: nothing is said of it. What looks the same in three digits is no better.
    """
    parts = []
    enough = [regime for regime in regimes if regime.queries >= TOO_FEW_QUERIES]
    for number, regime in enumerate(enough or regimes):
        few = f" ({regime.queries} {'query' if regime.queries == 1 else 'queries'})"
        parts.append(
            f"{regime.identity:.0%} before, {regime.cube:.0%} with {'it' if number else 'the cube'} (best rival "
            f"{regime.rival:.0%}), {_IN_WORDS.get(regime.regime, regime.test)}"
            f"{few if regime.queries < FEWEST_QUERIES else ''}"
        )
    sentences = [f"Right first answer: {'; '.join(parts)}."] if parts else []
    if validation is not None:
        others = (("leaving the cube out", validation.identity), (validation.rival_kind, validation.rival))
        name, best = max(others, key=lambda each: each[1])
        more = round(best, 3) - round(validation.cube, 3)
        if more > 0:
            advice = "use that instead" if more > MUCH else "it may serve as well"
            sentences.append(
                f"On validation {name} finds {'more' if more > MUCH else 'a little more'} (MRR {best:.3f} against "
                f"{validation.cube:.3f}): {advice}."
            )
    return " ".join(sentences)
