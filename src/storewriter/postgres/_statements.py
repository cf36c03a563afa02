"""The SQL of one turn, and how its values are spelled in binary form."""

from __future__ import annotations

import struct
import uuid
from typing import Final, NamedTuple

import attrs

from storewriter.postgres._location import Table
from storewriter.postgres._wire import Statement, Value

__all__ = [
    "BEGIN",
    "COMMIT",
    "FLUSH",
    "INCARNATION",
    "ROLLBACK",
    "Stamp",
    "Statements",
    "int8",
    "new_commit_id",
    "number_of",
    "seconds_of",
    "text_of",
]

BEGIN: Final = Statement(b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
"""READ COMMITTED, whatever the role's default is: each statement sees what was committed before it began. With one
snapshot for the transaction, the read would see the document as it was before the wait for the lock."""
COMMIT: Final = Statement(b"COMMIT")
ROLLBACK: Final = Statement(b"ROLLBACK")
FLUSH: Final = Statement(
    b"SELECT pg_catalog.pg_logical_emit_message(true, 'storewriter', ''), "
    b"CASE WHEN pg_catalog.current_setting('synchronous_commit') = 'off' "
    b"THEN pg_catalog.set_config('synchronous_commit', 'on', true) END"
)
"""A transaction of its own, which changes nothing but is written to the log: when it has ended, every commit before it
is as durable as a commit of this role is (on the disk, and on the standbys for which it waits)."""


def int8(number: int) -> bytes:
    """A bigint."""
    return number.to_bytes(8, "big", signed=True)


def new_commit_id() -> bytes:
    """A name for one commit: a uuid."""
    return uuid.uuid4().bytes


class Stamp(NamedTuple):
    """Which document it is."""

    version: int
    commit_id: bytes
    row: bytes
    """Another one after every change, also by programs that leave version and commit as they were."""


_RECENT: Final = 16
"""Commits before the newest one that a document remembers."""

INCARNATION: Final = (
    "pg_catalog.concat(pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8), "
    "' ', pg_catalog.pg_stat_get_bgwriter_stat_reset_time())"
)
"""As long as it is the same, a number of a transaction means one transaction. The timeline changes when a standby is
promoted or a backup restored. A server that has crashed gives numbers out again that it had not written down yet, on
the same timeline; but it also discards its statistics, and notes when."""

_IS_SETTLED: Final = (
    "pg_catalog.pg_current_wal_flush_lsn() >= pg_catalog.pg_current_wal_insert_lsn() "
    "AND pg_catalog.current_setting('synchronous_standby_names') = ''"
)
"""Whether everything that can be seen is durable, as far as that can be told without waiting."""


@attrs.frozen
class Statements:
    """The statements for one table."""

    table: Table

    def lock(self, key: int, *, flushes_later: bool) -> Statement:
        """Wait for the lock of a document; first come, first served.

        `flushes_later`: the transaction releases the lock when it has committed, before the commit is on the disk;
        the holder sends `FLUSH` behind it.
        """
        later = b"pg_catalog.set_config('synchronous_commit', 'off', true), " if flushes_later else b""
        return Statement(b"SELECT " + later + b"pg_catalog.pg_advisory_xact_lock($1)", (int8(key),))

    def try_lock(self, key: int) -> Statement:
        """Take the lock if it is free; the statement after it finds out by a setting of the transaction."""
        sql = (
            b"SELECT pg_catalog.set_config('storewriter.held', "
            b"pg_catalog.pg_try_advisory_xact_lock($1)::pg_catalog.text, true)"
        )
        return Statement(sql, (int8(key),))

    def load(self, name: str, *, if_held: bool, asks_incarnation: bool) -> Statement:
        """One row: transaction, incarnation, whether it is settled, version, commit, row, body.

        In a statement of its own, behind the lock.

        Reading in the statement that waits for the lock would see the row as it was before the wait.
        """
        held = "pg_catalog.current_setting('storewriter.held') = 'true'" if if_held else "true"
        incarnation = INCARNATION if asks_incarnation else "NULL"
        sql = (
            f"SELECT CASE WHEN {held} THEN pg_catalog.pg_current_xact_id() END, {incarnation}, {_IS_SETTLED}, "
            f"d.version, d.commit_id, d.xmin, d.body FROM (SELECT 1) AS one "
            f"LEFT JOIN {self.table.documents} AS d ON d.name = $1 AND {held}"
        )
        return Statement(sql.encode(), (name.encode(),))

    def read(self, name: str) -> Statement:
        """The body."""
        sql = f"SELECT body FROM {self.table.documents} WHERE name = $1"
        return Statement(sql.encode(), (name.encode(),))

    def names(self, start: str) -> Statement:
        """The names of all documents that begin with a text, in order."""
        sql = f"SELECT name FROM {self.table.documents} WHERE pg_catalog.starts_with(name, $1) ORDER BY name"
        return Statement(sql.encode(), (start.encode(),))

    def look(self, name: str, stamp: Stamp | None) -> Statement:
        """The stamp; and the body, if it is not the one with this stamp."""
        sql = (
            f"SELECT version, commit_id, xmin, CASE WHEN commit_id IS DISTINCT FROM $2::pg_catalog.uuid "
            f"OR xmin IS DISTINCT FROM $3::pg_catalog.xid THEN body END "
            f"FROM {self.table.documents} WHERE name = $1"
        )
        known = (None, None) if stamp is None else (stamp.commit_id, stamp.row)
        return Statement(sql.encode(), (name.encode(), *known))

    def has_trigger(self) -> Statement:
        """Whether commits are notified."""
        sql = (
            b"SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = $1::pg_catalog.text::regclass "
            b"AND tgname = 'storewriter_notify' AND tgenabled <> 'D')"
        )
        return Statement(sql, (self.table.documents.encode(),))

    def listen(self) -> Statement:
        """Be notified of commits."""
        return Statement(f'LISTEN "{self.table.channel}"'.encode())

    def facts(self, name: str) -> Statement:
        """Size, version, time and author of a document."""
        sql = (
            f"SELECT pg_catalog.octet_length(body)::pg_catalog.int8, version, "
            f"EXTRACT(EPOCH FROM updated_at)::pg_catalog.float8, updated_by, content_type "
            f"FROM {self.table.documents} WHERE name = $1"
        )
        return Statement(sql.encode(), (name.encode(),))

    def insert(self, name: str, data: bytes, commit_id: bytes, author: str, content_type: str | None) -> Statement:
        """A new document; refused if there is one."""
        sql = (
            f"INSERT INTO {self.table.documents} "
            f"(name, body, version, commit_id, updated_at, updated_by, content_type) "
            f"VALUES ($1, $2, 1, $3, pg_catalog.clock_timestamp(), $4, $5)"
        )
        kind = None if content_type is None else content_type.encode()
        return Statement(sql.encode(), (name.encode(), data, commit_id, author.encode(), kind))

    def update(self, name: str, data: bytes, found: Stamp, commit_id: bytes, author: str) -> Statement:
        """The next version of a document; refused if it is not the one that was found; changes no row if there is none.

        Refused, because a transaction that has changed nothing must not be committed: were its answer lost, it would
        be taken for an update that has happened.
        """
        sql = (
            f"UPDATE {self.table.documents} SET body = $2, version = version + 1, commit_id = $3, "
            f"recent = (ARRAY[commit_id] OPERATOR(pg_catalog.||) recent)[1:{_RECENT}], "
            f"updated_at = pg_catalog.clock_timestamp(), updated_by = $4 "
            f"WHERE name = $1 AND CASE WHEN version = $5 AND commit_id = $6 AND xmin = $7 THEN true "
            f"ELSE 1 / (version - version) = 1 END"
        )
        stamp = (int8(found.version), found.commit_id, found.row)
        return Statement(sql.encode(), (name.encode(), data, commit_id, author.encode(), *stamp))

    def keep(self, name: str, found: Stamp) -> Statement:
        """Make a backup of the document that is about to be replaced."""
        sql = (
            f"INSERT INTO {self.table.backups} (name, version, commit_id, body, saved_at) "
            f"SELECT name, version, commit_id, body, updated_at FROM {self.table.documents} "
            f"WHERE name = $1 AND version = $2 AND commit_id = $3 ON CONFLICT (name, commit_id) DO NOTHING"
        )
        return Statement(sql.encode(), (name.encode(), int8(found.version), found.commit_id))

    def prune(self, name: str, backups: int) -> Statement:
        """Keep the newest backups only."""
        sql = (
            f"DELETE FROM {self.table.backups} WHERE name = $1 AND kept NOT IN "
            f"(SELECT kept FROM {self.table.backups} WHERE name = $1 ORDER BY kept DESC LIMIT $2)"
        )
        return Statement(sql.encode(), (name.encode(), int8(backups)))

    def backups(self, name: str) -> Statement:
        """Number, version and time of the backups, the newest first."""
        sql = (
            f"SELECT kept, version, EXTRACT(EPOCH FROM saved_at)::pg_catalog.float8 FROM {self.table.backups} "
            f"WHERE name = $1 ORDER BY kept DESC"
        )
        return Statement(sql.encode(), (name.encode(),))

    def backup(self, name: str, kept: int) -> Statement:
        """The body of a backup."""
        sql = f"SELECT body FROM {self.table.backups} WHERE name = $1 AND kept = $2"
        return Statement(sql.encode(), (name.encode(), int8(kept)))

    def names_like(self, prefix: str) -> Statement:
        """The documents whose names begin with a text."""
        sql = f"SELECT name FROM {self.table.documents} WHERE pg_catalog.starts_with(name, $1)"
        return Statement(sql.encode(), (prefix.encode(),))

    def is_running(self, xid: bytes) -> Statement:
        """Whether a transaction is in progress. Once it is not, every later statement sees what it has committed."""
        sql = (
            b"SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'transactionid' AND granted "
            b"AND mode = 'ExclusiveLock' AND transactionid = $1::pg_catalog.xid8::pg_catalog.xid)"
        )
        return Statement(sql, (xid,))

    def history(self, name: str, xid: bytes, incarnation: bytes) -> Statement:
        """What has become of a transaction, and of a document.

        The incarnation of the server; the document's commits (their number, the newest, those before it); and whether
        the transaction was `committed` or `aborted`, NULL if that is too long ago. The last one only in the incarnation
        of the transaction: in another one, the same number is another transaction, or none yet.
        """
        sql = (
            f"SELECT {INCARNATION}, d.version, d.commit_id, pg_catalog.array_to_string(d.recent, ','), "
            f"CASE WHEN {INCARNATION} = $3::pg_catalog.text THEN pg_catalog.pg_xact_status($2::pg_catalog.xid8) END "
            f"FROM (SELECT 1) AS one LEFT JOIN {self.table.documents} AS d ON d.name = $1"
        )
        return Statement(sql.encode(), (name.encode(), xid, incarnation))

    def owner(self, key: int) -> Statement:
        """Who holds the lock of a document, and how many wait for it."""
        sql = b"""
            SELECT l.pid, a.application_name, pg_catalog.host(a.client_addr), a.usename,
                   EXTRACT(EPOCH FROM a.xact_start)::pg_catalog.float8
            FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
              AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
              AND l.classid::pg_catalog.int8 = ($1::pg_catalog.int8 >> 32) & 4294967295
              AND l.objid::pg_catalog.int8 = $1::pg_catalog.int8 & 4294967295
        """
        return Statement(sql, (int8(key),))

    def label(self, text: str) -> Statement:
        """Show what this transaction is for in pg_stat_activity."""
        sql = b"SELECT pg_catalog.set_config('application_name', $1, true)"
        return Statement(sql, (text.encode(),))


def seconds_of(value: Value) -> float | None:
    """A float8."""
    return None if value is None else float(struct.unpack(">d", value)[0])


def text_of(value: Value) -> str | None:
    """A text from its binary form."""
    return None if value is None else value.decode(errors="replace")


def number_of(value: Value) -> int | None:
    """A bigint, or another whole number."""
    return None if value is None else int.from_bytes(value, "big", signed=True)
