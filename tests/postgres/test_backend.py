"""A document of a database, as the store's backend: what a turn and a commit do, and what a lost connection means."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable

import psycopg
import pytest

from helpers.children import HOLDER, child
from helpers.lines import Worker
from helpers.postgres_server import Server
from helpers.waiting import until
from storewriter import PerStoreWriterQueue
from storewriter.errors import (
    DocumentChanged,
    LockLost,
    LockTimeout,
    SchemaMissing,
    ServerRefused,
    ServerUnavailable,
)
from storewriter.postgres import Postgres
from storewriter.postgres._turn import PostgresHold
from storewriter.postgres._wire import Statement


def _always() -> bool:
    return True


def _take(document: Postgres, label: str | None = None) -> PostgresHold:
    hold = document.lock.wait(label, _always, lambda: None)
    assert hold is not None
    return hold


def _save(document: Postgres, data: bytes) -> None:
    hold = _take(document)
    document.commit(hold, data, document.load(hold), document.new_commit())
    hold.release()


def _sql(server: Server, text: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        cursor = connection.execute(text.encode(), values)
        return cursor.fetchall() if cursor.description else []


def _terminate(server: Server, hold: PostgresHold) -> None:
    assert hold._link is not None
    _sql(server, "SELECT pg_terminate_backend(%s, 5000)", hold._link.backend_pid)


def test_what_was_committed_is_read_byte_for_byte(url: str) -> None:
    document = Postgres(url)
    assert document.read() is None
    every = bytes(range(256)) * 300
    for data in (b"", b"{}", every, b'{"a": 1e2, "a": NaN}\0'):
        _save(document, data)
        assert document.read() == data
        hold = _take(document)
        assert document.load(hold).data == data
        hold.release()


def test_a_turn_excludes_another_one(url: str) -> None:
    first, second = Postgres(url), Postgres(url)
    hold = _take(first)
    assert second.lock.attempt(None) is None
    hold.release()
    other = second.lock.attempt(None)
    assert other is not None
    other.release()


def test_a_waiter_gets_the_turn_with_what_was_committed_before(url: str) -> None:
    document = Postgres(url)
    hold = _take(document)
    found: list[bytes | None] = []
    waiter = threading.Thread(target=lambda: found.append(_read_in_turn(Postgres(url))))
    waiter.start()
    until(lambda: _waiting(document) == 1, "somebody waits for the lock")
    document.commit(hold, b"new", document.load(hold), document.new_commit())
    waiter.join()
    assert found == [b"new"]


def _read_in_turn(document: Postgres) -> bytes | None:
    hold = _take(document)
    try:
        return document.load(hold).data
    finally:
        hold.release()


def _waiting(document: Postgres) -> int:
    key = document.lock._lock_key & 0xFFFFFFFFFFFFFFFF
    (rows,) = document._database.ask(
        [
            document._database.statements.owner(0)._replace(
                sql=b"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                b"AND classid::int8 = %d AND objid::int8 = %d" % (key >> 32, key & 0xFFFFFFFF),
                values=(),
            )
        ],
        document.key,
    )
    assert isinstance(rows, list)
    return int.from_bytes(rows[0][0] or b"", "big")


def test_a_wait_ends_when_it_is_not_wanted_any_more(url: str) -> None:
    document = Postgres(url)
    hold = _take(document)
    wanted = [True, True, True]
    assert document.lock.wait(None, lambda: bool(wanted and wanted.pop()), lambda: None) is None
    until(lambda: _waiting(document) == 0, "the server has forgotten the waiter")
    hold.release()


def test_a_document_that_was_changed_without_the_lock_is_not_replaced(server: Server, url: str, name: str) -> None:
    document = Postgres(url)
    _save(document, b"old")
    hold = _take(document)
    found = document.load(hold)
    _sql(server, "UPDATE storewriter.documents SET body = 'other', version = version + 1 WHERE name = %s", name)
    with pytest.raises(DocumentChanged):
        document.commit(hold, b"new", found, document.new_commit())
    assert document.read() == b"other"


def test_a_change_by_a_program_that_knows_nothing_of_versions_is_noticed(server: Server, url: str, name: str) -> None:
    document = Postgres(url)
    _save(document, b"old")
    hold = _take(document)
    found = document.load(hold)
    news = document.news(events=False)
    assert news.look(must_load=False) is not None
    assert news.look(must_load=False) is None
    _sql(server, "UPDATE storewriter.documents SET body = 'other' WHERE name = %s", name)
    seen = news.look(must_load=False)
    assert seen is not None
    assert seen.data == b"other"
    with pytest.raises(DocumentChanged):
        document.commit(hold, b"new", found, document.new_commit())
    assert document.read() == b"other"


def test_a_document_that_appeared_without_the_lock_is_not_replaced(server: Server, url: str, name: str) -> None:
    document = Postgres(url)
    hold = _take(document)
    found = document.load(hold)
    other = server.dsn(name + "-2")
    _save(Postgres(other), b"other")
    _sql(server, "UPDATE storewriter.documents SET name = %s WHERE name = %s", name, name + "-2")
    with pytest.raises(DocumentChanged):
        document.commit(hold, b"new", found, document.new_commit())
    assert document.read() == b"other"


def test_a_turn_whose_connection_was_terminated_is_lost(server: Server, url: str) -> None:
    document = Postgres(url)
    _save(document, b"old")
    hold = _take(document)
    found = document.load(hold)
    _terminate(server, hold)
    until(lambda: _raises(hold.check, LockLost), "the loss is seen without a commit")
    with pytest.raises(LockLost):
        document.commit(hold, b"new", found, document.new_commit())
    hold.release()
    assert document.read() == b"old"


def _raises(call: Callable[[], object], kind: type[BaseException]) -> bool:
    try:
        call()
    except kind:
        return True
    return False


def test_a_commit_on_a_terminated_connection_has_not_happened(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = Postgres(url)
    _save(document, b"old")
    hold = _take(document)
    found = document.load(hold)
    monkeypatch.setattr(PostgresHold, "check", lambda self: None)  # the loss comes right after the last look
    _terminate(server, hold)
    with pytest.raises(LockLost, match="rolled it back"):
        document.commit(hold, b"new", found, document.new_commit())
    assert document.read() == b"old"


@pytest.mark.parametrize("others", [0, 3])
def test_a_commit_whose_answer_was_lost_is_asked_about(url: str, others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if other turns have replaced the document since: then the server knows the transaction."""
    from storewriter.postgres import _connections
    from storewriter.postgres._wire import Broken

    document = Postgres(url)
    hold = _take(document)
    link, real = hold._link, _connections.exchange
    assert link is not None

    def cut(pgconn: object, *args: object) -> object:
        results = real(pgconn, *args)  # type: ignore[arg-type]
        if pgconn is link.connection.pgconn:
            for number in range(others):
                _save(Postgres(url), b"other %d" % number)
            link.connection.close()
            raise Broken("cut")
        return results

    monkeypatch.setattr(_connections, "exchange", cut)
    commit = document.new_commit()
    document.commit(hold, b"new", document.load(hold), commit)
    assert commit.is_done
    assert document.read() == (b"other %d" % (others - 1) if others else b"new")


