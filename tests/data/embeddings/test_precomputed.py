"""Runs on embeddings that an API or another program made: trained, asked, evaluated and served."""

import json

import numpy as np
import pytest
import torch

from cubefast import HashingEncoder, OpenAIEncoder, Pipeline
from cubefast.errors import EncoderUnavailableError, InputError

from ...embeddings_server import KEY, Failure
from ...programs import SMALL, command
from ...runs import make_run

QUESTION = "Came redtrees in winter?"
HASHING = HashingEncoder(256)
TRAINED = SMALL[1:]  # without its encoder


def embed(texts):
    """What another program gives."""
    return HASHING.encode(texts).tolist()


def otherwise(texts):
    return HASHING.encode(texts)[:, ::-1]


# --- In Python


def test_a_run_on_ready_vectors_answers_with_a_function_or_with_vectors(tmp_path):
    run, _, _ = make_run(tmp_path, encoder=None)
    expected = Pipeline.from_run(make_run(tmp_path, "encoded")[0].path)([QUESTION, "Where is the oldking?"], 3)
    for encoder in (embed, HASHING, "hashing:256", HASHING.encode):
        assert Pipeline.from_run(run.path, encoder=encoder)([QUESTION, "Where is the oldking?"], 3) == expected
    pipeline = Pipeline.from_run(run.path)
    vectors = HASHING.encode([QUESTION, "Where is the oldking?"]) * 7
    for given in (vectors, torch.from_numpy(vectors), vectors.astype(np.float64)):
        found = pipeline(given, 3)
        assert [[a.text for a in each] for each in found] == [[a.text for a in each] for each in expected]
        np.testing.assert_allclose(
            [[a.score for a in each] for each in found], [[a.score for a in each] for each in expected], atol=1e-6
        )
        assert pipeline(given[0], 3) == found[0]
    assert pipeline(vectors[:0]) == []


def test_vectors_are_taken_by_a_run_with_an_encoder_too(tmp_path):
    pipeline = Pipeline.from_run(make_run(tmp_path, centre=True)[0].path)
    torch.testing.assert_close(pipeline.embed(HASHING.encode([QUESTION])), pipeline.embed([QUESTION]))


def test_without_an_encoder_texts_are_refused_and_the_way_is_said(tmp_path):
    run, _, _ = make_run(tmp_path, encoder=None)
    pipeline = Pipeline.from_run(run.path)
    for ask in (lambda: pipeline("Why?"), lambda: pipeline.embed_answers(["So."])):
        with pytest.raises(
            InputError, match="has no encoder for texts: name the one that made them, such as openai:MODEL"
        ):
            ask()
    with pytest.raises(
        InputError, match="further answers have to be encoded, and the run was trained on ready embeddings"
    ):
        Pipeline.from_run(run.path, further_answers=["One more."])


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((2, 5)), r"embeddings of questions must be \[n, 256\]; got \[2, 5\]"),
        (np.ones(5), r"must be \[n, 256\]; got \[1, 5\]"),
        (np.ones((1, 2, 256)), r"must be \[n, 256\]; got \[1, 2, 256\]"),
        (np.diag([1.0] * 255 + [np.nan]), "the embedding of question 255 has NaN or Inf, or is all zeros"),
        (np.diag([1.0] * 255 + [0.0]), "the embedding of question 255 has NaN or Inf, or is all zeros"),
        (np.full((1, 256), 1e300), "the embedding of question 0 has NaN or Inf"),
        (np.full((1, 256), "x"), "embeddings of questions must be real numbers"),
    ],
)
def test_what_are_no_vectors_of_questions_is_refused(tmp_path, vectors, message):
    pipeline = Pipeline.from_run(make_run(tmp_path, encoder=None)[0].path)
    with pytest.raises(InputError, match=message):
        pipeline(vectors)


def test_vectors_have_no_turns_before_them(tmp_path):
    pipeline = Pipeline.from_run(make_run(tmp_path, context={"mode": "mean"})[0].path)
    with pytest.raises(InputError, match="the turns before a question are texts, which embeddings of questions cannot"):
        pipeline(HASHING.encode([QUESTION]), history=[["And?"]])


