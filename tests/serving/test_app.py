"""Every route in this process: what it gives, and what it says to bad input."""

import base64
import json
import logging

import numpy as np
import pytest
from starlette.testclient import TestClient

from cubefast import Pipeline
from cubefast.errors import InputError
from cubefast.serving.app import create_app
from cubefast.serving.requests import Limits
from cubefast.serving.service import Service

from ..embeddings_server import Failure
from ..runs import make_run
from .conftest import LIMITS, LOOPBACK, QUESTION, changing_core


def embed(client, **fields):
    return client.post("/v1/embeddings", json={"model": "demo:query", "input": QUESTION, **fields})


def vectors(response):
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [each["index"] for each in data] == list(range(len(data)))
    return np.array([each["embedding"] for each in data], np.float32)


def refusal(response, status):
    """The message of an error in the OpenAI form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    return error["message"]


def test_queries_go_through_the_core_and_documents_do_not(client, run):
    pipeline = Pipeline.from_run(run)
    texts = [QUESTION, "When came oldkings?"]
    queries, documents = vectors(embed(client, input=texts)), vectors(embed(client, model="demo:document", input=texts))
    np.testing.assert_allclose(queries, pipeline.embed(texts).numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(documents, pipeline.encoder.encode(texts), rtol=0, atol=1e-6)
    assert (np.abs(queries - documents).max(axis=1) > 0.1).all()


def test_documents_go_through_the_map_of_a_core_on_both_sides(tmp_path):
    made, _, _ = make_run(tmp_path, "both")
    core = changing_core(sides="both")
    made.save_best(core)
    with TestClient(create_app(Service.from_run(made.path)), base_url=LOOPBACK) as client:
        found = vectors(embed(client, model="both:document"))
    plain = Pipeline.from_run(made.path).encoder.encode([QUESTION])
    np.testing.assert_allclose(found, core.transform_answers(plain), rtol=0, atol=1e-6)
    assert np.abs(found - plain).max() > 0.01


def test_served_documents_are_the_answers_that_ask_finds(client, service):
    answer = client.post("/ask", json={"question": QUESTION, "count": 1}).json()["answers"][0]
    query, document = vectors(embed(client))[0], vectors(embed(client, model="demo:document", input=answer["text"]))[0]
    assert float(query @ document) == pytest.approx(answer["score"], abs=1e-5)


def test_what_the_texts_are_is_said_by_the_model_or_by_input_type_and_never_guessed(client):
    expected = vectors(embed(client))
    np.testing.assert_array_equal(vectors(embed(client, model="demo", input_type="query")), expected)
    np.testing.assert_array_equal(vectors(embed(client, input_type="query")), expected)
    assert "say what the texts are" in refusal(embed(client, model="demo"), 400)
    assert "is for query; got document" in refusal(embed(client, input_type="document"), 400)


def test_base64_is_the_same_numbers(client):
    coded = embed(client, encoding_format="base64").json()["data"][0]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(coded), "<f4"), vectors(embed(client))[0])


def test_the_form_is_openais(client):
    reply = embed(client, dimensions=256, user="someone").json()
    assert {**reply, "data": None} == {
        "object": "list",
        "data": None,
        "model": "demo:query",
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }
    assert reply["data"][0]["object"] == "embedding"
    assert [each["id"] for each in client.get("/v1/models").json()["data"]] == ["demo:query", "demo:document"]


def test_ask_gives_the_answers_before_and_with_the_core_and_the_known_questions(client, run):
    pipeline = Pipeline.from_run(run, threshold=None, plain=True)
    reply = client.post("/ask", json={"question": QUESTION, "count": 3}).json()
    assert [each["text"] for each in reply["answers"]] == [each.text for each in pipeline(QUESTION, 3)]
    before = pipeline.plain_decoder.decode(pipeline.embed_plain([QUESTION]), 3)[0]
    assert [each["text"] for each in reply["before"]] == [each.text for each in before]
    assert reply["before"][0]["text"] == "The redtree is in the city of redtreeville."
    assert reply["answers"] != reply["before"]
    assert reply["similar_questions"][0] == {"text": QUESTION, "score": pytest.approx(1)}
    assert len(reply["similar_questions"]) == 3, "a question that is there twice is shown once"
    threshold = json.loads((run / "threshold.json").read_text())["threshold"]
    assert reply["threshold"] == threshold
    assert reply["known"] is (reply["answers"][0]["score"] >= threshold)


def test_without_known_questions_they_are_left_out(run):
    with TestClient(create_app(Service.from_run(run)), base_url=LOOPBACK) as client:
        assert client.post("/ask", json={"question": QUESTION}).json()["similar_questions"] is None
        assert client.get("/health").json()["known_questions"] is None


def test_known_questions_come_from_any_data_file(run, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\nWhere?,Here.\nWhen?,Now.\nWhere?,There.\n")
    assert Service.from_run(run, questions=str(pairs)).known_questions.texts == ["Where?", "When?"]
    with pytest.raises(InputError, match="no data file"):
        Service.from_run(run, questions=str(tmp_path / "none.csv"))


def test_turns_before_a_question_are_used_where_the_run_was_trained_with_them(client, tmp_path):
    made, _, _ = make_run(tmp_path, "turns", context={"mode": "mean", "window": 2, "decay": 0.9})
    body = {"question": "And why?", "history": ["Where is the redtree?"], "count": 1}
    assert "trained without context" in refusal(client.post("/ask", json=body), 400)
    with TestClient(create_app(Service.from_run(made.path)), base_url=LOOPBACK) as with_turns:
        assert "redtree" in with_turns.post("/ask", json=body).json()["answers"][0]["text"]


def test_health_says_what_is_served(client, run):
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert (health["model"], health["dim"], health["known_questions"]) == ("demo", 256, 3)
    low, high = health["calibration"].pop("interval")
    assert low < health["calibration"]["right"] <= high
    assert health["calibration"] == json.loads((run / "threshold.json").read_text())


def test_metrics_count_requests_by_route_and_never_by_what_a_client_made_up(client):
    embed(client)
    client.get("/made/up")
    embed(client, model="none")
    text = client.get("/metrics").text
    assert 'cubefast_requests_total{route="/v1/embeddings",status="200"} 1.0' in text
    assert 'cubefast_requests_total{route="/v1/embeddings",status="404"} 1.0' in text
    assert 'cubefast_requests_total{route="other",status="404"} 1.0' in text
    assert 'cubefast_batch_size_count{kind="query"} 1.0' in text
    assert 'cubefast_waiting_texts{kind="query"} 0.0' in text
    assert "made/up" not in text


EMBEDDINGS = '{"model": "demo:query", "input": %s}'


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/embeddings", "{", 400, "the body is not JSON"),
        ("/v1/embeddings", "", 400, "the body is not JSON"),
        ("/v1/embeddings", b"\xff\xfe", 400, "the body is not JSON"),
        ("/v1/embeddings", "[" * 9000, 400, "the body is not JSON"),
        ("/v1/embeddings", "[]", 400, "the body"),
        ("/v1/embeddings", "NaN", 400, "the body"),
        ("/v1/embeddings", "null", 400, "the body"),
        ("/v1/embeddings", "{}", 400, "model: Field required"),
        ("/v1/embeddings", '{"model": "demo:query"}', 400, "input: Field required"),
        ("/v1/embeddings", EMBEDDINGS % "NaN", 400, "input: must be a text or a list of texts; got nan"),
        ("/v1/embeddings", EMBEDDINGS % "[1, 2]", 400, "input[0]: Input should be a valid string; got 1"),
        ("/v1/embeddings", EMBEDDINGS % '["a", null]', 400, "input[1]: Input should be a valid string; got None"),
        ("/v1/embeddings", EMBEDDINGS % "{}", 400, "input: must be a text or a list of texts; got {}"),
        ("/v1/embeddings", EMBEDDINGS % "[]", 400, "input: must have at least one text; got []"),
        ("/v1/embeddings", EMBEDDINGS % '""', 400, "input[0]: must not be blank"),
        ("/v1/embeddings", EMBEDDINGS % r'["a", " \n"]', 400, "input[1]: must not be blank"),
        ("/v1/embeddings", EMBEDDINGS % r'"half \ud800"', 400, "the body is not JSON"),
        ("/v1/embeddings", EMBEDDINGS % '"..."', 400, "the encoder has no vector for the text '...'"),
        ("/v1/embeddings", EMBEDDINGS % json.dumps(["a"] * 9), 400, "input has 9 texts; 8 are the most of one request"),
        ("/v1/embeddings", EMBEDDINGS % json.dumps("a" * 1001), 400, "a text has 1,001 characters; 1,000 are the most"),
        (
            "/v1/embeddings",
            EMBEDDINGS % '"a", "encoding_format": "int8"',
            400,
            "encoding_format: Input should be 'float'",
        ),
        ("/v1/embeddings", EMBEDDINGS % '"a", "dimensions": 64', 400, "the embeddings have 256 numbers"),
        ("/v1/embeddings", EMBEDDINGS % '"a", "dimensions": NaN', 400, "dimensions: "),
        ("/v1/embeddings", EMBEDDINGS % '"a", "dimensions": true', 400, "dimensions: "),
        ("/v1/embeddings", EMBEDDINGS % '"a", "input_type": "passage"', 400, "input_type: Input should be 'query'"),
        ("/v1/embeddings", EMBEDDINGS % '"a", "file": "/etc/passwd"', 400, "file: Extra inputs are not permitted"),
        ("/v1/embeddings", '{"model": "../../etc/passwd", "input": "a"}', 404, "there is no model '../../etc/passwd'"),
        ("/v1/embeddings", '{"model": 5, "input": "a"}', 400, "model: Input should be a valid string; got 5"),
        ("/ask", '{"question": null}', 400, "question: Input should be a valid string; got None"),
        ("/ask", '{"question": " "}', 400, "question: must not be blank"),
        ("/ask", '{"question": "a", "count": 0}', 400, "count: Input should be greater than or equal to 1; got 0"),
        ("/ask", '{"question": "a", "count": 1e9}', 400, "count: Input should be "),
        ("/ask", '{"question": "a", "count": NaN}', 400, "count: Input should be a "),
        ("/ask", '{"question": "a", "count": "3"}', 400, "count: Input should be a valid integer; got '3'"),
        ("/ask", '{"question": "a", "history": "b"}', 400, "history: Input should be a valid array; got 'b'"),
        ("/ask", '{"question": "a", "history": [""]}', 400, "history[0]: must not be blank"),
        ("/ask", '{"question": ["a"]}', 400, "question: Input should be a valid string"),
        ("/ask", '{"question": "%s"}' % ("a" * 1001), 400, "a text has 1,001 characters"),
        ("/ask", '{"question": "%s"}' % ("a" * 20_000), 413, "the body has more than 20,000 bytes"),
    ],
)
def test_bad_input_is_refused_in_words(client, path, body, status, message):
    response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert message in refusal(response, status)
    assert client.post("/ask", json={"question": QUESTION}).status_code == 200, "and the next is answered"


def test_a_body_without_a_length_is_read_no_further_than_allowed(client):
    sent = []

    def parts():
        for _ in range(1000):
            sent.append(1)
            yield b" " * 1000

    response = client.post("/ask", content=parts(), headers={"content-type": "application/json"})
    assert "more than 20,000 bytes" in refusal(response, 413)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"])
def test_what_another_sites_form_could_send_is_refused(client, kind):
    response = client.post("/ask", content='{"question": "a"}', headers={"content-type": kind})
    assert "must be application/json" in refusal(response, 415)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ask", 405),
        ("PUT", "/v1/embeddings", 405),
        ("DELETE", "/", 405),
        ("OPTIONS", "/ask", 405),
        ("POST", "/health", 405),
        ("GET", "/ask/", 404),
        ("GET", "/nothing", 404),
        ("GET", "/page.html", 404),
        ("GET", "/..%2f..%2fetc/passwd", 404),
        ("GET", "/static/../serve.py", 404),
    ],
)
def test_unknown_addresses_and_methods_are_refused(client, method, path, status):
    response = client.request(method, path)
    assert refusal(response, status)
    assert ("allow" in response.headers) is (status == 405)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8000", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1]", 421),
    ],
)
def test_a_page_whose_name_was_made_to_point_here_is_refused(client, host, status):
    assert client.get("/health", headers={"host": host}).status_code == status


def test_with_no_names_given_any_host_is_served(service):
    with TestClient(create_app(service), base_url="http://search.example") as client:
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/", "/health", "/nothing", "/ask"])
def test_every_response_forbids_a_browser_what_it_does_not_need(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


def test_characters_that_act_on_a_terminal_are_escapes_in_every_reply(client):
    response = client.post("/ask", json={"question": "where \x1b[2J \u202e is the redtree"})
    assert response.status_code == 200
    assert b"\x1b" not in response.content
    assert "\u202e" not in response.text
    assert response.json()["question"] == "where \x1b[2J \u202e is the redtree"


def test_a_request_that_takes_too_long_is_given_up(service):
    """The model needs longer than the limit for these texts; the request after them is answered."""
    limits = Limits(inputs=64, seconds=0.05)
    slow = [f"word{i} " * 3000 for i in range(64)]
    with TestClient(create_app(service, limits), base_url=LOOPBACK) as client:
        assert "no answer within 0.05 s" in refusal(embed(client, input=slow), 504)
    with TestClient(create_app(service, LIMITS), base_url=LOOPBACK) as client:
        assert embed(client).status_code == 200


def test_more_than_may_wait_is_refused_with_when_to_come_back(service):
    with TestClient(create_app(service, Limits(waiting=2)), base_url=LOOPBACK) as client:
        response = embed(client, input=["a", "b", "c"])
        assert "more to do than it can" in refusal(response, 503)
        assert response.headers["retry-after"] == "1"


def test_a_fault_of_the_server_is_said_without_its_insides(run, caplog):
    service = Service.from_run(run)
    service.pipeline.encoder = object()  # a fault that no client can bring about
    with TestClient(create_app(service), base_url=LOOPBACK) as client, caplog.at_level(logging.ERROR):
        assert refusal(embed(client), 500) == "the server failed; its log says why"
        assert 'cubefast_requests_total{route="/v1/embeddings",status="500"} 1.0' in client.get("/metrics").text
    assert "'object' object has no attribute 'encode'" in caplog.text


def test_a_service_needs_something_to_compare_with(run):
    with pytest.raises(ValueError, match="plain=True"):
        Service("demo", Pipeline.from_run(run))


def test_an_encoder_that_is_away_is_no_clients_fault(tmp_path, api, caplog):
    made, _, _ = make_run(tmp_path, "ready", encoder=None)
    api.dim = 256
    service = Service.from_run(made.path, encoder="openai:m?retries=0")
    with TestClient(create_app(service), base_url=LOOPBACK) as client:
        found = vectors(embed(client, model="ready:query"))
        np.testing.assert_allclose(found, service.pipeline.embed([QUESTION]).numpy(), atol=1e-6)
        api.failures += [Failure(503, b"down")] * 2
        for asked in ({"question": QUESTION}, {"question": "And the oldking?"}):
            message = refusal(client.post("/ask", json=asked), 502)
            assert message == "the encoder behind this server does not answer; ask again later"
        assert f"openai:m at {api.url}/embeddings answers 503 Service Unavailable: down" in caplog.text
        assert client.post("/ask", json={"question": QUESTION}).status_code == 200


def test_a_run_on_ready_vectors_is_not_served_without_its_encoder(tmp_path):
    made, _, _ = make_run(tmp_path, "ready", encoder=None)
    with pytest.raises(InputError, match="has no encoder for texts: name the one that made them"):
        Service.from_run(made.path)


def test_known_questions_may_have_the_usual_names_where_the_runs_data_has_others(tmp_path):
    run, _, _ = make_run(tmp_path, "named", columns={"question": "Customer question"})
    (tmp_path / "q.csv").write_text("question,answer\nWhere is the redtree?,Here.\n")
    assert Service.from_run(run.path, questions=str(tmp_path / "q.csv")).known_questions is not None
    (tmp_path / "own.csv").write_text("Customer question\nWhere is the redtree?\nWhen came redtrees?\n")
    assert Service.from_run(run.path, questions=str(tmp_path / "own.csv")).known_questions is not None
