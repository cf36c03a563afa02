"""What the commands print: a table, or JSON with `--json`. Everything stored is made harmless on the way."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from persistent_dedupe.cli.summary import NamespaceFigures
from persistent_dedupe.keys import Place
from persistent_dedupe.results import CheckResult, Entry, OpenClaim
from storewriter.cli.base.text import json_text, safe_text
from storewriter.cli.base.times import age_text, utc_text

__all__ = [
    "claims_json",
    "figures_json",
    "keys_json",
    "print_claims",
    "print_figures",
    "print_keys",
    "result_json",
    "verdict",
]


def verdict(result: CheckResult) -> str:
    """The answer of `check`, as text."""
    if result:
        return "new" if result.recorded else "new, but it could not be recorded"
    since = "" if result.seen_at is None else f" {age_text(time.time() - result.seen_at)} ago"
    return f"seen before{since}"


def result_json(key: str, path: Place | None, result: CheckResult) -> str:
    """The answer of `check`."""
    members = {
        "key": key,
        "file": str(path),
        "new": result.is_new,
        "recorded": result.recorded,
        "seenAt": None if result.seen_at is None else utc_text(result.seen_at * 1000),
        "error": None if result.error is None else str(result.error),
        "seconds": round(result.took, 6),
    }
    return json_text(members)


def print_keys(entries: Sequence[Entry], ttl: float | None) -> None:
    """The keys of a namespace; when they expire, if `ttl` (seconds, 0 is for ever) is known."""
    now = time.time()

    def cells(entry: Entry) -> tuple[str, ...]:
        age = now - entry.seen_at
        shown = entry.key, utc_text(entry.seen_at * 1000), age_text(age)
        if ttl is None:
            return shown
        expires = "never" if ttl == 0 else f"in {age_text(ttl - max(0.0, age))}" if entry.recent else "expired"
        return *shown, expires

    headings = ("Key", "First seen", "Age", "Expires")
    _print_table(headings[: 3 if ttl is None else 4], [cells(entry) for entry in entries], "No keys.")


def keys_json(entries: Sequence[Entry], path: Place | None, ttl: float | None) -> str:
    """The keys of a namespace; `recent` is null if `ttl` is not known."""
    keys = [
        {"key": entry.key, "seenAt": utc_text(entry.seen_at * 1000), "recent": None if ttl is None else entry.recent}
        for entry in entries
    ]
    return json_text({"file": str(path), "count": len(keys), "keys": keys})


def print_claims(claims: Sequence[OpenClaim]) -> None:
    """The open claims of a namespace."""
    now = time.time()

    def cells(claim: OpenClaim) -> tuple[str, ...]:
        state = "abandoned" if claim.gone else "open"
        return claim.key, age_text(now - claim.since), str(claim.owner or "unknown"), state

    _print_table(("Key", "Held for", "Owner", "State"), [cells(claim) for claim in claims], "No open claims.")


def claims_json(claims: Sequence[OpenClaim]) -> str:
    """The open claims of a namespace."""

    def members(claim: OpenClaim) -> dict[str, object]:
        return {
            "key": claim.key,
            "since": utc_text(claim.since * 1000),
            "pid": None if claim.owner is None else claim.owner.pid,
            "host": None if claim.owner is None else claim.owner.host,
            "abandoned": claim.gone,
        }

    return json_text({"count": len(claims), "claims": [members(claim) for claim in claims]})


_FIGURES = ("Namespace", "Keys", "Recent", "Invalid", "Newest", "Bytes", "Claims", "Moved aside")


def print_figures(figures: Sequence[NamespaceFigures], store: str) -> None:
    """The figures of a store's namespaces."""

    def cells(each: NamespaceFigures) -> tuple[str, ...]:
        name = each.namespace if each.namespace is not None else Path(each.path).name
        if each.problem is not None:
            return (name, "unreadable", *[""] * 5, str(each.moved_aside))
        newest = "" if each.newest is None else utc_text(each.newest * 1000)
        recent = "-" if each.recent is None else each.recent
        counts = (each.entries, recent, each.invalid, newest, each.size, each.open_claims, each.moved_aside)
        return (name, *map(str, counts))

    _print_table(_FIGURES, [cells(each) for each in figures], f"No namespaces in {store}.")


def figures_json(figures: Sequence[NamespaceFigures], store: str) -> str:
    """The figures of a store's namespaces."""

    def members(each: NamespaceFigures) -> dict[str, object]:
        found = {_camel(name): value for name, value in attrs.asdict(each).items()}
        for name in ("oldest", "newest"):
            found[name] = None if found[name] is None else utc_text(found[name] * 1000)
        return found

    return json_text({"store": store, "namespaces": [members(each) for each in figures]})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _print_table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], nothing: str) -> None:
    """Columns that fit the terminal, or of one width each in a pipe."""
    safe = [tuple(map(safe_text, row)) for row in rows]
    if not safe:
        print(safe_text(nothing))
    elif sys.stdout.isatty():
        _print_fitted(headings, safe)
    else:
        widths = [max(map(len, column)) for column in zip(headings, *safe, strict=True)]
        for row in (headings, *safe):
            print("  ".join(map(str.ljust, row, widths)).rstrip())


def _print_fitted(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    # It needs the extra, and a while to load.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        # The key is folded, never shortened: the other commands need it whole.
        table.add_column(heading, overflow="fold" if place == 0 else "ellipsis", no_wrap=place > 0)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)
