"""HTML as a list of headings, questions and paragraphs; Markdown comes here as the HTML that it stands for.

What no reader reads as text is left out: code blocks, scripts, navigation, lists of links.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Literal, NamedTuple

from ...utils.messages import is_utf8, shown

BELOW_HEADINGS = 7
"""The level of what is set like a heading inside a section: a term of a list, a summary, a line of a FAQ."""


@dataclass(frozen=True)
class Block:
    """A heading or a paragraph of a document, white space as single blanks; or an end, behind which the headings of its
    level and below hold no longer. The level of a heading or an end is 1 to 7.
    """

    kind: Literal["heading", "text", "end"]
    text: str
    level: int = 0


class MarkupError(ValueError):
    """HTML that is too damaged to be read; its message says how, and is to follow the name of the file."""


@dataclass(frozen=True)
class Document:
    """A page or a file as it is read."""

    name: str  # its path below the folder, with /
    title: str  # or ""
    blocks: list[Block]
    faq: list[tuple[str, str]] = field(default_factory=list)  # questions and answers of schema.org's FAQPage
    links: int = 0  # blocks that were left out because they were mostly links


def read_html(text: str) -> Document:
    """A page, without a name; of one with a main part (``<main>``, ``role="main"``) or an article, only what is in it.

    Raises MarkupError where so much of it is damaged that reading it would take very long.
    """
    unended = text.count("<") - text.count(">")
    if unended > _MOST_UNENDED:  # for each of them, older Pythons look for its end in all that follows
        raise MarkupError(f"is damaged: it has {unended:,} more < than >")
    reader = _Reader()
    try:
        reader.feed(text)
        reader.close()
    except AssertionError as error:  # of a declaration that it does not know
        raise MarkupError(f"is not HTML that can be read: {shown(str(error))}") from None
    reader.end_block()
    in_main = any(main for _, main in reader.blocks)
    blocks = [block for block, main in reader.blocks if main or not in_main]
    title = " ".join("".join(reader.title).split())
    return Document("", title, blocks, [pair for data in reader.data for pair in _faq_of("".join(data))], reader.links)


def plain(html: str) -> str:
    """The text of a piece of HTML."""
    return "\n".join(block.text for block in read_html(html).blocks)


def text_blocks(text: str) -> Iterator[Block]:
    """A paragraph, with its line breaks, as blocks: ``Q: ...?`` is a heading, and what follows, with or without ``A:``,
    the text under it.
    """
    lines: list[str] = []  # of a text, or of a question that has not ended yet
    asking = False
    for line in text.split("\n"):
        if found := _QUESTION_LABEL.match(line):
            yield from _text_of(lines)
            lines, asking = [line[found.end() :]], True
        else:
            lines.append(line if lines else _ANSWER_LABEL.sub("", line, count=1))
        if asking and is_question(lines[-1]):
            yield Block("heading", _folded(" ".join(lines)), BELOW_HEADINGS)
            lines, asking = [], False
    yield from _text_of(lines)


_QUESTION_MARKS = ("?", "\uff1f", "\u061f")  # also of Chinese and Japanese, of Arabic


def is_question(text: str) -> bool:
    """Whether it ends with a question mark."""
    return text.rstrip(" \n\"')*_”»").endswith(_QUESTION_MARKS)


_QUESTION_LABEL = re.compile(r"\s*(?:Q|Question)\s*\d{0,4}\s*[:.)]\s*", re.IGNORECASE)
_ANSWER_LABEL = re.compile(r"\s*(?:A|Answer)\s*\d{0,4}\s*:\s*", re.IGNORECASE)


def _text_of(lines: list[str]) -> Iterator[Block]:
    if text := _folded(" ".join(lines)):
        yield Block("text", text)


def _folded(text: str) -> str:
    return " ".join(text.split())


_HEADINGS = {f"h{level}": level for level in range(1, 7)} | {"dt": BELOW_HEADINGS, "summary": BELOW_HEADINGS}
_ENDS = {"dl", "details"}
_BLOCKS = {
    *("address", "article", "blockquote", "body", "caption", "center", "dd", "div", "dl", "details", "fieldset"),
    *("figcaption", "figure", "form", "header", "hr", "html", "li", "main", "ol", "p", "section", "table", "tbody"),
    *("tr", "ul", *_HEADINGS),
}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_SKIPPED = {
    *("aside", "audio", "button", "canvas", "footer", "head", "iframe", "math", "nav", "noscript", "object", "pre"),
    *("script", "select", "style", "svg", "template", "textarea", "video"),
}
_SKIPPED_ROLES = {"navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar", "toolbar"}
_BOLD = {"b", "strong"}
_PERMALINKS = {"headerlink", "anchor", "anchor-link", "header-anchor", "permalink", "toclink-permalink"}
_MOST_UNENDED = 1_000
_MOST_OPEN = 10_000  # elements inside each other; a malicious page has more


class _Open(NamedTuple):
    """An element that is open, and what holds inside it."""

    tag: str
    skipped: bool = False
    main: bool = False
    link: bool = False
    bold: bool = False
    level: int = 0  # of the heading that it is; 0: text


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[tuple[Block, bool]] = []  # and whether it is in the main part
        self.title: list[str] = []
        self.data: list[list[str]] = []  # of scripts with JSON-LD
        self.links = 0
        self._in_data = False
        self._open = [_Open("")]
        self._counts: Counter[str] = Counter()
        self._pieces: list[tuple[str, _Open]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.end_block()
        if tag == "br":
            self._pieces.append(("\n", self._open[-1]))
        elif tag in ("td", "th"):
            self._pieces.append((" ", self._open[-1]))
        if tag in _VOID or len(self._open) >= _MOST_OPEN:
            return
        given = {name: value or "" for name, value in attrs}
        if tag == "script":
            self._in_data = given.get("type", "").strip().lower() == "application/ld+json"
            if self._in_data:
                self.data.append([])
        role = given.get("role", "").strip().lower()
        around = self._open[-1]
        hidden = "hidden" in given or given.get("aria-hidden") == "true"
        skipped = tag in _SKIPPED or role in _SKIPPED_ROLES or hidden
        if tag == "a" and _PERMALINKS & set(given.get("class", "").split()):
            skipped = True
        self._counts[tag] += 1
        self._open.append(
            _Open(
                tag,
                skipped=around.skipped or skipped,
                main=around.main or tag in ("main", "article") or role == "main",
                link=around.link or tag == "a",
                bold=around.bold or tag in _BOLD,
                level=_HEADINGS.get(tag, 0 if tag in _BLOCKS else around.level),
            )
        )

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.end_block()
        if tag in _ENDS and self.blocks:
            self.blocks.append((Block("end", "", BELOW_HEADINGS), self._open[-1].main))
        if not self._counts[tag]:  # an end without a start
            return
        while True:  # what was not ended inside it ends with it
            ended = self._open.pop().tag
            self._counts[ended] -= 1
            if ended == tag:
                return

    def handle_data(self, data: str) -> None:
        around = self._open[-1]
        if around.tag == "script" and self._in_data:
            self.data[-1].append(data)
        elif around.tag == "title" and not self._counts["svg"]:
            self.title.append(data)
        elif not around.skipped:
            self._pieces.append((data, around))

    def end_block(self) -> None:
        """What has been read since the last one is a block."""
        pieces, self._pieces = self._pieces, []
        written = [(len(data.strip()), around) for data, around in pieces]
        size = sum(count for count, _ in written)
        if size == 0:
            return
        around = next(around for count, around in written if count)
        text = "".join(data for data, _ in pieces)
        if around.level:
            heading = _folded(text).rstrip("¶#🔗 ")
            found = [Block("heading", heading, around.level)] if heading else []
        elif sum(count for count, each in written if each.link) > size / 2:
            self.links += 1
            return
        else:
            plain_from = next((i for i, (count, each) in enumerate(written) if count and not each.bold), len(pieces))
            bold = "".join(data for data, _ in pieces[:plain_from])
            if is_question(bold):
                asked = _QUESTION_LABEL.sub("", bold, count=1)
                found = [Block("heading", _folded(asked), BELOW_HEADINGS)]
                text = text[len(bold) :]
            else:
                found = []
            found += text_blocks(text)
        self.blocks += [(block, around.main) for block in found]


def _faq_of(data: str) -> Iterator[tuple[str, str]]:
    """The questions and answers of JSON-LD, where it is a FAQPage."""
    try:
        waiting: deque[Any] = deque([json.loads(data)])
    except (ValueError, RecursionError):  # a page is read without what its publisher has spoilt
        return
    while waiting:
        node = waiting.popleft()
        if isinstance(node, list):
            waiting.extendleft(reversed(node))
        elif isinstance(node, dict):
            if "FAQPage" in _types(node):
                asked = node.get("mainEntity")
                for each in asked if isinstance(asked, list) else [asked]:
                    yield from _question_of(each)
            elif "@graph" in node:
                waiting.appendleft(node["@graph"])


def _question_of(node: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(node, dict) or "Question" not in _types(node):
        return
    answers = node.get("acceptedAnswer")
    for answer in answers if isinstance(answers, list) else [answers]:
        texts = node.get("name"), answer.get("text") if isinstance(answer, dict) else None
        if all(isinstance(text, str) and is_utf8(text) and "\0" not in text for text in texts):
            yield _folded(plain(str(texts[0]))), _folded(plain(str(texts[1])))


def _types(node: dict[str, Any]) -> list[Any]:
    found = node.get("@type")
    return found if isinstance(found, list) else [found]
