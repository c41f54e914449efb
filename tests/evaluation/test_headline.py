"""The one sentence that a run ends with."""

import pytest
import torch

from cubefast.evaluation.baselines import Baseline
from cubefast.evaluation.headline import headline
from cubefast.evaluation.paired_bootstrap import Verdict
from cubefast.evaluation.score_table import Score, regime_of

MODELS = [
    Baseline("cube", 0, torch.clone),
    Baseline("identity", 0, torch.clone),
    Baseline("linear adapter", 0, torch.clone, settings="lr 0.001"),
    Baseline("ridge", 0, torch.clone, settings="lambda 1"),
]


def scores(test, queries, identity, cube, rival):
    """A test's lines of the table; of the two rivals, ridge finds nothing."""
    recalls = (cube, identity, rival, 0.0)
    return [
        Score(test, model.name, 0, queries, 500, 0.5, recall, 1.0, 0.9, model.kind, regime_of(test))
        for model, recall in zip(MODELS, recalls, strict=True)
    ]


WORDINGS = scores("unseen paraphrase", 246, 0.68, 0.83, 0.81)
TOPICS = scores("unseen group", 104, 0.88, 0.88, 0.87)
GAIN = scores("unseen group", 104, 0.88, 0.9, 0.87)


def said(*tests, identity=0.7, cube=0.835, rival=0.83, ridge=0.4, doubt=0.002):
    """The headline of tests, with these MRR on validation, whose differences have intervals of +- ``doubt``."""
    mrr = dict(zip([model.name for model in MODELS], (cube, identity, rival, ridge), strict=True))
    validation = {name: {"mrr": value, "cosine": 1 - value} for name, value in mrr.items()}

    def cube_against(model):
        difference = cube - mrr[model.name]
        return Verdict("cube", model.name, "mrr", difference, difference - doubt, difference + doubt, 200, 50)

    return headline(MODELS, validation, [line for test in tests for line in test], cube_against)


def test_each_regime_before_with_the_cube_and_with_the_best_rival():
    assert said(WORDINGS, TOPICS) == (
        "Right first answer: 68% before, 83% with the cube (best rival 81%), new wordings of known answers; "
        "88% before, 88% with it (best rival 87%), new topics."
    )


def test_where_the_tests_show_no_gain_the_cube_may_be_left_out():
    plain = " In these tests the plain embeddings are right at least as often: the cube may be left out."
    assert said(TOPICS) == f"Right first answer: 88% before, 88% with the cube (best rival 87%), new topics.{plain}"
    spoilt = scores("unseen paraphrase", 65, 0.37, 0.34, 0.42)
    assert said(spoilt, scores("unseen group", 34, 0.5, 0.53, 0.44)).endswith(plain), "24 and 17 right, and 22 and 18"
    assert plain not in said(spoilt, scores("unseen group", 104, 0.5, 0.53, 0.44))
    one_more, one_less = scores("a", 65, 24 / 65, 25 / 65, 0.4), scores("b", 34, 18 / 34, 17 / 34, 0.4)
    assert said(one_more, one_less).endswith(plain)
    assert plain not in said(TOPICS, rival=0.855), "which says what to use"
    assert plain not in said(scores("unseen group", 29, 0.88, 0.88, 0.87)), "too few to say"


def test_a_file_of_ones_own_and_a_handful_of_queries_are_named():
    own = ("own.jsonl", 0.88, 0.88, 0.87)
    for queries, end in ((7, "own.jsonl (7 queries)."), (1, "own.jsonl (1 query)."), (30, "own.jsonl. In these tests")):
        assert f"(best rival 87%), {end}" in said(scores(own[0], queries, *own[1:]))


def test_a_model_that_is_better_on_validation_by_more_than_chance_is_to_be_used_instead():
    assert said(GAIN, rival=0.855) == (
        f"{said(GAIN)} On validation linear adapter finds more (MRR 0.855 against 0.835, 95% interval of the "
        "difference +0.018 to +0.022): use that instead."
    )
    assert said(GAIN, rival=0.855, identity=0.8612).endswith(
        " On validation the plain embeddings find more (MRR 0.861 against 0.835, 95% interval of the difference +0.024 "
        "to +0.028): use them instead."
    )
    assert said(GAIN, rival=0.855, doubt=0.03) == said(GAIN), "it may be chance"


def test_a_test_of_very_few_queries_is_left_out_where_another_has_more():
    few = scores("unseen paraphrase", 1, 0.68, 0.83, 0.81)
    assert said(few, TOPICS) == said(TOPICS)
    assert said(few).endswith("new wordings of known answers (1 query).")


def test_without_tests_validation_alone_speaks():
    assert said() == ""
    assert said(identity=0.9) == (
        "On validation the plain embeddings find more (MRR 0.900 against 0.835, 95% interval of the difference +0.063 "
        "to +0.067): use them instead."
    )


def test_the_strongest_rival_is_chosen_by_the_mrr_of_validation():
    assert "(best rival 87%)" in said(TOPICS)
    assert "(best rival 0%)" in said(TOPICS, ridge=0.831)
    assert said(ridge=0.9, identity=0.85).startswith("On validation ridge finds more (MRR 0.900 against 0.835, ")
    with pytest.raises(KeyError):
        headline(MODELS[:1], {"cube": {"mrr": 0.8}}, [], lambda model: pytest.fail("there is none"))
