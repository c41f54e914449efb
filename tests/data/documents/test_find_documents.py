"""Documents as headings and paragraphs: Markdown, plain text and HTML."""

import os
import sys

import pytest

from cubefast.data.documents import find_documents as module
from cubefast.data.documents.find_documents import Document, find_documents, read_documents
from cubefast.data.documents.markup import read_html
from cubefast.errors import InputError


def read(tmp_path, name, content):
    """The one document of a folder."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (document,) = read_documents(find_documents(tmp_path))
    return document


def outline(document: Document):
    """Its blocks as short texts: "1 Title", "a paragraph", "-" for an end."""
    return ["-" if b.kind == "end" else f"{b.level} {b.text}" if b.level else b.text for b in document.blocks]


def test_markdown_has_headings_and_paragraphs_but_no_code(tmp_path):
    text = """\
# Guide

Some *words* with `code` and
a [link](x.md).

```sh
# no heading
```

    # indented code

Under it
--------

- one
- two

<!-- a comment -->
"""
    document = read(tmp_path, "guide.md", text)
    assert outline(document) == ["1 Guide", "Some words with code and a link.", "2 Under it", "one", "two"]


@pytest.mark.parametrize("before", ['---\ntitle: "From here"\ntags: [a]\n---\n', "+++\ntitle = 'From here'\n+++\n"])
def test_front_matter_gives_the_title_and_is_no_text(tmp_path, before):
    document = read(tmp_path, "a.md", before + "Text.\n")
    assert (document.title, outline(document)) == ("From here", ["Text."])


def test_a_rule_at_the_top_begins_no_front_matter(tmp_path):
    assert outline(read(tmp_path, "a.md", "---\n\nText.\n\n---\n\nMore.\n")) == ["Text.", "More."]


def test_a_file_without_a_title_is_called_by_its_name(tmp_path):
    assert read(tmp_path, "user_guide-2.md", "Text.\n").title == "user guide 2"
    assert read(tmp_path / "sub", "README.md", "Text.\n").title == ""


def test_html_is_what_a_reader_reads(tmp_path):
    text = """\
<!doctype html><html><head><title>A page | The site</title><style>p {}</style></head><body>
<nav><h2>Menu</h2><p>Home</p></nav><div role="navigation">more menu</div>
<header><h1>Title<a class="headerlink" href="#t">¶</a></h1></header>
<script>var a = "<p>no</p>"</script><p hidden>no</p>
<p>First&nbsp;text &amp; more<br>of it.<p>Second <b>text</b>.
<ul><li><a href="a">One page</a></li><li><a href="b">Another</a></li><li>An item.</li></ul>
<h3>Deep</h3><table><tr><th>a</th><td>b</td></tr></table><pre>code</pre>
<aside>advert</aside><footer>Imprint</footer></body></html>
"""
    document = read(tmp_path, "a.html", text)
    assert document.title == "A page"
    assert outline(document) == [
        *("1 Title", "First text & more of it.", "Second text.", "An item.", "3 Deep", "a b"),
    ]
    assert document.links == 2


def test_of_a_page_with_a_main_part_only_that_is_read(tmp_path):
    text = "<body><p>Accept our cookies.</p><div role=main><h1>T</h1><p>Text.</p></div><div>Share this</div></body>"
    assert outline(read(tmp_path, "a.htm", text)) == ["1 T", "Text."]


@pytest.mark.parametrize(
    "text",
    [
        "<dl><dt>How long?</dt><dd>A day.</dd></dl><p>After.</p>",
        "<details><summary>How long?</summary>A day.</details><p>After.</p>",
    ],
)
def test_terms_and_summaries_are_headings_of_what_belongs_to_them(tmp_path, text):
    assert outline(read(tmp_path, "a.html", text)) == ["7 How long?", "A day.", "-", "After."]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "**How long?**\n\nA day.\n"),
        ("a.md", "**How long?**\nA day.\n"),
        ("a.md", "**Q: How long?** A day.\n"),
        ("a.md", "Q: How long?\nA: A day.\n"),
        ("a.md", "**Q1.** How long?\n\n**A1:** A day.\n"),
        ("a.html", "<p><strong>How long?</strong><br>A day.</p>"),
        ("a.html", "<p>Question: How\n long?<br>Answer: A day.</p>"),
        ("a.txt", "Q: How\nlong?\nA: A day.\n"),
        ("a.txt", "Q: How long?\n\nA: A day.\n"),
        ("a.txt", "How long?\n\nA day.\n"),
    ],
)
def test_questions_of_a_faq_are_headings_however_they_are_written(tmp_path, name, text):
    document = read(tmp_path, name, text)
    assert [(b.kind, b.text) for b in document.blocks] == [("heading", "How long?"), ("text", "A day.")]


def test_a_q_that_asks_nothing_is_text(tmp_path):
    assert outline(read(tmp_path, "a.txt", "Q: the charge of a particle,\nQ: and so on.\n")) == [
        *("the charge of a particle,", "and so on."),
    ]


def test_plain_text_has_headings_where_lines_stand_alone_or_are_underlined(tmp_path):
    text = """\
