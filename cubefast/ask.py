"""`python -m cubefast.ask RUN ["question"]`: the nearest answers of a trained run, once, in a chat, or for a script."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from . import cli
from .config import bounds
from .errors import EncoderUnavailableError, InputError
from .utils.escaping import json_text
from .utils.messages import shown
from .utils.terminal import columns, paragraph, wrapped

if TYPE_CHECKING:
    from .decoding import Answer
    from .pipeline import Pipeline

_WITHOUT_WINDOW = 100  # columns of an answer where there is no terminal
_BATCH = 64  # lines answered together
LONGEST_LINE = 4 * 2**20
"""Bytes of a line of JSON: a question and the turns before it, with room."""

_DESCRIPTION = """Ask a trained run; prints the nearest answers and their cosines.

With a question, it is answered. Without one, on a terminal, a chat begins. With --jsonl, questions are read from the
standard input, one JSON per line: a text, or {"question": ..., "history": [turns before it], "id": anything}. Each
gets a line {"id", "question", "answers": [{"text", "score"}], "known"} in the same order; "known" is false where the
best score is below the threshold. A line that cannot be answered gets {"id", "error", "line"}, and the exit code is 2
at the end. A line may have 4 MiB, a question or a turn 100,000 characters."""


def _run(arguments: argparse.Namespace) -> int:
    from .data.reading.dialogues import load_side
    from .pipeline import Pipeline

    if arguments.jsonl and (arguments.interactive or arguments.question is not None):
        raise InputError("--jsonl reads questions from the standard input: leave the question and --interactive out")
    chat = arguments.interactive or (arguments.question is None and not arguments.jsonl)
    if chat and not arguments.interactive and not sys.stdin.isatty():
        raise InputError("no question: give one, or --jsonl to read questions, or --interactive for a chat")
    # The threshold is applied here and not in the pipeline, so that the nearest answers are shown all the same.
    further = [] if arguments.answers is None else load_side(arguments.answers, "answer")
    pipeline = Pipeline.from_run(
        arguments.run,
        index=arguments.index,
        mmr=arguments.mmr,
        threshold=None,
        further_answers=further,
        encoder=arguments.encoder,
    )
    pipeline.text_encoder()  # a run that cannot be asked says so now
    threshold = _threshold(arguments)
    if arguments.jsonl:
        return _answer_lines(pipeline, arguments.count, threshold)
    if chat:
        return _chat(pipeline, arguments.question, arguments.count, threshold)
    _show(pipeline(arguments.question, arguments.count), threshold)
    return 0


def _threshold(arguments: argparse.Namespace) -> float | None:
    """The threshold that was asked for. Says on stderr how much a calibrated one rests on."""
    if arguments.threshold != "calibrated":
        return None if arguments.threshold is None else float(arguments.threshold)
    from .training.run_folder import RunFolder

    found = RunFolder.open(arguments.run).load_threshold()
    if found is not None and found.threshold is None:
        note = f"note: on validation no threshold made {found.precision:.0%} of the answers right; all are given"
        print(paragraph(note), file=sys.stderr)
    if found is not None and found.threshold is not None:
        print(paragraph(f"note: it answers {found.describe()}; --threshold sets another"), file=sys.stderr)
    return found.threshold if found else None


def _known(answers: list[Answer], threshold: float | None) -> bool:
    return threshold is None or answers[0].score >= threshold


def _show(answers: list[Answer], threshold: float | None) -> None:
    """Print the answers; before them, if they score below the threshold, that the question has no known answer."""
    if threshold is not None and not _known(answers, threshold):
        print(paragraph(f"I do not know: no answer scores {threshold:.3f} or more (--threshold). The nearest:"))
    for answer in answers:
        first = f"{answer.score:.3f}  "
        print(wrapped(answer.text, columns() or _WITHOUT_WINDOW, first, " " * len(first)))


def _chat(pipeline: Pipeline, question: str | None, count: int, threshold: float | None) -> int:
    """Read questions and print answers until /quit or Ctrl-D."""
    with suppress(ImportError):
        import readline  # noqa: F401  (lines can then be edited, and called back with the arrow keys)

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # one line that cannot be read does not end the chat
    context = pipeline.context
    uses_history = context.mode != "none"
    reading = (
        f"Each question is read together with the {context.window} turns before it; /reset forgets them."
        if uses_history
        else "The run was trained without context: each question stands alone."
    )
    print(paragraph("Type a question and press Enter; /quit or Ctrl-D ends."))
    print(paragraph(reading))
    history: list[str] = []
    while True:
        try:
            line = input("> ") if question is None else question
        except EOFError:
            print()
            return 0
        question, line = None, line.strip()
        if line == "/quit":
            return 0
        if any("\udc80" <= character <= "\udcff" for character in line):  # a byte that the encoding does not have
            print(
                f"error: the input is not {sys.stdin.encoding}; set PYTHONIOENCODING=utf-8, or what the terminal sends"
            )
            continue
        if line == "/reset":
            history.clear()
        elif line.startswith("/"):
            print(paragraph(f"no command {line}; there are /reset and /quit"))
        elif line:
            try:
                answers = pipeline(line, count, history=history if uses_history else ())
            except InputError as error:
                print(paragraph(f"error: {error}"))
                continue
            _show(answers, threshold)
            history.append(line)
            if _known(answers, threshold):
                history.append(answers[0].text)


@dataclass
class _Request:
    """A line of the input, the question that it holds, and then its answers or its error."""

    line: int
    id: Any = None
    question: str = ""
    history: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    error: str | None = None


def _answer_lines(pipeline: Pipeline, count: int, threshold: float | None) -> int:
    """Answer JSON lines with JSON lines, in order. A batch is what has arrived, so each line is answered at once."""
    number, bad = 0, 0
    for lines in _lines(sys.stdin.fileno()):
        requests = [_request(line, number + i) for i, line in enumerate(lines, start=1) if line is None or line.strip()]
        number += len(lines)
        _answer(pipeline, [request for request in requests if request.error is None], count)
        for request in requests:
            sys.stdout.buffer.write(json_text(_reply(request, threshold)).encode() + b"\n")
        sys.stdout.buffer.flush()
        bad += sum(request.error is not None for request in requests)
    if bad:
        raise InputError(f"{bad} of the lines could not be answered; each says why in its place")
    return 0


def _lines(source: int) -> Iterator[list[bytes | None]]:
    """Yield the lines of a file descriptor, as many at once as have arrived, up to _BATCH.

    A line longer than LONGEST_LINE is None, and is not kept in memory.
    """
    whole: list[bytes | None] = []
    rest = bytearray()
    too_long = False
    while block := os.read(source, 1 << 16):
        *ends, begun = block.split(b"\n")
        for end in ends:
            whole.append(None if too_long or len(rest) + len(end) > LONGEST_LINE else bytes(rest + end))
            rest, too_long = bytearray(), False
        rest += begun
        if too_long := too_long or len(rest) > LONGEST_LINE:
            rest.clear()
        for begin in range(0, len(whole), _BATCH):
            yield whole[begin : begin + _BATCH]
        whole.clear()
    if rest or too_long:
        yield [None if too_long else bytes(rest)]


def _request(line: bytes | None, number: int) -> _Request:
    request = _Request(number)
    if line is None:
        request.error = f"the line has more than {LONGEST_LINE:,} bytes, which are the most"
        return request
    try:
        value = json.loads(line.decode("utf-8-sig"))
        json.dumps(value, allow_nan=False)
    except json.JSONDecodeError as error:
        request.error = f"not JSON: {error.msg} (column {error.colno})"
        return request
    except (ValueError, RecursionError) as error:
        request.error = f"not JSON: {error}"
        return request
    fields = {"question": value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or "question" not in fields:
        request.error = 'a line must be a text, or an object with "question"'
        return request
    request.id, request.question = fields.get("id"), fields["question"]
    request.history = fields.get("history", [])
    if unknown := sorted(set(fields) - {"id", "question", "history"}):
        request.error = f"no such key: {shown(unknown)}; there are question, history and id"
    elif not isinstance(request.history, list):
        request.error = f"history must be a list of turns; got {shown(request.history)}"
    return request


def _answer(pipeline: Pipeline, requests: list[_Request], count: int) -> None:
    """Answer the requests together; if that fails, one by one, so that an invalid one does not fail the others."""
    try:
        found = pipeline([each.question for each in requests], count, history=[each.history for each in requests])
    except InputError as error:
        if len(requests) == 1 or isinstance(error, EncoderUnavailableError):  # which is so for one as for all
            for request in requests:
                request.error = str(error)
        else:
            for request in requests:
                _answer(pipeline, [request], count)
        return
    for request, answers in zip(requests, found, strict=True):
        request.answers = answers


def _reply(request: _Request, threshold: float | None) -> dict[str, Any]:
    if request.error is not None:
        return {"id": request.id, "error": request.error, "line": request.line}
    return {
        "id": request.id,
        "question": request.question,
        "answers": list(map(asdict, request.answers)),
        "known": _known(request.answers, threshold),
    }


def _cosine_or_none(text: str) -> float | Literal["calibrated"] | None:
    """For argparse: a threshold."""
    if text == "calibrated":
        return "calibrated"
    return None if text == "none" else bounds.number(-1, 1)(text)


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast ask` with these arguments (those of the process by default); returns the exit code."""
    made = cli.run_parser("ask", _DESCRIPTION)
    made.add_argument("question", nargs="?")
    made.add_argument(
        "--count", type=bounds.whole(1, bounds.ANSWERS), default=3, metavar="N", help="how many answers (3)"
    )
    made.add_argument("--interactive", action="store_true", help="a chat, also where the input is no terminal")
    made.add_argument("--jsonl", action="store_true", help="JSON lines in and out, for scripts")
    made.add_argument(
        "--threshold",
        type=_cosine_or_none,
        default="calibrated",
        metavar="X",
        help="a cosine below which it says that it does not know, or none (what was calibrated in training)",
    )
    made.add_argument(
        "--mmr",
        type=bounds.number(0, 1),
        metavar="L",
        help="diversify the answers by maximal marginal relevance: from 0, the most diverse, to 1, nearest first (off)",
    )
    return cli.run(made, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
