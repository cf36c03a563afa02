"""`storewriter run`: a command in an exclusive turn on one or several stores, as flock(1) runs one."""

from __future__ import annotations

import click

from storewriter import LockLost, LockTimeout
from storewriter.cli.access import Access, lock_options
from storewriter.cli.base.options import STORE_PATH, exit_codes, say
from storewriter.cli.base.program import DONE, INTERRUPTED, LOCK, STORE, UNREAD
from storewriter.cli.children import (
    NOT_EXECUTABLE,
    NOT_FOUND,
    WithCommand,
    become,
    command_of,
    run_with_signals,
)
from storewriter.locks._lock_file import open_lock_files

__all__ = ["run"]

TIMED_OUT = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""

_EPILOG = """\b
Examples:
  storewriter run state.json -- python nightly.py
  storewriter run --timeout 0 --label backup a.json b.json -- tar cf b.tar .

""" + exit_codes(
    {
        DONE: "the command ended with 0; any other code of the command is passed on",
        STORE: "the lock file cannot be used; the command was not run",
        LOCK: "the store is locked in another way, or the lock was lost meanwhile",
        TIMED_OUT: "timed out waiting for the lock; the command was not run",
        NOT_EXECUTABLE: "the command cannot be executed",
        NOT_FOUND: "there is no such command",
        INTERRUPTED: "interrupted (Ctrl-C); 128 + N: the command was ended by signal N",
    },
    without=[UNREAD],
)


@click.command(cls=WithCommand, epilog=_EPILOG, short_help="Run a command in an exclusive turn on stores.")
@click.argument("stores", nargs=-1, required=True, type=STORE_PATH, metavar="STORE...")
@lock_options
@click.option(
    "--inherit",
    is_flag=True,
    help="Let the command inherit the lock, as with flock(1); only with --lock flock.",
)
@click.pass_context
def run(
    ctx: click.Context,
    stores: tuple[str, ...],
    lock: str,
    also: tuple[str, ...],
    timeout: float | None,
    label: str | None,
    inherit: bool,
) -> int:
    """Run a command while no other program has its turn on any STORE, and end with its exit code.

    Several stores are taken in one global order, so that two such commands cannot deadlock. Signals are passed on to
    the command. Ctrl-C three times within two seconds kills a command that goes on in spite of it.

    The command does not inherit the lock: what it leaves running in the background does not hold the store. If
    storewriter is killed, so is the command (on Linux). With --inherit the command takes the place of this process, and
    the lock is held until it, and every process that it has started, has ended.
    """
    if inherit and (lock != "flock" or also):
        raise click.UsageError("--inherit goes with --lock flock only, and without --also.")
    command = command_of(ctx)
    access = Access(lock=lock, also=also, timeout=timeout, label=label)
    code: int | None = None
    try:
        with access.turn(stores) as turn:
            if inherit:
                become(command, [file.fd for file in open_lock_files()])
            code = run_with_signals(command)
            turn.check()
    except LockTimeout as error:
        say(str(error))
        return TIMED_OUT
    except LockLost as error:
        if code is None:
            raise
        say(f"{command[0]!r} ended with exit code {code}, and did not have the lock until its end: {error}")
        return code or LOCK
    return code
