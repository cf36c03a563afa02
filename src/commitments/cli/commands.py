"""The commands: `list`, `add`, `dismiss`, `sent`, `attempt`, `snooze`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import attrs
import click

from commitments.candidates import DEFAULT_WINDOW_MS, Candidate, CandidateRefused, Item
from commitments.changes import Marked
from commitments.cli.listing import listing_json, object_json, plain_table, print_coloured
from commitments.cli.text import safe_text
from commitments.cli.times import parse_time, zone
from commitments.document import EXPIRE_AFTER_MS
from commitments.queries import Listing
from commitments.record import KINDS, SENSITIVITIES, SOURCES, STATUSES, Scope, Status, trim
from commitments.store import CommitmentsStore, system_clock
from storewriter.cli.base.options import (
    DURATION,
    STORE_PATH,
    Group,
    checked,
    exit_codes,
    group,
    json_option,
    neighbour_lock_option,
    say,
)
from storewriter.cli.base.program import DONE, NEGATIVE
from storewriter.cli.base.times import utc_text

F = TypeVar("F", bound=Callable[..., Any])


class _ListByDefault(Group):
    """A group that takes the options of `list` if no command is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # completion: what may come is the name of a command
            return super().parse_args(ctx, args)
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help", "--version")):
            ctx.meta[_BEHIND] = [arg for arg in args if arg in self.commands]
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            for command in ctx.meta.get(_BEHIND, ()):
                what = error.format_message().rstrip(".")
                msg = f"{what}: the command comes before its options, `commitments {command} ...`."
                raise click.UsageError(msg) from error
            raise


_BEHIND = "commitments.behind"
"""Key in a context's `meta`: names of commands that were given behind options."""


commitments = group(
    "commitments",
    "Follow-ups that an agent's conversations imply. Without a command: list the pending ones.",
    negative="some ids were not changed",
    cls=_ListByDefault,
)

_MARKING = exit_codes({NEGATIVE: "negative result: some ids were not changed"})


def _opened(path: str | None, neighbour_lock: bool | None) -> CommitmentsStore:
    """The store. A path that cannot name a file is wrong usage."""
    return checked(CommitmentsStore, path, neighbour_lock=neighbour_lock)


def _common(command: F) -> F:
    """Add the options that every command has."""
    command = json_option(command)
    command = neighbour_lock_option("at OpenClaw's own path")(command)
    return click.option("--store", "path", type=STORE_PATH, help="The store (default: that of this user).")(command)


def _ids(command: F) -> F:
    """Add what every command on given commitments has."""
    every_copy = click.option("--every-copy", is_flag=True, help="If several entries have an id, change them all.")
    return click.argument("ids", nargs=-1, metavar="ID...")(every_copy(_common(command)))


@commitments.command("list", epilog=exit_codes())
@_common
@click.option("--status", type=click.Choice(STATUSES), help="Only this status (default: pending).")
@click.option("--agent", metavar="ID", help="Only this agent.")
@click.option("--all", "every_status", is_flag=True, help="Every status; --status is ignored.")
@click.option("--watch", is_flag=True, help="Show the list again whenever the store changes.")
def list_(
    path: str | None,
    as_json: bool,
    neighbour_lock: bool | None,
    status: str | None,
    agent: str | None,
    every_status: bool,
    watch: bool,
) -> None:
    """List commitments by due time."""
    view = _View(
        _opened(path, neighbour_lock),
        None if every_status else cast("Status", status or "pending"),
        trim(agent or "") or None,
        as_json,
    )
    if watch:
        view.follow()
    else:
        view.show(view.store.list(view.status, view.agent_id))


