"""A document of a PostgreSQL database, as the store's backend (`_backends/protocol.py`).

Promise    A commit that has returned has been acknowledged by the server: it is durable, and every later turn of every
           host finds it. A commit whose answer was lost is asked about; it is never reported as failed if it happened.
How        A turn reads when it takes the lock (`_turn.py`); a commit is one more round trip: the new version, if the
           document still is the one that was read, COMMIT and, where others wait for the lock, the flush behind it.
Does not   need a turn for `read`: a reader sees the last committed version, and waits for nothing.
"""

from __future__ import annotations

from typing import Any

from storewriter._backends.protocol import Loaded
from storewriter.errors import DocumentChanged, LockLost
from storewriter.postgres._asking import Found, Question, has_happened, is_still_there
from storewriter.postgres._connections import Pooled, Source, author, connections_of
from storewriter.postgres._database import CHANGED, Database, is_passing
from storewriter.postgres._location import (
    SILENCE,
    TABLE,
    Location,
    Table,
    location_of,
    place_of,
    require_name,
    require_silence,
    split_url,
)
from storewriter.postgres._news import PostgresNews
from storewriter.postgres._rescue import PostgresRescue
from storewriter.postgres._statements import new_commit_id
from storewriter.postgres._status import PostgresStatus
from storewriter.postgres._turn import AdvisoryLock, PostgresHold
from storewriter.postgres._wire import Broken, Refused, Statement

__all__ = ["Postgres", "PostgresCommit", "from_url"]


class PostgresCommit:
    """How far one commit has come."""

    __slots__ = ("is_done", "question")

    def __init__(self) -> None:
        self.is_done = False
        self.question: Question | None = None
        """Since it was sent, until it is known what has become of it."""


