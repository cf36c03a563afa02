"""The turn on one document: a transaction that holds an advisory lock, and has read the document.

Promise    At most one turn on a document at any instant, over all programs that use the table; first come, first
           served. The turn ends with its transaction: by the commit, a rollback, or the loss of the connection.
How        One round trip: BEGIN, the lock, the read. `pg_advisory_xact_lock` is served in order, where row locks let
           newcomers overtake; and it ends with the transaction, so that a pooler cannot hand it to another client, as
           it would a session's lock.
           Where others wait, the lock is not held over the flush: the transaction commits without it
           (`synchronous_commit=off`), and in the same round trip a second one flushes, before any update is answered. A
           later turn that has found the document commits behind it in the log, so it cannot become durable alone.
           Only on connections of our own: a pooler may give the second transaction to another session, and a server
           that has crashed in between would flush nothing.
Fails by   LockLost, ServerUnavailable, SchemaMissing, ServerRefused.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, cast

import attrs

from storewriter._platform import forks, threads
from storewriter._platform.owner import Owner
from storewriter.errors import LockLost, StrategyMismatch
from storewriter.postgres._asking import Found
from storewriter.postgres._connections import Link, Unreachable, application_name, caretaker
from storewriter.postgres._database import PACE, Database, is_passing
from storewriter.postgres._statements import BEGIN, COMMIT, FLUSH, Stamp, number_of, seconds_of, text_of
from storewriter.postgres._wire import SYNC, Broken, Refused, Rows, Statement, Unwanted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AdvisoryLock", "PostgresHold"]

_TIMED_OUT: Final = frozenset({"55P03", "57014"})
"""lock_timeout, statement_timeout: of a pooler's session, say, whose settings are not ours."""

_OWNER_SECONDS: Final = 0.5
"""Seconds for which the name of a holder is waited for."""

log = logging.getLogger("storewriter")

_SESSION: Final = re.compile(r"server process ([0-9]+)\Z")
_OURS: Final = re.compile(r"storewriter ([1-9][0-9]*)@([^ :]+)(?:: (.+))?")


class PostgresHold:
    """The turn: one connection, in a transaction."""

    __slots__ = (
        "_flushes_later",
        "_generation",
        "_link",
        "_path",
        "_source",
        "data",
        "found",
        "is_over",
        "problem",
        "xid",
    )

    def __init__(
        self, database: Database, path: str, link: Link, row: tuple[bytes | None, ...], *, flushes_later: bool
    ) -> None:
        self._source = database.source
        self._path = path
        self._link: Link | None = link
        self._generation = forks.generation
        self._flushes_later = flushes_later
        """Whether the transaction commits without a flush."""
        xid, incarnation, is_settled, version, commit_id, xmin, data = row
        self.xid = cast("bytes", xid)
        self.found = Found(
            None if commit_id is None else Stamp(cast("int", number_of(version)), commit_id, cast("bytes", xmin)),
            cast("bytes", incarnation or link.incarnation),
            is_settled == b"\x01",
        )
        self.data = data
        self.is_over = False
        """Whether the transaction has ended, or is lost."""
        self.problem: str | None = None
        """Why it is lost."""
        caretaker().hold(link, database.source.silence)

    def may_pass(self) -> bool:
        """See `_backends.protocol.Hold`. Whether another process waits is known to the server only; it is its turn."""
        return False

    def check(self) -> None:
        """See `_backends.protocol.Hold`."""
        if self._generation != forks.generation:
            raise self.lost("this process was forked in the turn, which is its parent's")
        link = self._link
        if link is not None and link.looks_lost():
            self.lose("the server has closed the connection")
        if self.is_over:
            raise self.lost(self.problem or "the turn has ended")

    def describe(self, label: str | None) -> None:
        """See `_backends.protocol.Hold`."""
        # Never called: such a hold is not passed on.

    def release(self) -> None:
        """See `_backends.protocol.Hold`. The server's answer is not waited for."""
        link = self._link
        if link is None:
            return
        if not self.is_over:
            self.is_over = True
            link.roll_back()
        self._dispose(link)

    def _dispose(self, link: Link) -> None:
        self._link = None
        caretaker().let_go(link)
        self._source.give_back(link)

    def finish(self, statements: list[Statement]) -> list[Rows | int]:
        """Run the last statements of the transaction, commit and flush.

        Raises Refused (it is rolled back then), Broken, LockLost.

        After Broken, and after an interrupt, what has become of them is unknown, and the connection is closed.
        """
        self.check()
        link = cast("Link", self._link)
        self.is_over = True
        try:
            results = link.exchange([*statements, COMMIT, *((SYNC, FLUSH) if self._flushes_later else ())])
        except Refused:
            link.roll_back()
            self._dispose(link)
            raise
        except BaseException as error:
            self.lose(str(error))
            raise
        self._dispose(link)
        return results

    def run(self, statements: list[Statement]) -> list[Rows | int]:
        """Run statements in the middle of the turn. Raises LockLost; Refused, and the turn is lost then, too."""
        self.check()
        link = cast("Link", self._link)
        try:
            return link.exchange(statements)
        except Broken as error:
            self.lose(str(error))
            raise self.lost(str(error)) from error
        except BaseException as error:
            self.lose(str(error))
            raise

    def lose(self, why: str) -> None:
        """The connection is of no use any more."""
        self.is_over = True
        self.problem = self.problem or why
        link, self._link = self._link, None
        if link is not None:
            caretaker().let_go(link)
            self._source.close(link)

    def lost(self, why: str) -> LockLost:
        """The error for what can be done in the turn only."""
        return LockLost(
            f"the turn on {self._path} was lost before its commit: {why}. Nothing was written.",
            path=self._path,
            owner=None,
        )


