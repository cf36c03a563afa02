"""The commands: `check`, `list`, `forget`, `stats`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import click

from persistent_dedupe.cli.output import print_claims, print_figures, print_keys, print_result
from persistent_dedupe.cli.summary import shown_store, summarize
from persistent_dedupe.dedupe import PersistentDedupe
from persistent_dedupe.keys import Place, is_url, trimmed
from persistent_dedupe.options import DedupeOptions
from storewriter import StoreCorrupt, StoreWriterError
from storewriter.cli.base.options import (
    STORE_PATH,
    WAIT,
    checked,
    exit_codes,
    group,
    json_option,
    neighbour_lock_option,
    parsed,
    say,
)
from storewriter.cli.base.program import DONE, LOCK, NEGATIVE, STORE
from storewriter.cli.base.text import json_text, safe_text
from storewriter.cli.base.times import parse_duration

__all__ = ["persistent_dedupe"]


F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

STORE_VARIABLE = "PERSISTENT_DEDUPE_STORE"


def parse_ttl(text: str) -> float:
    """Return how long a key counts, in seconds; 0 for `forever`, and for nothing else. Raises ValueError."""
    if text.strip().lower() == "forever":
        return 0.0
    seconds = parse_duration(text)
    if seconds == 0:
        raise ValueError(f"{text!r} is not a length of time; for keys that never expire, write forever")
    return seconds


TTL = parsed("DURATION", parse_ttl)


def default_store() -> Path:
    """The folder of this user's keys."""
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state) / "persistent-dedupe" if state else Path.home() / ".local" / "state" / "persistent-dedupe"


persistent_dedupe = group(
    "persistent-dedupe",
    "Has this event been handled already? Keys that are remembered across restarts and between processes.",
    negative="seen before, or some key was not there",
)


def _given_store(_: click.Context, __: click.Parameter, given: str | None) -> Place:
    """The folder of the keys, or the URL."""
    if given is None:
        return default_store()
    return given if is_url(given) else Path(given)


def _given_namespace(_: click.Context, __: click.Parameter, namespace: str | None) -> str | None:
    """The namespace. A blank text is refused, for the same reason."""
    if namespace is not None and not trimmed(namespace):
        raise click.BadParameter("the namespace is blank.")
    return namespace


def _common(command: F) -> F:
    """Add the options that every command has."""
    command = click.option(
        "--namespace", callback=_given_namespace, metavar="TEXT", help="Which keys (default: global)."
    )(json_option(command))
    return click.option(
        "--store",
        envvar=STORE_VARIABLE,
        type=STORE_PATH,
        callback=_given_store,
        metavar="DIR|URL",
        help=f"The folder of the keys, or a URL (default: ${STORE_VARIABLE}, or that of this user).",
    )(command)


def _ttl(command: F) -> F:
    """Add the window by which keys are shown; the file does not record the one with which they were checked."""
    return click.option(
        "--ttl",
        type=TTL,
        metavar="DURATION",
        help="The --ttl of your checks: says which keys have expired, and when the others will.",
    )(command)


class _Writing(TypedDict):
    """What the options of `_writing` say."""

    timeout: float
    neighbour_lock: bool | None
    move_bad_file_aside: bool


def _writing(command: F) -> F:
    """Add the options of a command that writes."""
    command = click.option(
        "--timeout",
        type=WAIT,
        default="30s",
        show_default=True,
        metavar="DURATION",
        help="How long to wait for the lock.",
    )(command)
    command = neighbour_lock_option("in OpenClaw's state directory")(command)
    return click.option(
        "--move-bad-file-aside",
        is_flag=True,
        help="Keep a file that cannot be decoded under another name, and start the namespace empty.",
    )(command)


def _opened(
    store: Place, writing: _Writing, *, ttl: float = 0, max_entries: int = 10_000, fail_open: bool = False
) -> PersistentDedupe:
    """The keys, for a command that writes. It has no use for memory."""
    options = DedupeOptions(
        ttl=ttl,
        memory_max_size=0,
        file_max_entries=max_entries,
        failure="open" if fail_open else "closed",
        bad_file="start-empty" if writing["move_bad_file_aside"] else "leave",
        timeout=writing["timeout"],
        neighbour_lock=writing["neighbour_lock"],
    )
    return checked(PersistentDedupe, store, options)


_CHECK = """Record KEY if it is new. Exits with 0 if it is new, with 1 if it was seen before.

\b
In a cron job:    persistent-dedupe check "digest-$(date +%F)" && send-digest
"""


