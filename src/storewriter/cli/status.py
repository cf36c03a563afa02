"""`storewriter status`: the holder of a store, its waiters, and whether locks are effective on its file system."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from storewriter import Owner
from storewriter._backends.addresses import is_url, status_of_url
from storewriter._backends.protocol import Status as Shown
from storewriter._files.keys import canonical, sidecar
from storewriter._files.replace import require_regular
from storewriter._platform import mounts
from storewriter._platform.kernel_locks import processes_with
from storewriter._platform.liveness import Verdict, describe, judge
from storewriter._platform.mounts import Mount, Trust
from storewriter._platform.system import CLOEXEC, NOCTTY, NOFOLLOW, NONBLOCK
from storewriter.cli.access import Access, codec_option, usage_errors
from storewriter.cli.base.options import STORE_PATH, WAIT, exit_codes, json_option, say
from storewriter.cli.base.program import DONE, LOCK, STORE
from storewriter.cli.base.text import json_text, safe_text
from storewriter.cli.base.times import age_text
from storewriter.cli.beside import Beside, beside, time_text
from storewriter.codecs import Codec, JsonCodec
from storewriter.errors import StoreCorrupt, StoreWriterError
from storewriter.locks._marker_file import Seen, UnreadableMarker, look, marker_file
from storewriter.locks._marker_owner import owner_of_store
from storewriter.locks._record import read_record
from storewriter.locks.neighbours._detection import advice, findings
from storewriter.locks.neighbours._whose import Foreign

__all__ = [
    "Status",
    "holder_text",
    "neighbour_text",
    "place_text",
    "status",
    "status_of",
    "strategy_text",
    "trust_text",
]


@attrs.frozen(kw_only=True)
class Status:
    """What can be seen of one store from outside, at one instant."""

    path: str
    """The store's canonical path."""
    size: int | None
    """Bytes of the document; None if there is none."""
    holder: Owner | None
    """The process that has the turn now; None if there is none, or if it is not known."""
    verdict: Verdict | None
    """What is known of the holder's process."""
    strategy: str | None
    """The strategy in use: `flock`, `marker` or `lease`; of a free store, the one that was used last."""
    waiters: tuple[Owner, ...]
    """Processes that have the lock file open beside the holder. Waiters for a marker or a lease do not show."""
    marker: Seen | None
    """The marker on disk, if there is one."""
    mount: Mount | None
    """Where the store is."""
    trust: Trust
    """Which processes a kernel lock excludes there, by the type of the file system."""
    refused: bool | None
    """Whether a second descriptor was refused the lock; None: it could not be tested."""
    unseen: str | None = None
    """Why nothing more is known about the holder; None: nothing prevents that."""
    neighbours: tuple[Foreign, ...] = ()
    """Locks of other programs, beside the document and on it."""
    committed: float | None = None
    """When the document was last written, in seconds since the epoch; None if there is none."""
    version: str | None = None
    """The document's version, `absent` if there is none; None if it cannot be read."""
    unsound: str | None = None
    """Why the document cannot be read; None: it can, or there is none."""
    leftovers: tuple[Beside, ...] = ()
    """What killed writers, backups and recoveries have left beside the document."""


_PERMANENT: Final = ("the lock file", "the guard", "the marker")
"""Files that are no leftovers: they are there as long as the store, or are shown by themselves."""


