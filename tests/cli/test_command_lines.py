"""No command line ends with a traceback: a few hundred of them, made from the grammar of the commands themselves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storewriter.__main__ import run
from storewriter.cli.commands import storewriter

CODES = {0, 1, 2, 3, 4, 7, 75, 126, 127, 130, 141}
LONG = {"bench", "demo", "race", "scan", "postgres"}
"""Commands that measure or need a server: only their parsing is tried."""
ENDLESS = {"watch": ("--count", "1"), "status": ()}

WORDS = [
    *(
        "",
        "-",
        "--",
        "a.json",
        "corrupt.json",
        "absent.json",
        "folder",
        ".a.json.lock",
        "folder/x.json",
        "/",
        "no/such/x",
    ),
    *("0", "1", "-1", "none", "10s", "0s", "1e9s", "absent", "flock", "marker", "lease", "x" * 300),
    *("a=1", "a.b=2", "/a/b=[]", "a=x", "=", "=1", "{}", "[]", '{"a": null}', "{", "null", "/a~2", "a..b", "/"),
    *("json:dumps", "no.such:codec", "\N{SNOWMAN}", "\x1b[31m", "a\0b", "\udcff", "\n", "foo://bar", "file:///x"),
]


def commands() -> dict[str, click.Command]:
    context = click.Context(storewriter)
    found = {name: storewriter.get_command(context, name) for name in storewriter.list_commands(context)}
    return {name: each for name, each in found.items() if each is not None}


COMMANDS = commands()


@st.composite
def command_lines(draw: Any) -> list[str]:
    """A command, options of it with values that may or may not fit, arguments, and a command after `--` or not."""
    name = draw(st.sampled_from(sorted(set(COMMANDS) - LONG)))
    line = [name, *ENDLESS.get(name, ())]
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option) and each.name != "again"]
    for option in draw(st.lists(st.sampled_from(options), max_size=4)) if options else []:
        line.append(draw(st.sampled_from(option.opts)))
        if not option.is_flag:
            choices = list(option.type.choices) if isinstance(option.type, click.Choice) else []
            line.append(draw(st.sampled_from([*choices, *WORDS])))
    line += draw(st.lists(st.sampled_from(["a.json", "corrupt.json", "list.json", *WORDS]), max_size=3))
    if draw(st.booleans()):
        line += [
            "--",
            *draw(st.sampled_from([["true"], ["false"], ["cat"], ["echo", "{}"], ["sh", "-c", "exit 7"], ["no-such"]])),
        ]
    # Never for ever, and never in the place of the tests.
    return [each for each in line if each not in ("--inherit", "none")]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        monkeypatch.chdir(made)
        monkeypatch.setenv("EDITOR", "true")
        monkeypatch.delenv("VISUAL", raising=False)
        yield Path(made)


def restore(folder: Path) -> None:
    (folder / "a.json").write_text('{"a": 1}')
    (folder / "list.json").write_text("[1, 2]")
    (folder / "corrupt.json").write_text('{"a": ')
    (folder / "folder").mkdir(exist_ok=True)


@settings(max_examples=250)
@given(line=command_lines())
def check(folder: Path, line: list[str]) -> None:
    restore(folder)
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(line)
    assert code in CODES, (code, err.getvalue())
    assert "Traceback" not in out.getvalue() + err.getvalue()
    if code == 2:
        assert err.getvalue().startswith("storewriter: ")
    if line[0] not in ("update", "pipe", "edit", "recover", "run", "doctor", "copy"):
        assert (folder / "a.json").read_text() == '{"a": 1}'
    if line[0] not in ("recover", "copy"):
        assert (folder / "corrupt.json").read_text() == '{"a": '


def test_no_command_line_ends_with_a_traceback(folder: Path) -> None:
    check(folder)
    assert os.getcwd() == str(folder)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_unknown_option_is_one_line_that_names_the_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--no-such-option"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("storewriter: No such option '--no-such-option'.")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_fits_80_columns_has_an_example_and_the_exit_codes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if len(line) > 80] == []
    if not isinstance(COMMANDS[name], click.Group):
        assert "Exit codes:\n" in text
        assert "  2    " in text
    if name not in LONG | {"copy"}:
        assert "Example" in text
