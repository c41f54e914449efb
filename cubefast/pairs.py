"""`python -m cubefast.pairs FOLDER`: training pairs from documents, where there are no questions. Trains nothing."""

from __future__ import annotations

import argparse
import csv
import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import cli
from .errors import InputError
from .utils.escaping import json_text
from .utils.files import write_atomically

if TYPE_CHECKING:
    from .data.documents.find_documents import Folder
    from .data.documents.make_pairs import Kind, MadePairs

_FIELDS = ("question", "answer", "domain", "group", "kind", "source")
_MEANING: dict[Kind, str] = {
    "faq": "questions that the documents ask and answer",
    "heading": "heading -> text under it",
    "sentence": "first sentence -> rest",
}
_HOW_GOOD = """\
How good that is, as measured on medical pages: a core trained on headings gained two thirds of what real questions
gave. Titles alone gained nothing. First sentences gained little, and mixed with headings or titles they did harm, down
to worse than no core at all: use --kind sentence by itself, for documents that have no headings. The figures are in
docs/retrieval.md, "Documents without questions"."""
_EXAMPLE_CHARS = 60
_TOO_FEW = 40  # pairs: fewer can hardly be split
_FEW = 300  # pairs: with fewer, validation seldom finds a core that is sure to help


def _run(arguments: argparse.Namespace) -> int:
    from .data.documents.find_documents import find_documents, read_documents
    from .data.documents.make_pairs import ANSWER_CHARS, DEFAULT_KINDS, make_pairs

    output: Path = arguments.output
    cli.check_output(output, (".jsonl", ".csv"))
    if output.exists() and not arguments.force:
        raise InputError(f"{output} is there already; take another --output, or --force to write over it")
    folder = find_documents(arguments.folder, arguments.exclude)
    kinds = arguments.kind or DEFAULT_KINDS
    made = make_pairs(read_documents(folder), kinds, arguments.group)
    if not made.pairs:
        left_out = f". Left out: {_counted(made)}" if made.left_out else ""
        advice = (
            "" if "sentence" in kinds else ". --kind sentence makes pairs of first sentences; see --help about them"
        )
        raise InputError(
            f"no pairs could be made of the {len(folder.files):,} documents of {folder.path} (kinds: "
            f"{', '.join(kinds)}; an answer needs {ANSWER_CHARS[0]} characters){left_out}{advice}"
        )
    write_atomically(output, _as_csv(made) if output.suffix.lower() == ".csv" else _as_json_lines(made))
    _print_summary(folder, made)
    print(f"\nwrote {output}\nnext: python -m cubefast.train {shlex.quote(f'data={output}')}")
    print("      (its figures are of made questions; look at real ones before you rely on the core)")
    return 0


def _as_json_lines(made: MadePairs) -> str:
    return "".join(json_text(dict(zip(_FIELDS, row, strict=True))) + "\n" for row in _rows(made))


def _as_csv(made: MadePairs) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_FIELDS, *_rows(made)])
    return text.getvalue()


def _rows(made: MadePairs) -> list[tuple[str, ...]]:
    """The values of _FIELDS for each pair."""
    return [(each.question, each.answer, each.file, each.group, each.kind, each.source) for each in made.pairs]


def _print_summary(folder: Folder, made: MadePairs) -> None:
    passed = sum(folder.others.values())
    others = ", ".join(f"{count:,} {suffix}" for suffix, count in folder.others.most_common(5))
    print(f"documents   {len(folder.files):,} read from {folder.path}")
    if passed:
        print(f"            {passed:,} other files passed over: {others}{', ...' if len(folder.others) > 5 else ''}")
    if folder.excluded:
        print(f"            {folder.excluded:,} left out by --exclude")
    if folder.symlinks:
        print(f"            {folder.symlinks:,} symbolic links not followed")
    print(f"pairs       {len(made.pairs):,} of {len({pair.file for pair in made.pairs}):,} files")
    for kind in _MEANING:
        of_kind = [pair for pair in made.pairs if pair.kind == kind]
        if of_kind:
            print(f"  {kind:<8}  {len(of_kind):,} ({_MEANING[kind]})")
            for pair in (of_kind[0], of_kind[len(of_kind) // 2])[: len(of_kind)]:
                print(f"              {_short(pair.question)} -> {_short(pair.answer)}")
    if made.left_out:
        print(f"left out    {_counted(made)}")
    print(f"groups      {len({pair.group for pair in made.pairs}):,}, by {made.grouped_by}")
    if len(made.pairs) < _TOO_FEW:
        print("note: these are too few pairs to train on; give more documents")
    elif len(made.pairs) < _FEW:
        print("note: these are few pairs; a core that is trained on them may leave every question as it is")


def _counted(made: MadePairs) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in made.left_out.most_common())


def _short(text: str) -> str:
    return text if len(text) <= _EXAMPLE_CHARS else text[: _EXAMPLE_CHARS - 1].rstrip() + "…"


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast pairs` with these arguments (those of the process by default); returns the exit code."""
    made = cli.parser(
        "pairs",
        "Make pairs to train on from documents (Markdown, plain text, HTML): headings with the text under them, and\n"
        "what is marked as a FAQ. Offline; trains nothing.",
        _HOW_GOOD,
    )
    made.add_argument("folder", type=Path, metavar="FOLDER", help="a folder of documents, or one document")
    made.add_argument(
        "--output", type=Path, default=Path("pairs.jsonl"), metavar="FILE", help=".jsonl or .csv (pairs.jsonl)"
    )
    made.add_argument("--force", action="store_true", help="write over a file that is there")
    made.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out documents of such a name or path, as 'print.html' or 'old/*'; may be given several times",
    )
    made.add_argument(
        "--kind",
        action="append",
        choices=[*_MEANING],
        help="make only these pairs; may be given several times (faq and heading)",
    )
    made.add_argument(
        "--group",
        choices=["auto", "file", "section"],
        default="auto",
        help="what a split leaves whole; auto: the file, or the section where fewer than 20 files have pairs (auto)",
    )
    return cli.run(made, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