class Postgres:
    """One document in a table of a PostgreSQL database.

    `Store(Postgres("host=db dbname=app", "commitments"))`, or in short `Store("postgresql://db/app#commitments")`.

    `database`: a conninfo or URL for libpq, or a `psycopg_pool.ConnectionPool`, which its owner opens and closes. Of a
    URL, the fragment is the name of the document. `table`: schema and table, as `storewriter postgres init` made them.
    `backups`: how many replaced documents are kept. `content_type`: noted with a new document, for other programs.
    `silence`: seconds after which the server ends the turn of a holder from which it hears nothing, because its host is
    cut off or its process was stopped; the holder then gets LockLost. The library reports in time for a holder that is
    only slow. None: what the URL says (`?silence=10`), or 6.
    """

    __slots__ = ("__weakref__", "_author", "_database", "_lock", "_name", "_settings", "key")

    def __init__(
        self,
        database: Any,
        name: str | None = None,
        *,
        table: str | None = None,
        backups: int = 0,
        content_type: str | None = None,
        silence: float | None = None,
    ) -> None:
        if silence is not None:
            silence = require_silence(silence)
        if isinstance(database, str):
            conninfo, of_url, fragment, usual = split_url(database)
            source: Source = connections_of(conninfo, usual if silence is None else silence)
            name = name if name is not None else fragment
        else:
            conninfo, of_url = _conninfo_of(database), Table.parse(TABLE)
            source = Pooled(database, SILENCE if silence is None else silence)
        where = of_url if table is None else Table.parse(table)
        location = Location(conninfo, where, require_name(name or ""))
        self.key = location.key
        """The document's name in this process, and in errors and events: its address without user and password."""
        self._name = location.name
        self._settings = (backups, content_type)
        self._database = Database(source, where, place_of(conninfo, where))
        self._lock = AdvisoryLock(self.key, self._database, self._name)
        self._author = ""

    def __repr__(self) -> str:
        return f"Postgres({self.key!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Postgres):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[object, ...]:
        return self.key, self._database, self._settings

    @property
    def lock(self) -> AdvisoryLock:
        """See `Backend`."""
        return self._lock

    # -- without a turn ------------------------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        """See `Backend`."""
        (rows,) = self._database.ask([self._database.statements.read(self._name)], self.key)
        assert isinstance(rows, list)
        return rows[0][0] if rows else None

    def loads_quickly(self, hold: PostgresHold | None = None) -> bool:
        """See `Backend`: the document came with the lock."""
        return hold is not None

    # -- in a turn -----------------------------------------------------------------------------------------------------

    def load(self, hold: PostgresHold) -> Loaded:
        """See `Backend`. It was read when the turn was taken; a commit ends the turn."""
        hold.check()
        return Loaded(hold.data, hold.found)

    def new_commit(self) -> PostgresCommit:
        """See `Backend`."""
        return PostgresCommit()

    def commit(self, hold: PostgresHold, data: bytes, found: Loaded, commit: PostgresCommit) -> None:
        """See `Backend`. Ends the turn."""
        if commit.is_done or (commit.question is not None and self.landed(hold, data, commit)):
            return
        hold.check()
        seen: Found = found.stamp
        question = Question(self.key, self._name, hold.xid, seen.incarnation, seen.stamp, new_commit_id())
        statements, which = self._commit_of(data, question)
        commit.question = question
        try:
            results = hold.finish(statements)
        except Refused as error:
            commit.question = None
            if error.sqlstate in CHANGED:
                raise self.changed() from error
            if is_passing(error.sqlstate):
                raise hold.lost(str(error)) from error
            raise self._database.error_of(error, self.key) from error
        except Broken as error:
            if self._has_happened(commit, question):
                return
            raise hold.lost(f"the connection was lost ({error}), and the server has rolled it back") from error
        commit.question = None
        if results[which] != 1:
            raise self.changed()
        commit.is_done = True

    def _commit_of(self, data: bytes, question: Question) -> tuple[list[Statement], int]:
        """The statements, and which one of them changes one row if the document is the one that was found."""
        statements, name = self._database.statements, self._name
        backups, content_type = self._settings
        if not self._author:
            self._author = author()
        if question.before is None:
            return [statements.insert(name, data, question.commit_id, self._author, content_type)], 0
        update = statements.update(name, data, question.before, question.commit_id, self._author)
        if not backups:
            return [update], 0
        keep, prune = statements.keep(name, question.before), statements.prune(name, backups)
        return [keep, update, prune], 1

    def landed(self, hold: PostgresHold, data: bytes, commit: PostgresCommit) -> bool:
        """See `Backend`."""
        if commit.is_done or commit.question is None:
            return commit.is_done
        hold.lose("the commit was interrupted")
        return self._has_happened(commit, commit.question)

    def _has_happened(self, commit: PostgresCommit, question: Question) -> bool:
        commit.is_done = has_happened(self._database, question)
        commit.question = None
        return commit.is_done

    def is_doubtful(self, found: Loaded) -> bool:
        """See `Backend`: what can be read was committed."""
        return False

    def changed(self) -> DocumentChanged:
        """See `Backend`."""
        msg = f"{self.key} was changed by a program that does not take its lock. Nothing was written."
        return DocumentChanged(msg, path=self.key, expected="", found="")

    # -- after the turn ------------------------------------------------------------------------------------------------

    def settle(self, commit: PostgresCommit) -> None:
        """See `Backend`: the server has answered when the commit was durable."""

    def confirm(self, found: Loaded) -> None:
        """See `Backend`: the writer that has committed it may not have flushed it yet."""
        if not is_still_there(self._database, self._name, found.stamp, self.key):
            raise LockLost(
                f"the server of {self.key} has crashed, and the document that was found is not there any more. Nothing "
                f"was written.",
                path=self.key,
                owner=None,
            )

    # -- the rest ------------------------------------------------------------------------------------------------------

    def news(self, *, events: bool) -> PostgresNews:
        """See `Backend`."""
        return PostgresNews(self._database, self.key, self._name, events=events)

    def rescue(self) -> PostgresRescue:
        """See `Backend`."""
        return PostgresRescue(self._database, self.key, self._name, self.load, self.changed)

    def status(self) -> PostgresStatus:
        """See `Backend`."""
        return PostgresStatus(self._database, self.key, self._name, self._lock)


def _conninfo_of(pool: Any) -> str:
    conninfo = getattr(pool, "conninfo", None)
    if callable(conninfo):
        conninfo = conninfo()
    if not isinstance(conninfo, str) or not hasattr(pool, "getconn"):
        msg = f"database must be a conninfo, a URL or a psycopg_pool.ConnectionPool, got {pool!r}"
        raise TypeError(msg)
    return conninfo


def from_url(url: str, *, durability: str, backups: int) -> Postgres:
    """The backend of a `url` like `postgresql://...#name`, with so many `backups`. Raises ValueError.

    `durability="process"` is the same as "power": to acknowledge before the server has flushed would save little, and
    lose what was acknowledged if the server is killed.
    """
    location_of(url)
    return Postgres(url, backups=backups)


def names(url: str) -> list[str]:
    """The documents of a table whose names begin with the one in `url` (none: all), each without that beginning.

    Raises ValueError for a URL of no database, StoreWriterError if it cannot be asked.
    """
    conninfo, table, start, silence = split_url(url)
    place = place_of(conninfo, table)
    database = Database(connections_of(conninfo, silence), table, place)
    (rows,) = database.ask([database.statements.names(start)], place)
    assert isinstance(rows, list)
    return [bytes(row[0] or b"").decode()[len(start) :] for row in rows]
