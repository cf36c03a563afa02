"""One round trip to the server: statements that are sent together, and their results.

Promise    `exchange` returns the results of all statements, or raises: `Refused` if the server has refused one (those
           after it have not run), `Broken` if the connection is lost (any of them may have run).
How        libpq's pipeline mode, by psycopg's wrapper of it: everything is sent, then one `Sync`; the server answers
           when it has run them. A `SYNC` between the statements divides them into parts: each is a transaction of its
           own, unless it begins and ends one itself, and the server begins with the next part without being asked.
           While a statement waits for a lock, the thread looks now and then whether the answer is still wanted.
Does not   interpret results, nor repeat anything.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from psycopg import OperationalError, pq

__all__ = ["SYNC", "Broken", "Refused", "Rows", "Statement", "Unwanted", "exchange", "post", "take_news"]

_LOOK: Final = 0.1
"""Seconds between two looks whether a wait is still wanted."""

_BINARY: Final = 1

Value = bytes | None
Rows = list[tuple[Value, ...]]


class Statement(NamedTuple):
    """What to run, with parameters in their binary form."""

    sql: bytes
    values: Sequence[Value] = ()


SYNC: Final = Statement(b"")
"""Between two parts of an exchange."""


class Refused(Exception):
    """The server has refused a statement; its transaction is aborted, and the connection can be used."""

    def __init__(self, text: str, sqlstate: str | None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


class Broken(Exception):
    """The connection is lost. Whether what was sent has run is unknown.

    `sqlstate`: what the server has said before it closed the connection, if anything.
    """

    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


class Unwanted(Exception):
    """The answer is not wanted any more; the statements may still run, so the connection must be closed."""


def post(pgconn: Any, statements: Sequence[Statement]) -> None:
    """Send statements, without waiting for their results. Raises Broken."""
    try:
        if pgconn.pipeline_status == pq.PipelineStatus.OFF:
            pgconn.enter_pipeline_mode()
        for sql, values in statements:
            if not sql:
                pgconn.pipeline_sync()
                continue
            pgconn.send_query_params(sql, values, param_formats=[_BINARY] * len(values), result_format=_BINARY)
        pgconn.pipeline_sync()
        pgconn.flush()
    except OperationalError as error:
        raise Broken(_text_of(pgconn, error)) from error


def take_news(pgconn: Any) -> None:
    """Take what the server has sent, without waiting: notifications, or that it has closed the connection: Broken."""
    try:
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN)
        while True:
            if not poll.poll(0):
                break
            pgconn.consume_input()
    except OperationalError as error:
        raise Broken(_text_of(pgconn, error)) from error


def exchange(
    pgconn: Any, statements: Sequence[Statement], owed: int = 0, wanted: Callable[[], bool] | None = None
) -> list[Rows | int]:
    """Send statements and return, of each, its rows; or, if it returns none, how many rows it has changed.

    `owed`: how many times `post` was called before; those results are thrown away.
    `wanted`: asked now and then while the server is silent. Raises Unwanted once it is false.
    Raises Refused, if nothing of the first part has run; Broken.
    """
    post(pgconn, statements)
    parts = sum(not statement.sql for statement in statements)
    has_run = False  # the first part
    results: list[Rows | int] = []
    refused: Refused | None = None
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    try:
        while True:
            was_none = False
            while True:
                if pgconn.is_busy():
                    break
                result = pgconn.get_result()
                if result is None:
                    if was_none:
                        break  # nothing more is known; the next read tells why
                    was_none = True  # the end of one statement's results
                    continue
                was_none = False
                status = result.status
                if status == pq.ExecStatus.PIPELINE_SYNC:
                    if owed:
                        owed -= 1
                    elif parts:
                        parts -= 1
                        has_run = refused is None
                    elif refused is None:
                        return results
                    elif has_run:
                        raise Broken(str(refused), refused.sqlstate)
                    else:
                        raise refused
                elif owed:
                    continue
                elif status == pq.ExecStatus.FATAL_ERROR:
                    refused = refused or _refused(result)
                elif status == pq.ExecStatus.TUPLES_OK:
                    results.append(_rows_of(result))
                elif status == pq.ExecStatus.COMMAND_OK:
                    results.append(result.command_tuples or 0)
            _wait(pgconn, poll, wanted)
    except OperationalError as error:
        if refused is not None:
            raise Broken(str(refused), refused.sqlstate) from error
        raise Broken(_text_of(pgconn, error)) from error


def _wait(pgconn: Any, poll: select.poll, wanted: Callable[[], bool] | None) -> None:
    """Return when the server has said more. Raises OperationalError if it has closed the connection; Unwanted."""
    while True:
        unsent = pgconn.flush()
        poll.modify(pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        if poll.poll(None if wanted is None else _LOOK * 1000):
            break
        if wanted is not None and not wanted():
            raise Unwanted
    pgconn.consume_input()


def _rows_of(result: Any) -> Rows:
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]


def _refused(result: Any) -> Refused:
    state = result.error_field(pq.DiagnosticField.SQLSTATE)
    text = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
    return Refused(text.decode(errors="replace").strip(), None if state is None else state.decode("ascii", "replace"))


def _text_of(pgconn: Any, error: OperationalError) -> str:
    return str(error).strip() or pgconn.get_error_message().strip() or "the connection is closed"
