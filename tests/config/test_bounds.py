"""Every number that a command takes has a smallest and a largest value."""

import argparse
from pathlib import Path

import pytest

from cubefast import cli
from cubefast.cli import COMMANDS

NUMBERS = {
    "ask": {"--count", "--threshold", "--mmr"},
    "serve": {"--max-body", "--max-inputs", "--port", "--timeout"},
    "tune": {"--trials", "--timeout"},
}
BEYOND = ["10000000000000", "-10000000000000", "1e400", "-1e400", "nan", "inf", "9" * 5000, "", "x", "0x10"]


def parser_of(command, monkeypatch):
    """The parser of a command, as it is when the command runs."""
    built = []
    with monkeypatch.context() as patched:
        patched.setattr(cli, "run", lambda parser, *_: built.append(parser) or 0)
        assert cli.main([command]) == 0
    return built[0]


def takes_a_number(action):
    if action.type in (int, float) or (isinstance(action.default, (int, float)) and action.nargs != 0):
        return True
    if action.type in (None, str, Path):
        return False
    for text in ("1", "0.5"):
        try:
            if isinstance(action.type(text), (int, float)):
                return True
        except argparse.ArgumentTypeError:
            continue
    return False


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_numbers_has_bounds(command, monkeypatch, capsys):
    parser = parser_of(command, monkeypatch)
    flags = {action.option_strings[-1]: action for action in parser._actions if action.option_strings}
    assert {flag for flag, action in flags.items() if takes_a_number(action)} == NUMBERS.get(command, set())
    for flag in NUMBERS.get(command, ()):
        for text in BEYOND:
            with pytest.raises(SystemExit) as ended:
                parser.parse_args([f"{flag}={text}", *["x"] * (command in ("ask", "serve"))])
            said = capsys.readouterr().err
            assert ended.value.code == 2
            assert f"error: argument {flag}: must be a " in said, (flag, text[:20])
            assert len(said) < 2000
