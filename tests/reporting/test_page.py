"""The report as it is looked at: on a telephone, and on paper."""

import base64
import re

import pytest

from ..serving.browser import CHROMIUM, Browser


@pytest.fixture(scope="module")
def browser(folder, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        browser.open((folder / "report.html").as_uri())
        yield browser


def test_on_a_telephone_nothing_is_wider_than_the_screen_and_the_first_metrics_are_in_sight(browser):
    browser.look(375, 812)
    assert browser.run("document.documentElement.scrollWidth") == 375
    head = "document.querySelectorAll('table')[0].querySelectorAll('thead th')"
    assert browser.run(f"[1, 2].map(column => {head}[column].innerText)") == ["R@1", "MRR"]
    assert browser.run(f"{head}[2].getBoundingClientRect().right") < 375
    assert browser.run("[...document.images].every(image => image.naturalWidth > 0)")
    assert browser.problems == []


def test_on_a_desk_every_table_is_seen_whole(browser):
    browser.look(1280, 900)
    assert browser.run("[...document.querySelectorAll('.wide')].every(box => box.scrollWidth <= box.clientWidth)")


def test_the_page_is_dark_where_the_reader_prefers_it(browser):
    shade = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).reduce((sum, each) => sum + +each, 0)"
    browser.look(1200, 900, dark=True)
    assert browser.run(shade) < 150
    browser.look(1200, 900)
    assert browser.run(shade) > 600


def test_on_paper_it_has_six_pages_at_most(browser):
    printed = base64.b64decode(browser.send("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert 1 < len(re.findall(rb"/Type /Page\b", printed)) <= 6
