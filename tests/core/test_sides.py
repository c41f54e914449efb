"""A core on both sides: stored answers are mapped once, and whatever ranks looks among what that makes of them."""

import importlib
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from cubefast import AnswerSide, CubeTrainer, CubicCore, Pipeline, RetrievalDecoder, TrainingConfig
from cubefast.data.pairs import EmbeddingPairs
from cubefast.errors import ConfigError
from cubefast.evaluation.baselines import as_baseline
from cubefast.evaluation.score_table import HeldOutTest, measure, score
from cubefast.integrations.torch_export import export_core
from cubefast.pipeline import save_threshold
from cubefast.training.distributed import Processes
from cubefast.training.trust_choice import validate
from cubefast.training.validation import Validation

from ..cores import shaken
from ..programs import command
from ..runs import dialogues, make_run

DIM = 24
SMALL = {"state_size": 4, "hidden_size": 8, "steps": 4, "code_size": 4, "summary_size": 0, "prototypes": 8}


def core_on_both_sides(dim=DIM, **keywords):
    return shaken(CubicCore(dim, **SMALL, linear_rank=5, sides="both", normalize=True, **keywords))


def answers(count, seed=0):
    return normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_a_fresh_core_leaves_answers_as_they_are_and_one_for_queries_always_does():
    stored = answers(9)
    fresh = CubicCore(DIM, linear_rank=5, sides="both", normalize=True)
    torch.testing.assert_close(fresh.map_answers(stored), stored)
    query = shaken(CubicCore(DIM, linear_rank=5))
    assert query.map_answers(stored) is stored
    array = stored.numpy()
    assert np.shares_memory(query.transform_answers(array), array)


def test_the_map_of_answers_is_what_it_says_for_tensors_arrays_and_after_saving(tmp_path):
    core, stored = core_on_both_sides(), answers(9)
    core.answer_weight.fill_(0.5)
    wanted = normalize(stored + 0.5 * stored @ core.answer_map.matrix.T, dim=1)
    torch.testing.assert_close(core.map_answers(stored), wanted)
    np.testing.assert_allclose(core.transform_answers(stored.double().numpy()), wanted.detach(), atol=1e-6)
    core.save_pretrained(tmp_path)
    again = CubicCore.from_pretrained(tmp_path)
    assert torch.equal(again.map_answers(stored), core.map_answers(stored))
    assert torch.equal(AnswerSide.load(str(tmp_path))(stored), core.map_answers(stored))
    with pytest.raises(ValueError, match=r"embedding must be \[..., 24\]; got \[9, 5\]"):
        AnswerSide(core)(stored[:, :5])


