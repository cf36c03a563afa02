"""`storewriter break`: remove a marker or a lease that stays although its holder is known to be gone."""

from __future__ import annotations

import time

import attrs
import click

from storewriter import Owner
from storewriter._platform.liveness import Verdict, judge
from storewriter.cli.access import path_of
from storewriter.cli.base.options import STORE_PATH, confirmed, exit_codes, json_option, say
from storewriter.cli.base.program import DONE, LOCK, NEGATIVE
from storewriter.cli.base.text import json_text, safe_text
from storewriter.locks._breaking import break_marker, token_of
from storewriter.locks._marker_file import Seen, look, marker_file
from storewriter.locks._marker_owner import owner_at, owner_of_store

__all__ = ["break_"]

_EPILOG = """\b
Examples:
  storewriter break state.json                   (shows the record, and asks)
  storewriter break --token 1f0c93 state.json    (as it was shown)

""" + exit_codes(
    {DONE: "the marker was removed, or there is none", NEGATIVE: "refused, or not confirmed; the marker stays"},
    without=[LOCK],
)


@attrs.frozen
class _Record:
    """A marker, and what is known of its holder."""

    path: str
    seen: Seen
    owner: Owner | None
    verdict: Verdict

    @property
    def token(self) -> str:
        return token_of(self.seen)

    def lines(self) -> list[str]:
        states = {Verdict.ALIVE: "alive", Verdict.GONE: "gone", Verdict.UNKNOWN: "not known from here"}
        kind = self.seen.strategy or "damaged, or another program's"
        stale = "" if self.seen.stale is None else f", runs out after {self.seen.stale:g} s"
        age = max(0.0, time.time() - self.seen.modified)
        return [
            f"marker    {marker_file(self.path)}",
            f"strategy  {kind}{stale}",
            f"holder    {self.owner or 'unknown'} ({states[self.verdict]})",
            f"changed   {age:.1f} s ago",
            f"token     {self.token}",
        ]

    def as_json(self, *, broken: bool, why_not: str | None) -> str:
        owner = None if self.owner is None else attrs.asdict(self.owner, filter=lambda _, value: value is not None)
        fields = {
            "path": self.path,
            "marker": marker_file(self.path),
            "strategy": self.seen.strategy,
            "holder": owner,
            "state": self.verdict.value,
            "token": self.token,
            "broken": broken,
            "why_not": why_not,
        }
        return json_text(fields, indent=None)


@click.command("break", epilog=_EPILOG, short_help="Remove the marker of a holder that is gone.")
@click.argument("store", type=STORE_PATH)
@click.option("--token", metavar="TOKEN", help="Remove the marker with this token, without asking.")
@click.option("--yes", is_flag=True, help="Remove whichever marker is there, without asking.")
@click.option("--force", is_flag=True, help="Also that of a holder that is alive; its commit will be refused.")
@json_option
def break_(store: str, token: str | None, yes: bool, force: bool, as_json: bool) -> int:
    """Remove the marker of a STORE with --lock marker or lease, for the rare case that no program does it by itself.

    That is the case if the holder was on another host, or in another container, and is gone: nothing here proves it.
    The record is shown first. A marker whose holder is alive stays, unless --force is given. A kernel lock (--lock
    flock) needs no breaking: it ends with its process.
    """
    path = path_of(store)
    seen = look(path)
    if seen is None:
        return _without_marker(path, as_json=as_json)
    owner = owner_at(path) or seen.owner
    record = _Record(path, seen, owner, Verdict.UNKNOWN if owner is None else judge(owner))
    if not as_json:
        for line in record.lines():
            click.echo(safe_text(line))
    why_not = _objection(record, token, yes=yes, force=force)
    if why_not is None:
        why_not = break_marker(path, seen)
    if as_json:
        click.echo(record.as_json(broken=why_not is None, why_not=why_not))
    elif why_not is None:
        click.echo(safe_text(f"removed {marker_file(path)}"))
    if why_not is not None:
        say(f"the marker stays: {why_not}")
    return DONE if why_not is None else NEGATIVE


def _without_marker(path: str, *, as_json: bool) -> int:
    owner = owner_of_store(path)
    if owner is None:
        text, code = f"{path} has no marker, and no process holds its lock; there is nothing to break", DONE
    else:
        text = (
            f"{path} is held by {owner} with a kernel lock, which ends with that process; there is no marker to break"
        )
        code = NEGATIVE
    if as_json:
        click.echo(json_text({"path": path, "marker": None, "broken": False, "why_not": text}, indent=None))
    say(text)
    return code


def _objection(record: _Record, token: str | None, *, yes: bool, force: bool) -> str | None:
    """Why the marker is not to be broken; None: it is."""
    if token is not None and token != record.token:
        return f"its token is {record.token}, not {token}: it is another hold"
    if record.verdict is Verdict.ALIVE and not force:
        return f"its holder is alive: {record.owner}. Ask it to end, or use --force: its commit will be refused then"
    if token is not None or yes:
        return None
    return None if confirmed("Remove it?") else f"it was not confirmed; use --token {record.token}, or --yes"
