"""One template, three forms; what stands in it is shown as it is."""

import pytest
from jinja2 import TemplateNotFound, UndefinedError
from markupsafe import Markup

from cubefast.reporting.tables import Table
from cubefast.utils.escaping import markdown
from cubefast.utils.templates import Strong, environment, render

TABLE = Table("numbers", ["name", "n"], [["a|b", "1"], ["rest"], [Strong("c"), "22"]])
DOCUMENT = """
{%- import "reporting/templates/" ~ form ~ ".jinja" as f with context %}
{{ f.begin("A <title> | of 2 * 3") }}
{{ f.heading("Part & parcel") }}
{% call f.p() %}
Run {{ "cubefast x<y" | code }}
and {{ "see" | strong }}.
{% endcall %}
{{ f.table(table) }}
"""
MARKUP = "{% import 'reporting/templates/' ~ form ~ '.jinja' as f with context %}"


def shown(template, form, **content):
    return environment(form).from_string(template).render(form=form, **content)


def in_lines(text):
    return [line for line in text.splitlines() if line]


def test_as_markdown():
    assert in_lines(shown(DOCUMENT, "md", table=TABLE)) == [
        "# A \\<title\\> \\| of 2 \\* 3",
        "## Part \\& parcel",
        "Run `cubefast x<y` and **see**.",
        *("numbers", "| name | n |", "| --- | ---: |", "| a\\|b | 1 |", "| **rest** |  |", "| **c** | 22 |"),
    ]


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
    text = shown(DOCUMENT, "txt", table=TABLE)
    assert text.rstrip().endswith("numbers\n  name   n\n  a|b    1\n\nrest\n  c     22")
    assert "\nRun cubefast x<y and see.\n" in text
    with pytest.raises(UndefinedError, match="does not export the requested name|has no attribute 'figure'"):
        shown(MARKUP + "{{ f.figure('a.svg', '') }}", "txt")


def test_as_html():
    page = shown(DOCUMENT, "html", table=TABLE)
    assert "<h1>A &lt;title&gt; | of 2 * 3</h1>" in page
    assert "<h2>Part &amp; parcel</h2>" in page
    assert "<p>Run <code>cubefast x&lt;y</code> and <strong>see</strong>.</p>" in page
    assert '<tr><th scope="row">a|b</th><td class="number">1</td></tr>' in page
    assert '<tr class="section"><th scope="rowgroup" colspan="2"><span>rest</span></th></tr>' in page
    assert '<th scope="row"><strong>c</strong></th>' in page


def test_pictures_and_cases_are_inside_the_page():
    template = MARKUP + "{{ f.figure('a.svg', alt) }}{{ f.cards(cards) }}"
    content = {
        "alt": 'an "alt"',
        "pictures": {"a.svg": b"<svg/>"},
        "cards": [{"title": "<q>", "fields": [("expected", "a & b")]}],
    }
    page = shown(template, "html", **content)
    assert '<img src="data:image/svg+xml;base64,PHN2Zy8+" alt="an &quot;alt&quot;">' in page
    assert '<p class="title">&lt;q&gt;</p>' in page
    assert "<dt>expected</dt><dd>a &amp; b</dd>" in page
    assert in_lines(shown(template, "md", **content)) == [
        '![an "alt"](a.svg)',
        *("1. **\\<q\\>**", "   - expected: a \\& b"),
    ]


@pytest.mark.parametrize(
    ("form", "escaped"),
    [("md", "\\<b\\> **\\<i\\>**"), ("html", "&lt;b&gt; <strong>&lt;i&gt;</strong>"), ("txt", "<b> <i>")],
)
def test_every_value_is_escaped_once_and_pieces_stand_beside_each_other(form, escaped):
    assert shown("{{ value }}", form, value=("<b>", Strong("<i>"))) == escaped
    assert shown("{% macro m(x) %}{{ x }}{% endmacro %}{{ m(value) }}", form, value="<b>") == escaped.split()[0]
    assert shown("{{ value }}", form, value=Markup("<b>")) == "<b>"


def test_a_value_that_is_not_given_is_an_error():
    with pytest.raises(UndefinedError):
        shown("{{ missing }}", "md")
    with pytest.raises(TemplateNotFound):
        render("reporting/templates/none.jinja", "md")