def test_it_needs_a_rank():
    with pytest.raises(ValueError, match='sides="both" needs a linear_rank of at least 1'):
        CubicCore(DIM, sides="both")
    with pytest.raises(ValueError, match="sides must be one of query, both; got 'left'"):
        CubicCore(DIM, sides="left")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "autoencoder"}, "needs mode=dialogue and purpose=retrieve"),
        ({"purpose": "decode"}, "needs mode=dialogue and purpose=retrieve"),
        ({"core": {"linear_rank": 0}}, "needs core.linear_rank of at least 1, and core.normalize"),
        ({"training": {"losses": {"cosine": 1.0, "mse": 1.0}}}, "losses.cosine=0 training.losses.mse=0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        TrainingConfig.load({"sides": "both", **changes})


def turned_pairs(count, seed):
    """Questions whose answers lie in the same half of the numbers; the other half of both is noise."""
    generator = torch.Generator().manual_seed(seed)
    same = torch.randn(count, DIM // 2, generator=generator)
    noise = torch.randn(2, count, DIM - DIM // 2, generator=generator)
    questions, answers = (normalize(torch.cat([same, each], dim=1), dim=1) for each in noise)
    return questions, answers


def trained(sides, **training):
    trainer = CubeTrainer(
        {"sides": sides, "core": {**SMALL, "linear_rank": 12}, "training": {"epochs": 8, "batch_size": 16, **training}}
    )
    train, held_out = turned_pairs(300, 0), turned_pairs(80, 1)
    bank = torch.cat([train[1], held_out[1]])
    pairs = EmbeddingPairs(*held_out, torch.arange(80) + 300)
    return trainer.fit(train, pairs, bank=bank), pairs, bank


def test_where_both_sides_have_noise_it_finds_more_than_a_map_of_queries():
    found = {}
    for sides in ("query", "both"):
        result, pairs, bank = trained(sides)
        model = as_baseline(result.core)
        found[sides] = score(model, HeldOutTest("test", pairs, bank)).mrr
        assert found[sides] >= result.best_value - 1e-6  # memory may have been chosen on top
        assert result.core.config["linear_rank"] == 12
    identity = score(as_baseline(CubicCore(DIM)), HeldOutTest("test", pairs, bank)).mrr
    assert found["both"] > found["query"] + 0.02 > identity + 0.02
    assert float(result.core.answer_weight) > 0


def test_a_map_of_answers_that_harms_is_not_trusted_and_what_remains_is_the_identity():
    core = core_on_both_sides()
    questions, right = turned_pairs(60, 2)
    with torch.no_grad():
        for linear in (core.linear, core.answer_map):
            linear.w_up.normal_(std=5.0)
    validation = Validation.of({"validation": EmbeddingPairs(questions, right, torch.arange(60))}, right)
    found = validate(core, validation, "mrr", Processes())
    assert float(found.chosen["answer_weight"]) == 0
    assert float(found.chosen["trust.curve"][2:].max()) == 0
    assert float(core.answer_weight) == 1, "training goes on as it was"
    assert found.metrics["mrr"] == pytest.approx(validation.metrics(questions)["mrr"])


def test_measures_are_among_the_mapped_answers_but_relevance_is_the_encoders():
    core = core_on_both_sides()
    questions, right = turned_pairs(40, 3)
    pairs = EmbeddingPairs(questions, right, torch.arange(40))
    found = measure(as_baseline(core), HeldOutTest("test", pairs, right), right.mean(dim=0)).metrics
    with torch.no_grad():
        scores = core(questions) @ core.map_answers(right).T
        assert torch.allclose(found.cosines, scores.diagonal(), atol=1e-5)
    assert torch.equal(found.ranks, 1 + (scores > scores.diagonal()[:, None]).sum(dim=1))
    given = right[scores.argmax(dim=1)]
    assert torch.allclose(found.relevances, (given * right).sum(dim=1), atol=1e-5)
    plain = score(as_baseline(core), HeldOutTest("test", pairs))
    assert plain.mrr == pytest.approx(found.mrr)


def test_a_run_is_asked_among_the_mapped_answers(tmp_path):
    run, _, parts = make_run(tmp_path)
    core = core_on_both_sides(256)
    run.save_best(core)
    save_threshold(run, core, parts)
    pipeline = Pipeline.from_run(run.path, threshold=None, further_answers=["A tower nobody asked about."])
    questions = [dialogue.question for dialogue in dialogues()[:6]]
    further = pipeline.encoder.encode(["A tower nobody asked about."])
    stored = core.transform_answers(np.concatenate([parts.answer_vectors, further]))
    by_hand = RetrievalDecoder([*parts.answers, "A tower nobody asked about."], stored)
    assert pipeline(questions, 3) == by_hand.decode(pipeline.embed(questions), 3)
    assert pipeline(questions, 3) != RetrievalDecoder(parts.answers, parts.answer_vectors).decode(
        pipeline.embed(questions), 3
    )


def test_both_of_its_programs_give_its_numbers():
    core, stored = core_on_both_sides(), answers(5)
    for module in (core, AnswerSide(core)):
        program = export_core(module, "plain").module()
        torch.testing.assert_close(program(stored), module(stored), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_from_the_command_line_to_a_published_folder(tmp_path):
    def printed(program, *arguments):
        done = command(program, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    small = ["core.hidden_size=8", "core.state_size=4", "training.epochs=2", "core.prototypes=8"]
    assert "linear adapter on both sides" in printed("train", "sides=both", "encoder=static:64", "name=r", *small)
    printed("train", "--resume", "runs/r", "training.epochs=3")
    printed("evaluate", "runs/r")
    printed("ask", "runs/r", "How do vaccines work?")
    printed("export", "runs/r", "out", "--torch", "plain")
    core, stored = CubicCore.from_pretrained(tmp_path / "out"), normalize(torch.randn(4, 64), dim=1)
    program = torch.export.load(tmp_path / "out" / "answers.pt2").module()
    torch.testing.assert_close(program(stored), core.map_answers(stored))
    assert "core.transform_answers(" in (tmp_path / "out" / "README.md").read_text()


def test_the_former_place_of_the_answer_side_is_an_alias(monkeypatch):
    monkeypatch.delitem(sys.modules, "cubefast.answer_side", raising=False)
    with pytest.warns(DeprecationWarning, match=r"cubefast.answer_side.AnswerSide is now cubefast.AnswerSide"):
        assert importlib.import_module("cubefast.answer_side").AnswerSide is AnswerSide
