"""Text -> text from a run's folder: the same inputs as in training, the bank and threshold it kept."""

import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from cubefast import CubicCore, HashingEncoder, Pipeline
from cubefast.core import predict
from cubefast.decoding import CalibratedThreshold
from cubefast.errors import ArtifactError, InputError
from cubefast.pipeline import save_answers, save_threshold
from cubefast.training.run_folder import RunFolder

from .conftest import ROOT
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
        (" ", (), "the question is blank"),
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
    kept = run.load_threshold()
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
    assert run.load_threshold() is None
    assert len(Pipeline.from_run(run.path)("Xyz qwv jkp?", 3)) == 3


def test_where_no_threshold_is_good_enough_it_always_answers(tmp_path):
    run, _, _ = make_run(tmp_path)
    run.write_json("threshold.json", CalibratedThreshold(None, 0.9, None, 0.0, 5).as_dict())
    assert len(Pipeline.from_run(run.path)("Xyz qwv jkp?", 3)) == 3


WHOLE = '{"threshold": "high", "precision": 0.9, "right": 0.9, "answered": 1, "questions": 5}'


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", '{"threshold": 0.5}', WHOLE, "[" * 100_000, "\0" * 100),
        *(WHOLE.replace('"high"', value) for value in ("NaN", "1e999", "5", "true", '"0.5"')),
        *(WHOLE.replace("5}", value + "}") for value in ("-5", "2.5", "null")),
    ],
)
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


def test_further_answers_are_found_and_those_trained_give_way_to_them(tmp_path):
    run, dataset, parts = make_run(tmp_path)
    question, further = "Where is the red house?", "The redhouse is in the city of redhouses."
    plain = Pipeline.from_run(run.path, further_answers=[further, further])
    assert len(plain.decoder.texts) == len(parts.answers) + 1
    assert [each.text for each in plain(further, 1)] == [further]
    scores = {each.text: each.score for each in plain(question, 49)}
    save_answers(run, dataset.fingerprint, parts, handicap=0.5, refitted=True)
    giving_way = Pipeline.from_run(run.path, further_answers=[further])(question, 49)
    assert giving_way[0].text == further
    assert all(each.score == pytest.approx(scores[each.text]) for each in giving_way)
    without = Pipeline.from_run(run.path)(question, 5)
    assert [each.text for each in without] == [each.text for each in giving_way[1:6]], "all give way alike"
    with pytest.raises(InputError, match="a further answer is blank"):
        Pipeline.from_run(run.path, further_answers=[" "])


def test_only_answers_of_training_give_way(tmp_path):
    run, dataset, parts = make_run(tmp_path)
    save_answers(run, dataset.fingerprint, parts, handicap=2.0)
    trained = {text for text, known in zip(parts.answers, parts.trained, strict=True) if known}
    assert 0 < len(trained) < len(parts.answers)
    found = [each.text in trained for each in Pipeline.from_run(run.path)("Where is the redtree?", 48)]
    assert found == sorted(found), "those not trained come first"


def test_the_encoders_own_embeddings_and_answers_are_there_to_compare_with(tmp_path):
    run, dataset, parts = make_run(tmp_path, centre=True)
    core = CubicCore(256, state_size=4, hidden_size=8, steps=2, linear_rank=16, sides="both", normalize=True)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.normal_(std=0.2)
    run.save_best(core)
    save_answers(run, dataset.fingerprint, parts, handicap=0.5)
    pipeline = Pipeline.from_run(run.path, plain=True)
    questions = [dialogue.question for dialogue in dialogues()]
    plain = pipeline.embed_plain(questions)
    np.testing.assert_allclose(plain, parts.prepare(pipeline.encoder.encode(questions)), atol=1e-6)
    torch.testing.assert_close(pipeline.apply_core(plain), pipeline.embed(questions))
    assert (pipeline.embed(questions) - plain).abs().max() > 0.1
    # By hand: the nearest of the bank, without the core, its map and the handicap.
    by_hand = (plain @ torch.from_numpy(parts.answer_vectors).T).argmax(dim=1)
    assert [found[0].text for found in pipeline.plain_decoder.decode(plain, 1)] == [parts.answers[i] for i in by_hand]
    served = pipeline.embed_answers(parts.answers)
    np.testing.assert_allclose(served, core.transform_answers(parts.answer_vectors), atol=1e-6)
    assert Pipeline.from_run(run.path).plain_decoder is None


