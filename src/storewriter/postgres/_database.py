"""One table of documents in one database: questions that need no turn, and what errors of the server mean.

Promise    A question that changes nothing is asked again, paced by `Backoff`, while a server that was reached before
           cannot be reached: it is being restarted, or its standby promoted. A server that was never reached is an
           error at once: a wrong name or password would be tried for ever.
Fails by   ServerUnavailable, SchemaMissing, ServerRefused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import attrs

from storewriter.backoff import Backoff
from storewriter.errors import SchemaMissing, ServerRefused, ServerUnavailable, StoreWriterError
from storewriter.postgres._connections import Link, Source, Unreachable
from storewriter.postgres._location import Table
from storewriter.postgres._statements import Statements
from storewriter.postgres._wire import Broken, Refused, Rows, Statement

__all__ = ["CHANGED", "PACE", "PATIENCE", "Database", "is_passing"]

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds for which a server that was reached before is tried again."""

PACE: Final = Backoff(minimum=0.01, factor=1.6, maximum=0.5)
"""Pauses between such tries."""

_NO_TABLE: Final = frozenset({"42P01", "3F000"})
_NO_COLUMN: Final = "42703"
CHANGED: Final = frozenset({"22012", "23505"})
"""What refuses to replace a document that is not the one that was found: see `Statements.update` and `insert`."""
_PASSING: Final = frozenset(
    {
        "57P01",  # admin_shutdown: the connection was terminated, or the server is being stopped
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now: it is starting
        "57P05",  # idle_session_timeout
        "25P03",  # idle_in_transaction_session_timeout
        "25006",  # read_only_sql_transaction: a standby, or a primary that has become one
        "55000",  # the same, of functions that need a primary
        "08006",  # connection_failure, and the like: a pooler's words
        "08003",
        "08P01",
        "53300",  # too_many_connections
    }
)


def is_passing(sqlstate: str | None) -> bool:
    """Whether a server that says this may take the same statement a little later, on another connection."""
    return sqlstate in _PASSING


@attrs.frozen
class Database:
    """The documents of one table."""

    source: Source
    table: Table
    place: str
    """For messages, and what the keys of documents begin with; without a password."""
    statements: Statements = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(lambda self: Statements(self.table), takes_self=True)
    )

    def ask(self, statements: Sequence[Statement], path: str) -> list[Rows | int]:
        """Run statements that can be repeated, without a turn. Raises as the module says."""
        return self.repeat(partial(self.try_to_ask, statements), path)

    def repeat(self, step: Callable[[], T], path: str) -> T:
        """Make a step that can be repeated, until a server that is away for a moment is back."""
        delays = PACE.delays(time.monotonic() + PATIENCE)
        while True:
            try:
                return step()
            except Refused as error:
                if not is_passing(error.sqlstate):
                    raise self.error_of(error, path) from error
                problem: Exception = error
            except (Unreachable, Broken) as error:
                problem = error
            delay = next(delays, None) if self.source.was_reached else None
            if delay is None:
                raise self.unavailable(problem, path) from problem
            time.sleep(delay)

    def try_to_ask(self, statements: Sequence[Statement]) -> list[Rows | int]:
        """The same, once, or twice: an idle connection may have been closed meanwhile. Raises what a link raises."""
        link = self.source.take()
        was_idle = not link.is_fresh
        try:
            results = self.run(link, statements)
        except Broken:
            if not was_idle:
                raise
            link = self.source.take(fresh=True)
            results = self.run(link, statements)
        self.source.give_back(link)
        return results

    def run(self, link: Link, statements: Sequence[Statement]) -> list[Rows | int]:
        """Run statements on a connection, which is closed unless that succeeds or the server has only refused them."""
        try:
            results = link.exchange(statements)
        except Refused as error:
            if is_passing(error.sqlstate):
                self.source.close(link)
            else:
                self.source.give_back(link)
            raise
        except BaseException:
            self.source.close(link)
            raise
        return results

    def error_of(self, error: Refused, path: str) -> StoreWriterError:
        """What a refusal of the server is for a caller."""
        if error.sqlstate in _NO_TABLE:
            return SchemaMissing(
                f"{path} cannot be used: there is no table {self.table} in this database. "
                f"Create it once with `storewriter postgres init '{self.place}'`.",
                path=path,
                table=str(self.table),
            )
        if error.sqlstate == _NO_COLUMN:
            return SchemaMissing(
                f"{path} cannot be used: the table {self.table} is of another version of storewriter ({error}). "
                f"`storewriter postgres init '{self.place}'` brings it up to date.",
                path=path,
                table=str(self.table),
            )
        advice = ""
        if error.sqlstate == "42501":
            advice = f" `storewriter postgres init '{self.place}' --role ROLE` grants a role what it needs."
        return ServerRefused(
            f"{path}: the server refused: {error} (SQLSTATE {error.sqlstate}).{advice}",
            path=path,
            sqlstate=error.sqlstate,
        )

    def unavailable(self, error: Exception, path: str) -> ServerUnavailable:
        """The error if no connection can be had."""
        return ServerUnavailable(f"{path}: the server cannot be reached: {error}", path=path)
