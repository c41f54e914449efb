"""The rivals of a core: their sizes, what they are trained on, and how they are chosen."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from cubefast.config.data import NoiseConfig
from cubefast.config.training import LOSSES, LossConfig, OptimizationConfig
from cubefast.data.embeddings.vectors import ArrayVectors
from cubefast.data.pairs import EmbeddingPairs, PairDataset
from cubefast.evaluation.metrics import cosine, mean_reciprocal_rank, recall_at, retrieval_ranks
from cubefast.training import rival_adapters as module
from cubefast.training.batches import TrainingBatch
from cubefast.training.hard_negatives import mine_hard_negatives
from cubefast.training.losses import total_loss
from cubefast.training.rival_adapters import LEARNING_RATES, hidden_within, train_rivals

DIM, SIZE = 16, 400


def rotated_pairs(count, seed, dim=DIM):
    """Each target is the input, rotated in the same way, and noise."""
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(99)))[0]
    inputs = normalize(torch.randn(count, dim, generator=generator), dim=1)
    noise = 0.1 * torch.randn(count, dim, generator=generator)
    return EmbeddingPairs.of(inputs, normalize((inputs + inputs @ rotation) / 2**0.5 + noise, dim=1))


def validated(pairs):
    """The metrics of a validation on these pairs."""

    def validate(predicted, bank=pairs.targets):
        ranks = retrieval_ranks(predicted, bank, torch.arange(len(pairs)))
        found = float(cosine(predicted, pairs.targets).mean())
        return {"mrr": mean_reciprocal_rank(ranks), "recall_at_1": recall_at(ranks, 1), "cosine": found}

    return validate


TRAIN, VALIDATION, TEST = rotated_pairs(300, 0), rotated_pairs(60, 1), rotated_pairs(60, 2)
SOURCE = PairDataset.from_pairs(TRAIN)


def trained(source=SOURCE, validate=None, options=None, max_parameters=SIZE, steps=24, **further):
    options = OptimizationConfig(batch_size=32, **(options or {}))
    validate = validate or validated(VALIDATION)
    chosen_by = SimpleNamespace(
        inputs=VALIDATION.inputs,
        bank=VALIDATION.targets,
        metrics=lambda predicted, bank: validate(predicted) if bank is None else validate(predicted, bank),
    )
    return train_rivals(source, chosen_by, options, max_parameters=max_parameters, steps=steps, **further)


def predictions(found):
    return torch.stack([rival.predict(TEST.inputs) for rival in found])


def kind_of(rival):
    return rival.name.rsplit(", ", 1)[0]


def test_each_starts_as_the_identity():
    kinds = module._kinds(DIM, SIZE)
    assert len(kinds) == 4
    assert all(torch.equal(kind.make().query(TEST.inputs), TEST.inputs) for kind in kinds)
    kinds = module._kinds_on_both_sides(DIM, SIZE)
    assert len(kinds) == 5
    for model in (kind.make() for kind in kinds):
        assert torch.equal(model.query(TEST.inputs), TEST.inputs)
        assert torch.equal(model.answers(TEST.targets), TEST.targets)


def test_on_both_sides_each_maps_the_answers_by_a_map_of_its_kind():
    found = trained(steps=120, sides="both")
    assert [kind_of(rival) for rival in found] == [
        "shared linear adapter on both sides",
        "linear adapter on both sides",
        "two-layer adapter on both sides, hidden 7",
        "low-rank adapter on both sides, rank 6",
        "residual MLP on both sides, hidden 5",
    ]
    score = validated(TEST)
    before = score(TEST.inputs)["mrr"]
    for rival in found:
        stored = rival.stored(TEST.targets)
        assert not torch.equal(stored, TEST.targets)
        assert score(rival.predict(TEST.inputs), stored)["mrr"] > before + 0.03
    shared, apart = found[:2]
    assert torch.equal(shared.predict(TEST.targets), shared.stored(TEST.targets))
    assert not torch.equal(apart.predict(TEST.targets), apart.stored(TEST.targets))
    assert [shared.parameters, apart.parameters] == [DIM * DIM, 2 * DIM * DIM]
    assert all(rival.parameters <= SIZE for rival in found[3:])


def test_they_find_more_right_answers_than_the_identity_on_pairs_held_out():
    steps = []
    found = trained(steps=120, on_step=steps.append)
    score = validated(TEST)
    before = score(TEST.inputs)["mrr"]
    assert [kind_of(rival) for rival in found] == [
        "linear adapter",
        "two-layer adapter, hidden 7",
        "low-rank adapter, rank 12",
        "residual MLP, hidden 11",
    ]
    for rival in found:
        assert score(rival.predict(TEST.inputs))["mrr"] > before + 0.05
        assert rival.name.split(", lr ")[1] in [f"{rate:g}" for rate in LEARNING_RATES]
        assert rival.tried == len(LEARNING_RATES)
        assert 0 < rival.parameters <= (SIZE if "rank" in rival.name or "MLP" in rival.name else DIM * DIM)
    assert steps == list(range(121))


@pytest.mark.parametrize("parameters", [64, 400, 4000])
def test_their_parameters_are_within_the_limits(parameters):
    square = DIM * DIM
    limits = [square, square, min(parameters, 2 * square), parameters]  # a rank is D at most
    for kind, limit in zip(module._kinds(DIM, parameters), limits, strict=True):
        count = sum(parameter.numel() for parameter in kind.make().parameters())
        assert limit - 2 * DIM - 1 < count <= limit  # one more hidden number or rank would not fit


def test_what_does_not_fit_is_left_out():
    assert [rival.kind for rival in trained(steps=12, max_parameters=2 * DIM)] == [
        "linear adapter",
        "two-layer adapter",
        "low-rank adapter",
    ]
    assert len(trained(steps=12, max_parameters=2 * DIM - 1)) == 2
    assert hidden_within(3 * DIM + 1, DIM) == 1
    assert hidden_within(3 * DIM, DIM) == 0


def test_every_run_gives_the_same_bits_and_leaves_the_process_as_it_was():
    torch.manual_seed(7)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first = predictions(trained(seed=3))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert SOURCE.epoch == 0
    torch.manual_seed(8)
    assert torch.equal(predictions(trained(seed=3)), first)
    assert not torch.equal(predictions(trained(seed=4)), first)


def test_where_training_never_helps_the_identity_is_kept():
    found = trained(validate=lambda predicted: {"mrr": 0.5})  # as good is not better
    assert [rival.name.split(", ")[-1] for rival in found] == 4 * ["untrained"]
    assert found[0].name == "linear adapter, untrained"
    assert all(rival.parameters == 0 for rival in found)
    assert all(torch.equal(rival.predict(TEST.inputs), TEST.inputs) for rival in found)


def test_validation_chooses_the_rate_and_the_step():
    seen = []

    def validate(predicted):
        seen.append(predicted.clone())
        return {"mrr": float(len(seen) == 18), "cosine": 0.0}  # the identity, one of 12 fits, then the 5th of the next

    best = trained(validate=validate)[1]
    assert best.name == "two-layer adapter, hidden 7, lr 0.001"
    assert torch.equal(best.predict(VALIDATION.inputs), seen[17])


def test_the_metric_is_that_of_the_settings():
    rising = map(float, range(100))
    falling = map(float, range(100, 0, -1))

    def validate(predicted):
        return {"mrr": next(falling), "cosine": next(rising)}

    assert all("untrained" in rival.name for rival in trained(steps=2, validate=validate))
    chosen = trained(steps=2, validate=validate, options={"metric": "cosine"})
    assert not any("untrained" in rival.name for rival in chosen)


def test_a_rate_that_does_badly_stops(monkeypatch):
    steps = {}
    step = module._Fit.step

    def counted(fit):
        step(fit)
        steps[fit.kind.name, fit.rate] = steps.get((fit.kind.name, fit.rate), 0) + 1

    monkeypatch.setattr(module._Fit, "step", counted)
    trained(steps=24)
    for kind in {name for name, _ in steps}:
        assert sorted(steps[kind, rate] for rate in LEARNING_RATES) == [6, 12, 24]
    steps.clear()
    found = trained(steps=24, validate=lambda predicted: {"mrr": -float((predicted - VALIDATION.inputs).norm())})
    assert all("untrained" in rival.name for rival in found)  # and the rate that went furthest away stopped first
    assert steps["linear adapter", 3e-3] == 6
    assert steps["linear adapter", 3e-4] == 24


def test_one_whose_numbers_overflow_is_not_chosen(monkeypatch):
    monkeypatch.setattr(module, "LEARNING_RATES", (1e-3, 1e30))
    for rival in trained(steps=24):
        assert rival.predict(TEST.inputs).isfinite().all()


def batch_and_prediction(losses, teachers=False):
    source = SOURCE
    if teachers:
        vectors = ArrayVectors(torch.randn(2 * len(TRAIN), 5, generator=torch.Generator().manual_seed(0)).numpy())
        source = PairDataset(SOURCE.vectors, SOURCE.input_rows, SOURCE.target_rows, SOURCE.target_ids // 3)
        source.teachers = (vectors,)
    neighbors = mine_hard_negatives(source, 3)
    options = OptimizationConfig(batch_size=32, losses=losses)
    expected = normalize(TRAIN.targets.roll(1, dims=0), dim=1).half()
    batch = next(module._batches(source, options.batch_size, expected, neighbors, seed=5))
    rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(5))[:32]
    predicted = torch.randn(32, DIM, generator=torch.Generator().manual_seed(1)).requires_grad_()
    negatives, crossfit_targets = source.targets_of(neighbors[rows].unique()), expected[rows].float()
    own = TrainingBatch(*source.batch(rows), source.teacher_targets(rows), negatives, crossfit_targets)
    wanted, _ = total_loss(options.losses, predicted, own)
    return batch, predicted, wanted


@pytest.mark.parametrize("losses", [{"contrast": 0.7, "temperature": 0.1}, dict.fromkeys(LOSSES, 0.5)])
def test_the_loss_is_that_of_a_core(losses):
    losses = LossConfig(**losses)
    batch, predicted, wanted = batch_and_prediction(losses, teachers=True)
    other = predicted.detach().roll(1, dims=0).requires_grad_()

    def loss_of(*outputs):
        models = [SimpleNamespace(query=lambda _, output=output: output, answers=None) for output in outputs]
        return module._summed_loss(models, losses, batch)

    ours = loss_of(predicted, other)
    ours.backward()
    assert ours.item() - loss_of(other).item() == pytest.approx(wanted.item(), rel=1e-5)
    (theirs,) = torch.autograd.grad(wanted, predicted)
    torch.testing.assert_close(predicted.grad, theirs, rtol=1e-4, atol=1e-7)
    (alone,) = torch.autograd.grad(loss_of(other), other)
    torch.testing.assert_close(other.grad, alone, rtol=1e-4, atol=1e-7)


def test_hard_negatives_and_expected_targets_are_used():
    plain = predictions(trained())
    neighbors = mine_hard_negatives(SOURCE, 4)
    assert not torch.equal(predictions(trained(negative_rows=neighbors)), plain)
    both = {"losses": {"contrast": 1.0, "crossfit": 1.0}}
    expected = TRAIN.targets.roll(1, dims=0).half()
    without = predictions(trained(options=both))
    torch.testing.assert_close(without, plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(predictions(trained(options=both, crossfit_targets=expected)), plain, atol=1e-3)


def test_noise_is_drawn_anew_in_every_epoch():
    source = PairDataset.from_pairs(TRAIN, NoiseConfig(levels=(0.4,)))
    batches = module._batches(source, 300, None, None, seed=0)
    order = torch.Generator().manual_seed(0)
    seen = []
    for epoch in (1, 2, 3):
        rows = torch.randperm(300, generator=order)  # the order of a core's training
        source.set_epoch(epoch)
        inputs = next(batches).inputs
        assert torch.equal(inputs, source.batch(rows)[0])
        seen.append(inputs[rows.argsort()])
    assert not torch.isclose(seen[0], seen[1]).any(dim=1).all()
    assert not torch.equal(seen[1], seen[2])
    source.set_epoch(7)
    trained(source, steps=12)
    assert source.epoch == 7