def test_an_encoder_that_did_not_make_the_vectors_is_refused(tmp_path):
    ready, encoded = make_run(tmp_path, encoder=None)[0].path, make_run(tmp_path, "encoded")[0].path
    for run in (ready, encoded):
        with pytest.raises(
            InputError, match=r"the encoder hashing:64 gives vectors of 64 numbers, and the answers of .* have 256"
        ):
            Pipeline.from_run(run, encoder="hashing:64")
        with pytest.raises(
            InputError, match=r"the encoder otherwise gives other vectors than the answers of .*the cosine is -?0"
        ):
            Pipeline.from_run(run, encoder=otherwise)
    for encoder, message in [
        (5, "an encoder must be one, the name of one"),
        (lambda texts: None, "must give an array|must be real numbers"),
        (lambda texts: embed(texts)[:-1], r"must give an array \[4, D\] for 4 texts; got \[3, 256\]"),
        (lambda texts: [[float("nan")] * 256] * len(texts), "the encoder has no vector for the text"),
    ]:
        with pytest.raises(InputError, match=message):
            Pipeline.from_run(ready, encoder=encoder)


def test_vectors_of_longer_texts_are_taken_with_a_warning(tmp_path):
    run, _, _ = make_run(tmp_path, encoder=None)
    with pytest.warns(
        UserWarning, match=r"gives vectors a little different from those of the answers of .*lack a prompt"
    ):
        pipeline = Pipeline.from_run(run.path, encoder=lambda texts: embed([f"passage: {text}" for text in texts]))
    assert len(pipeline(QUESTION)) == 5


# --- On the command line


PAIRS = [(f"What does key{n:02} open?", f"Key{n:02} opens door{n:02}.") for n in range(80)]


def write_pairs(path, pairs):
    path.write_text("question,answer\n" + "".join(f'"{q}","{a}"\n' for q, a in pairs))


