"""Pairs to train on from documents that have no questions: headings, first sentences, and what is marked as a FAQ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from ..reading.dialogues import normalize
from ..splits import ENOUGH_GROUPS
from .markup import Block, Document, is_question

Kind = Literal["faq", "heading", "sentence"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_KINDS: tuple[Kind, ...] = ("faq", "heading")
"""Without first sentences, which people's questions are not like: with them a core learned less, or did harm (see
docs/retrieval.md)."""
Grouping = Literal["auto", "file", "section"]

QUESTION_CHARS = (8, 300)
"""The shortest and the longest question."""
ANSWER_CHARS = (40, 1_200)
"""The shortest and the longest answer. A section that is longer is divided into passages, between paragraphs where it
can be: 1,200 characters are some 256 tokens, and small encoders read no more."""
REPEATED = 3
"""A paragraph in so many files is about none of them: a notice, a footer."""


@dataclass(frozen=True)
class MadePair:
    """A question and an answer made of a document."""

    question: str  # a heading with those above it, a first sentence, or a question that the document itself asks
    answer: str  # the text under the heading, the rest of the passage, or what answers the question
    kind: Kind
    file: str  # the document's name
    group: str  # what must stay on one side of a split: the file, or the section in it
    source: str  # the file and the headings that lead to the place


@dataclass
class MadePairs:
    """What was made of documents.

    ``grouped_by`` is ``file`` or ``section``; ``left_out`` says why something was left out, and how often.
    """

    pairs: list[MadePair]
    grouped_by: str
    left_out: Counter[str] = field(default_factory=Counter)


def make_pairs(
    documents: Iterable[Document], kinds: Collection[Kind] = DEFAULT_KINDS, grouping: Grouping = "auto"
) -> MadePairs:
    """Make pairs of questions and answers from documents.

    Args:
        documents: as :func:`cubefast.data.documents.find_documents.read_documents` gives them.
        kinds: which kinds of pairs to make.
        grouping: what a split leaves whole: each ``file``, or each ``section`` of a file; ``auto``: the file, or the
            section where fewer than 20 files have pairs.

    A question with several different answers is left out, for nobody can say which one is right.
    """
    documents = list(documents)
    left_out: Counter[str] = Counter()
    repeated = _repeated(documents)
    found: list[MadePair] = []
    for document in documents:
        left_out["blocks that are mostly links"] += document.links
        found += _pairs_of(document, kinds, repeated, left_out)
    pairs = _unambiguous(found, left_out)
    if grouping == "auto":
        grouping = "file" if len({pair.file for pair in pairs}) >= ENOUGH_GROUPS else "section"
    if grouping == "file":
        pairs = [replace(pair, group=pair.file) for pair in pairs]
    return MadePairs(pairs, grouping, +left_out)


def _repeated(documents: Sequence[Document]) -> set[str]:
    """The normal forms of paragraphs that stand in several files."""
    files: Counter[str] = Counter()
    for document in documents:
        files.update({normalize(block.text) for block in document.blocks if block.kind == "text"})
    return {text for text, count in files.items() if count >= REPEATED}


def _unambiguous(found: Sequence[MadePair], left_out: Counter[str]) -> list[MadePair]:
    """Each pair once, without those whose question has another answer elsewhere."""
    answers: dict[str, set[str]] = {}
    for pair in found:
        answers.setdefault(normalize(pair.question), set()).add(normalize(pair.answer))
    kept: dict[str, MadePair] = {}
    for pair in found:
        question = normalize(pair.question)
        if len(answers[question]) > 1:
            left_out["pairs whose question has several answers"] += 1
        elif question in kept:
            left_out["repeated pairs"] += 1
        else:
            kept[question] = pair
    return list(kept.values())


def _pairs_of(
    document: Document, kinds: Collection[Kind], repeated: set[str], left_out: Counter[str]
) -> Iterator[MadePair]:
    """The pairs of one document, grouped by section."""

    def made(kind: Kind, question: str, answer: str, section: str, source: str) -> Iterator[MadePair]:
        if kind not in kinds:
            return
        if len(question) < QUESTION_CHARS[0] or len(answer) < ANSWER_CHARS[0]:
            left_out["pairs that are too short"] += 1
        elif len(question) > QUESTION_CHARS[1]:
            left_out["questions that are too long"] += 1
        elif not any(map(str.isalpha, question)):
            left_out["questions without a letter"] += 1
        else:
            name = document.name
            yield MadePair(question, answer, kind, name, f"{name}#{section}", f"{name}#{source}")

    number = 0
    asked: set[str] = set()
    for path, texts in _sections(document):
        kept = [text for text in texts if normalize(text) not in repeated]
        left_out["paragraphs that stand in several files"] += len(texts) - len(kept)
        for place, passage in enumerate(_passages(kept)):
            number += 1
            section, source = path[1] if len(path) > 1 else str(number), " > ".join(path)
            if place == 0 and path:
                if is_question(path[-1]):
                    asked.add(normalize(path[-1]))
                    yield from made("faq", path[-1], passage, section, source)
                else:
                    headings = ": ".join(path)
                    question = headings if len(headings) <= QUESTION_CHARS[1] else path[-1]
                    yield from made("heading", question, passage, section, source)
            first, rest = _first_sentence(passage)
            if rest:
                yield from made("sentence", first, rest, section, source)
    for question, answer in document.faq:
        if normalize(question) not in asked:  # else it is what the page shows, once more for machines
            yield from made("faq", question, next(_passages([answer]), ""), question, question)


def _sections(document: Document) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The paragraphs of a document by section, with the headings that lead there, from the title on."""
    open_headings: list[Block] = []
    title: tuple[str, ...] = (document.title,) if document.title else ()
    path, texts = title, list[str]()
    for block in document.blocks:
        if block.kind == "text":
            texts.append(block.text)
            continue
        yield path, texts
        open_headings = [each for each in open_headings if each.level < block.level]
        if block.kind == "heading":
            open_headings.append(block)
        names = tuple(each.text for each in open_headings)
        has_title = names[:1] == title or any(each.level == 1 for each in open_headings)
        path, texts = names if has_title else (*title, *names), []
    yield path, texts


