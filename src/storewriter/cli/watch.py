"""`storewriter watch`: a line, or a run of a command, for each committed document."""

from __future__ import annotations

import os
import time
from typing import Any, Final

import click

from storewriter import Store, StoreCorrupt
from storewriter._commits.document import version_of
from storewriter.cli.access import Access, codec_option
from storewriter.cli.base.options import STORE_PATH, exit_codes, json_option, say
from storewriter.cli.base.program import DONE, LOCK, NEGATIVE, STORE
from storewriter.cli.base.text import json_text, safe_text
from storewriter.cli.children import NOT_EXECUTABLE, NOT_FOUND, WithCommand, command_of, run_with_input
from storewriter.codecs import Codec

__all__ = ["watch"]

_EPILOG = """\b
Examples:
  storewriter watch state.json
  storewriter watch --json state.json | jq .state.visits
  storewriter watch config.json -- systemctl reload my-service

""" + exit_codes(
    {
        DONE: "--count documents were seen",
        NEGATIVE: "with --count: a run of the command failed",
        STORE: "the store cannot be watched",
        NOT_EXECUTABLE: "the command cannot be executed",
        NOT_FOUND: "there is no such command",
    },
    without=[LOCK],
)

_PATH: Final = "STOREWRITER_PATH"
_VERSION: Final = "STOREWRITER_VERSION"


class _MayHaveCommand(WithCommand):
    is_command_required = False


@click.command(cls=_MayHaveCommand, epilog=_EPILOG, short_help="Show each committed document, or run a command.")
@click.argument("store", type=STORE_PATH)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N documents.  [default: never]")
@click.option("--changes-only", is_flag=True, help="Leave out the document that is there at the beginning.")
@codec_option
@json_option
@click.pass_context
def watch(
    ctx: click.Context, store: str, count: int | None, changes_only: bool, codec: Codec[Any], as_json: bool
) -> int:
    """Print a line for the document of STORE as it is, and then for each one that is committed, until Ctrl-C.

    With a command, it is run for each document instead, with the document as its input and the environment variables
    STOREWRITER_PATH and STOREWRITER_VERSION. Documents that are replaced before they were seen, or while the command
    runs, are left out; the last one never is. No lock is taken. A document that cannot be read is reported, and
    watching goes on.
    """
    command = command_of(ctx)
    target = Access(codec=codec).store(store)
    failures = left = 0
    with target.watch() as documents:
        while count is None or left < count:
            try:
                data = next(documents)
            except StoreCorrupt as error:
                say(str(error))
                continue
            if changes_only:
                changes_only = False
                continue
            left += 1
            if command:
                failures += _ran(command, target, data)
            else:
                click.echo(_line(target, data, codec, as_json=as_json))
    return NEGATIVE if failures else DONE


def _ran(command: tuple[str, ...], target: Store[bytes | None], data: bytes | None) -> bool:
    """Whether the run of the command has failed, which is reported."""
    code = run_with_input(command, data or b"", {_PATH: target.path, _VERSION: version_of(data)})
    if code:
        say(f"{command[0]!r} ended with exit code {code} for version {version_of(data)}")
    return bool(code)


def _line(target: Store[bytes | None], data: bytes | None, codec: Codec[Any], *, as_json: bool) -> str:
    version = version_of(data)
    if as_json:
        state = None if data is None else _plain(codec.decode(data))
        return json_text({"time": time.time(), "path": target.path, "version": version, "state": state}, indent=None)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    size = "no document" if data is None else f"{len(data)} bytes"
    return f"{now}  {version}  {size}  {safe_text(os.fspath(target.path))}"


def _plain(state: Any) -> Any:
    """A state as JSON; one that JSON cannot hold as text."""
    try:
        json_text(state)
    except (TypeError, ValueError):
        return repr(state)
    return state
