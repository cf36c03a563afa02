"""The commands: `check`, `list`, `forget`, `stats`. How they end is in `__main__`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from persistent_dedupe.dedupe import PersistentDedupe
from persistent_dedupe.durations import age_text, parse_duration, parse_ttl, utc_text
from persistent_dedupe.keys import trimmed
from persistent_dedupe.options import BadFile, DedupeOptions
from persistent_dedupe.results import CheckResult, Entry, OpenClaim
from persistent_dedupe.survey import NamespaceFigures, survey
from persistent_dedupe.terminal import json_text, safe_text
from storewriter import StoreCorrupt, StoreWriterError

__all__ = ["persistent_dedupe"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

NEW, SEEN_BEFORE, NOT_THERE, UNREADABLE = 0, 3, 3, 1

STORE_VARIABLE = "PERSISTENT_DEDUPE_STORE"


def _parsed(parse: Callable[[str], float]) -> Callable[[click.Context, click.Parameter, str], float]:
    """A callback that reads an option's text; a ValueError is wrong usage."""

    def callback(_: click.Context, __: click.Parameter, text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(f"{error}.") from None

    return callback


def default_store() -> Path:
    """The folder of this user's keys."""
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state) / "persistent-dedupe" if state else Path.home() / ".local" / "state" / "persistent-dedupe"


_HELP = """Has this event been handled already? Keys that are remembered across restarts and between processes.

\b
Exit codes:
  0  done; check: the key is new
  1  the store cannot be read or written
  2  wrong usage
  3  check: seen before; forget: some key was not there
  4  the lock was not obtained
"""


@click.group(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="storewriter")
def persistent_dedupe() -> None:
    """The command line."""


def _common(command: F) -> F:
    """Add the options that every command has."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
    return click.option(
        "--store",
        envvar=STORE_VARIABLE,
        type=click.Path(path_type=Path, file_okay=False),
        default=default_store,
        metavar="DIR",
        help=f"The folder of the keys (default: ${STORE_VARIABLE}, or that of this user).",
    )(command)


def _namespace(command: F) -> F:
    return click.option("--namespace", metavar="TEXT", help="Which keys (default: global).")(command)


def _ttl(command: F) -> F:
    return click.option(
        "--ttl",
        callback=_parsed(parse_ttl),
        default="24h",
        show_default=True,
        metavar="DURATION",
        help="How long a key counts: 90s, 45m, 24h, 7d, forever. Use the same for all who share a namespace.",
    )(command)


def _writing(command: F) -> F:
    """Add the options of a command that writes."""
    command = click.option(
        "--timeout",
        callback=_parsed(parse_duration),
        default="30s",
        show_default=True,
        metavar="DURATION",
        help="How long to wait for the lock.",
    )(command)
    return click.option(
        "--move-bad-file-aside",
        is_flag=True,
        help="A file that cannot be understood is kept under another name, and the namespace starts empty.",
    )(command)


_CHECK = """Record KEY if it is new. Exits with 0 if it is new, with 3 if it was seen before.

