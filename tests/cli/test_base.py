"""What the three commands have in common (`storewriter.cli.base`): the same for each of them, command by command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

import commitments.__main__
import persistent_dedupe.__main__
import storewriter.__main__
from storewriter import LockTimeout, StoreWriterError
from storewriter.cli.base.options import exit_codes, group, parsed, say
from storewriter.cli.base.program import EXIT_CODES, Program
from storewriter.cli.base.text import json_text, safe_text
from storewriter.cli.base.times import age_text, parse_duration, parse_wait, utc_text

PROGRAMS = {
    "storewriter": (storewriter.__main__.run, "storewriter", ["bench", "demo", "status"]),
    "commitments": (commitments.__main__.run, "commitments", ["list", "add", "dismiss", "sent", "attempt", "snooze"]),
    "persistent-dedupe": (persistent_dedupe.__main__.run, "persistent_dedupe", ["check", "list", "forget", "stats"]),
}


@pytest.mark.parametrize(("program", "command"), [(name, each) for name, row in PROGRAMS.items() for each in row[2]])
def test_every_command_lists_its_exit_codes(program: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAMS[program][0]([command, "--help"]) == 0
    listed = {int(found) for found in re.findall(r"^ *(\d+)  +\S", capsys.readouterr().out, re.MULTILINE)}
    assert {0, 2, 3, 130, 141} <= listed


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_version_and_its_layout_are_the_same(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAMS[program][0](["--version"]) == 0
    assert capsys.readouterr().out == f"{program} {storewriter.__version__}\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_wrong_usage_is_one_line_that_names_the_help(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    run, _, commands = PROGRAMS[program]
    assert run([commands[0], "--no-such-option"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{program}: No such option")
    assert error.endswith(f"Try '{program} {commands[0]} --help'.\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_completion_is_named_in_the_help_and_completes(program: str, shell: str) -> None:
    _, module, commands = PROGRAMS[program]
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"

    def complete(**environment: str) -> str:
        line = [sys.executable, "-m", module, *([] if environment else ["--help"])]
        return subprocess.run(
            line, env={**os.environ, **environment}, capture_output=True, text=True, check=True
        ).stdout

    if shell == "bash":
        assert f'eval "$({variable}=bash_source {program})"' in complete()
    asked = {variable: f"{shell}_complete", "COMP_WORDS": f"{program} ", "COMP_CWORD": "1" if shell != "fish" else ""}
    answer = complete(**asked)
    assert all(re.search(rf"\b{command}\b", answer) for command in commands), answer


# -- a program of its own


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> Iterator[Program]:
    """A program whose only command does what the test says."""
    made = group("tool", "A tool.", negative="it says no")
    made.add_command(click.Command("do", callback=request.param))
    globals()["_tool"] = made
    yield Program("tool", f"{__name__}:_tool")
    del globals()["_tool"]


def raising(error: BaseException) -> object:
    def do() -> None:
        raise error

    return do


def interrupted_question() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise click.Abort from None


ENDS = [
    (lambda: None, 0, ""),
    (lambda: 1, 1, ""),
    (lambda: say("a\nb"), 0, "tool: a\\nb\n"),
    (raising(LockTimeout("held by pid 1")), 4, "tool: held by pid 1\n"),
    (raising(StoreWriterError("it is\x1b[2J so")), 3, "tool: it is\\x1b[2J so\n"),
    (raising(OSError(28, "No space left on device")), 3, "tool: [Errno 28] No space left on device\n"),
    (raising(click.UsageError("not so")), 2, "tool: not so. Try 'tool do --help'.\n"),
    (raising(click.ClickException("it says no")), 1, "tool: it says no\n"),
    (raising(click.Abort()), 1, ""),
    (interrupted_question, 130, ""),
    (raising(KeyboardInterrupt()), 130, ""),
]


@pytest.mark.parametrize(("tool", "code", "error"), ENDS, indirect=["tool"])
def test_how_a_command_ends(tool: Program, code: int, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.run(["do"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", error)


@pytest.mark.parametrize("tool", [lambda: None], indirect=True)
def test_without_arguments_the_help_goes_to_the_error_stream(tool: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.run([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: tool")
    assert "1    negative result: it says no" in captured.err


def test_a_code_is_listed_unless_it_is_left_out_and_1_only_with_its_meaning() -> None:
    assert [int(row.split()[0]) for row in exit_codes().splitlines()[2:]] == [each for each in EXIT_CODES if each != 1]
    rows = exit_codes({1: "no", 75: "later"}, without=[4]).splitlines()[2:]
    assert [int(row.split()[0]) for row in rows] == [0, 1, 2, 3, 75, 130, 141]


def test_what_a_function_cannot_read_is_wrong_usage_with_its_words() -> None:
    duration = parsed("DURATION", parse_duration)
    assert duration("90s") == 90
    with pytest.raises(click.BadParameter, match="is not a duration"):
        duration("5")


# -- text and times


def test_two_texts_never_look_alike_and_none_reaches_the_terminal() -> None:
    assert safe_text("a\x1b[0m\n\u202e\udcff é😀") == "a\\x1b[0m\\n\\u202e\\udcff é😀"
    assert safe_text("a\u200bb") != safe_text("ab")
    assert json_text("\x7f\x9b").isprintable()
    assert json_text({"a": 1}, indent=None) == '{"a": 1}'


def test_times_and_durations() -> None:
    assert parse_duration("1d12h") == 129600
    assert [parse_wait(text) for text in ("0", "30", " 0.25 ", "90s", "1m30s", "1.5m")] == [0, 30, 0.25, 90, 90, 90]
    for text in ("", "-1", "+1", "1e3", "nan", "inf", "1 s", "1_0", ".5", "٣"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_wait(text)
    assert utc_text(1899374400500) == "2030-03-10T12:00:00.500Z"
    assert utc_text(-62135596800000) == "0001-01-01T00:00:00.000Z"
    assert [utc_text(each) for each in (10**400, 1e300, float("nan"))] == ["n/a"] * 3
    assert age_text(90061) == "1d 1h"
