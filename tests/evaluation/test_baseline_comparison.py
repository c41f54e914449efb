"""Which baselines a core meets on a data set."""

import dataclasses

import numpy as np
import pytest
import torch

from cubefast import EmbeddingPairs, PairDataset
from cubefast.config.data import NoiseConfig
from cubefast.data.datasets import GROUP, PARAPHRASE, TEXT, Parts
from cubefast.data.embeddings.vectors import Preparation
from cubefast.evaluation.baseline_comparison import Comparison
from cubefast.evaluation.baselines import Baseline
from cubefast.evaluation.conversation_metrics import PairStructure

DIM = 8
CORE = Baseline("cube", 45, lambda inputs: 2 * inputs)


def pairs(count, seed):
    inputs = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)) * torch.linspace(0.1, 1, DIM)
    return EmbeddingPairs.of(inputs, inputs + inputs.roll(1, dims=1) + 0.5)


def parts(noise=None, same=False):
    found = []
    for count, seed in ((120, 0), (30, 1), (40, 2)):
        part = pairs(count, seed)
        part = EmbeddingPairs(part.inputs, part.inputs, part.target_ids) if same else part
        found.append(PairDataset.from_pairs(part, noise))
    train, validation, test = found
    regimes, tests = {"unseen": validation}, {"unseen": test}
    none = np.zeros((0, DIM), np.float32)
    return Parts(train, validation, regimes, tests, [], none, Preparation(normalize=False))


def names(baselines):
    return [baseline.kind for baseline in baselines]


def test_a_run_meets_the_quick_baselines():
    comparison = Comparison(parts(), "dialogue", NoiseConfig())
    assert names(comparison.baselines) == ["identity", "mean answer", "ridge"]
    scores = comparison.scores(CORE)
    assert [score.model for score in scores] == ["cube", *(b.name for b in comparison.baselines)]
    assert scores[0].cosine == pytest.approx(scores[1].cosine, abs=1e-6)  # twice the identity


def test_an_evaluation_meets_all_of_them_at_the_cores_size_and_those_trained_elsewhere():
    comparison = Comparison(
        parts(),
        "dialogue",
        NoiseConfig(),
        all_baselines=True,
        rivals=[Baseline("linear adapter", 64, lambda inputs: 3 * inputs, settings="lr 0.001")],
    )
    assert names(comparison.baselines) == [
        "identity",
        "mean answer",
        "ridge",
        "Procrustes",
        "residual ridge",
        "nearest training question",
        "linear adapter",
    ]
    assert len({b.name for b in comparison.baselines}) == len(comparison.baselines)
    assert comparison.baselines[-1].name == "linear adapter, lr 0.001"


def test_everything_is_measured_with_its_origin_and_the_training_mean():
    data = parts()
    structure = PairStructure(groups=torch.arange(40) // 4)
    comparison = Comparison(data, "dialogue", NoiseConfig(), structures={"unseen": structure})
    (test,) = comparison.tests()
    measured = comparison.measure(CORE, test)
    assert [each.model for each in measured] == ["cube", *(b.name for b in comparison.baselines)]
    assert {len(each.metrics.groups.unique()) for each in measured} == {10}
    mean_answer = measured[2].metrics
    assert mean_answer.centred_cosines.abs().max() == 0
    assert [each.score.recall_at_1 for each in measured] == [score.recall_at_1 for score in comparison.scores(CORE)]


def test_answers_are_ranked_among_all_of_the_data_set():
    data = parts()
    test = data.tests["unseen"].pairs()
    trained = test.targets + 0.1 * torch.randn(40, DIM)
    bank = torch.cat([test.targets, trained])
    data = dataclasses.replace(
        data,
        tests={"unseen": PairDataset.from_pairs(EmbeddingPairs(test.inputs, test.targets, torch.arange(40)))},
        answers=[f"answer {n}" for n in range(80)],
        answer_vectors=bank.numpy(),
    )
    comparison = Comparison(data, "dialogue", NoiseConfig())
    found = comparison.scores(CORE)[0]
    assert (found.queries, found.pool) == (40, 80)
    (held_out,) = comparison.tests()
    assert torch.equal(held_out.bank, bank)
    assert comparison.measure(CORE, held_out)[0].score.mrr == found.mrr
    among_its_own = Comparison(data, "dialogue", NoiseConfig(), bank=bank[:40]).scores(CORE)[0]
    assert among_its_own.pool == 40
    assert found.mrr < among_its_own.mrr


def test_baselines_are_fitted_on_train_alone_and_chosen_on_validation_alone():
    data = parts()
    changed = Parts(
        data.train,
        data.validation,
        data.validations,
        {"unseen": PairDataset.from_pairs(pairs(9, 5))},
        [],
        data.answer_vectors,
        data.prepare,
    )
    inputs = torch.randn(5, DIM)
    first, second = (Comparison(each, "dialogue", NoiseConfig(), all_baselines=True) for each in (data, changed))
    for one, other in zip(first.baselines, second.baselines, strict=True):
        assert torch.equal(one.predict(inputs), other.predict(inputs))


@pytest.mark.parametrize(
    ("part", "regime"),
    [(PARAPHRASE, "unseen_paraphrase"), (GROUP, "unseen_group"), (TEXT, "unseen_text"), ("own.jsonl", "other")],
)
def test_the_regime_of_a_test_is_in_every_line_of_it(part, regime):
    data = parts()
    comparison = Comparison(dataclasses.replace(data, tests={part: data.tests["unseen"]}), "dialogue", NoiseConfig())
    (test,) = comparison.tests()
    assert test.regime == regime
    assert {score.regime for score in comparison.scores(CORE)} == {regime}
    assert {each.score.regime for each in comparison.measure(CORE, test)} == {regime}


def test_an_autoencoder_is_tested_at_noise_it_was_not_trained_with_too():
    noise = NoiseConfig(levels=(0.2, 0.4))
    comparison = Comparison(parts(noise, same=True), "autoencoder", noise, all_baselines=True)
    assert "nearest training embedding" in names(comparison.baselines)
    scores = comparison.scores(CORE)
    assert list(dict.fromkeys(score.test for score in scores)) == [
        "unseen, noise 0.1 (not trained on)",
        "unseen, noise 0.2",
        "unseen, noise 0.4",
        "unseen, noise 0.8 (not trained on)",
    ]
    tests = [(test.noise, test.noise_trained) for test in comparison.tests()]
    assert tests == [(0.1, False), (0.2, True), (0.4, True), (0.8, False)]
    assert [score.noise for score in scores if score.kind == "cube"] == [0.1, 0.2, 0.4, 0.8]
    block = {score.model: score for score in scores if score.test == "unseen, noise 0.4"}
    assert block["PCA-Wiener, given the noise"].cosine > block["identity"].cosine
    assert sum(len(comparison.measure(CORE, test)) for test in comparison.tests()) == len(scores)