@persistent_dedupe.command(
    help=_CHECK, epilog=exit_codes({DONE: "the key is new", NEGATIVE: "negative result: seen before"})
)
@click.argument("key")
@_common
@click.option(
    "--ttl",
    type=TTL,
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="How long a key counts: 90s, 45m, 24h, 7d, forever. Use the same for all checks of a namespace.",
)
@click.option(
    "--max-entries",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Beyond so many keys the oldest are forgotten.",
)
@_writing
@click.option("--fail-open", is_flag=True, help="If the store cannot be used: new (0), instead of an error.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; see the exit code.")
def check(
    key: str,
    store: Place,
    as_json: bool,
    namespace: str | None,
    ttl: float,
    max_entries: int,
    fail_open: bool,
    quiet: bool,
    **writing: Unpack[_Writing],
) -> int:
    """Record a key."""
    dedupe = _opened(store, writing, ttl=ttl, max_entries=max_entries, fail_open=fail_open)
    result = _advising(lambda: dedupe.check_and_record(_given(key), namespace=namespace))
    if result.error is not None:
        say(f"not recorded: {result.error!s}")
    if as_json or not quiet:
        print_result(result, trimmed(key), dedupe.path(namespace), as_json=as_json)
    return DONE if result else NEGATIVE


@persistent_dedupe.command("list", epilog=exit_codes(without=[LOCK]))
@_common
@_ttl
@click.option("--all", "expired_too", is_flag=True, help="Expired keys too (without --ttl, all are listed).")
@click.option("--claims", "claims_only", is_flag=True, help="The open claims instead of the keys.")
def list_(
    store: Place, as_json: bool, namespace: str | None, ttl: float | None, expired_too: bool, claims_only: bool
) -> None:
    """List the keys of a namespace, newest first."""
    dedupe = checked(PersistentDedupe, store, DedupeOptions(ttl=ttl or 0, failure="closed"))
    if claims_only:
        print_claims(dedupe.open_claims(namespace), as_json=as_json)
        return
    entries = [entry for entry in dedupe.entries(namespace) if entry.recent or expired_too]
    print_keys(entries, dedupe.path(namespace), ttl, as_json=as_json)


@persistent_dedupe.command(epilog=exit_codes({NEGATIVE: "negative result: some key was not there"}))
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@_common
@_writing
def forget(
    keys: tuple[str, ...], store: Place, as_json: bool, namespace: str | None, **writing: Unpack[_Writing]
) -> int:
    """Forget keys, so that they count as new again; open claims on them are ended."""
    dedupe = _opened(store, writing)
    wanted = [_given(key) for key in keys]
    forgotten = [key for key in wanted if _advising(partial(dedupe.forget, key, namespace=namespace))]
    missing = [key for key in wanted if key not in forgotten]
    if as_json:
        print(json_text({"forgotten": forgotten, "notThere": missing}))
    else:
        for key in forgotten:
            print(f"forgotten: {safe_text(key)}")
        for key in missing:
            say(f"not there: {key}")
    return NEGATIVE if missing else DONE


@persistent_dedupe.command(epilog=exit_codes(without=[LOCK]))
@_common
@_ttl
def stats(store: Place, as_json: bool, namespace: str | None, ttl: float | None) -> int:
    """Show the figures of every namespace in the store, or of one."""
    figures = checked(summarize, store, DedupeOptions(ttl=ttl or 0, failure="closed"), namespace)
    print_figures(figures, shown_store(store), ttl, as_json=as_json)
    problems = [each.problem for each in figures if each.problem is not None]
    for problem in () if as_json else problems:
        say(problem)
    return STORE if problems else DONE


def _advising(call: Callable[[], T]) -> T:
    """Run a call that writes. The error of a file that cannot be decoded says what to do about it."""
    try:
        return call()
    except StoreCorrupt as error:
        place = "" if error.line is None else f"line {error.line}, column {error.column}: "
        msg = (
            f"{error.path} cannot be decoded: {place}{error.reason}. It was left as it is. Repair it, or run the "
            "command again with --move-bad-file-aside to keep it under another name and start empty."
        )
        raise StoreWriterError(msg) from error


def _given(key: str) -> str:
    """The key, trimmed; a blank one is wrong usage: it is a script's empty variable."""
    key = trimmed(key)
    if not key:
        raise click.UsageError("the key is blank.")
    return key