def status_of(path: str, codec: Codec[Any] | None = None) -> Status:
    """Look at a store, whose document `codec` reads (None: JSON).

    Takes its lock for an instant, shared and only if it is free, to see whether locks work.

    Raises ValueError for what cannot be the path of a store, NotARegularFile for a folder, a FIFO or a device at it,
    OSError for a document or a folder that cannot be read.
    """
    key = canonical(path)
    size, committed = _size(key)
    version, unsound = _content(key, codec)
    marker, unseen = _marker(key)
    unseen = unseen or _closed(sidecar(key))
    owner = owner_of_store(key)
    mount = mounts.mount_of(key)
    refused, is_held = _try_lock(sidecar(key))
    if owner is None and is_held:
        owner = owner_of_store(key) or Owner()  # one that /proc/locks does not show, of another container
    return Status(
        path=key,
        size=size,
        holder=owner,
        verdict=None if owner is None else judge(owner),
        strategy=_strategy(key, owner),
        waiters=_waiters(key, owner),
        marker=marker,
        mount=mount,
        trust=Trust.NONE if refused is False else mounts.trust_in(mount),
        refused=refused,
        unseen=unseen,
        neighbours=tuple(findings(key, None)),
        committed=committed,
        version=version,
        unsound=unsound,
        leftovers=tuple(each for each in beside(key) if each.use not in _PERMANENT),
    )


def _content(path: str, codec: Codec[Any] | None) -> tuple[str | None, str | None]:
    """The version of the document, and why it cannot be read."""
    try:
        return Access(codec=codec or JsonCodec()).typed_store(path, dict).read_versioned()[1], None
    except StoreCorrupt as error:
        place = f"line {error.line}, column {error.column}: " if error.line is not None else ""
        return None, f"{place}{error.reason}"


def _marker(path: str) -> tuple[Seen | None, str | None]:
    """The marker, and why it cannot be read."""
    try:
        return look(path), None
    except UnreadableMarker:
        return None, _closed(marker_file(path)) or f"{marker_file(path)} could not be read"


def _closed(name: str) -> str | None:
    """Why a lock file that is there cannot be opened."""
    try:
        os.close(os.open(name, os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC))
    except PermissionError:
        return f"uid {os.geteuid()} may not open {name}, only users who may write the store may"
    except OSError:
        pass
    return None


def _size(path: str) -> tuple[int | None, float | None]:
    """Bytes of the document, and when it was written; None if there is none. Raises what reading it would raise."""
    try:
        require_regular(path, os.lstat(path))  # before the open, which could have effects on a device
        fd = os.open(path, os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC | NOCTTY)
    except FileNotFoundError:
        return None, None
    try:
        found = os.fstat(fd)
        return found.st_size, found.st_mtime
    finally:
        os.close(fd)


