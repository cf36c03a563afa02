"""The lock goes on before the flush, and nothing is answered before it.

The flush is held up by a standby that does not exist: a commit that waits for the disk waits for that one, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from helpers.lines import Worker
from helpers.postgres_server import Server
from helpers.waiting import until
from storewriter import LockLost, PerStoreWriterQueue, Store
from storewriter._backends.protocol import Loaded
from storewriter.postgres import Postgres
from storewriter.postgres._asking import Found
from storewriter.postgres._statements import Stamp
from storewriter.postgres._turn import PostgresHold


def _set(server: Server, standbys: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'".encode())
        connection.execute("SELECT pg_reload_conf()")
        until(
            lambda: connection.execute("SHOW synchronous_standby_names").fetchone() == (standbys,), "the setting is on"
        )


@pytest.fixture
def hold_up(server: Server) -> Iterator[Callable[[], None]]:
    """Holds up the flushes from the call on; at the end of the test they go on."""

    def now() -> None:
        _set(server, "nobody")
        until(lambda: _a_commit_waits(server), "commits wait")  # when the checkpointer has read the setting, too

    try:
        yield now
    finally:
        _set(server, "")


def _flushes_wait(server: Server, count: int) -> bool:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchone()
    return row == (count,)


def _a_commit_waits(server: Server) -> bool:
    """Try one that has something to flush, and end its wait."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        commit = Worker(lambda: connection.execute("SELECT pg_logical_emit_message(true, 'a', 'b')"))
        until(lambda: commit.is_done or _flushes_wait(server, 1), "the commit waits, or has ended")
        waits = not commit.is_done
        if waits:
            connection.cancel()
        commit.result()
    return waits


def _take(document: Postgres) -> PostgresHold:
    hold = document.lock.wait(None, lambda: True)
    assert hold is not None
    return hold


def test_the_next_turn_begins_before_the_flush_of_the_one_before_it(
    server: Server, url: str, hold_up: Callable[[], None]
) -> None:
    document = Postgres(url)
    hold = _take(document)
    hold_up()
    first = Worker(lambda: document.commit(hold, b"first", document.load(hold), document.new_commit()))
    until(lambda: _flushes_wait(server, 1), "the first commit waits for its flush")
    other = _take(Postgres(url))
    assert document.load(other).data == b"first"
    second = Worker(lambda: document.commit(other, b"second", document.load(other), document.new_commit()))
    until(lambda: _flushes_wait(server, 2), "the second one, too")
    assert document.read() == b"second"
    assert not first.is_done
    assert not second.is_done
    _set(server, "")
    first.result()
    second.result()


def test_an_update_that_changes_nothing_is_answered_when_what_it_has_found_is_durable(
    server: Server, url: str, hold_up: Callable[[], None]
) -> None:
    document = Postgres(url)
    hold = _take(document)
    hold_up()
    saving = Worker(lambda: document.commit(hold, b'{"n": 1}', document.load(hold), document.new_commit()))
    until(lambda: _flushes_wait(server, 1), "the commit waits for its flush")
    looking = Worker(lambda: Store(url, queue=PerStoreWriterQueue()).update(lambda state: state["n"]))
    until(lambda: _flushes_wait(server, 2), "so does the update that changes nothing")
    assert not looking.is_done
    _set(server, "")
    saving.result()
    assert looking.result() == 1


def test_what_is_durable_already_is_not_flushed_again(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = Postgres(url)
    Store(document).update(lambda state: state.update(n=1))
    asked: list[Any] = []
    ask = type(document._database).ask

    def noted(*args: Any) -> Any:
        asked.append(args)
        return ask(*args)

    monkeypatch.setattr(type(document._database), "ask", noted)

    def look() -> bool:
        hold = _take(document)
        found = document.load(hold)
        hold.release()
        document.confirm(found)
        return not asked or asked.clear() is not None

    until(look, "the server has nothing to write")


def test_an_update_that_has_seen_what_a_crash_took_back_begins_anew(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has changed nothing, and would be answered with what is not there any more."""
    document = Postgres(url)
    store = Store(document)
    store.update(lambda state: state.update(n=1))
    gone = Loaded(b'{"n": 2}', Found(Stamp(2, b"x" * 16, b"\0\0\0\7"), b"another server's", is_settled=False))
    with pytest.raises(LockLost, match="has crashed"):
        document.confirm(gone)
    real, loads = Postgres.load, iter([gone])
    monkeypatch.setattr(Postgres, "load", lambda self, hold: next(loads, None) or real(self, hold))
    assert store.update(lambda state: state["n"]) == 1


def test_a_document_that_survived_a_crash_is_durable(server: Server, url: str) -> None:
    document = Postgres(url)
    Store(document).update(lambda state: state.update(n=1))
    hold = _take(document)
    found = document.load(hold)
    hold.release()
    server.restart()
    document.confirm(Loaded(found.data, found.stamp._replace(is_settled=False, incarnation=b"another")))


def test_a_connection_that_is_lost_before_the_flush_does_not_repeat_the_update(
    server: Server, url: str, hold_up: Callable[[], None]
) -> None:
    """The commit has happened; the question what has become of it flushes in its place."""
    document = Postgres(url)
    hold = _take(document)
    hold_up()
    commit = document.new_commit()
    saving = Worker(lambda: document.commit(hold, b"saved", document.load(hold), commit))
    until(lambda: _flushes_wait(server, 1), "the commit waits for its flush")
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    until(lambda: _flushes_wait(server, 1), "the question waits for a flush")
    assert not saving.is_done
    _set(server, "")
    saving.result()
    assert commit.is_done
    assert document.read() == b"saved"


def test_a_pool_may_lead_to_another_session_so_the_flush_is_in_the_turn(
    server: Server, name: str, hold_up: Callable[[], None]
) -> None:
    psycopg_pool = pytest.importorskip("psycopg_pool")
    with psycopg_pool.ConnectionPool(server.dsn(), min_size=1, open=True) as pool:
        document = Postgres(pool, name)
        hold = _take(document)
        hold_up()
        saving = Worker(lambda: document.commit(hold, b"saved", document.load(hold), document.new_commit()))
        until(lambda: _flushes_wait(server, 1), "the commit waits for its flush")
        assert Postgres(server.dsn(name)).lock.attempt(None) is None
        _set(server, "")
        saving.result()
