"""`storewriter race`: show whether a function or a command that changes a file loses updates."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import attrs
import click

from storewriter import ReentrantTurn
from storewriter.cli.base.options import STORE_PATH, exit_codes, json_option
from storewriter.cli.base.program import DONE, LOCK, NEGATIVE, STORE, USAGE, without_warnings
from storewriter.cli.base.text import json_text
from storewriter.cli.children import NOT_EXECUTABLE, NOT_FOUND, CommandNotExecutable, CommandNotFound
from storewriter.testing.race import Mutator, Race, race, race_commands

__all__ = ["command"]

_WAYS = ("threads", "processes", "tasks")


_EPILOG = """\b
Examples:
  storewriter race --store settings.json myapp.settings:add_user
  storewriter race --store settings.json -- ./add-user {}
  storewriter race --store settings.json --fix-with storewriter app:f

""" + exit_codes(
    {
        DONE: "no update was lost",
        NEGATIVE: "updates are lost",
        USAGE: "wrong usage, or what is to be tried fails when it runs alone",
        STORE: "the file cannot be read",
        NOT_EXECUTABLE: "the command cannot be executed",
        NOT_FOUND: "there is no such command",
    },
    without=[LOCK],
)


@click.command("race", epilog=_EPILOG, short_help="Show whether a function or a command loses updates.")
@click.option("--store", required=True, type=STORE_PATH, help="The file that is changed. It is only read: copies are.")
@click.option("--as", "ways", multiple=True, type=click.Choice(_WAYS), help="How calls run together; may be repeated.")
@click.option("--fix-with", type=click.Choice(["storewriter"]), help="Run each call in a turn of storewriter.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=10, show_default=True, help="Of a command.")
@json_option
@click.argument("what", nargs=-1, required=True, metavar="MODULE:FUNCTION | -- COMMAND...")
def command(
    store: str, ways: tuple[str, ...], fix_with: str | None, rounds: int, as_json: bool, what: tuple[str, ...]
) -> int:
    """Show whether a function or a command that changes a file loses updates.

    The function is called with the path of a copy of the file. It is stopped right before it saves, while a second
    call runs: the shortest way to lose an update. An async function runs as tasks of one event loop. In a command,
    {} stands for the path of the copy; it is in the variable STORE too. Commands run together, four at a time.
    """
    if not os.path.exists(store):
        raise click.BadParameter(f"there is no file {store!r}.", param_hint="--store")
    seen = _race(store, ways, fix_with is not None, rounds, what)
    if as_json:
        click.echo(json_text(attrs.asdict(seen)))
    else:
        click.echo(seen)
    return NEGATIVE if seen.lost else 0


def _race(store: str, ways: Sequence[str], in_turns: bool, rounds: int, what: Sequence[str]) -> Race:
    try:
        if len(what) > 1 or ":" not in what[0]:
            if ways:
                raise click.UsageError("--as is for functions; commands always run as processes.")
            return race_commands(what, path=store, rounds=rounds, in_turns=in_turns)
        function = _function(what[0])
        how: Any = ways or None
        # One call is stopped, so the other one has to wait for it: a warning of that is no news.
        with without_warnings():
            return race(function, path=store, how=how, in_turns=in_turns)
    except click.ClickException:
        raise
    except ReentrantTurn:
        raise click.UsageError(f"{what[0]} takes turns itself: leave out --fix-with.") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what a user's function raises is reported
        raise _refused(error, what[0]) from None


def _refused(error: BaseException, what: str) -> click.ClickException:
    """The error for users: `race` refuses what is given, a command cannot be started, or a function has failed."""
    if isinstance(error, OSError) and error.filename == what:
        kind = CommandNotFound if isinstance(error, FileNotFoundError) else CommandNotExecutable
        return kind(f"{what!r} cannot be started: {error.strerror}.")
    frames = traceback.extract_tb(error.__traceback__)
    ours = max(number for number, frame in enumerate(frames) if frame.filename in (__file__, race.__code__.co_filename))
    if frames[ours + 1 :]:
        frame = frames[ours + 1]
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return click.UsageError(
            f"{what} fails when it runs alone: {reason} (in {frame.filename}, line {frame.lineno})."
        )
    return click.UsageError(f"{error}.")


def _function(name: str) -> Mutator:
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"{name} cannot be imported: {error}.") from None
    if not callable(found):
        raise click.UsageError(f"{name} is not a function.")
    function: Mutator = found
    return function
