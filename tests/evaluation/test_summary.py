"""The one sentence that a run ends with."""

import dataclasses

import pytest
import torch

from cubefast.evaluation.baselines import Baseline
from cubefast.evaluation.report import Score, regime_of
from cubefast.evaluation.summary import RegimeRecall, ValidationSummary, headline, recall_by_regime

WORDINGS = RegimeRecall("unseen paraphrase", "unseen_paraphrase", 246, 0.68, 0.83, 0.81)
TOPICS = RegimeRecall("unseen group", "unseen_group", 104, 0.88, 0.88, 0.87)
KINDS = ("cube", "identity", "linear adapter")
BEST = ValidationSummary(0.7, 0.835, 0.83, "linear adapter, lr 0.001", "linear adapter")


def test_each_regime_before_with_the_cube_and_with_the_best_rival():
    assert headline([WORDINGS, TOPICS]) == (
        "Right first answer: 68% before, 83% with the cube (best rival 81%), new wordings of known answers; "
        "88% before, 88% with it (best rival 87%), new topics."
    )
    assert headline([TOPICS]) == "Right first answer: 88% before, 88% with the cube (best rival 87%), new topics."


def test_a_file_of_ones_own_and_a_handful_of_queries_are_named():
    own = dataclasses.replace(TOPICS, test="own.jsonl", regime="other", queries=7)
    assert headline([own]).endswith("(best rival 87%), own.jsonl (7 queries).")
    assert headline([dataclasses.replace(own, queries=1)]).endswith("own.jsonl (1 query).")
    assert headline([dataclasses.replace(own, queries=30)]).endswith("own.jsonl.")


def test_a_model_that_is_better_on_validation_is_to_be_used_instead():
    assert headline([TOPICS], BEST) == headline([TOPICS])
    better = dataclasses.replace(BEST, rival=0.855)
    assert headline([TOPICS], better) == (
        f"{headline([TOPICS])} On validation linear adapter finds more (MRR 0.855 against 0.835): use that instead."
    )
    without = dataclasses.replace(better, identity=0.8612)
    assert headline([TOPICS], without).endswith(
        " On validation leaving the cube out finds more (MRR 0.861 against 0.835): use that instead."
    )


def test_a_test_of_very_few_queries_is_left_out_where_another_has_more():
    few = dataclasses.replace(WORDINGS, queries=1)
    assert headline([few, TOPICS]) == headline([TOPICS])
    assert headline([few]).endswith("new wordings of known answers (1 query).")


def test_a_model_that_is_better_by_little_may_serve_as_well():
    assert headline([TOPICS], dataclasses.replace(BEST, rival=0.838)).endswith(
        " On validation linear adapter finds a little more (MRR 0.838 against 0.835): it may serve as well."
    )


def test_what_looks_the_same_is_no_better():
    assert headline([TOPICS], dataclasses.replace(BEST, rival=0.8354)) == headline([TOPICS])


def test_without_tests_validation_alone_speaks():
    assert headline([], BEST) == ""
    assert headline([], dataclasses.replace(BEST, identity=0.9)) == (
        "On validation leaving the cube out finds more (MRR 0.900 against 0.835): use that instead."
    )


def test_the_strongest_rival_is_chosen_by_the_mrr_of_validation():
    validation = {
        "cube": {"mrr": 0.8, "cosine": 0.9},
        "identity": {"mrr": 0.85, "cosine": 0.5},
        "ridge, lambda 1": {"mrr": 0.4, "cosine": 0.99},
        "linear adapter": {"mrr": 0.7, "cosine": 0.6},
    }
    models = [Baseline("ridge", 0, torch.clone, settings="lambda 1"), *(Baseline(k, 0, torch.clone) for k in KINDS)]
    assert ValidationSummary.of(models, validation) == ValidationSummary(0.85, 0.8, 0.7, *2 * ["linear adapter"])
    with pytest.raises(KeyError):
        ValidationSummary.of(models[:2], validation)


def test_regimes_are_read_from_the_table():
    def line(test, kind, recall):
        return Score(test, f"{kind}, set so", 0, 9, 20, 0.5, recall, 1.0, 0.9, kind, regime_of(test))

    scores = [
        line(test, model, recall + more)
        for test, more in (("unseen paraphrase", 0.0), ("unseen group", 0.1))
        for model, recall in (("cube", 0.5), ("identity", 0.4), ("ridge", 0.3))
    ]
    first, second = recall_by_regime(scores, "ridge, set so")
    assert first == RegimeRecall("unseen paraphrase", "unseen_paraphrase", 9, 0.5 - 0.1, 0.5, 0.3)
    assert (second.regime, second.cube) == ("unseen_group", 0.6)