@attrs.frozen
class _View:
    """What a listing shows, and how."""

    store: CommitmentsStore
    status: Status | None
    agent_id: str | None
    as_json: bool

    def follow(self) -> None:
        """Show the list now and at every change, until interrupted."""
        for listing in self.store.watch(self.status, self.agent_id):
            if sys.stdout.isatty() and not self.as_json:
                click.clear()
            self.show(listing)
            sys.stdout.flush()

    def show(self, listing: Listing) -> None:
        """Print a listing; its problems, as text, on the error stream."""
        if self.as_json:
            print(listing_json(listing, status=self.status, agent_id=self.agent_id, store=self.store.path))
            return
        for line in self._heading(listing):
            print(safe_text(line))
        if not listing.commitments:
            print("No commitments found. Use --all to see every status.")
        elif sys.stdout.isatty():
            print_coloured(listing.commitments)
        else:
            print(plain_table(listing.commitments))
        for problem in listing.problems:
            print(f"commitments: warning: {safe_text(str(problem))}", file=sys.stderr)

    def _heading(self, listing: Listing) -> Iterator[str]:
        yield f"Commitments: {len(listing.commitments)}"
        yield f"Store: {self.store.path}"
        if self.status is not None:
            yield f"Status filter: {self.status}"
        if self.agent_id is not None:
            yield f"Agent filter: {self.agent_id}"


@commitments.command(epilog=_MARKING)
@_ids
def dismiss(
    path: str | None, as_json: bool, neighbour_lock: bool | None, ids: tuple[str, ...], every_copy: bool
) -> int:
    """Dismiss commitments, so that they are never brought up."""
    store, wanted = _opened(path, neighbour_lock), _given(ids)
    return _report("dismissed", store.mark_status(wanted, "dismissed", every_copy=every_copy), as_json)


@commitments.command(epilog=_MARKING)
@_ids
def sent(path: str | None, as_json: bool, neighbour_lock: bool | None, ids: tuple[str, ...], every_copy: bool) -> int:
    """Mark commitments as delivered."""
    store, wanted = _opened(path, neighbour_lock), _given(ids)
    return _report("sent", store.mark_status(wanted, "sent", every_copy=every_copy), as_json)


@commitments.command(epilog=_MARKING)
@_ids
def attempt(
    path: str | None, as_json: bool, neighbour_lock: bool | None, ids: tuple[str, ...], every_copy: bool
) -> int:
    """Count a delivery attempt on commitments, whatever their status."""
    store, wanted = _opened(path, neighbour_lock), _given(ids)
    marked = store.mark_attempted(wanted, every_copy=every_copy)
    for id_, status in marked.terminal.items():
        say(f"{safe_text(id_)} was already {status}; the attempt was counted all the same")
    return _report("attempted", marked, as_json)


@commitments.command(epilog=_MARKING)
@_ids
@click.option("--until", metavar="TIME", help="When it may be brought up again: 2030-03-10T09:00+01:00, or +6h.")
@click.option("--for", "for_", type=DURATION, metavar="DURATION", help="How long to hide it: 90s, 45m, 6h, 1d12h.")
def snooze(
    path: str | None,
    as_json: bool,
    neighbour_lock: bool | None,
    ids: tuple[str, ...],
    every_copy: bool,
    until: str | None,
    for_: float | None,
) -> int:
    """Hide commitments for a while."""
    now = system_clock()
    if until is not None and for_ is None:
        until_ms = checked(parse_time, until, now, "UTC")
    elif for_ is not None and until is None:
        until_ms = now + round(for_ * 1000)
    else:
        raise click.UsageError("give either --until TIME or --for DURATION.")
    if until_ms <= now:
        raise click.UsageError(f"{utc_text(until_ms)} is not in the future, so nothing would be hidden.")
    store, wanted = _opened(path, neighbour_lock), _given(ids)
    return _report("snoozed", store.snooze(wanted, until_ms, now_ms=now, every_copy=every_copy), as_json)


def _given(ids: tuple[str, ...]) -> list[str]:
    wanted = [trim(id_) for id_ in ids if trim(id_)]
    if not wanted:
        raise click.UsageError("no commitment id was given.")
    return wanted


def _report(done: str, marked: Marked, as_json: bool) -> int:
    """Say which ids were changed, and why the others were not."""
    if as_json:
        members: dict[str, object] = {done: list(marked.changed)}
        if marked.unchanged:
            unchanged = [{"id": outcome.id, "reason": outcome.reason} for outcome in marked.unchanged]
            members[f"not{done.capitalize()}"] = unchanged
        print(object_json(members))
    elif marked.changed:
        print(f"{done.capitalize()} commitments: {', '.join(map(safe_text, marked.changed))}")
    for outcome in marked.unchanged:
        say(f"not {done}: {safe_text(outcome.id)}: {safe_text(outcome.reason)}")
    return NEGATIVE if marked.unchanged else DONE


