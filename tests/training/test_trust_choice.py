"""The curve of a core's trust: chosen on validation so that no regime is worse than without the core, if it can be."""

import pytest
import torch
from torch.nn.functional import normalize

from cubefast import CubicCore
from cubefast.config.run_config import TrainingConfig
from cubefast.core import predict
from cubefast.core.trust import evaluate_curve
from cubefast.data.pairs import EmbeddingPairs
from cubefast.evaluation.metrics import retrieval_ranks
from cubefast.training.convert_pairs import training_pairs
from cubefast.training.trust_choice import (
    LEVELS,
    RegimeRanks,
    choose_curve,
    choose_handicap,
    choose_repulsion,
    known_answers,
)
from cubefast.training.validation import Validation


def regime(reciprocal, familiarity):
    ranks = torch.tensor(reciprocal, dtype=torch.float64)
    return RegimeRanks(ranks, torch.tensor(familiarity), ranks[0])


def helped(count, familiarity):
    """Questions that the core brings from rank 2 to rank 1."""
    return regime([[0.5] * count, [0.6] * count, [0.75] * count, [0.9] * count, [1.0] * count], familiarity)


def harmed(count, familiarity):
    return regime([[1.0] * count, [0.9] * count, [0.75] * count, [0.6] * count, [0.5] * count], familiarity)


def test_ranks_are_those_of_the_metrics_at_every_level():
    generator = torch.Generator().manual_seed(0)
    inputs, change, bank = (torch.randn(n, 12, generator=generator) for n in (40, 40, 30))
    right = torch.randint(30, (40,), generator=generator)
    found = RegimeRanks.of(inputs, change, torch.zeros(40), bank, right)
    for level, reciprocal in zip(LEVELS, found.reciprocal, strict=True):
        ranks = retrieval_ranks(inputs + level * change, bank, right)
        assert torch.allclose(reciprocal, 1 / ranks.double())
    assert torch.equal(found.identity, found.reciprocal[0])


def test_an_output_that_is_no_number_ranks_last():
    inputs, bank = torch.eye(4), torch.eye(4)
    change = torch.full((4, 4), torch.nan)
    found = RegimeRanks.of(inputs, change, torch.zeros(4), bank, torch.arange(4))
    assert found.reciprocal[1:].tolist() == [[0.25] * 4] * 4


def test_between_levels_the_mrr_is_a_straight_line():
    found = helped(2, [0.0, 0.0]).values(torch.tensor([0.0, 1.0, 0.625, 0.625])).mean()
    assert found == pytest.approx((0.75 + 0.9) / 2)


def test_a_core_that_helps_everywhere_is_trusted_everywhere():
    curve, _ = choose_curve([helped(20, torch.linspace(0, 1, 20).tolist()), helped(5, [0.1] * 5)])
    assert torch.equal(evaluate_curve(torch.linspace(-1, 1, 9), curve), torch.ones(9))


def test_a_core_that_harms_everywhere_is_not_trusted():
    curve, _ = choose_curve([harmed(20, torch.linspace(0, 1, 20).tolist())])
    assert torch.equal(evaluate_curve(torch.linspace(-1, 1, 9), curve), torch.zeros(9))


def test_where_familiar_questions_are_helped_and_others_harmed_trust_follows_familiarity():
    wordings = helped(30, torch.linspace(0.7, 0.9, 30).tolist())
    topics = harmed(30, torch.linspace(0.1, 0.3, 30).tolist())
    curve, _ = choose_curve([wordings, topics])
    weights = evaluate_curve(torch.tensor([0.2, 0.8]), curve)
    assert weights[0] < 0.1
    assert weights[1] > 0.9
    assert wordings.values(curve).mean() > 0.95
    assert topics.values(curve).mean() > 0.95


def test_a_gain_in_one_regime_does_not_pay_for_a_loss_in_another_of_half_its_size():
    same = [0.5] * 30
    curve, _ = choose_curve(
        [helped(30, same), regime([[1.0] * 30, [0.9] * 30, [0.85] * 30, [0.8] * 30, [0.7] * 30], same)]
    )
    assert torch.equal(evaluate_curve(torch.tensor([0.5]), curve), torch.zeros(1))


def test_ties_in_score_count_against_the_core():
    bank = normalize(torch.ones(3, 4), dim=1)
    found = RegimeRanks.of(torch.ones(1, 4), torch.zeros(1, 4), torch.zeros(1), bank, torch.tensor([1]))
    assert float(found.identity) == pytest.approx(1 / 3)


