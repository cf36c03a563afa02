"""`storewriter race`: show whether a function or a command that changes a file loses updates."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import click

from storewriter.cli.base.options import STORE_PATH, exit_codes, json_option
from storewriter.cli.base.program import LOCK, NEGATIVE
from storewriter.cli.base.text import json_text
from storewriter.testing.race import Mutator, Race, race, race_commands

__all__ = ["command"]

_WAYS = ("threads", "processes", "tasks")


@click.command(
    "race",
    epilog=exit_codes({NEGATIVE: "updates are lost"}, without=[LOCK]),
)
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

    \b
    Examples:
      storewriter race --store settings.json myapp.settings:add_user
      storewriter race --store settings.json -- ./add-user {}
      storewriter race --store settings.json --fix-with storewriter app:f
    """  # noqa: D301 - \b is click's mark: these lines are kept as they are
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
        how: Any = ways or (("tasks",) if inspect.iscoroutinefunction(function) else ("threads", "processes"))
        with _without_warnings():
            return race(function, path=store, how=how, in_turns=in_turns)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    except OSError as error:
        if error.filename != what[0]:
            raise
        raise click.UsageError(f"{what[0]} cannot be started: {error.strerror}.") from None


@contextmanager
def _without_warnings() -> Iterator[None]:
    """One call is stopped, so the other one has to wait for it: a warning of that is no news."""
    log = logging.getLogger("storewriter")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


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