@attrs.frozen
class AdvisoryLock:
    """The lock of one document, for turns (`_turns.adapter.LockAdapter`)."""

    key: str
    """Names the document in this process."""
    _database: Database = attrs.field(eq=False, repr=False)
    _name: str = attrs.field(eq=False, repr=False)

    name = "postgres"
    settings = "postgres"
    is_quick = False
    sidecar = None

    def next_look(self) -> float:
        """See `LockAdapter`: there is nothing to look at."""
        return float("inf")

    def look(self) -> None:
        """See `LockAdapter`."""

    def attempt(self, label: str | None) -> PostgresHold | None:
        """See `LockAdapter`. A server that cannot be reached for the moment is a lock that is taken."""
        try:
            return self._begin(label, None)
        except (Unreachable, Broken) as error:
            self._require_reached(error)
        except Refused as error:
            self._require_passing(error)
        return None

    def wait(
        self, label: str | None, wanted: Callable[[], bool], replace: Callable[[], None] | None = None
    ) -> PostgresHold | None:
        """See `LockAdapter`. The server keeps the line; while it cannot be reached, its return is waited for."""
        delays: Iterator[float] = PACE.delays()
        while wanted():
            try:
                return self._begin(label, wanted)
            except Unwanted:
                return None
            except (Unreachable, Broken) as error:
                self._require_reached(error)
            except Refused as error:
                self._require_passing(error)
            time.sleep(next(delays))
        return None

    def _begin(self, label: str | None, wanted: Callable[[], bool] | None) -> PostgresHold | None:
        """BEGIN, the lock, the read: one round trip. None: the lock is taken, and it was not to be waited for.

        With `wanted` the lock is waited for.
        """
        database = self._database
        link = database.source.take()
        if not link.is_fresh:
            try:
                return self._try(link, label, wanted)
            except Broken:  # it was idle for too long, or the server was restarted
                link = database.source.take(fresh=True)
        return self._try(link, label, wanted)

    def _try(self, link: Link, label: str | None, wanted: Callable[[], bool] | None) -> PostgresHold | None:
        database, key = self._database, self._lock_key
        flushes_later = wanted is not None and link.prologue is None and link.incarnation is not None
        first = [BEGIN] if link.prologue is None else [BEGIN, link.prologue]
        if label:
            first.append(database.statements.label(application_name(label)))
        try:
            results = link.exchange(
                [
                    *first,
                    database.statements.try_lock(key)
                    if wanted is None
                    else database.statements.lock(key, flushes_later=flushes_later),
                    database.statements.load(
                        self._name, if_held=wanted is None, asks_incarnation=link.incarnation is None
                    ),
                ],
                wanted,
            )
        except Refused as error:
            if is_passing(error.sqlstate):
                database.source.close(link)
            else:
                link.roll_back()
                database.source.give_back(link)
            raise
        except Unwanted:
            link.cancel()
            database.source.close(link)
            raise
        except BaseException:
            database.source.close(link)
            raise
        database.source.trouble = None
        row = cast("Rows", results[-1])[0]
        if row[0] is None:
            link.roll_back()
            database.source.give_back(link)
            return None
        return PostgresHold(database, self.key, link, row, flushes_later=flushes_later)

    def _require_reached(self, error: Exception) -> None:
        """A server that was never reached is not waited for: its address may be wrong."""
        self._database.source.trouble = str(error).partition("\n")[0]
        if not self._database.source.was_reached:
            raise self._database.unavailable(error, self.key) from error

    def _require_passing(self, error: Refused) -> None:
        if is_passing(error.sqlstate) or error.sqlstate in _TIMED_OUT:
            self._require_reached(error)
            return
        raise self._database.error_of(error, self.key) from error

    @property
    def _lock_key(self) -> int:
        return self._database.table.lock_key(self._name)

    def owner(self) -> Owner | None:
        """See `LockAdapter`: the session that holds the lock, as the server shows it.

        For messages, and asked for on event loops, too: a server that does not answer soon is not waited for.
        """
        found: list[Owner | None] = []
        answered = threading.Event()

        def look() -> None:
            try:
                found.append(self._look_up())
            except (Unreachable, Broken, Refused) as error:
                log.info("%s: its holder cannot be looked up: %s", self.key, error)
            answered.set()

        try:
            threads.start(look)
        except RuntimeError:  # no thread to be had
            return None
        answered.wait(_OWNER_SECONDS)
        return found[0] if found else None

    def _look_up(self) -> Owner | None:
        (rows,) = self._database.try_to_ask([self._database.statements.owner(self._lock_key)])
        assert isinstance(rows, list)
        return None if not rows else _owner_of(rows[0])

    def mismatch(self, owner: Owner) -> StrategyMismatch | None:
        """See `LockAdapter`: there is one kind of lock only."""
        return None

    def whereabouts(self) -> str:
        """See `LockAdapter`."""
        trouble = self._database.source.trouble
        where = f"advisory lock {self._lock_key} of the server"
        return where if trouble is None else f"{where}, which cannot be reached: {trouble}"

    def advice(self, owner: Owner | None) -> str:
        """See `LockAdapter`."""
        if self._database.source.trouble is not None:
            return "Look after the server, or try again when it is back."
        if owner is None:
            return "Try again; `storewriter status` on the store names the holder."
        session = _SESSION.search(owner.command or "")
        end = "" if session is None else f" `SELECT pg_terminate_backend({session[1]})` ends it."
        return (
            f"Wait for it, raise `timeout`, or look at what it does. Its lock ends with its session: also after "
            f"{self._database.source.silence:g} s in which the server hears nothing from it.{end}"
        )

    def same_lock(self, keys: Iterable[str]) -> None:
        """See `LockAdapter`: a document has one name."""


def _owner_of(row: tuple[bytes | None, ...]) -> Owner:
    """The holder: what its session says of itself, and where it comes from.

    The server's role needs `pg_read_all_stats` to see more than the process of another role's session.
    """
    pid, application, address, role, since = row
    name = text_of(application) or ""
    process, host, label = _client_of(name)
    parts = [name or "application not known", f"role {text_of(role) or 'not known'}"]
    parts += [f"from {text_of(address) or 'the same host or unknown'}", f"server process {number_of(pid)}"]
    return Owner(
        pid=process,
        host=host,
        command=", ".join(parts),
        since=seconds_of(since),
        label=label,
        strategy="postgres",
    )


def _client_of(application: str) -> tuple[int | None, str | None, str | None]:
    """Process, host and label of a holder that is one of ours (`_connections.application_name`)."""
    found = _OURS.match(application)
    return (None, None, None) if found is None else (int(found[1]), found[2], found[3])
