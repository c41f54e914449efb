"""What a run came to, in one sentence: how often the right answer comes first, before and with the cube."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .baselines import CUBE, IDENTITY, Baseline
from .paired_bootstrap import Verdict
from .score_table import Regime, Score, regime_of

MIN_QUERIES_FOR_BARE_SHARE = 30
"""Below this, the number of queries is stated beside the share."""
MIN_QUERIES = 5
"""A test with fewer queries is left out of the headline where another has as many as this."""

_IN_WORDS: dict[Regime, str] = {"unseen_paraphrase": "new wordings of known answers", "unseen_group": "new topics"}


def title_in_words(title: str) -> str:
    """The title of a test as a reader knows it: "new topics" for "unseen group", "questions of FILE" for a file."""
    part, comma, noise = title.partition(", noise ")
    words = {**_IN_WORDS, "unseen_text": "new texts"}
    return f"{words.get(regime_of(part), f'questions of {part}')}{comma}{noise}"


def headline(
    models: Sequence[Baseline],
    validation: Mapping[str, Mapping[str, float]],
    scores: Sequence[Score],
    cube_against: Callable[[Baseline], Verdict],
) -> str:
    """What a reader wants to know first, in one sentence or two.

    "Right first answer: 68% before, 83% with the cube (best rival 81%), new wordings of known answers; 88% before, 88%
    with it (best rival 87%), new topics." There follows what to use instead, if anything: the best model of validation,
    if it is better there than the core by more than chance; or the plain embeddings, if in the tests of enough queries
    together they are right at least as often. The rival is the one with the best MRR on validation.

    Args:
        models: the core, identity and the rivals.
        validation: the metrics of each model on validation by its name.
        scores: of each model on the tests; none: there is no first sentence.
        cube_against: gives the verdict on the core against one of the models, by the MRR on validation.

    Raises KeyError where there is no core or no identity among the models.
    """
    by_kind = {model.kind: model for model in models}
    cube, identity = by_kind[CUBE], by_kind[IDENTITY]
    mrr = {model.name: validation[model.name]["mrr"] for model in models}
    rival = max((each for each in models if each not in (cube, identity)), key=lambda model: mrr[model.name])
    tests: dict[str, dict[str, Score]] = {}
    for each in scores:
        tests.setdefault(each.test, {})[each.model] = each
    enough = [test for test in tests.values() if test[cube.name].queries >= MIN_QUERIES]
    parts, gains = [], []
    for number, test in enumerate(enough or tests.values()):
        before, after, best = (test[model.name].recall_at_1 for model in (identity, cube, rival))
        line = test[cube.name]
        if line.queries >= MIN_QUERIES_FOR_BARE_SHARE:
            gains.append(round(line.queries * after) - round(line.queries * before))  # right answers
        few = f" ({line.queries} {'query' if line.queries == 1 else 'queries'})"
        parts.append(
            f"{before:.0%} before, {after:.0%} with {'it' if number else 'the cube'} (best rival {best:.0%}), "
            f"{_IN_WORDS.get(line.regime, line.test)}{few if line.queries < MIN_QUERIES_FOR_BARE_SHARE else ''}"
        )
    sentences = [f"Right first answer: {'; '.join(parts)}."] if parts else []
    other = max((identity, rival), key=lambda model: mrr[model.name])
    if mrr[other.name] > mrr[cube.name] and (verdict := cube_against(other)).outcome == "worse":
        better = "the plain embeddings find" if other is identity else f"{other.kind} finds"
        sentences.append(
            f"On validation {better} more (MRR {mrr[other.name]:.3f} against {mrr[cube.name]:.3f}, 95% interval of the "
            f"difference {-verdict.high:+.3f} to {-verdict.low:+.3f}): use {'them' if other is identity else 'that'} "
            "instead."
        )
    elif gains and sum(gains) <= 0:
        sentences.append("In these tests the plain embeddings are right at least as often: the cube may be left out.")
    return " ".join(sentences)