def test_what_may_be_a_loss_by_chance_is_not_worth_a_small_gain():
    mixed = [[0.5] * 8, [0.5] * 8, [0.5] * 8, [0.5] * 8, [1.0, 1.0, 0.3, 0.3, 0.3, 0.3, 0.5, 0.5]]
    few = regime(mixed, [0.5] * 8)
    assert few.values(torch.tensor([0.0, 1.0, 1.0, 1.0])).mean() > few.identity.mean()
    curve, objective = choose_curve([few])
    assert torch.equal(evaluate_curve(torch.tensor([0.5]), curve), torch.full((1,), 0.75))
    assert objective == pytest.approx(float(few.identity.mean()))
    many = regime([row * 200 for row in mixed], [0.5] * 1600)
    curve, objective = choose_curve([many])
    assert torch.equal(evaluate_curve(torch.tensor([0.5]), curve), torch.ones(1))
    assert objective == pytest.approx(float(many.values(curve).mean()))


def new_topics_beside_known_answers(seed=0):
    """Questions of new topics, each nearest to a known answer and then to its own; and a core that changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    known = normalize(torch.randn(60, 24, generator=generator), dim=1)
    right = normalize(torch.randn(60, 24, generator=generator), dim=1)
    questions = normalize(1.02 * known + right, dim=1)
    validation = Validation.of(
        {"unseen group": EmbeddingPairs(questions, right, torch.arange(60) + 60)}, torch.cat([known, right])
    )
    core = CubicCore(24, state_size=4, hidden_size=8, steps=4, prototypes=8, normalize=True)
    core.trust.fit(known)
    return core, validation, known


def test_known_answers_that_hide_those_of_new_topics_are_remembered():
    core, validation, known = new_topics_beside_known_answers()
    before = validation.metrics(predict(core, validation.inputs))["mrr"]
    found = choose_repulsion(core, validation, known)
    core.trust.curve.copy_(found.curve)
    core.remember(known, found.strength)
    after = validation.metrics(predict(core, validation.inputs))["mrr"]
    assert after > before + 0.1
    strongest = float(found.strength[2:].max())
    assert strongest == pytest.approx(0.05), "there are no wordings to show what more would cost"


def test_where_only_new_wordings_of_known_answers_are_validated_memory_is_left_out():
    core, validation, known = new_topics_beside_known_answers()
    noise = torch.randn(60, 24, generator=torch.Generator().manual_seed(5))
    wordings = EmbeddingPairs(normalize(known + 0.28 * noise, dim=1), known, torch.arange(60))
    assert choose_repulsion(core, Validation.of({"unseen paraphrase": wordings}, validation.bank), known) is None


def test_memory_that_gains_nothing_is_left_out():
    core, _, _ = new_topics_beside_known_answers()
    far = normalize(torch.randn(60, 24, generator=torch.Generator().manual_seed(9)), dim=1)
    own = Validation.of({"unseen group": EmbeddingPairs(far, far, torch.arange(60))}, far)
    assert choose_repulsion(core, own, far) is None


def test_a_search_that_knows_which_answers_were_trained_takes_something_off_these():
    core, validation, _ = new_topics_beside_known_answers()
    trained = torch.arange(120) < 60
    assert choose_handicap(core, validation, trained) == 0.02, "there are no wordings to show what more would cost"
    known = validation.bank[:60]
    near = EmbeddingPairs(known, known, torch.arange(60))
    both = Validation.of({"unseen paraphrase": near, **validation.regimes}, validation.bank)
    assert choose_handicap(core, both, trained) > 0.02
    assert choose_handicap(core, Validation.of({"unseen paraphrase": near}, validation.bank), trained) == 0.0


def test_known_answers_are_the_different_ones_of_training_and_no_more_than_allowed():
    inputs, targets = torch.randn(20, 6).numpy(), torch.randn(5, 6).numpy().repeat(4, axis=0)
    train = training_pairs(TrainingConfig(), (inputs, targets))
    found = known_answers(train, 100, seed=0)
    assert found.shape == (5, 6)
    assert torch.allclose(found, normalize(torch.from_numpy(targets[::4]), dim=1), atol=1e-6)
    few = known_answers(train, 3, seed=0)
    assert few.shape == (3, 6)
    assert torch.isin(few, found).all()