def test_an_interrupted_commit_is_found_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from storewriter.postgres import _connections

    document = Postgres(url)
    _save(document, b"old")
    hold = _take(document)
    found = document.load(hold)
    link, real = hold._link, _connections.exchange
    assert link is not None

    def interrupted(pgconn: object, *args: object) -> object:
        results = real(pgconn, *args)  # type: ignore[arg-type]
        if pgconn is link.connection.pgconn:
            raise KeyboardInterrupt
        return results

    monkeypatch.setattr(_connections, "exchange", interrupted)
    commit = document.new_commit()
    with pytest.raises(KeyboardInterrupt):
        document.commit(hold, b"new", found, commit)
    assert document.landed(hold, b"new", commit)
    document.commit(hold, b"new", found, commit)  # repeated: nothing happens
    assert document.read() == b"new"


def test_a_server_that_restarts_is_waited_for(server: Server, url: str) -> None:
    document = Postgres(url)
    _save(document, b"old")
    server.stop()
    found: list[bytes | None] = []
    reader = threading.Thread(target=lambda: found.append(document.read()))
    writer = threading.Thread(target=lambda: _save(document, b"new"))
    assert document.lock.attempt(None) is None
    reader.start()
    writer.start()
    server.start()
    reader.join()
    writer.join()
    assert found[0] in (b"old", b"new")
    assert document.read() == b"new"


def test_a_server_that_was_never_reached_is_an_error_at_once(tmp_path: object) -> None:
    document = Postgres("postgresql://nobody@localhost:1/nowhere#state")
    for ask in (document.read, lambda: document.lock.attempt(None), lambda: document.lock.wait(None, _always)):
        with pytest.raises(ServerUnavailable, match="refused"):
            ask()


def test_a_missing_table_says_what_to_do(server: Server) -> None:
    document = Postgres(server.dsn("state", table="elsewhere.documents"))
    for ask in (document.read, lambda: document.lock.attempt(None), lambda: document.lock.wait(None, _always)):
        with pytest.raises(SchemaMissing, match="storewriter postgres init 'postgresql:///postgres\\?host="):
            ask()


def test_missing_rights_are_named(server: Server, name: str) -> None:
    _sql(server, "DROP ROLE IF EXISTS reader")
    _sql(server, "CREATE ROLE reader LOGIN")
    document = Postgres(server.dsn(name).replace("postgres@", "reader@"))
    with pytest.raises(ServerRefused, match="permission denied.*--role"):
        document.read()


def test_the_holder_is_named(url: str) -> None:
    document = Postgres(url)
    assert document.lock.owner() is None
    hold = _take(document, "nightly digest")
    owner = document.lock.owner()
    hold.release()
    assert owner is not None
    assert (owner.pid, owner.label, owner.strategy) == (os.getpid(), "nightly digest", "postgres")
    assert f"server process {hold_pid(owner.command)}" in str(owner)
    assert owner.since is not None


