"""One document, three forms; what stands in it is shown as it is."""

import pytest

from cubefast.output import markdown
from cubefast.reporting.document import Bullets, Card, Cards, Code, Document, Figure, Heading, Paragraph, Strong, Table
from cubefast.reporting.html import to_html
from cubefast.reporting.markdown import to_markdown
from cubefast.reporting.text import to_text

DOCUMENT = Document(
    "A <title> | of 2 * 3",
    [
        Heading("Part & parcel"),
        Paragraph(("Run ", Code("cubefast x<y"), " and ", Strong("see"), ".")),
        Bullets(["first", "- second"]),
        Table("numbers", ["name", "n"], [["a|b", "1"], [Strong("c"), "22"]]),
    ],
)


def test_as_markdown():
    assert to_markdown(DOCUMENT) == (
        "# A \\<title\\> \\| of 2 \\* 3\n\n## Part \\& parcel\n\nRun `cubefast x<y` and **see**.\n\n"
        "- first\n- \\- second\n\n"
        "numbers\n\n| name | n |\n| --- | ---: |\n| a\\|b | 1 |\n| **c** | 22 |\n"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1. April", "1\\. April"),
        ("0.558", "0.558"),
        ("-0.03", "-0.03"),
        ("- item", "\\- item"),
        ("---", "--\\-"),
        ("two\n\nlines", "two lines"),
        ("# no heading", "\\# no heading"),
        ("![x](y)", "!\\[x\\](y)"),
        ("a_b_c", "a\\_b\\_c"),
    ],
)
def test_markdown_is_escaped_where_it_would_mean_something(text, shown):
    assert markdown(text) == shown


def test_as_text():
    assert to_text(DOCUMENT).endswith("numbers\n  name   n\n  a|b    1\n  c     22")
    with pytest.raises(TypeError, match="cannot show a Figure"):
        to_text(Document("x", [Figure("a.png", "", "")]))


def test_as_html():
    page = to_html(DOCUMENT, {})
    assert "<h1>A &lt;title&gt; | of 2 * 3</h1>" in page
    assert "<h2>Part &amp; parcel</h2>" in page
    assert "<p>Run <code>cubefast x&lt;y</code> and <strong>see</strong>.</p>" in page
    assert '<tr><th scope="row">a|b</th><td class="number">1</td></tr>' in page


def test_pictures_and_cases_are_inside_the_page():
    document = Document("x", [Figure("a.png", 'an "alt"', "below"), Cards([Card("<q>", [("expected", "a & b")])])])
    page = to_html(document, {"a.png": b"\x89PNG"})
    assert '<img src="data:image/png;base64,iVBORw==" alt="an &quot;alt&quot;">' in page
    assert "<h4>&lt;q&gt;</h4>" in page
    assert "<dt>expected</dt><dd>a &amp; b</dd>" in page
    assert to_markdown(document).endswith('![an "alt"](a.png)\n\nbelow\n\n1. **\\<q\\>**\n   - expected: a \\& b\n')