def _strategy(path: str, owner: Owner | None) -> str | None:
    if owner is not None:
        return owner.strategy
    try:
        fd = os.open(sidecar(path), os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
    except OSError:
        return None
    try:
        record = read_record(fd)
    finally:
        os.close(fd)
    return None if record is None else record.strategy


def _waiters(path: str, owner: Owner | None) -> tuple[Owner, ...]:
    beside = {os.getpid(), None if owner is None else owner.pid}
    return tuple(describe(pid) for pid in processes_with(sidecar(path)) if pid not in beside)


def _try_lock(name: str) -> tuple[bool | None, bool]:
    """Whether locks on this file exclude another descriptor (None: there is no such file, or it cannot be opened).

    And whether a process has the lock for itself alone.
    """
    try:
        fd = os.open(name, os.O_RDWR | NOFOLLOW | NONBLOCK | CLOEXEC)
    except OSError:
        return None, False
    try:
        # Shared, so that users of leases do not notice. EWOULDBLOCK proves that locking works.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return mounts.is_refused_twice(fd, name), False
    except BlockingIOError:
        return True, True
    except OSError:
        return False, False
    finally:
        os.close(fd)


_EPILOG = """\b
Examples:
  storewriter status state.json
  storewriter status --watch state.json queue.json

""" + exit_codes({STORE: "a store cannot be looked at; the others are shown"}, without=[LOCK])


@click.command(epilog=_EPILOG, short_help="Show the holder of a store, its waiters and its document.")
@click.argument("stores", nargs=-1, required=True, type=STORE_PATH, metavar="STORE...")
@click.option("--watch", "again", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--every", type=WAIT, default="1s", show_default=True, help="With --watch: how often.")
@codec_option
@json_option
def status(stores: tuple[str, ...], again: bool, every: float, codec: Codec[Any], as_json: bool) -> int:
    """Show the holder of each STORE, the waiters, the strategy, the document, and what its kernel locks exclude.

    Nothing is changed. `--json` prints one JSON object a line for each store. Whether locks work at all is tested on
    the lock file, if there is one, for an instant.
    """
    if not again:
        return _show(stores, codec, as_json=as_json)
    if as_json or not sys.stdout.isatty():
        while True:
            _show(stores, codec, as_json=as_json)
            sys.stdout.flush()  # into a pipe, too: each look is read when it is taken
            time.sleep(every)
    console, terminal = Console(highlight=False), sys.stdout  # rich puts an object of its own in its place
    with Live(console=console, auto_refresh=False, screen=True) as live:
        # A terminal that has been closed is none any more; only the session that it controls gets a SIGHUP, and rich
        # writes nothing then, so that no write fails.
        while terminal.isatty():
            live.update(Group(*_screen(stores, codec)), refresh=True)
            time.sleep(every)
    return DONE


def _show(stores: tuple[str, ...], codec: Codec[Any], *, as_json: bool) -> int:
    console = Console(highlight=False, soft_wrap=True)
    code = DONE
    for number, path in enumerate(stores):
        try:
            found = _seen(path, codec)
        except (StoreWriterError, OSError) as error:
            say(str(error))
            code = STORE
            continue
        if as_json:
            click.echo(json_text(dict(found.as_json()), indent=None))
            continue
        if number:
            console.print()
        for line in _lines(found.rows()):
            console.print(line)
    return code


def _screen(stores: tuple[str, ...], codec: Codec[Any]) -> Iterator[Text]:
    yield Text(time.strftime("%Y-%m-%d %H:%M:%S"), "dim")
    for path in stores:
        yield Text()
        try:
            yield from _lines(_seen(path, codec).rows())
        except (StoreWriterError, OSError) as error:
            yield Text(safe_text(str(error)), "red")


def _seen(store: str, codec: Codec[Any]) -> Shown:
    """What there is to show of a store: of a URL, what its engine says."""
    with usage_errors():
        return status_of_url(store) if is_url(store) else _OfFile(status_of(store, codec))


@attrs.frozen
class _OfFile:
    """What is shown of a document in a file."""

    found: Status

    def rows(self) -> dict[str, str]:
        """See `Status` of the backends."""
        return _rows(self.found)

    def as_json(self) -> dict[str, Any]:
        """See `Status` of the backends."""
        return _as_json(self.found)


def _lines(facts: Mapping[str, str]) -> list[Text]:
    width = max(map(len, facts)) + 2
    return [Text.assemble((f"{key:<{width}}", "bold"), safe_text(text)) for key, text in facts.items()]


def _rows(found: Status) -> dict[str, str]:
    return {
        "store": found.path,
        "document": _document_text(found),
        "last commit": "none yet" if found.committed is None else _commit_text(found.committed),
        "holder": holder_text(found),
        "strategy": strategy_text(found),
        "waiting": "none that can be seen" if not found.waiters else "; ".join(str(one) for one in found.waiters),
        "file system": place_text(found),
        "kernel locks": trust_text(found),
        "lock file": _file_text(sidecar(found.path)),
        "marker": _file_text(marker_file(found.path)),
        **{f"neighbour {number}": neighbour_text(found.path, one) for number, one in enumerate(found.neighbours, 1)},
        **{f"beside {number}": str(one) for number, one in enumerate(found.leftovers, 1)},
    }


def _document_text(found: Status) -> str:
    if found.size is None:
        return "none yet"
    if found.unsound is not None:
        return f"{found.size} bytes, cannot be read: {found.unsound}"
    return f"{found.size} bytes, can be read; version {found.version}"


def _commit_text(seconds: float) -> str:
    return f"{time_text(seconds)} ({age_text(time.time() - seconds)} ago)"


def holder_text(found: Status) -> str:
    """The holder, and what is known of it."""
    if found.unseen is not None and found.holder is None:
        return f"unknown: {found.unseen}"
    if found.holder is None:
        return "none" if found.marker is None else "not known: the marker is damaged"
    known = {Verdict.ALIVE: "alive", Verdict.GONE: "gone: the next contender takes over"}
    verdict = known.get(found.verdict or Verdict.UNKNOWN, "it is not known whether it is alive")
    more = "" if found.unseen is None else f"; since when and what for is unknown: {found.unseen}"
    return f"{found.holder} ({verdict}){more}"


def strategy_text(found: Status) -> str:
    """The strategy in use, or the one that was used last."""
    if found.strategy is None:
        return "unknown" if found.holder is not None or found.unseen is not None else "not used yet"
    text = found.strategy if found.holder is not None else f"{found.strategy} was used last"
    if found.marker is None or found.marker.stale is None:
        return text
    return f"{text}, refreshed {_age(found.marker):.1f} s ago, runs out after {found.marker.stale:g} s"


def _age(seen: Seen) -> float:
    """Seconds since a marker's last change, by the file's clock. For display only: no lock is reclaimed by it."""
    return max(0.0, time.time() - seen.modified)


def place_text(found: Status) -> str:
    """The file system and its mount."""
    return "unknown" if found.mount is None else f"{found.mount.kind}, mounted at {found.mount.point}"


_TRUST = {
    Trust.LOCAL: "effective on this local file system",
    Trust.SHARED: "effective on other hosts too, through the server",
    Trust.HOST_ONLY: "may not be effective on other hosts: use lock='lease' if several hosts write",
    Trust.NONE: "not effective on this file system: use lock='lease'",
}


def trust_text(found: Status) -> str:
    """What kernel locks exclude there."""
    return f"{_TRUST[found.trust]} ({_test_text(found)})"


def _test_text(found: Status) -> str:
    if found.refused is not None:
        return "tested"
    there = os.path.lexists(sidecar(found.path))
    return "not tested: the lock file cannot be opened" if there else "not tested: no lock file yet"


def neighbour_text(path: str, one: Foreign) -> str:
    """Another program's lock, and what to do about it."""
    by = "" if one.owner is None else f", by {one.owner}"
    return f"{one.lock} is {one.what}{by}; programs that are not configured for it do not take it: {advice(path, one)}"


def _file_text(name: str) -> str:
    return name if os.path.lexists(name) else f"{name} (not there)"


def _as_json(found: Status) -> dict[str, Any]:
    marker = found.marker
    return {
        "path": found.path,
        "size": found.size,
        "version": found.version,
        "unsound": found.unsound,
        "committed": found.committed,
        "holder": None if found.holder is None else _owner_json(found.holder, found.verdict),
        "holder_unknown": found.unseen,
        "strategy": found.strategy,
        "waiters": [_owner_json(one, None) for one in found.waiters],
        "filesystem": None if found.mount is None else found.mount.kind,
        "mounted_at": None if found.mount is None else found.mount.point,
        "locks": found.trust.value,
        "locks_tried": found.refused is not None,
        "sidecar": sidecar(found.path),
        "marker": None if marker is None else marker_file(found.path),
        "stale": None if marker is None else marker.stale,
        "unrefreshed": None if marker is None else round(_age(marker), 3),
        "neighbours": [
            {
                "lock": one.lock,
                "kind": one.kind,
                "owner": None if one.owner is None else _owner_json(one.owner, None),
                "advice": advice(found.path, one),
            }
            for one in found.neighbours
        ],
        "leftovers": [
            {"path": one.path, "use": one.use, "size": one.size, "modified": one.modified} for one in found.leftovers
        ],
    }


def _owner_json(owner: Owner, verdict: Verdict | None) -> dict[str, Any]:
    fields: dict[str, Any] = attrs.asdict(owner, filter=lambda _, value: value is not None)
    held = owner.held_for()
    if held is not None:
        fields["held_for"] = round(held, 3)
    if verdict is not None:
        fields["state"] = verdict.value
    return fields