@commitments.command(epilog=exit_codes())
@_common
@click.option("--agent", required=True, metavar="ID", help="The agent that owes the follow-up.")
@click.option("--session", required=True, metavar="KEY", help="Its conversation.")
@click.option("--channel", required=True, help="The channel to deliver on, for example telegram.")
@click.option("--account", default="", metavar="ID", help="The account on the channel.")
@click.option("--to", default="", metavar="ID", help="The recipient.")
@click.option("--thread", default="", metavar="ID", help="The thread.")
@click.option("--sender", default="", metavar="ID", help="The sender.")
@click.option("--text", required=True, help="The check-in to offer.")
@click.option("--reason", required=True, help="Why the follow-up may be expected.")
@click.option("--due", required=True, metavar="TIME", help="Not before: 2030-03-10T09:00, +6h.")
@click.option("--latest", metavar="TIME", help="End of its window (default: 12 hours after --due).")
@click.option("--timezone", default="UTC", show_default=True, metavar="NAME", help="IANA name; for times too.")
@click.option("--kind", type=click.Choice(KINDS), default="open_loop", show_default=True)
@click.option("--sensitivity", type=click.Choice(SENSITIVITIES), default="routine", show_default=True)
@click.option("--source", type=click.Choice(SOURCES), default="agent_promise", show_default=True)
@click.option("--confidence", type=click.FloatRange(0, 1), default=1.0, show_default=True)
@click.option("--key", metavar="KEY", help="Dedupe key (default: made from the due date and the text).")
@click.option("--message-id", metavar="ID", help="The message it comes from.")
@click.option("--run-id", metavar="ID", help="The run it comes from.")
def add(path: str | None, as_json: bool, neighbour_lock: bool | None, **given: Any) -> None:
    """Add a commitment, or merge it into the active one with its scope and key."""
    now = system_clock()
    try:
        item, candidate = _item_of(given), _candidate_of(given, now)
        upserted = _opened(path, neighbour_lock).upsert(item, [candidate], now_ms=now)
    except CandidateRefused as error:
        raise click.UsageError(f"{error}.") from None
    created, merged = ([record.id for record in found] for found in (upserted.created, upserted.merged))
    if as_json:
        print(object_json({"created": created, "merged": merged}))
        return
    for verb, ids in (("Added commitment", created), ("Merged into commitment", merged)):
        for id_ in ids:
            print(f"{verb}: {safe_text(id_)}")


def _item_of(given: dict[str, Any]) -> Item:
    scope = Scope(
        given["agent"],
        given["session"],
        given["channel"],
        given["account"],
        given["to"],
        given["thread"],
        given["sender"],
    )
    return Item(scope, given["message_id"], given["run_id"])


def _candidate_of(given: dict[str, Any], now_ms: int) -> Candidate:
    timezone = checked(zone, given["timezone"]).key
    earliest = checked(parse_time, given["due"], now_ms, timezone)
    latest = given["latest"]
    latest_ms = earliest + DEFAULT_WINDOW_MS if latest is None else checked(parse_time, latest, now_ms, timezone)
    if latest_ms + EXPIRE_AFTER_MS < now_ms:
        raise CandidateRefused(
            f"its window ends at {utc_text(latest_ms)}, more than 72 hours ago, so it would be expired at once"
        )
    return Candidate(
        kind=given["kind"],
        sensitivity=given["sensitivity"],
        source=given["source"],
        reason=given["reason"],
        suggested_text=given["text"],
        dedupe_key=_made_key(given["text"], earliest) if given["key"] is None else given["key"],
        confidence=given["confidence"],
        earliest_ms=earliest,
        latest_ms=latest_ms,
        timezone=timezone,
    )


def _made_key(text: str, due_ms: int) -> str:
    """Return a key that is the same if the same text is added again for the same day."""
    digest = hashlib.blake2b(trim(text).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"manual:{utc_text(due_ms)[:10]}:{digest}"
