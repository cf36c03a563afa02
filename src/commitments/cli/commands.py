"""The commands: `list`, `add`, `dismiss`, `sent`, `attempt`, `snooze`."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from typing import Any, cast

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

Command = Callable[..., Any]


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


def _on_a_store(command: Command) -> Command:
    """Add the options that every command has; those that say which store are passed as `store`."""

    @functools.wraps(command)
    def run(path: str | None, neighbour_lock: bool | None, **given: Any) -> Any:
        return command(store=checked(CommitmentsStore, path, neighbour_lock=neighbour_lock), **given)

    with_store = click.option("--store", "path", type=STORE_PATH, help="The store (default: that of this user).")
    return with_store(neighbour_lock_option("at OpenClaw's own path")(json_option(run)))


def _on_given_ids(command: Command) -> Command:
    """Add what every command has that changes the commitments with given ids."""
    every_copy = click.option("--every-copy", is_flag=True, help="If several entries have an id, change them all.")
    ids = click.argument("ids", nargs=-1, metavar="ID...", callback=_trimmed_ids)
    return ids(every_copy(_on_a_store(command)))


def _trimmed_ids(_: click.Context, __: click.Parameter, ids: tuple[str, ...]) -> list[str]:
    wanted = [trim(id_) for id_ in ids if trim(id_)]
    if not wanted:
        raise click.UsageError("no commitment id was given.")
    return wanted


_MARKING = exit_codes({NEGATIVE: "negative result: some ids were not changed"})


@commitments.command("list", epilog=exit_codes())
@_on_a_store
@click.option("--status", type=click.Choice(STATUSES), help="Only this status (default: pending).")
@click.option("--agent", default="", metavar="ID", help="Only this agent.")
@click.option("--all", "every_status", is_flag=True, help="Every status; --status is ignored.")
@click.option("--watch", is_flag=True, help="Show the list again whenever the store changes.")
def list_(
    store: CommitmentsStore, as_json: bool, status: str | None, agent: str, every_status: bool, watch: bool
) -> None:
    """List commitments by due time."""
    wanted = None if every_status else cast("Status", status or "pending")
    show = functools.partial(_show, store=store.path, status=wanted, agent_id=trim(agent) or None, as_json=as_json)
    if not watch:
        show(store.list(wanted, trim(agent) or None))
        return
    for listing in store.watch(wanted, trim(agent) or None):
        if sys.stdout.isatty() and not as_json:
            click.clear()
        show(listing)
        sys.stdout.flush()


def _show(listing: Listing, *, store: str, status: str | None, agent_id: str | None, as_json: bool) -> None:
    """Print a listing; its problems, as text, on the error stream."""
    if as_json:
        print(listing_json(listing, status=status, agent_id=agent_id, store=store))
        return
    heading = {
        "Commitments": len(listing.commitments),
        "Store": store,
        "Status filter": status,
        "Agent filter": agent_id,
    }
    for name, value in heading.items():
        if value is not None:
            print(safe_text(f"{name}: {value}"))
    if not listing.commitments:
        print("No commitments found. Use --all to see every status.")
    elif sys.stdout.isatty():
        print_coloured(listing.commitments)
    else:
        print(plain_table(listing.commitments))
    for problem in listing.problems:
        say(f"warning: {safe_text(str(problem))}")


@commitments.command(epilog=_MARKING)
@_on_given_ids
def dismiss(store: CommitmentsStore, as_json: bool, ids: list[str], every_copy: bool) -> int:
    """Dismiss commitments, so that they are never brought up."""
    return _report("dismissed", store.mark_status(ids, "dismissed", every_copy=every_copy), as_json)


@commitments.command(epilog=_MARKING)
@_on_given_ids
def sent(store: CommitmentsStore, as_json: bool, ids: list[str], every_copy: bool) -> int:
    """Mark commitments as delivered."""
    return _report("sent", store.mark_status(ids, "sent", every_copy=every_copy), as_json)


@commitments.command(epilog=_MARKING)
@_on_given_ids
def attempt(store: CommitmentsStore, as_json: bool, ids: list[str], every_copy: bool) -> int:
    """Count a delivery attempt on commitments, whatever their status."""
    marked = store.mark_attempted(ids, every_copy=every_copy)
    for id_, status in marked.terminal.items():
        say(f"{safe_text(id_)} was already {status}; the attempt was counted all the same")
    return _report("attempted", marked, as_json)


@commitments.command(epilog=_MARKING)
@_on_given_ids
@click.option("--until", metavar="TIME", help="When it may be brought up again: 2030-03-10T09:00+01:00, or +6h.")
@click.option("--for", "for_", type=DURATION, metavar="DURATION", help="How long to hide it: 90s, 45m, 6h, 1d12h.")
def snooze(
    store: CommitmentsStore, as_json: bool, ids: list[str], every_copy: bool, until: str | None, for_: float | None
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
    return _report("snoozed", store.snooze(ids, until_ms, now_ms=now, every_copy=every_copy), as_json)


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
@_on_a_store
@click.option("--agent", "agent_id", required=True, metavar="ID", help="The agent that owes the follow-up.")
@click.option("--session", "session_key", required=True, metavar="KEY", help="Its conversation.")
@click.option("--channel", required=True, help="The channel to deliver on, for example telegram.")
@click.option("--account", "account_id", default="", metavar="ID", help="The account on the channel.")
@click.option("--to", default="", metavar="ID", help="The recipient.")
@click.option("--thread", "thread_id", default="", metavar="ID", help="The thread.")
@click.option("--sender", "sender_id", default="", metavar="ID", help="The sender.")
@click.option("--text", "suggested_text", required=True, help="The check-in to offer.")
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
def add(store: CommitmentsStore, as_json: bool, message_id: str | None, run_id: str | None, **given: Any) -> None:
    """Add a commitment, or merge it into the active one with its scope and key."""
    now = system_clock()
    scope = {field.name: given.pop(field.name) for field in attrs.fields(Scope)}
    try:
        item = Item(Scope(**scope), message_id, run_id)
        upserted = store.upsert(item, [_candidate(now, **given)], now_ms=now)
    except CandidateRefused as error:
        raise click.UsageError(f"{error}.") from None
    created, merged = ([record.id for record in found] for found in (upserted.created, upserted.merged))
    if as_json:
        print(object_json({"created": created, "merged": merged}))
        return
    for verb, ids in (("Added commitment", created), ("Merged into commitment", merged)):
        for id_ in ids:
            print(f"{verb}: {safe_text(id_)}")


def _candidate(now_ms: int, *, due: str, latest: str | None, timezone: str, key: str | None, **given: Any) -> Candidate:
    timezone = checked(zone, timezone).key
    earliest = checked(parse_time, due, now_ms, timezone)
    latest_ms = earliest + DEFAULT_WINDOW_MS if latest is None else checked(parse_time, latest, now_ms, timezone)
    if latest_ms + EXPIRE_AFTER_MS < now_ms:
        raise CandidateRefused(
            f"its window ends at {utc_text(latest_ms)}, more than 72 hours ago, so it would be expired at once"
        )
    if key is None:  # the same one if the same text is added again for the same day
        text = trim(given["suggested_text"]).encode("utf-8", "surrogatepass")
        key = f"manual:{utc_text(earliest)[:10]}:{hashlib.blake2b(text, digest_size=4).hexdigest()}"
    return Candidate(dedupe_key=key, earliest_ms=earliest, latest_ms=latest_ms, timezone=timezone, **given)