\b
In a cron job:    persistent-dedupe check "digest-$(date +%F)" && send-digest
"""


@persistent_dedupe.command(help=_CHECK)
@click.argument("key")
@_common
@_namespace
@_ttl
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
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code tells.")
def check(
    key: str,
    store: Path,
    as_json: bool,
    namespace: str | None,
    ttl: float,
    max_entries: int,
    timeout: float,
    move_bad_file_aside: bool,
    fail_open: bool,
    quiet: bool,
) -> int:
    """Record a key."""
    options = DedupeOptions(
        ttl=ttl,
        memory_max_size=0,
        file_max_entries=max_entries,
        failure="open" if fail_open else "closed",
        bad_file="start-empty" if move_bad_file_aside else "leave",
        timeout=timeout,
    )
    dedupe = PersistentDedupe(store, options)
    result = _advising(lambda: dedupe.check_and_record(_given(key), namespace=namespace))
    if result.error is not None:
        print(f"persistent-dedupe: not recorded: {safe_text(str(result.error))}", file=sys.stderr)
    if as_json:
        print(json_text(_result_members(dedupe, trimmed(key), namespace, result)))
    elif not quiet:
        print(_verdict(result))
    return NEW if result else SEEN_BEFORE


def _verdict(result: CheckResult) -> str:
    if result:
        return "new" if result.recorded else "new, but it could not be recorded"
    since = "" if result.seen_at is None else f" {age_text(time.time() - result.seen_at)} ago"
    return f"seen before{since}"


def _result_members(
    dedupe: PersistentDedupe, key: str, namespace: str | None, result: CheckResult
) -> dict[str, object]:
    return {
        "key": key,
        "file": str(dedupe.path(namespace)),
        "new": result.is_new,
        "recorded": result.recorded,
        "seenAt": None if result.seen_at is None else utc_text(result.seen_at),
        "error": None if result.error is None else str(result.error),
        "seconds": round(result.took, 6),
    }


@persistent_dedupe.command("list")
@_common
@_namespace
@_ttl
@click.option("--all", "expired_too", is_flag=True, help="Expired keys too.")
@click.option("--claims", "claims_only", is_flag=True, help="The open claims instead of the keys.")
def list_(store: Path, as_json: bool, namespace: str | None, ttl: float, expired_too: bool, claims_only: bool) -> None:
    """List the keys of a namespace, newest first."""
    dedupe = PersistentDedupe(store, DedupeOptions(ttl=ttl, failure="closed"))
    if claims_only:
        _show_claims(dedupe.open_claims(namespace), as_json)
        return
    entries = [entry for entry in dedupe.entries(namespace) if entry.recent or expired_too]
    if as_json:
        members = [{"key": entry.key, "seenAt": utc_text(entry.seen_at), "recent": entry.recent} for entry in entries]
        print(json_text({"file": str(dedupe.path(namespace)), "count": len(entries), "keys": members}))
    elif not entries:
        print("No keys.")
    else:
        now = time.time()
        _table(("Key", "First seen", "Age", "Expires"), [_entry_cells(entry, now, ttl) for entry in entries])


def _entry_cells(entry: Entry, now: float, ttl: float) -> tuple[str, ...]:
    age = now - entry.seen_at
    expires = "never" if ttl == 0 else f"in {age_text(ttl - max(0.0, age))}" if entry.recent else "expired"
    return entry.key, utc_text(entry.seen_at), age_text(age), expires


def _show_claims(claims: Sequence[OpenClaim], as_json: bool) -> None:
    if as_json:
        print(json_text({"count": len(claims), "claims": [_claim_members(claim) for claim in claims]}))
    elif not claims:
        print("No open claims.")
    else:
        now = time.time()
        rows = [
            (
                claim.key,
                age_text(now - claim.since),
                str(claim.owner or "unknown"),
                "abandoned" if claim.gone else "open",
            )
            for claim in claims
        ]
        _table(("Key", "Held for", "Owner", "State"), rows)


def _claim_members(claim: OpenClaim) -> dict[str, object]:
    owner = claim.owner
    return {
        "key": claim.key,
        "since": utc_text(claim.since),
        "pid": None if owner is None else owner.pid,
        "host": None if owner is None else owner.host,
        "abandoned": claim.gone,
    }


@persistent_dedupe.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@_common
@_namespace
@_writing
def forget(
    keys: tuple[str, ...],
    store: Path,
    as_json: bool,
    namespace: str | None,
    timeout: float,
    move_bad_file_aside: bool,
) -> int:
    """Forget keys, so that they count as new again; open claims on them are ended."""
    bad_file: BadFile = "start-empty" if move_bad_file_aside else "leave"
    options = DedupeOptions(ttl=0, memory_max_size=0, failure="closed", bad_file=bad_file, timeout=timeout)
    dedupe = PersistentDedupe(store, options)
    wanted = [_given(key) for key in keys]
    forgotten = [key for key in wanted if _advising(partial(dedupe.forget, key, namespace=namespace))]
    missing = [key for key in wanted if key not in forgotten]
    if as_json:
        print(json_text({"forgotten": forgotten, "notThere": missing}))
    else:
        for key in forgotten:
            print(f"forgotten: {safe_text(key)}")
        for key in missing:
            print(f"persistent-dedupe: not there: {safe_text(key)}", file=sys.stderr)
    return NOT_THERE if missing else 0


@persistent_dedupe.command()
@_common
@_namespace
@_ttl
def stats(store: Path, as_json: bool, namespace: str | None, ttl: float) -> int:
    """Show the figures of every namespace in the store, or of one."""
    figures = survey(store, DedupeOptions(ttl=ttl, failure="closed"), namespace)
    if as_json:
        print(json_text({"store": str(store), "namespaces": [_figure_members(each) for each in figures]}))
    elif not figures:
        print(f"No namespaces in {safe_text(str(store))}.")
    else:
        _table(_FIGURES, [_figure_cells(each) for each in figures])
    for each in figures:
        if each.problem is not None and not as_json:
            print(f"persistent-dedupe: {safe_text(each.problem)}", file=sys.stderr)
    return UNREADABLE if any(each.problem is not None for each in figures) else 0


_FIGURES = ("Namespace", "Keys", "Recent", "Invalid", "Newest", "Bytes", "Claims", "Moved aside")


def _figure_cells(figures: NamespaceFigures) -> tuple[str, ...]:
    name = figures.namespace if figures.namespace is not None else Path(figures.path).name
    if figures.problem is not None:
        return (name, "unreadable", *[""] * 5, str(figures.moved_aside))
    return (
        name,
        str(figures.entries),
        str(figures.recent),
        str(figures.invalid),
        "" if figures.newest is None else utc_text(figures.newest),
        str(figures.size),
        str(figures.open_claims),
        str(figures.moved_aside),
    )


def _figure_members(figures: NamespaceFigures) -> dict[str, object]:
    members = {_camel(name): value for name, value in attrs.asdict(figures).items()}
    for name in ("oldest", "newest"):
        members[name] = None if members[name] is None else utc_text(members[name])
    return members


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _advising(call: Callable[[], T]) -> T:
    """Run a call that writes; a file that cannot be understood gets a word on what to do about it."""
    try:
        return call()
    except StoreCorrupt as error:
        msg = (
            f"{error.path} cannot be understood: {error.reason}. It was left as it is. Repair it, or run the command "
            "again with --move-bad-file-aside to keep it under another name and start empty."
        )
        raise StoreWriterError(msg) from error


def _given(key: str) -> str:
    """The key, trimmed; a blank one is wrong usage: it is a script's empty variable."""
    key = trimmed(key)
    if not key:
        raise click.UsageError("the key is blank.")
    return key


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns: coloured and fitted on a terminal, plain in a pipe. Every cell is made harmless."""
    safe = [tuple(map(safe_text, row)) for row in rows]
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(headings, *safe, strict=True)]
        for row in (headings, *safe):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    # It needs the extra, and a while to load.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(heading, overflow="fold" if place == 0 else "ellipsis", no_wrap=place > 0)
    for row in safe:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)
