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

__all__ = ["print_claims", "print_figures", "print_keys", "print_result"]


def print_result(result: CheckResult, key: str, path: Place | None, *, as_json: bool) -> None:
    """The answer of `check`."""
    if as_json:
        members = {
            "key": key,
            "file": str(path),
            "new": result.is_new,
            "recorded": result.recorded,
            "seenAt": _time(result.seen_at),
            "error": None if result.error is None else str(result.error),
            "seconds": round(result.took, 6),
        }
        print(json_text(members))
    elif result:
        print("new" if result.recorded else "new, but it could not be recorded")
    else:
        since = "" if result.seen_at is None else f" {age_text(time.time() - result.seen_at)} ago"
        print(f"seen before{since}")


def print_keys(entries: Sequence[Entry], path: Place | None, ttl: float | None, *, as_json: bool) -> None:
    """The keys of a namespace; whether and when they expire is known if `ttl` (seconds, 0 is for ever) is."""
    now, knows = time.time(), ttl is not None
    if as_json:
        keys = [
            {"key": entry.key, "seenAt": _time(entry.seen_at), "recent": entry.recent if knows else None}
            for entry in entries
        ]
        print(json_text({"file": str(path), "count": len(keys), "keys": keys}))
        return

    def cells(entry: Entry) -> tuple[str, ...]:
        age = now - entry.seen_at
        shown = entry.key, utc_text(entry.seen_at * 1000), age_text(age)
        if ttl is None:
            return shown
        expires = "never" if ttl == 0 else f"in {age_text(ttl - max(0.0, age))}" if entry.recent else "expired"
        return *shown, expires

    headings = ("Key", "First seen", "Age", *(["Expires"] if knows else []))
    _print_table(headings, [cells(entry) for entry in entries], "No keys.")


def print_claims(claims: Sequence[OpenClaim], *, as_json: bool) -> None:
    """The open claims of a namespace."""
    if as_json:
        records = [
            {
                "key": claim.key,
                "since": _time(claim.since),
                "pid": None if claim.owner is None else claim.owner.pid,
                "host": None if claim.owner is None else claim.owner.host,
                "abandoned": claim.gone,
            }
            for claim in claims
        ]
        print(json_text({"count": len(records), "claims": records}))
        return
    now = time.time()
    rows = [
        (each.key, age_text(now - each.since), str(each.owner or "unknown"), "abandoned" if each.gone else "open")
        for each in claims
    ]
    _print_table(("Key", "Held for", "Owner", "State"), rows, "No open claims.")


_FIGURES = ("Namespace", "Keys", "Recent", "Invalid", "Newest", "Bytes", "Claims", "Moved aside")


def print_figures(figures: Sequence[NamespaceFigures], store: str, ttl: float | None, *, as_json: bool) -> None:
    """The figures of a store's namespaces; how many keys are recent is known if `ttl` is."""
    if as_json:
        print(json_text({"store": store, "namespaces": [_members(each, ttl) for each in figures]}))
        return

    def cells(each: NamespaceFigures) -> tuple[str, ...]:
        name = each.namespace if each.namespace is not None else Path(each.path).name
        if each.problem is not None:
            return (name, "unreadable", *[""] * 5, str(each.moved_aside))
        recent = "-" if ttl is None else each.recent
        newest = _time(each.newest) or ""
        counts = (each.entries, recent, each.invalid, newest, each.size, each.open_claims, each.moved_aside)
        return (name, *map(str, counts))

    _print_table(_FIGURES, [cells(each) for each in figures], f"No namespaces in {store}.")


def _members(each: NamespaceFigures, ttl: float | None) -> dict[str, object]:
    shown = attrs.evolve(each, recent=each.recent if ttl is not None else None)
    times = {"oldest": _time(each.oldest), "newest": _time(each.newest)}
    return {_camel(name): value for name, value in (attrs.asdict(shown) | times).items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else utc_text(seconds * 1000)


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