def test_a_timeout_says_what_to_do_about_a_session(url: str) -> None:
    """There is no lock file to look at or to leave alone."""
    queue = PerStoreWriterQueue(timeout=0.2)
    with child(HOLDER, url, "nightly digest") as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout) as caught, queue.turn(url):
            pass
        text = str(caught.value)
        assert re.search(
            rf"held by pid {holder.pid} on .*\(storewriter .*, role postgres, from the same host or unknown, server "
            rf"process (\d+)\), since .* s\), \"nightly digest\".*; advisory lock -?\d+ of the server\. Wait for it, raise "
            rf"`timeout`, or look at what it does\. Its lock ends with its session: also after 6 s in which the server "
            rf"hears nothing from it\. `SELECT pg_terminate_backend\(\1\)` ends it\.\Z",
            text,
        ), text
        assert "lock file" not in text
        holder.tell()
        holder.finish()


def test_no_limit_of_the_role_ends_a_wait_or_a_turn(server: Server, url: str) -> None:
    names = ["lock_timeout", "statement_timeout"]
    if server.binaries.major >= 17:
        names.append("transaction_timeout")
    _sql(server, "DROP ROLE IF EXISTS hasty")
    _sql(server, "CREATE ROLE hasty LOGIN SUPERUSER")
    for limit in names:
        _sql(server, f"ALTER ROLE hasty SET {limit} = '100ms'")
    holding = _take(Postgres(url))
    document = Postgres(url.replace("postgres@", "hasty@"))
    waiting = Worker(lambda: _take(document))
    assert not threading.Event().wait(0.3)
    holding.release()
    hold = waiting.result()
    assert hold._link is not None
    shown = hold.run([Statement(f"SHOW {limit}".encode()) for limit in names])
    assert shown == [[(b"0",)]] * len(names)
    hold.release()


@pytest.mark.parametrize(("given", "seconds"), [("", 6.0), ("&silence=2.5", 2.5)])
def test_the_url_may_say_when_the_turn_of_a_silent_holder_ends(server: Server, given: str, seconds: float) -> None:
    document = Postgres(server.dsn("state").replace("#", f"{given}#"))
    assert document._database.source.silence == seconds
    assert document.key == Postgres(server.dsn("state")).key
    (rows,) = document._database.ask([Statement(b"SHOW idle_in_transaction_session_timeout")], document.key)
    assert rows == [(b"6s" if seconds == 6 else b"2500ms",)]


@pytest.mark.parametrize("silence", ["", "0.5", "x", "nan", "inf"])
def test_a_silence_that_is_none_is_refused(silence: str) -> None:
    with pytest.raises(ValueError, match="silence must be at least one second and at most a day"):
        Postgres(f"postgresql://localhost/app?silence={silence}#state")


def hold_pid(command: str | None) -> str:
    assert command is not None
    return command.rpartition(" ")[2]


def test_the_turn_of_a_stopped_process_ends(server: Server, name: str) -> None:
    """It was stopped: the server hears nothing from it, and after `silence` the next one gets the turn."""
    document = Postgres(server.dsn(), name, silence=1.0)
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            theirs = Postgres(server.dsn(), name, silence=1.0)
            hold = _take(theirs)
            os.write(told, b"x")
            signal.pause()
            os._exit(0 if _raises(hold.check, LockLost) else 2)
        finally:
            os._exit(1)
    try:
        assert os.read(ready, 1) == b"x"
        assert document.lock.attempt(None) is None
        os.kill(child, signal.SIGSTOP)
        _save(document, b"new")
        signal_and_continue = (signal.SIGUSR1, signal.SIGCONT)
        for one in signal_and_continue:
            os.kill(child, one)
    finally:
        os.close(ready)
        os.close(told)
        os.waitpid(child, 0)
    assert document.read() == b"new"


def test_the_turn_of_a_slow_holder_goes_on(server: Server, name: str) -> None:
    """The server hears from it: a turn may take longer than `silence`."""
    document = Postgres(server.dsn(), name, silence=1.0)
    hold = _take(document)
    found = document.load(hold)
    assert not threading.Event().wait(2.5)
    hold.check()
    document.commit(hold, b"new", found, document.new_commit())
    assert document.read() == b"new"


def test_backups_are_kept_in_the_table_beside(url: str) -> None:
    document = Postgres(url, backups=2)
    for number in range(5):
        _save(document, b"%d" % number)
    rescue = document.rescue()
    names = rescue.backups()
    assert [rescue.read(name) for name in names] == [b"3", b"2"]
    assert all(rescue.saved_at(name) for name in names)


def test_a_corrupt_document_is_set_aside_and_replaced_in_one_commit(url: str) -> None:
    document = Postgres(url)
    _save(document, b"corrupt")
    for number in (1, 2):
        rescue = document.rescue()
        hold = _take(document)
        aside = rescue.replace(hold, document.load(hold), b"good", like=None)
        hold.release()
        assert aside == f"{document.key}.corrupt-{number}"
    assert document.read() == b"good"
    assert Postgres(url + ".corrupt-1").read() == b"corrupt"
