"""Training to retrieve: chosen in every regime at once, for as long as the data needs, and once more on all pairs."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from cubefast import CubeTrainer, CubicCore, TrainingConfig
from cubefast.data.pairs import EmbeddingPairs
from cubefast.errors import InputError
from cubefast.training.run_folder import RunFolder
from cubefast.training.validation import Validation

SMALL = {"core": {"state_size": 4, "hidden_size": 8, "steps": 4, "code_size": 4, "prototypes": 8}}
DIM, ANSWERS = 24, 60


def settings(**training):
    return {**SMALL, "training": {"batch_size": 32, "epochs": 6, **training}}


def world():
    """A bank of answers, and pairs: 40 answers with three trained wordings and one new one, 20 answers that are new.

    A question is its answer, rotated, with noise: the same rotation for all, so that it can be learnt.
    """
    random = torch.Generator().manual_seed(0)
    bank = normalize(torch.randn(ANSWERS, DIM, generator=random), dim=1)
    turn = torch.randn(DIM, DIM, generator=random)
    rotation = torch.matrix_exp(0.17 * (turn - turn.T))

    def ask(answers):
        questions = bank[answers] @ rotation + 0.1 * torch.randn(len(answers), DIM, generator=random)
        return EmbeddingPairs.of(normalize(questions, dim=1), bank[answers], answers)

    known, new = torch.arange(40), torch.arange(40, ANSWERS)
    return bank, ask(known.repeat(3)), {"unseen paraphrase": ask(known), "unseen group": ask(new)}


def test_both_regimes_are_in_the_records_and_choose_with_the_same_weight():
    bank, train, validation = world()
    result = CubeTrainer(settings()).fit(train, validation, bank=bank)
    record = result.records[result.best_epoch - 1]
    assert record["val_mrr"] == pytest.approx(
        (record["val_mrr_unseen_paraphrase"] + record["val_mrr_unseen_group"]) / 2
    )
    assert result.best_value == record["val_mrr"]


def test_a_handful_of_questions_does_not_choose_by_itself():
    bank, train, validation = world()
    options = settings(epochs=12, lr=5e-3)
    new, few = validation["unseen group"], validation["unseen paraphrase"]
    right_already = EmbeddingPairs(few.targets[:3], few.targets[:3], few.target_ids[:3])
    both = CubeTrainer(options).fit(train, {"unseen paraphrase": right_already, "unseen group": new}, bank=bank)
    alone = CubeTrainer(options).fit(train, {"unseen group": new}, bank=bank)
    assert both.best_epoch > 1
    ours = both.records[-1]["val_mrr_unseen_group"]
    assert ours == pytest.approx(alone.records[-1]["val_mrr_unseen_group"], abs=0.05)


def test_it_finds_more_than_the_identity_among_all_answers():
    bank, train, validation = world()
    core = CubeTrainer(settings(epochs=20, lr=5e-3)).fit(train, validation, bank=bank).core

    def right_first(pairs, predicted):
        return float(((predicted @ bank.T).argmax(dim=1) == pairs.target_ids).double().mean())

    for name, pairs in validation.items():
        assert right_first(pairs, core(pairs.inputs)) >= right_first(pairs, pairs.inputs), name
    words = validation["unseen paraphrase"]
    assert right_first(words, core(words.inputs)) > right_first(words, words.inputs) + 0.1


def test_what_harms_is_not_trusted():
    bank, train, validation = world()
    same = {
        name: EmbeddingPairs.of(pairs.targets, pairs.targets, pairs.target_ids) for name, pairs in validation.items()
    }
    wrong = EmbeddingPairs.of(train.inputs, train.targets.roll(1, 0), train.target_ids.roll(1, 0))
    result = CubeTrainer(settings(epochs=30, lr=1e-2, early_stopping=None)).fit(wrong, same, bank=bank)
    assert {record["val_mrr"] for record in result.records} == {1.0}, "in every epoch as good as without it"
    plain = CubeTrainer(settings(epochs=30, lr=1e-2) | {"core": {**SMALL["core"], "prototypes": 0}})
    worse = plain.fit(wrong, same, bank=bank)
    assert min(record["val_mrr"] for record in worse.records) < 0.9, "without trust it harms"


def test_without_a_bank_the_same_answer_in_training_and_validation_is_one():
    bank, train, validation = world()
    arrays = (train.inputs.numpy(), train.targets.numpy())
    held_out = validation["unseen paraphrase"]
    given = CubeTrainer(settings(epochs=1)).fit(arrays, (held_out.inputs.numpy(), held_out.targets.numpy()))
    known = EmbeddingPairs.of(held_out.inputs, held_out.targets, held_out.target_ids)
    wanted = CubeTrainer(settings(epochs=1)).fit(train, known, bank=bank[:40])
    assert given.records[0]["val_mrr"] == wanted.records[0]["val_mrr"]


@pytest.mark.parametrize(
    ("training", "pairs", "epochs"),
    [
        ({}, 13_000, 4),  # 204 steps an epoch
        ({}, 372, 40),  # 6 steps an epoch, and 240 are wanted
        ({"min_steps": 13}, 372, 4),
        ({"min_steps": 37}, 372, 7),
        ({"accumulate": 3}, 372, 120),
        ({"epochs": 2}, 372, 2),
    ],
)
def test_the_budget_is_in_steps_where_epochs_would_be_too_few(training, pairs, epochs):
    assert TrainingConfig.load({"training": training}).training.epochs_of(pairs) == epochs


def test_a_refit_takes_as_many_steps_as_the_best_epoch_had_and_keeps_its_trust():
    bank, train, validation = world()
    trainer = CubeTrainer(settings())
    result = trainer.fit(train, validation, bank=bank)
    everything = EmbeddingPairs.of(
        *(torch.cat([getattr(part, name) for part in (train, *validation.values())]) for name in ("inputs", "targets")),
        torch.cat([part.target_ids for part in (train, *validation.values())]),
    )
    seen = []
    begin = trainer._prepare
    trainer._prepare = lambda *given, **options: seen.append(begin(*given, **options)) or seen[-1]
    core = trainer.refit(everything, result)
    assert seen[0].state.step == result.best_step
    assert torch.equal(core.trust.curve, result.core.trust.curve)
    assert not torch.equal(core.codes, result.core.codes)
    again = trainer.refit(everything, result)
    x = validation["unseen group"].inputs
    assert torch.equal(core(x), again(x)), "the same bits"
    assert trainer.core is result.core, "the honest core stays the trainer's"


def test_a_finished_run_goes_on_where_more_epochs_are_named(tmp_path):
    bank, train, validation = world()
    run = RunFolder.create(tmp_path, "r", "x")
    first = CubeTrainer(settings(epochs=2), run).fit(train, validation, bank=bank)
    second = CubeTrainer(settings(epochs=5), run).fit(train, validation, bank=bank, resume=True)
    run.close()
    assert [record["epoch"] for record in second.records] == [1, 2, 3, 4, 5]
    assert second.records[:2] == first.records
    assert second.records[3]["lr"] > 0
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3, 4, 5]
    saved = CubicCore.from_pretrained(run.path / "best")
    x = validation["unseen group"].inputs
    assert torch.equal(saved(x), second.core(x))


def test_rivals_meet_the_same_pairs_and_validation():
    bank, train, validation = world()
    trainer = CubeTrainer(settings(epochs=8))
    found = trainer.rivals(train, validation, bank=bank)
    assert [model.kind for model in found] == [
        "linear adapter",
        "two-layer adapter",
        "low-rank adapter",
        "residual MLP",
    ]
    size = trainer.build_core(DIM).parameter_count()
    assert all(model.parameters <= size for model in found[2:])
    assert trainer.core is None, "no core was trained for it"


def test_outputs_have_unit_length_and_arrays_are_turned_alike():
    bank, train, validation = world()
    core = CubeTrainer(settings(epochs=2)).fit(train, validation, bank=bank).core
    x = validation["unseen group"].inputs
    turned = core.transform(x.numpy())
    assert np.allclose(np.linalg.norm(turned, axis=1), 1, atol=1e-5)
    assert np.allclose(turned, core(x).detach().numpy(), atol=1e-6)


def test_a_refit_with_accumulated_batches_has_a_schedule_as_long_as_it_is():
    bank, train, validation = world()
    options = settings(epochs=4, schedule="one_cycle", accumulate=4, batch_size=13, early_stopping=None)
    trainer = CubeTrainer(options)
    result = trainer.fit(train, validation, bank=bank)
    everything = EmbeddingPairs.of(train.inputs.repeat(2, 1), train.targets.repeat(2, 1), train.target_ids.repeat(2))
    last = dataclasses.replace(result, best_epoch=len(result.records))
    trainer.refit(everything, last)  # OneCycleLR raises ValueError for a step too many


@pytest.mark.parametrize(
    ("bank", "message"),
    [
        (torch.zeros(60, DIM + 1), rf"bank must be \[answers, {DIM}\], without NaN or Inf; got \[60, {DIM + 1}\]"),
        (torch.full((60, DIM), torch.nan), "without NaN or Inf"),
    ],
)
def test_a_bank_that_cannot_be_is_refused_before_training(bank, message):
    _, train, validation = world()
    with pytest.raises(InputError, match=message):
        CubeTrainer(settings()).fit(train, validation, bank=bank, on_start=lambda: pytest.fail("it has begun"))


def test_a_validation_set_has_its_own_bank():
    bank, train, validation = world()
    with pytest.raises(InputError, match="a Validation has a bank of its own: leave bank out"):
        CubeTrainer(settings()).fit(train, Validation.of(validation, bank), bank=bank)