@pytest.fixture
def ready(tmp_path):
    """A folder with pairs and vectors that another program made of them, in a run of its own."""
    write_pairs(tmp_path / "faq.csv", PAIRS)
    encode = HashingEncoder(64).encode
    np.savez(tmp_path / "v.npz", question=encode([q for q, _ in PAIRS]), answer=encode([a for _, a in PAIRS]))
    done = command("train", "data=faq.csv", "data.vectors=v.npz", "name=v", *TRAINED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "try: python -m cubefast.ask runs/v 'What does key00 open?' --encoder NAME" in done.stdout
    assert "encoder: null" in (tmp_path / "runs/v/config.yaml").read_text()
    return tmp_path


def test_a_run_on_ready_vectors_is_asked_evaluated_and_served_with_an_api(ready, api):
    asked = command("ask", "runs/v", "What does key07 open?", "--encoder", "openai:m", "--count", "2", cwd=ready)
    assert asked.returncode == 0, asked.stderr
    assert "Key07 opens door07." in asked.stdout
    assert [asked["input"] for asked in api.requests][-1] == ["What does key07 open?"]

    done = command("evaluate", "runs/v", cwd=ready)
    assert done.returncode == 0, done.stderr
    write_pairs(ready / "new.csv", [(f"And lock{n}?", f"No key opens lock{n}.") for n in range(10)])
    done = command("evaluate", "runs/v", "data=new.csv", cwd=ready)
    assert done.returncode == 2
    assert "give data.vectors=FILE too, or that encoder with encoder=NAME" in done.stderr
    done = command("evaluate", "runs/v", "data=new.csv", "encoder=openai:m", cwd=ready)
    assert done.returncode == 0, done.stderr
    assert (
        "its vectors have the cosine 1.000 to the ready ones"
        in (ready / "runs/v/evaluations/new/report.md").read_text()
    )
    done = command("evaluate", "runs/v", "data=new.csv", "encoder=hashing:32", cwd=ready)
    assert done.returncode == 2
    assert "the run's embeddings have 64 numbers, those of the other file 32" in done.stderr


def test_a_run_on_ready_vectors_says_how_it_can_be_asked(ready, api):
    for arguments in (["ask", "runs/v", "Why?"], ["ask", "runs/v", "--jsonl"], ["serve", "runs/v", "--port", "0"]):
        done = command(*arguments, cwd=ready)
        assert done.returncode == 2
        assert done.stderr.startswith(
            "error: the run was trained on ready embeddings and has no encoder for texts: name"
        )
        assert done.stdout == ""
    api.dim = 32
    done = command("ask", "runs/v", "Why?", "--encoder", "openai:m", cwd=ready)
    assert done.returncode == 2
    assert (
        "error: the encoder openai:m gives vectors of 32 numbers, and the answers of runs/v have 64: it did not"
        in done.stderr
    )


def test_the_encoder_may_be_named_when_a_run_on_ready_vectors_is_trained(ready, api):
    given = ["data=faq.csv", "data.vectors=v.npz", "encoder=openai:m", "name=named"]
    done = command("train", *given, *TRAINED, cwd=ready)
    assert done.returncode == 0, done.stderr
    assert "--encoder NAME" not in done.stdout
    assert not api.requests
    asked = command("ask", "runs/named", "What does key07 open?", cwd=ready)
    assert asked.returncode == 0, asked.stderr
    assert "Key07 opens door07." in asked.stdout


def test_a_run_of_an_api_is_trained_asked_and_evaluated_and_keeps_no_key(tmp_path, api):
    write_pairs(tmp_path / "faq.csv", PAIRS)
    done = command("train", "data=faq.csv", "encoder=openai:m", "name=a", "cache=kept", *TRAINED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sum(len(each["input"]) for each in api.requests) == 1 + 160
    asked = command("ask", "runs/a", "What does key07 open?", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert "Key07 opens door07." in asked.stdout
    api.requests.clear()
    evaluated = command("evaluate", "runs/a", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert len(api.requests) == 2, "the size, and a few texts to compare with the cache; nothing is timed"
    assert json.loads((tmp_path / "runs/a/report.json").read_text())["performance"]["one_query_whole"] is None
    printed = [done, asked, evaluated]
    assert KEY not in "".join(each.stdout + each.stderr for each in printed)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    api.failures.append(Failure(401, f'{{"error": {{"message": "{KEY} is wrong"}}}}'.encode()))
    refused = command("ask", "runs/a", "Why?", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: openai:m at http://127.0.0.1:")
    assert "401 Unauthorized: *** is wrong. Check OPENAI_API_KEY" in refused.stderr
    assert KEY not in refused.stderr


def test_a_run_of_an_api_notices_another_model_under_its_name(tmp_path, api):
    write_pairs(tmp_path / "faq.csv", PAIRS)
    done = command("train", "data=faq.csv", "encoder=openai:m", "name=a", "cache=kept", *TRAINED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    api.change = lambda answer: {
        **answer,
        "data": [{**each, "embedding": each["embedding"][::-1]} for each in answer["data"]],
    }
    refused = command("ask", "runs/a", "Why?", cwd=tmp_path)
    assert refused.returncode == 2
    assert "the encoder openai:m gives other vectors than the answers of runs/a" in refused.stderr


def test_without_its_server_a_run_of_an_api_says_so(tmp_path, api):
    run, _, _ = make_run(tmp_path, encoder="openai:m?retries=0&dimensions=256")
    api.failures.append(Failure(hang_up=True))
    with pytest.raises(EncoderUnavailableError, match="openai:m at http://127.0.0.1.* cannot be reached"):
        Pipeline.from_run(run.path)
    assert isinstance(Pipeline.from_run(run.path).encoder, OpenAIEncoder)


def test_an_encoder_that_is_away_is_asked_once_for_all_lines(tmp_path, api):
    make_run(tmp_path, encoder="openai:m?retries=0&dimensions=256")
    api.requests.clear()
    api.failures += [None, *[Failure(503, b"down")] * 9]
    done = command("ask", "run", "--jsonl", cwd=tmp_path, stdin='"Why?"\n"When?"\n"Who?"\n')
    assert done.returncode == 2
    errors = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert len(errors) == 3
    assert all("answers 503 Service Unavailable: down" in error for error in errors)
    assert len(api.requests) == 2, "a few answers to compare, and the questions"


def test_an_empty_name_is_no_encoder(tmp_path):
    run, _, _ = make_run(tmp_path)
    with pytest.raises(InputError, match="encoder must be static or hashing"):
        Pipeline.from_run(run.path, encoder="")
