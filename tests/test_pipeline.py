"""Text -> text from a run's folder: the same inputs as in training, the bank and threshold it kept."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from cubefast import CubicCore, Pipeline
from cubefast.decoding import Calibration
from cubefast.errors import ArtifactError, InputError
from cubefast.pipeline import load_threshold, save_threshold
from cubefast.training.run_folder import RunFolder

from .runs import dialogues, make_run


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("mode", ["none", "mean", "text"])
def test_a_question_and_its_turns_make_the_input_that_training_made(tmp_path, mode, centre):
    run, dataset, parts = make_run(tmp_path, centre=centre, context={"mode": mode, "window": 1, "decay": 0.4})
    pipeline = Pipeline.from_run(run.path)
    given = dialogues()
    history = [] if mode == "none" else [dialogue.context for dialogue in given]
    embedded = pipeline.embed([dialogue.question for dialogue in given], history)
    dataset.prepare = parts.prepare
    trained, _, _ = dataset.batch(np.arange(len(dataset)))
    torch.testing.assert_close(embedded, trained)  # a fresh core is the identity


def test_turns_change_the_answer_and_those_beyond_the_window_do_not(tmp_path):
    run, _, _ = make_run(tmp_path, context={"mode": "mean", "window": 2, "decay": 0.9})
    pipeline = Pipeline.from_run(run.path)
    turns = ["Where is the redtree?", "The redtree is in the city of redtreeville."]
    alone = pipeline("And why?", 1)
    told = pipeline("And why?", 1, history=turns)
    assert "redtree" not in alone[0].text
    assert "redtree" in told[0].text
    assert pipeline("And why?", 1, history=["Where is the oldking?", *turns]) == told
    assert pipeline(["And why?", "And why?"], 1, history=[[], turns]) == [alone, told]


def test_several_questions_are_answered_as_each_alone(tmp_path):
    run, _, _ = make_run(tmp_path)
    pipeline = Pipeline.from_run(run.path)
    questions = ["Came redtrees in winter?", "  Came oldkings?  ", "Came redtrees in winter?"]
    together = pipeline(questions, 2)
    assert [[a.text for a in each] for each in together] == [[a.text for a in pipeline(q, 2)] for q in questions]
    assert together[0] == together[2]
    assert pipeline([]) == []


@pytest.mark.parametrize(
    ("question", "history", "message"),
    [
        (" ", (), "the question is blank; ask something"),
        (5, (), "the question must be a text; got 5"),
        ("half \ud800", (), "the question has half a surrogate pair"),
        ("a", ["b", "\n"], "turn 2 of the history is blank"),
        ("a", [None], "turn 1 of the history must be a text; got None"),
        ("a", "text", "the history must be a list of turns; got a text"),
        ("a", ["b"], "the run was trained without context"),
        (["a", "b"], [["c"]], "2 questions need a list of turns each; got 1"),
        ("...", (), "the encoder has no vector for the text"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, question, history, message):
    run, _, _ = make_run(tmp_path)
    pipeline = Pipeline.from_run(run.path)
    if not isinstance(question, (str, list)):
        question, history = [question], [history]
    with pytest.raises(InputError, match=message):
        pipeline(question, history=history)


def test_an_autoencoder_never_heard_a_turn(tmp_path):
    run, _, _ = make_run(tmp_path, context={"mode": "mean"})
    config = (run.path / "config.yaml").read_text()
    run.write("config.yaml", config.replace("mode: dialogue", "mode: autoencoder"))
    assert Pipeline.from_run(run.path).context.mode == "none"


def test_the_threshold_is_calibrated_on_validation_and_used(tmp_path):
    run, _, parts = make_run(tmp_path, threshold=True)
    kept = load_threshold(run)
    assert kept is not None
    assert kept.questions == len(parts.validation)
    # By hand: the nearest answer of each question of validation, and whether it is its own.
    pairs = parts.validation.pairs()
    cosines = pairs.inputs.double() @ torch.from_numpy(parts.answer_vectors).double().T
    best, place = cosines.max(dim=1)
    right = place == pairs.target_ids
    answered = best >= kept.threshold - 1e-6
    assert float(right[answered].double().mean()) == kept.right >= 0.9
    assert json.loads((run.path / "threshold.json").read_text())["precision"] == 0.9

    assert Pipeline.from_run(run.path)("Those redtrees came in winter.", 1)[0].text == "Those redtrees came in winter."
    nonsense = "Xyz qwv jkp?"
    assert Pipeline.from_run(run.path)(nonsense) == []
    assert len(Pipeline.from_run(run.path, threshold=None)(nonsense)) == 5
    assert Pipeline.from_run(run.path, threshold=1.0)("When came redtrees?") == []


def test_a_run_without_a_threshold_always_answers(tmp_path):
    run, _, _ = make_run(tmp_path)
    assert load_threshold(run) is None
    assert len(Pipeline.from_run(run.path)("Xyz qwv jkp?", 3)) == 3


def test_where_no_threshold_is_good_enough_it_always_answers(tmp_path):
    run, _, _ = make_run(tmp_path)
    run.write_json("threshold.json", Calibration(None, 0.9, None, 0.0, 5).as_dict())
    assert len(Pipeline.from_run(run.path)("Xyz qwv jkp?", 3)) == 3


WHOLE = '{"threshold": "high", "precision": 0.9, "right": 0.9, "answered": 1, "questions": 5}'


@pytest.mark.parametrize("content", ["{", "[]", '{"threshold": 0.5}', WHOLE])
def test_a_damaged_threshold_is_said(tmp_path, content):
    run, _, _ = make_run(tmp_path)
    run.write("threshold.json", content)
    with pytest.raises(ArtifactError, match=r"threshold.json cannot be read: .* Delete it to do without a threshold"):
        Pipeline.from_run(run.path)


def test_texts_alone_have_no_threshold(tmp_path):
    run, _, parts = make_run(tmp_path)
    parts.answers.clear()
    with pytest.raises(InputError, match="at least one answer"):
        save_threshold(run, CubicCore(256, steps=2), parts)


def test_a_bank_may_have_more_text_than_a_header_holds(tmp_path):
    run, _, _ = make_run(tmp_path)
    with safetensors.safe_open(run.path / "answers.safetensors", framework="pt") as file:
        header = file.metadata()
    assert len(str(header)) < 200, "the texts are no part of it"


def test_an_early_run_has_its_texts_in_the_header(tmp_path):
    run, dataset, parts = make_run(tmp_path)
    tensors = {"vectors": torch.from_numpy(parts.answer_vectors)}
    header = {"fingerprint": dataset.fingerprint, "normalize": "true", "texts": json.dumps(parts.answers)}
    run.write("answers.safetensors", safetensors.torch.save(tensors, header))
    assert Pipeline.from_run(run.path)("Those redtrees came in winter.", 1)[0].text == "Those redtrees came in winter."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: (run.path / "answers.safetensors").unlink(), "cannot be read"),
        (lambda run: run.write("answers.safetensors", b"x" * 100), "cannot be read"),
        (lambda run: (run.path / "best" / "model.safetensors").unlink(), "no saved core"),
    ],
)
def test_a_damaged_run_is_said(tmp_path, change, message):
    run, _, _ = make_run(tmp_path)
    change(run)
    with pytest.raises(ArtifactError, match=message):
        Pipeline.from_run(RunFolder.open(run.path).path)
