"""Documents of a folder as headings and paragraphs: Markdown, plain text and HTML, within bounds, in a fixed order."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ...errors import InputError
from ...utils.files import open_regular
from ...utils.messages import named
from ..reading.lines import MB, decoded, reading
from .markup import Block, Document, MarkupError, read_html, text_blocks

MARKDOWN = (".md", ".markdown")
PLAIN = (".txt", ".text")
HTML = (".html", ".htm", ".xhtml")
KNOWN = (*MARKDOWN, *PLAIN, *HTML)

MOST_FILES = 100_000
MOST_FILE_MB = 5
MOST_TOTAL_MB = 500


@dataclass
class Folder:
    """What a folder holds."""

    path: Path  # or that of the one file that was named in its place
    files: list[Path] = field(default_factory=list)  # the documents, in the order of their names
    others: Counter[str] = field(default_factory=Counter)  # how many other files there are, by suffix
    excluded: int = 0  # documents that were left out by name
    symlinks: int = 0  # which are not followed


def find_documents(path: Path, exclude: Sequence[str] = ()) -> Folder:
    """The documents in a folder and the folders inside it; or the one file that ``path`` is.

    A document whose path below the folder, or whose name, is like one of the patterns ``exclude`` (``print.html``,
    ``old/*``) is left out, and so is a name that begins with a dot. Symbolic links are not followed: they may lead out
    of the folder, or around in it.

    Raises InputError where ``path`` is not there or cannot be read, or has no documents or too many.
    """
    folder = Folder(path)
    with reading(path):
        if not path.exists():
            raise InputError(f"there is no folder {path}. Give a folder of documents, or one of them ({named(KNOWN)})")
        if not path.is_dir():
            if path.suffix.lower() not in KNOWN:
                raise InputError(f"{path} is not a document that can be read; these are {named(KNOWN)}")
            folder.files.append(path)
            return folder
    waiting = [path]
    while waiting:
        current = waiting.pop()
        with reading(current):
            for entry in current.iterdir():
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    folder.symlinks += 1
                elif entry.is_dir():
                    waiting.append(entry)
                elif entry.suffix.lower() in KNOWN:
                    names = entry.relative_to(path).as_posix(), entry.name
                    if any(fnmatchcase(name, pattern) for name in names for pattern in exclude):
                        folder.excluded += 1
                    else:
                        folder.files.append(entry)
                else:
                    folder.others[entry.suffix.lower() or "no suffix"] += 1
        if len(folder.files) > MOST_FILES:
            raise InputError(f"{path} has more than {MOST_FILES:,} documents; give a folder with fewer")
    folder.files.sort(key=lambda file: file.relative_to(path).parts)
    if not folder.files:
        excluded = f" that are not excluded ({folder.excluded:,} are)" if folder.excluded else ""
        raise InputError(
            f"{path} has no documents that can be read ({named(KNOWN)}){excluded}; give a folder that has some"
        )
    return folder


def read_documents(folder: Folder) -> Iterator[Document]:
    """Read the documents of a folder one by one.

    Raises InputError (while iterating) naming a file that cannot be read, is too large, not UTF-8 or binary; and where
    Markdown needs the package markdown-it-py, which is not installed.
    """
    total = 0
    for path in folder.files:
        with reading(path), open_regular(path) as file:
            content = file.read(MOST_FILE_MB * MB + 1)
        total += len(content)
        if len(content) > MOST_FILE_MB * MB:
            raise InputError(f"{path} holds more than {MOST_FILE_MB} MB; divide it, or leave it out with --exclude")
        if total > MOST_TOTAL_MB * MB:
            raise InputError(f"the documents of {folder.path} hold more than {MOST_TOTAL_MB} MB; give a part of them")
        text = decoded(content, path, 1).replace("\r\n", "\n").replace("\r", "\n")
        if "\0" in text:
            raise InputError(
                f"{path} has a NUL byte, which no text has. Is it binary? Then leave it out with --exclude"
            )
        name = path.name if path == folder.path else path.relative_to(folder.path).as_posix()
        name = os.fsencode(name).decode("utf-8", "replace")  # a name may be any bytes
        try:
            document = _read(name, text, path.suffix.lower())
        except MarkupError as error:
            raise InputError(f"{path} {error}. Mend it, or leave it out with --exclude") from None
        yield document


def _read(name: str, text: str, suffix: str) -> Document:
    title = ""
    if suffix in PLAIN:
        return Document(name, _title_of(name), list(plain_blocks(text)))
    if suffix in MARKDOWN:
        title, text = _without_front_matter(text)
        text = _html_of(text)
    page = read_html(text)
    return replace(page, name=name, title=title or _SITE.split(page.title, maxsplit=1)[0] or _title_of(name))


def _title_of(name: str) -> str:
    """What a file's name says, for one without a title: "install-guide.md" is "install guide"."""
    stem = Path(name).stem
    return "" if stem.lower() in ("index", "readme") else re.sub(r"[-_\s]+", " ", stem).strip()


_SITE = re.compile("\\s+[|·•\u2013\u2014]\\s+")  # divides the title of a page from the name of its site
_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(?=[\w-]+[ \t]*[:=])(.*?)\n\1[ \t]*(?:\n|$)", re.DOTALL)
_TITLE = re.compile(r"""^title\s*[:=]\s*(["']?)(.+?)\1\s*$""", re.MULTILINE)


def _without_front_matter(text: str) -> tuple[str, str]:
    """The title that the YAML or TOML before a Markdown text gives, or "", and the text."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return "", text
    title = _TITLE.search(found[2])
    return (title[2] if title else ""), text[found.end() :]


def _html_of(markdown: str) -> str:
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise InputError("Markdown is read by the package markdown-it-py: pip install 'cubefast[documents]'") from None
    html: str = MarkdownIt("commonmark").enable("table").render(markdown)
    return html


_UNDERLINE = re.compile(r"([=~^*#-])\1{2,}\s*")
_LONGEST_HEADING = 80
_LEADERS = re.compile(r"(?:\. ?){4,}\s*\d+\s*$")  # of a table of contents: "Install ....... 7"
_LEADER_CHARS = 120  # at the end of a line, where they are looked for


def plain_blocks(text: str) -> Iterator[Block]:
    """The blocks of a text without markup, which blank lines divide.

    A line with a line of ``===`` or the like under it is a heading, and so is a short line that stands alone and does
    not end like a sentence. The first one, if nothing stands before it, is the title (level 1), the others are below it
    (level 2).
    """
    first = True
    for part in re.split(r"\n[ \t]*(?:\n[ \t]*)+", text.strip()):
        lines = [line for line in part.split("\n") if not _LEADERS.search(line[-_LEADER_CHARS:])]
        heading = ""
        if len(lines) > 1 and _UNDERLINE.fullmatch(lines[1].strip()):
            heading, lines = lines[0].strip(), lines[2:]
        elif len(lines) == 1 and _is_heading(lines[0].strip()):
            heading, lines = lines[0].strip(), []
        if heading:
            yield Block("heading", " ".join(heading.split()), 1 if first else 2)
        yield from text_blocks("\n".join(line for line in lines if not _UNDERLINE.fullmatch(line.strip())))
        first = False


_LABEL = re.compile(r"(?:Q|A|Question|Answer)\s*\d*\s*[:.)]", re.IGNORECASE)


def _is_heading(line: str) -> bool:
    return (
        0 < len(line) <= _LONGEST_HEADING
        and any(map(str.isalpha, line))
        and not line[0].islower()
        and line[-1] not in ".,;:!…。"
        and not _LABEL.match(line)
    )
