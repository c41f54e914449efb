"""`python -m cubefast.serve` as a user starts it: a process, many clients at once, and its end."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from cubefast import serve
from cubefast.serving import server

from .conftest import QUESTION

HEADERS = {"content-type": "application/json"}


@contextlib.contextmanager
def served(run, *arguments):
    """A started server and its port."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "cubefast.serve", run, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        line = next((line for line in process.stdout if line.startswith("serving ")), "")
        found = re.fullmatch(r"serving demo at http://[\d.]+:(\d+) \(Ctrl-C stops\)\n", line)
        assert found, (line, process.stderr.read() if process.poll() is not None else "")
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def post(connection, path, body):
    connection.request("POST", path, json.dumps(body), HEADERS)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def end(process, number):
    """The exit code and what was printed after a signal."""
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_when_nothing_is_asked(run, number):
    with served(run) as (process, port):
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        assert post(idle, "/ask", {"question": QUESTION})[0] == 200  # and the connection is kept
        began = time.monotonic()
        assert end(process, number) == (0, "stopped\n", "")
        assert time.monotonic() - began < 10
        idle.close()


def test_what_is_being_answered_is_finished_before_it_stops(run):
    """A request that the model works on for a second or more when the signal comes."""
    body = {"model": "demo:document", "input": [f"word{i} " * 1200 for i in range(100)]}
    replies = []

    def client(port):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            replies.append(post(connection, "/v1/embeddings", body))

    with served(run) as (process, port):
        thread = threading.Thread(target=client, args=[port])
        thread.start()
        _wait_until_it_works(port)
        assert not replies
        code, out, errors = end(process, signal.SIGTERM)
        thread.join(60)
        assert (code, out, errors) == (0, "stopped\n", "")
        assert replies[0][0] == 200
        assert len(replies[0][1]["data"]) == 100
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=10)


def _wait_until_it_works(port):
    until = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        if 'cubefast_batch_size_count{kind="document"} 0.0' not in text:
            return
        assert time.monotonic() < until
        time.sleep(0.01)


def same(reply, expected):
    """Whether two replies are equal but for the last digits of scores, which depend on what is computed together."""

    def split(each):
        answers = each["answers"] + each["before"]
        rest = {key: value for key, value in each.items() if key not in ("answers", "before")}
        return [answer["text"] for answer in answers], [answer["score"] for answer in answers], rest

    (texts, scores, rest), (right, right_scores, right_rest) = split(reply), split(expected)
    return (texts, rest) == (right, right_rest) and scores == pytest.approx(right_scores, abs=1e-5)


@pytest.mark.slow
def test_a_thousand_requests_of_fifty_clients_are_all_answered_rightly(run):
    """Prints the 95th percentile (pytest -s)."""
    questions = [f"Where is the {colour}{thing}?" for colour in ("red", "old", "tall") for thing in ("tree", "king")]
    seconds, wrong = [], []
    lock = threading.Lock()

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for turn in range(20):
            question = questions[(number + turn) % len(questions)]
            began = time.perf_counter()
            status, reply = post(connection, "/ask", {"question": question, "count": 3})
            with lock:
                seconds.append(time.perf_counter() - began)
                if status != 200 or not same(reply, expected[question]):
                    wrong.append((status, reply))
        connection.close()

    with served(run) as (process, port):
        alone = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        expected = {each: post(alone, "/ask", {"question": each, "count": 3})[1] for each in questions}
        threads = [threading.Thread(target=client, args=[number]) for number in range(50)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        alone.close()
        assert end(process, signal.SIGTERM)[0] == 0
    seconds.sort()
    print(f"\n{len(seconds)} requests in {took:.2f} s; median {1000 * seconds[500]:.0f} ms, ", end="")
    print(f"95% within {1000 * seconds[949]:.0f} ms, the slowest {1000 * seconds[-1]:.0f} ms")
    assert len(seconds) == 1000
    assert not wrong, wrong[:3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: no run at nowhere"),
        (["RUN", "--questions", "none.csv"], "error: no data file none.csv"),
        (["RUN", "--host", "192.0.2.1"], "error: cannot listen at 192.0.2.1, port 0: Cannot assign requested address"),
        (["RUN", "--host", "a" * 70], "error: cannot listen at aaa"),
        (["RUN", "--port", "70000"], "argument --port: must be a whole number from 0 to 65,535; got '70000'"),
        (["RUN", "--timeout", "nan"], "argument --timeout: must be a number from 1 to 3,600; got 'nan'"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(run, arguments, message, capsys):
    given = [str(run) if each == "RUN" else each for each in arguments]
    with contextlib.suppress(SystemExit) if "argument" in message else contextlib.nullcontext():
        assert serve.main(["--port", "0", *given]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_a_port_that_is_taken_is_said(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve.main([str(run), "--port", port]) == 2
    assert f"cannot listen at 127.0.0.1, port {port}: Address already in use. Choose another --port" in (
        capsys.readouterr().err
    )


def test_without_its_packages_it_says_which_extra_to_install(run, capsys, monkeypatch):
    monkeypatch.setattr(serve, "_PACKAGES", ("starlette", "no_such_package"))
    assert serve.main([str(run)]) == 2
    assert capsys.readouterr().err == "error: serve needs the packages no_such_package; pip install 'cubefast[serve]'\n"


def test_beyond_this_machine_it_says_that_everybody_may_ask(run):
    process = subprocess.Popen(
        [sys.executable, "-m", "cubefast.serve", run, "--port", "0", "--host", "0.0.0.0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        note, line = process.stdout.readline(), process.stdout.readline()
        assert note.startswith("note: whoever can reach 0.0.0.0 can use this server")
        assert line.startswith("serving demo at http://0.0.0.0:")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.4", False),
        ("localhost.example", False),
    ],
)
def test_what_counts_as_this_machine_alone(host, local):
    assert server.is_loopback(host) is local


def test_an_address_of_ipv6_is_written_in_brackets():
    with server.listen("::1", 0) as listening:
        assert re.fullmatch(r"http://\[::1\]:\d+", server.address(listening))