def test_an_answer_is_embedded_with_its_prompt(tmp_path):
    run, _, _ = make_run(tmp_path, prompts={"question": "query: ", "answer": "passage: "})
    pipeline = Pipeline.from_run(run.path)
    np.testing.assert_allclose(
        pipeline.embed_answers([" Yes. "]), pipeline.encoder.encode(["passage: Yes."]), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(
        pipeline.embed_plain(["Yes?"]), pipeline.encoder.encode(["query: Yes?"]), rtol=0, atol=1e-6
    )


def test_a_bank_may_have_more_text_than_a_header_holds(tmp_path):
    run, _, _ = make_run(tmp_path)
    with safetensors.safe_open(run.path / "answers.safetensors", framework="pt") as file:
        header = file.metadata()
    assert len(str(header)) < 200, "the texts are no part of it"


def test_equal_banks_are_equal_to_the_byte(tmp_path):
    """In processes of their own, as Python and Rust draw the order of some tables anew in each."""
    program = "import pathlib, sys; from tests import runs; runs.make_run(pathlib.Path(sys.argv[1]), centre=True)"
    places = [tmp_path / str(number) for number in range(2)]
    for place in places:
        place.mkdir()
        subprocess.run([sys.executable, "-c", program, place], cwd=ROOT, timeout=60, check=True)
    assert len({(place / "run" / "answers.safetensors").read_bytes() for place in places}) == 1


def test_a_bank_of_wrong_types_is_refused_in_words(tmp_path):
    run, _, parts = make_run(tmp_path, centre=True)
    path = run.path / "answers.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118

    def texts(content):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return {"texts": torch.frombuffer(bytearray(data), dtype=torch.uint8)}

    count = len(parts.answers)
    mean, vectors = tensors["mean"], tensors["vectors"]
    for change, said in [
        (texts([1] * count), {}),
        (texts(["a"] * (count - 1)), {}),
        (texts({"a": "b"}), {}),
        (texts(b"[" * 100_000), {}),
        (texts(b"\0" * 100), {}),
        (texts([]) | {"vectors": vectors[:0]}, {}),
        ({"texts": torch.zeros(8)}, {}),
        ({"mean": mean[:3]}, {}),
        ({"mean": mean.int()}, {}),
        ({"mean": mean * torch.nan}, {}),
        ({"mean": mean[None]}, {}),
        ({"vectors": vectors.double()}, {}),
        ({"vectors": vectors[0]}, {}),
        ({"vectors": vectors[:, :5].contiguous()}, {}),
        ({"vectors": vectors * torch.inf}, {}),
        ({"trained": torch.full((count,), 2, dtype=torch.uint8)}, {}),
        ({"trained": torch.ones(count - 1, dtype=torch.uint8)}, {}),
        ({"further": mean + 1}, {}),
        ({}, {"encoding": "[" * 100_000}),
        ({}, {"encoding": '{"fingerprint": 5, "normalize": true, "handicap": 0.0}'}),
        ({}, {"encoding": '{"fingerprint": "x", "normalize": 1, "handicap": 0.0}'}),
        ({}, {"encoding": '{"fingerprint": "x", "normalize": true, "handicap": -1.0}'}),
        ({}, {"other": "entry"}),
    ]:
        path.write_bytes(safetensors.torch.save({**tensors, **change}, {**header, **said}))
        with pytest.raises(InputError):
            Pipeline.from_run(run.path)
    good = safetensors.torch.save(tensors, header)
    for damage in (good[:-1], good[:50], (10**18).to_bytes(8, "little") + good[8:], b""):
        path.write_bytes(damage)
        with pytest.raises(ArtifactError, match="answers.safetensors, cannot be read"):
            Pipeline.from_run(run.path)


def test_a_core_of_other_embeddings_does_not_belong_to_a_run(tmp_path):
    run, _, _ = make_run(tmp_path)
    run.save_best(CubicCore(64, steps=2))
    with pytest.raises(ArtifactError, match="its core takes embeddings of 64 numbers, and its answers have 256"):
        Pipeline.from_run(run.path)


def test_a_run_is_served_while_its_second_core_is_only_begun(tmp_path):
    """The folder is there a moment before the core in it, and stays so when its writer is killed between the two."""
    run, _, _ = make_run(tmp_path)
    (run.path / "refit").mkdir()
    Pipeline.from_run(run.path)


def test_a_question_may_be_so_long_and_no_longer(tmp_path):
    pipeline = Pipeline.from_run(make_run(tmp_path)[0].path)
    pipeline("a word " * 14_000)
    with pytest.raises(InputError, match="the question has 100,008 characters; 100,000 are the most. Shorten it"):
        pipeline("redtrees" * 12_501)
    with pytest.raises(InputError, match="no run at"):
        Pipeline.from_run("x" * 5000)


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


@pytest.mark.parametrize("mode", ["none", "mean", "text"])
def test_a_question_is_asked_behind_the_prompt_that_training_put_before_it(tmp_path, mode):
    prompts = {"question": "query: ", "answer": "passage: "}
    run, dataset, _ = make_run(tmp_path, prompts=prompts, context={"mode": mode})
    pipeline = Pipeline.from_run(run.path)
    history = [] if mode == "none" else [list(each.context) for each in dataset.dialogues]
    asked = pipeline.embed([each.question for each in dataset.dialogues], history)
    inputs, targets, _ = dataset.batch(range(len(dataset)))
    torch.testing.assert_close(asked, predict(pipeline.core, inputs))
    encoder = HashingEncoder(256)
    answers = encoder.encode(["passage: " + each.answer for each in dataset.dialogues])
    torch.testing.assert_close(targets, torch.from_numpy(answers))
    if mode == "none":
        questions = encoder.encode(["query: " + each.question for each in dataset.dialogues])
        torch.testing.assert_close(inputs, torch.from_numpy(questions))
    assert pipeline("Where is the redtree?", 1)[0].text.startswith("The"), "the prompt is not part of an answer"
