"""Validation in two regimes, ranked among the whole bank."""

import pytest
import torch

from cubefast import EmbeddingPairs
from cubefast.errors import InputError
from cubefast.evaluation.baselines import Baseline, identity
from cubefast.training import validation as module
from cubefast.training.validation import Validation, validate_models, validation_metrics

DIM = 6


def random(count, seed):
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


BANK = random(40, 0)


def regime(count, first, noise, seed):
    """Questions near answers ``first`` and further of the bank."""
    ids = first + torch.arange(count) % 10
    return EmbeddingPairs(BANK[ids] + noise * random(count, seed), BANK[ids], ids)


def by_hand(pairs, predicted):
    """Ranks in the whole bank, with a loop."""
    ranks = []
    for vector, right in zip(predicted, pairs.target_ids.tolist(), strict=True):
        cosines = torch.cosine_similarity(vector[None], BANK)
        ranks.append(int((cosines >= cosines[right] - 1e-6).sum()))
    return torch.tensor(ranks, dtype=torch.float64)


def test_each_regime_counts_the_same_whatever_its_size():
    easy, hard = regime(200, 0, 0.1, 1), regime(20, 20, 3.0, 2)
    validation = Validation.of({"unseen paraphrase": easy, "unseen group": hard}, BANK)
    assert len(validation) == 220
    assert torch.equal(validation.inputs, torch.cat([easy.inputs, hard.inputs]))
    found = validation.metrics(validation.inputs)
    ranks = {"unseen_paraphrase": by_hand(easy, easy.inputs), "unseen_group": by_hand(hard, hard.inputs)}
    for name, each in ranks.items():
        assert found[f"mrr_{name}"] == pytest.approx(float((1 / each).mean()))
        assert found[f"recall_at_1_{name}"] == pytest.approx(float((each == 1).double().mean()))
    assert found["mrr"] == pytest.approx((found["mrr_unseen_paraphrase"] + found["mrr_unseen_group"]) / 2)
    assert found["recall_at_1"] == pytest.approx(
        (found["recall_at_1_unseen_paraphrase"] + found["recall_at_1_unseen_group"]) / 2
    )
    targets = torch.cat([easy.targets, hard.targets])
    assert found["cosine"] == pytest.approx(float(torch.cosine_similarity(validation.inputs, targets).mean()))
    assert found["mrr_unseen_group"] < 0.9 < found["mrr_unseen_paraphrase"]


@pytest.mark.parametrize(("count", "alone"), [(9, False), (10, True)])
def test_a_regime_of_a_handful_of_queries_counts_by_their_number(count, alone):
    easy, hard = regime(200, 0, 0.1, 1), regime(count, 20, 3.0, 2)
    validation = Validation.of({"a": easy, "b": hard}, BANK)
    found = validation.metrics(validation.inputs)
    everything = torch.cat([by_hand(easy, easy.inputs), by_hand(hard, hard.inputs)])
    pooled = float((1 / everything).mean())
    assert found["mrr"] == pytest.approx((found["mrr_a"] + found["mrr_b"]) / 2 if alone else pooled)


def test_answers_that_no_question_of_validation_has_stand_in_the_way():
    pairs = regime(30, 0, 1.0, 3)
    among_all = validation_metrics(pairs.inputs, pairs.target_ids, BANK)
    among_its_own = validation_metrics(pairs.inputs, pairs.target_ids, BANK[:10])
    assert among_all["mrr"] < among_its_own["mrr"]
    assert among_all["cosine"] == among_its_own["cosine"]


def test_of_many_pairs_a_sample_is_ranked(monkeypatch):
    monkeypatch.setattr(module, "RETRIEVAL_SAMPLE", 50)
    pairs = regime(101, 0, 1.0, 3)
    sample = EmbeddingPairs(pairs.inputs[::3], pairs.targets[::3], pairs.target_ids[::3])
    found = validation_metrics(pairs.inputs, pairs.target_ids, BANK)
    assert found["mrr"] == pytest.approx(float((1 / by_hand(sample, sample.inputs)).mean()))
    assert found["cosine"] == pytest.approx(float(torch.cosine_similarity(pairs.inputs, pairs.targets).mean()))


def test_a_regime_without_pairs_is_left_out_and_wrong_ids_are_refused():
    empty, some = regime(0, 0, 1.0, 3), regime(12, 0, 1.0, 3)
    assert list(Validation.of({"a": empty, "b": some}, BANK).regimes) == ["b"]
    with pytest.raises(InputError, match="needs a regime that has pairs; got none"):
        Validation.of({"a": empty}, BANK)
    with pytest.raises(InputError, match="target_ids of b are from 0 to 9; they must be rows of the bank, which has 5"):
        Validation.of({"b": some}, BANK[:5])


def test_models_are_scored_by_name():
    pairs = regime(12, 0, 1.0, 3)
    validation = Validation.of({"unseen group": pairs}, BANK)
    found = validate_models([identity(), Baseline("right", 0, lambda inputs: pairs.targets)], validation)
    assert found["identity"] == validation.metrics(pairs.inputs)
    assert found["right"]["mrr"] == 1