def _passages(texts: Sequence[str]) -> Iterator[str]:
    """The texts joined to passages that are no longer than an answer may be."""
    passage = ""
    for text in texts:
        for piece in _pieces(text):
            if passage and len(passage) + 1 + len(piece) > ANSWER_CHARS[1]:
                yield passage
                passage = ""
            passage = f"{passage} {piece}" if passage else piece
    if passage:
        yield passage


def _pieces(text: str) -> Iterator[str]:
    """A text, or its sentences where it is longer than an answer may be; a sentence that is too long in parts."""
    longest = ANSWER_CHARS[1]
    for sentence in [text] if len(text) <= longest else _sentences(text):
        begin = 0
        while len(sentence) - begin > longest:
            end = sentence.rfind(" ", begin + 1, begin + longest + 1)
            end = end if end > 0 else begin + longest
            yield sentence[begin:end].strip()
            begin = end
        yield sentence[begin:].strip()


_IDEOGRAPHIC = "\u3002\uff01\uff1f"  # ends of Chinese and Japanese sentences, which no blank follows
_END = re.compile(rf"""[.!?…]["')\]”»]*\s+(?=\S)|[{_IDEOGRAPHIC}](?![{_IDEOGRAPHIC}])[」』”]?\s*(?=\S)""")
_ABBREVIATION = re.compile(
    r"\b(?:[^\W\d_]|e\.g|i\.e|etc|vs|cf|ca|approx|no|fig|dr|mr|mrs|ms|prof|st|jr|sr)\.\s+$", re.IGNORECASE
)
_SHORTEST_SENTENCE = 20  # characters; what ends sooner is an abbreviation or a number as often as a sentence


def _sentences(text: str) -> Iterator[str]:
    """The sentences of a text, as far as punctuation and capital letters show them."""
    begin = 0
    for found in _END.finditer(text):
        end = found.end()
        if found[0][0] not in _IDEOGRAPHIC:
            if end - begin < _SHORTEST_SENTENCE or text[end].islower():
                continue
            if _ABBREVIATION.search(text, max(begin, end - 12), end):
                continue
        yield text[begin:end].strip()
        begin = end
    if begin < len(text):
        yield text[begin:].strip()


def _first_sentence(text: str) -> tuple[str, str]:
    """The first sentence of a text, and what follows it, which may be ""."""
    first = next(_sentences(text), "")
    return first, text[len(first) :].strip()