THE GUIDE
=========

Contents
  Install ........ 3
  Use . . . . . . . 7

Install

First line of a paragraph
that is wrapped.

A short sentence.

Use
---
Text at once.
"""
    assert outline(read(tmp_path, "a.txt", text)) == [
        *("1 THE GUIDE", "2 Contents", "2 Install", "First line of a paragraph that is wrapped."),
        *("A short sentence.", "2 Use", "Text at once."),
    ]


def test_json_ld_faqs_are_read_and_what_is_no_json_is_passed_over(tmp_path):
    data = """{"@context": "https://schema.org", "@graph": [{"@type": ["WebPage", "FAQPage"], "mainEntity": [
        {"@type": "Question", "name": "How long?", "acceptedAnswer": {"text": "<p>A <b>day</b>.</p>"}},
        {"@type": "Question", "name": "Half \\ud800?", "acceptedAnswer": {"text": "Nul \\u0000."}},
        {"@type": "Question", "name": 7, "acceptedAnswer": null}, 3]}, {"@type": "Person", "name": "x"}]}"""
    text = (
        f'<script type="application/ld+json">{data}</script><script type="application/ld+json">{{</script><p>Text.</p>'
    )
    document = read(tmp_path, "a.html", text)
    assert document.faq == [("How long?", "A day.")]
    assert outline(document) == ["Text."]


def test_files_come_in_the_order_of_their_names_without_links_and_hidden_ones(tmp_path):
    for name in ("b.md", "a/z.txt", "a.html", "a/b/c.MD", ".git/x.md", ".hidden.md", "x.png", "Makefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Text.\n")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "link.md").symlink_to(tmp_path / "b.md")
    folder = find_documents(tmp_path)
    assert [document.name for document in read_documents(folder)] == ["a/b/c.MD", "a/z.txt", "a.html", "b.md"]
    assert (dict(folder.others), folder.symlinks) == ({".png": 1, "no suffix": 1}, 2)


def test_a_name_that_is_not_utf8_is_written_as_what_can_be_read(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("Text.\n")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    (document,) = read_documents(find_documents(tmp_path))
    assert document.name == "caf\ufffd.txt"


def test_documents_are_excluded_by_name_or_path(tmp_path):
    for name in ("print.html", "a/print.html", "old/a.md", "old/b/c.md", "Print.html", "a.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Text.\n")
    folder = find_documents(tmp_path, ["print.html", "old/*"])
    assert ([path.name for path in folder.files], folder.excluded) == (["Print.html", "a.md"], 4)
    with pytest.raises(InputError, match="that are not excluded .6 are."):
        find_documents(tmp_path, ["*"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.md", b"caf\xe9\n", "a.md, line 1: not UTF-8 .*Convert the file to UTF-8"),
        ("a.txt", "Text".encode("utf-16"), "a.txt is UTF-16. Convert the file to UTF-8"),
        ("a.txt", b"\x7fELF\0\0", "a.txt has a NUL byte.*Is it binary"),
        ("a.html", b"<a b='" * 2000, "a.html is damaged: it has 2,000 more < than >"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, name, content)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.md")
    with pytest.raises(InputError, match="a.md cannot be read: it is a pipe"):
        list(read_documents(find_documents(tmp_path)))


def test_folders_and_files_without_documents_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no folder .*nowhere"):
        find_documents(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no documents that can be read .*.md, .markdown, .txt"):
        find_documents(tmp_path)
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(InputError, match="a.pdf is not a document that can be read; these are .md"):
        find_documents(tmp_path / "a.pdf")


def test_sizes_have_bounds(tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"x" * 900_000)
    for bound, message in [
        ("MOST_FILE_MB", "a.txt holds more than 0 MB; divide it, or leave it out with --exclude"),
        ("MOST_TOTAL_MB", "hold more than 0 MB; give a part"),
        ("MOST_FILES", "has more than 0 documents; give a folder with fewer"),
    ]:
        with monkeypatch.context() as patched:
            patched.setattr(module, bound, 0)
            with pytest.raises(InputError, match=message):
                list(read_documents(find_documents(tmp_path)))


def test_without_the_markdown_package_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    with pytest.raises(InputError, match=r"pip install 'cubefast\[documents\]'"):
        read(tmp_path, "a.md", "Text.\n")


@pytest.mark.parametrize(
    "text",
    [
        "</p></div>text",
        "<div>" * 50_000 + "text",
        "<h2>a<h3>b<p>text",
        "<b>" * 5_000 + "text?",
        "<script>" + "<b>" * 1000,
        '<script type="application/ld+json">' + "[" * 100_000,
        "<![if x]>text<![endif]>",
        "<p>&#xD800;&#0;&#x110000;text",
        "<table><tr><td><nav>",
    ],
)
def test_damaged_html_is_read_as_far_as_it_goes(text):
    assert all(block.text.encode() or block.kind == "end" for block in read_html(text).blocks)
