"""`python -m cubefast.ask` as a user types it: once, in a chat, and with JSON lines."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from cubefast.decoding import CalibratedThreshold

from .programs import command
from .runs import make_run

COMMAND = [sys.executable, "-W", "error", "-m", "cubefast.ask"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with runs: plain, calibrated, one that no threshold makes right often enough, and with context."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder, "plain")
    poor, _, _ = make_run(folder, "poor")
    poor.write_json("threshold.json", CalibratedThreshold(None, 0.9, None, 0.0, 5).as_dict())
    make_run(folder, "calibrated", threshold=True)
    make_run(folder, "context", context={"mode": "mean", "decay": 0.9})
    return folder


def ask(*arguments, cwd, stdin=""):
    return command("ask", *arguments, cwd=cwd, stdin=stdin)


def ask_lines(*arguments, cwd, lines):
    """Exit code, replies, errors of a run with JSON lines; ``lines`` are bytes or what becomes JSON."""
    sent = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    done = ask(*arguments, "--jsonl", cwd=cwd, stdin=sent)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_a_question_is_answered_with_scores(runs):
    done = ask("plain", "Where is the redtree?", "--count", "2", cwd=runs)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.endswith("  The redtree is in the city of redtreeville.")
    assert 1 >= float(first.split()[0]) >= float(second.split()[0])


def test_below_the_threshold_it_says_so_and_shows_the_nearest(runs):
    question = "Xyz qwv jkp?"
    done = ask("calibrated", question, cwd=runs)
    assert done.returncode == 0, done.stderr
    said, nearest, *_ = done.stdout.splitlines()
    kept = json.loads((runs / "calibrated" / "threshold.json").read_text())["threshold"]
    assert said == f"I do not know: no answer scores {kept:.3f} or more (--threshold). The nearest:"
    assert float(nearest.split()[0]) < kept
    assert "I do not know" not in ask("calibrated", question, "--threshold", "none", cwd=runs).stdout


def test_where_no_threshold_is_good_enough_all_answers_are_given_and_that_is_said(runs):
    done = ask("poor", "Xyz qwv jkp?", cwd=runs)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == "note: on validation no threshold made 90% of the answers right; all are given\n"


def test_the_index_the_threshold_and_diversity_can_be_chosen(runs):
    question = "Came redtrees in winter?"
    plain = ask("plain", question, cwd=runs).stdout
    chosen = ask("plain", question, "--index", "usearch", "--mmr", "0.1", "--threshold", "0.1", cwd=runs)
    assert chosen.returncode == 0, chosen.stderr
    assert chosen.stdout.splitlines()[0] == plain.splitlines()[0]
    assert chosen.stdout != plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plain"], "error: no question: give one, or --jsonl to read questions, or --interactive for a chat"),
        (["plain", "Why?", "--jsonl"], "error: --jsonl reads questions from the standard input"),
        (
            ["plain", "Why?", "--count", "0"],
            "argument --count: must be a whole number from 1 to 10,000; got '0'",
        ),
        (["plain", "Why?", "--mmr", "2"], "error: argument --mmr: must be a number from 0 to 1; got '2'"),
        (["plain", "Why?", "--threshold", "7"], "argument --threshold: must be a number from -1 to 1; got '7'"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(runs, arguments, message):
    done = ask(*arguments, cwd=runs)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_line_that_is_too_long_is_told_of_and_costs_its_length_alone(runs):
    """Of 5, 40 and 40 MB, one of them without an end; what comes before and after is answered."""
    good = b'{"id": %d, "question": "Where is the redtree?"}'
    lines = [good % 1, b'"' + b"x" * 5_000_000 + b'"', good % 2, b"x" * 40_000_000, b"[" * 5_000_000, good % 3]
    began = time.monotonic()
    code, replies, errors = ask_lines("plain", cwd=runs, lines=lines)
    assert time.monotonic() - began < 30
    assert code == 2
    assert errors == "error: 3 of the lines could not be answered; each says why in its place\n"
    assert [reply["id"] for reply in replies] == [1, None, 2, None, None, 3]
    for reply, number in zip([each for each in replies if "error" in each], (2, 4, 5), strict=True):
        assert reply["error"] == "the line has more than 4,194,304 bytes, which are the most"
        assert reply["line"] == number
    sent = (good % 1) + b"\n" + b"x" * 5_000_000
    done = ask("plain", "--jsonl", cwd=runs, stdin=sent)
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 2)
    code, replies, _ = ask_lines("plain", cwd=runs, lines=[b'"' + b"a " * 60_000 + b'"'])
    assert (code, replies[0]["error"][:38]) == (2, "the question has 120,000 characters; 1")


@pytest.mark.parametrize(
    "line",
    [b'{"question": "a", "id": NaN}', b'{"question": "a", "id": 1e999}', b'{"question": "a", "id": [-Infinity]}'],
)
def test_a_reply_is_json_whatever_was_sent(runs, line):
    code, replies, _ = ask_lines("plain", cwd=runs, lines=[line, "Where is the redtree?"])
    assert code == 2
    assert replies[0]["error"].startswith("not JSON: ")
    assert replies[1]["answers"]


def test_a_chat_uses_the_turns_before(runs):
    script = "Where is the redtree?\nAnd why?\n/reset\nAnd why?\n/quit\nnever asked\n"
    done = ask("context", "--interactive", "--count", "1", cwd=runs, stdin=script)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "Each question is read together with the 3 turns before it; /reset forgets them." in lines[1]
    first, told, _, alone = (line.removeprefix("> ") for line in lines[2:6] if line)
    assert "redtree" in first
    assert "redtree" in told
    assert "redtree" not in alone


def test_a_chat_without_context_says_so_once_and_goes_on_after_an_error(runs):
    script = "...\n\n/help\nCame oldkings in winter?\nCame redtrees in winter?\n"
    done = ask("plain", "Came bluehouses in winter?", "--interactive", "--count", "1", cwd=runs, stdin=script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("The run was trained without context: each question stands alone.") == 1
    assert "error: the encoder has no vector for the text '...'" in done.stdout
    assert "no command /help; there are /reset and /quit" in done.stdout
    answers = [line.split()[-4] for line in done.stdout.splitlines() if line.endswith(" came in winter.")]
    assert answers == ["bluehouses", "oldkings", "redtrees"]


class Terminal:
    """The command at work on a terminal of its own."""

    def __init__(self, *arguments, cwd):
        self.ours, theirs = pty.openpty()
        self.job = subprocess.Popen([*COMMAND, *arguments], cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.seen = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.job.kill()
        self.job.wait()
        os.close(self.ours)

    def type(self, keys):
        os.write(self.ours, keys)

    def read_until(self, wanted):
        """What is shown up to ``wanted``."""
        while wanted not in self.seen:
            assert select.select([self.ours], [], [], 60)[0], f"no {wanted!r} in {self.seen!r}"
            self.seen += os.read(self.ours, 4096)
        shown, _, self.seen = self.seen.partition(wanted)
        return (shown + wanted).decode()


def test_without_a_question_on_a_terminal_a_chat_begins(runs):
    with Terminal("plain", "--count", "1", cwd=runs) as terminal:
        terminal.read_until(b"> ")
        terminal.type(b"Came oldXX\x7f\x7fkings in winter?\n")  # edited with the backspace key
        assert "Those oldkings came in winter." in terminal.read_until(b"> ")
        terminal.type(b"\x04")
        assert terminal.job.wait(60) == 0


def test_ctrl_c_ends_a_chat_with_130(runs):
    with Terminal("plain", cwd=runs) as terminal:
        terminal.read_until(b"> ")
        time.sleep(0.2)  # until it waits for a key
        # Python loses a signal that comes between its prompt and its wait for a key; then a person presses again.
        for _ in range(6):
            terminal.job.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                terminal.job.wait(10)
                break
        assert terminal.job.returncode == 130


def test_json_lines_are_answered_in_order(runs):
    asked = ["Came redtrees in winter?", "Came oldkings in winter?", "Wieso? Grüße an newriver"]
    lines = [
        asked[0],
        {"question": asked[1], "id": {"any": ["thing", 1]}},
        {"question": asked[2], "history": [], "id": "ü\ud800"},
    ]
    code, replies, errors = ask_lines("plain", "--count", "2", cwd=runs, lines=lines)
    assert (code, errors) == (0, "")
    assert [reply["id"] for reply in replies] == [None, {"any": ["thing", 1]}, "ü\ud800"]
    assert [reply["question"] for reply in replies] == asked
    assert replies[0]["answers"][0]["text"] == "Those redtrees came in winter."
    assert replies[1]["answers"][0]["text"] == "Those oldkings came in winter."
    for reply in replies:
        assert reply.keys() == {"id", "question", "answers", "known"}
        assert reply["known"] is True
        assert len(reply["answers"]) == 2


def test_json_lines_use_their_history_and_say_what_is_not_known(runs):
    turns = ["Where is the redtree?", "The redtree is in the city of redtreeville."]
    lines = [{"question": "And why?", "history": turns}, {"question": "And why?"}]
    code, replies, _ = ask_lines("context", "--threshold", "0.5", cwd=runs, lines=lines)
    assert code == 0
    assert "redtree" in replies[0]["answers"][0]["text"]
    assert "redtree" not in replies[1]["answers"][0]["text"]
    assert [reply["known"] for reply in replies] == [True, False]
    assert len(replies[1]["answers"]) == 3, "the nearest are there all the same"


BAD = [
    (b"Why?", "not JSON: Expecting value (column 1)"),
    (b"\xff", "not JSON: 'utf-8' codec can't decode byte 0xff"),
    (b"[" * 100_000, "not JSON: "),
    (b"5", 'a line must be a text, or an object with "question"'),
    (b'{"query": "a"}', 'a line must be a text, or an object with "question"'),
    (b'{"question": "a", "histroy": []}', "no such key: ['histroy']; there are question, history and id"),
    (b'{"question": "a", "history": "b"}', "history must be a list of turns; got 'b'"),
    (b'{"question": "a", "history": [1]}', "turn 1 of the history must be a text; got 1"),
    (b'{"question": "a", "history": ["b"]}', "the run was trained without context"),
    (b'{"question": null}', "the question must be a text; got None"),
    (b'" "', "the question is blank"),
    (b'"\\ud800"', "the question has half a surrogate pair"),
    (b'"..."', "the encoder has no vector for the text '...'"),
]


def test_a_bad_line_is_said_in_its_place_and_the_others_are_answered(runs):
    lines = [line for bad, _ in BAD for line in (bad, b"", "Came redtrees in winter?")]
    lines.append({"question": "...", "id": 7})
    code, replies, errors = ask_lines("plain", cwd=runs, lines=lines)
    assert code == 2
    assert errors == f"error: {len(BAD) + 1} of the lines could not be answered; each says why in its place\n"
    for i, (_, message) in enumerate(BAD):
        assert message in replies[2 * i]["error"]
        assert replies[2 * i]["line"] == 3 * i + 1
        assert replies[2 * i + 1]["answers"][0]["text"] == "Those redtrees came in winter."
    assert replies[-1]["id"] == 7
    assert replies[-1]["line"] == 3 * len(BAD) + 1


def test_a_line_is_answered_before_the_next_is_sent(runs):
    job = subprocess.Popen([*COMMAND, "plain", "--jsonl"], cwd=runs, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for word in ("redtree", "oldking"):
            job.stdin.write(json.dumps(f"Came {word}s in winter?").encode() + b"\n")
            job.stdin.flush()
            assert word in json.loads(job.stdout.readline())["answers"][0]["text"]
        job.stdin.write(b'"the last line has no end"')
        job.stdin.close()
        assert json.loads(job.stdout.readline())["question"] == "the last line has no end"
        assert job.wait(60) == 0
    finally:
        job.kill()
        job.wait()
        job.stdout.close()


def test_many_lines_keep_their_order(runs):
    questions = [f"Came {'redtree' if i % 3 else 'oldking'}s in winter {i}?" for i in range(700)]
    code, replies, _ = ask_lines("plain", "--count", "1", cwd=runs, lines=questions)
    assert code == 0
    assert [reply["question"] for reply in replies] == questions
    assert [("redtree" in reply["answers"][0]["text"]) for reply in replies] == [bool(i % 3) for i in range(700)]


def test_no_lines_at_all_are_no_error(runs):
    assert ask_lines("plain", cwd=runs, lines=[]) == (0, [], "")


def test_a_reader_that_has_had_enough_ends_it_quietly(runs):
    job = subprocess.Popen(
        [*COMMAND, "plain", "--jsonl"],
        cwd=runs,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    job.stdin.write(b'"Came redtrees in winter?"\n')
    job.stdin.flush()
    job.stdout.readline()
    job.stdout.close()
    job.stdin.write(b'"Came redtrees in winter?"\n')
    job.stdin.close()
    assert job.wait(60) == 1
    assert job.stderr.read() == b""
    job.stderr.close()


def test_ctrl_c_ends_json_lines_with_130(runs):
    job = subprocess.Popen([*COMMAND, "plain", "--jsonl"], cwd=runs, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    job.stdin.write(b'"Came redtrees in winter?"\n')
    job.stdin.flush()
    job.stdout.readline()
    time.sleep(0.2)  # until it waits for the next line
    job.send_signal(signal.SIGINT)
    assert job.wait(60) == 130
    job.stdin.close()
    job.stdout.close()
