"""The page: what it may load, and what a person sees in a real browser."""

import re
import threading
import time

import pytest
import uvicorn

from cubefast.serving import server
from cubefast.serving.app import create_app
from cubefast.serving.page import load_page
from cubefast.serving.service import Service

from ..runs import make_run
from .browser import CHROMIUM, Browser
from .conftest import QUESTION, changing_core

HOSTILE = '<img src=x onerror="document.title=1">\u202e<script>alert(1)</script>'


def test_the_page_takes_nothing_from_elsewhere(client):
    page, _ = load_page()
    assert client.get("/").text == page
    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"https?:|//\w|@import|url\(", page.replace("//[", ""))
    assert re.findall(r"(?:src|href)=\S+", page) == ['href="data:,">']
    assert not re.findall(r"\son\w+=|\sstyle=|innerHTML|insertAdjacent|document\.write|eval\(", page)


def test_every_element_that_the_script_uses_is_in_the_page():
    page, _ = load_page()
    used = set(re.findall(r'\bat\("([\w-]+)"\)', page))
    assert used
    assert used <= set(re.findall(r'\sid="([\w-]+)"', page))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def start():
    """A function that serves a service in a thread of this process, and gives its address."""
    running = []

    def serve(service):
        listening = server.listen("127.0.0.1", 0)
        config = uvicorn.Config(create_app(service, hosts={"127.0.0.1"}), log_config=None, lifespan="on", ws="none")
        inside = uvicorn.Server(config)
        thread = threading.Thread(target=inside.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((inside, thread))
        return server.address(listening)

    yield serve
    for inside, thread in running:
        inside.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def address(start, service):
    return start(service)


def ask(browser, address, question):
    browser.look(1200, 900)
    browser.open(address)
    browser.type(question)
    browser.wait_for("at('status').textContent === '' && !at('result').hidden")


def texts(browser, place):
    return browser.run(f"[...document.querySelectorAll('#{place} li p')].map((p) => p.textContent)")


def test_a_typed_question_is_answered_before_and_with_the_core(browser, address, client):
    reply = client.post("/ask", json={"question": QUESTION}).json()
    browser.look(1200, 900)
    browser.open(address)
    assert browser.run("at('result').hidden")
    browser.wait_for("at('model').textContent === 'demo'")
    ask(browser, address, QUESTION)
    for place, key in (("before", "before"), ("answers", "answers"), ("similar", "similar_questions")):
        assert texts(browser, place) == [each["text"] for each in reply[key]]
    shown = browser.run("document.body.innerText")
    assert "Nearest known questions\n" in shown
    assert f"score {reply['answers'][0]['score']:.3f}" in shown
    assert f"the threshold of {reply['threshold']:.3f}" in shown
    low, high = client.get("/health").json()["calibration"]["interval"]
    assert f"the right first answer (95% interval {100 * low:.0f}% to {100 * high:.0f}%)." in shown
    assert "The core has put another answer first." in shown
    assert "left out" not in shown
    old = [each["text"] for each in reply["before"]]
    for place, answer in enumerate(each["text"] for each in reply["answers"]):
        moved = browser.run(f"document.querySelectorAll('#answers li')[{place}].querySelector('.moved')?.textContent")
        if answer not in old:
            assert moved == "not among the first 5 before"
        elif old.index(answer) != place:
            assert moved.endswith(f" from {old.index(answer) + 1}")
        else:
            assert moved is None
    sides = "['before', 'answers'].map((id) => at(id).getBoundingClientRect())"
    left, right = browser.run(f"{sides}.map((box) => [box.left, box.right])")
    assert left[1] <= right[0], "side by side"
    assert browser.problems == []


def test_a_link_with_a_question_asks_it(browser, address):
    browser.look(1200, 900)
    browser.open(f"{address}/?q=When%20came%20oldkings%3F")
    browser.wait_for("!at('result').hidden")
    assert browser.run("at('question').value") == "When came oldkings?"
    assert texts(browser, "similar")[0] == "When came redtrees?"


def test_what_cannot_be_asked_is_said_and_the_next_question_is_answered(browser, address):
    browser.look(1200, 900)
    browser.open(address)
    browser.type("   ")
    browser.wait_for("at('status').textContent === 'Type a question first.'")
    browser.open(f"{address}/?q=...")
    browser.wait_for("at('status').classList.contains('error')")
    assert "no vector for the text" in browser.run("at('status').textContent")
    assert browser.run("at('result').hidden")
    ask(browser, address, QUESTION)
    browser.problems.clear()  # the browser itself notes every status 400


def test_markup_in_a_text_is_text_and_a_run_without_a_threshold_or_questions_says_so(browser, start, tmp_path):
    made, _, _ = make_run(tmp_path, "plain")
    made.save_best(changing_core())
    address = start(Service.from_run(made.path, further_answers=[HOSTILE]))
    title = "plain · cubefast"
    ask(browser, address, HOSTILE)
    assert HOSTILE.replace("\u202e", "\\u202e") in texts(browser, "before")
    assert browser.run("document.querySelectorAll('img, main script').length") == 0
    assert browser.run("document.title") == title
    shown = browser.run("document.body.innerText")
    assert "no threshold to compare it to" in shown
    assert "Nearest known questions are left out: a run keeps no questions." in shown
    assert browser.run("at('similar-card').hidden")
    assert browser.problems == []


@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read_on_a_phone_and_in_the_dark(browser, address, dark):
    ask(browser, address, QUESTION)
    browser.look(360, 740, dark)
    assert browser.run("document.documentElement.scrollWidth <= 360")
    top, bottom = browser.run("['before', 'answers'].map((id) => at(id).getBoundingClientRect().top)")
    assert top < bottom, "one column under the other"
    for element in ("#verdict", "#evidence", "#before li p", "#before .figures", "#button", "#question", "#change"):
        contrast = browser.run(_CONTRAST.replace("ELEMENT", element))
        assert contrast >= 4.5, f"{element}: {contrast}"
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) is dark


# WCAG 2.2, 1.4.3: the ratio of the luminances of a text and of the first background behind it.
_CONTRAST = """(() => {
  const luminance = (colour) => {
    const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  let behind = document.querySelector("ELEMENT");
  const text = luminance(getComputedStyle(behind).color);
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  const back = luminance(getComputedStyle(behind).backgroundColor);
  return (Math.max(text, back) + .05) / (Math.min(text, back) + .05);
})()"""


def test_a_server_that_has_gone_is_said(browser, service):
    listening = server.listen("127.0.0.1", 0)
    inside = uvicorn.Server(uvicorn.Config(create_app(service), log_config=None, lifespan="on", ws="none"))
    thread = threading.Thread(target=inside.run, kwargs={"sockets": [listening]})
    thread.start()
    ask(browser, server.address(listening), QUESTION)
    inside.should_exit = True
    thread.join(10)
    time.sleep(0.1)
    browser.run("ask('once more')")
    assert browser.run("at('status').textContent") == "The server cannot be reached. Is it still running?"
    browser.problems.clear()
