"""What has become of a commit whose answer was lost: the hard cases."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from helpers.lines import Worker
from helpers.postgres_server import Server
from helpers.waiting import wait_for
from storewriter import CommitUncertain, LockLost, Store
from storewriter.postgres import Postgres, _asking, _connections
from storewriter.postgres._asking import Question, has_happened
from storewriter.postgres._database import Database
from storewriter.postgres._statements import new_commit_id
from storewriter.postgres._turn import PostgresHold
from storewriter.postgres._wire import Broken, Refused


def _take(document: Postgres) -> PostgresHold:
    hold = document.lock.wait(None, lambda: True)
    assert hold is not None
    return hold


def _sql(server: Server, text: str, *values: object) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(text.encode(), values)


def _cut(monkeypatch: pytest.MonkeyPatch, hold: PostgresHold) -> None:
    """The server hears what is sent from now on in this turn, and its answer is lost."""
    link, real = hold._link, _connections.exchange
    assert link is not None

    def cut(pgconn: object, *args: object) -> object:
        if pgconn is not link.connection.pgconn:
            return real(pgconn, *args)  # type: ignore[arg-type]
        try:
            real(pgconn, *args)  # type: ignore[arg-type]
        except Refused:
            pass
        link.connection.close()
        raise Broken("cut")

    monkeypatch.setattr(_connections, "exchange", cut)


@pytest.mark.parametrize("changes", [1, 20])
def test_a_commit_that_has_changed_nothing_has_not_happened(
    server: Server, url: str, name: str, changes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program without the lock was first, and the answer is lost: the transaction must not look like a commit."""
    document = Postgres(url)
    Store(document).update(lambda state: state.update(n=1))
    hold = _take(document)
    found = document.load(hold)
    for _ in range(changes):
        _sql(
            server,
            "UPDATE storewriter.documents SET body = 'other', version = version + 1, commit_id = gen_random_uuid(), "
            "recent = (ARRAY[commit_id] || recent)[1:16] WHERE name = %s",
            name,
        )
    _cut(monkeypatch, hold)
    with pytest.raises(LockLost):
        document.commit(hold, b"new", found, document.new_commit())
    assert document.read() == b"other"


def test_a_first_commit_behind_another_one_has_not_happened(
    server: Server, url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = Postgres(url)
    hold = _take(document)
    found = document.load(hold)
    _sql(
        server,
        "INSERT INTO storewriter.documents (name, body, version, commit_id, updated_at) "
        "VALUES (%s, 'other', 1, gen_random_uuid(), now())",
        name,
    )
    _cut(monkeypatch, hold)
    with pytest.raises(LockLost):
        document.commit(hold, b"new", found, document.new_commit())
    assert document.read() == b"other"


def test_a_document_that_was_deleted_meanwhile_tells_nothing(
    server: Server, url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = Postgres(url)
    Store(document).update(lambda state: state.update(n=1))
    hold = _take(document)
    found = document.load(hold)
    _sql(server, "DELETE FROM storewriter.documents WHERE name = %s", name)
    _cut(monkeypatch, hold)
    with pytest.raises(CommitUncertain, match="deleted"):
        document.commit(hold, b"new", found, document.new_commit())


@pytest.mark.parametrize("incarnation", ["the same", "another"])
def test_a_transaction_that_is_in_progress_is_waited_for(
    url: str, incarnation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as the server may keep a connection that was cut; also if only its statistics were reset."""
    monkeypatch.setattr(_asking, "PATIENCE", 0.0)
    document = Postgres(url)
    Store(document).update(lambda state: state.update(n=1))
    hold = _take(document)
    seen = hold.found
    told = seen.incarnation if incarnation == "the same" else b"another"
    question = Question(document.key, document._name, hold.xid, told, seen.stamp, new_commit_id())
    asked, real = threading.Event(), Database.try_to_ask

    def ask(self: Database, statements: Any) -> Any:
        answer = real(self, statements)
        asked.set()
        return answer

    monkeypatch.setattr(Database, "try_to_ask", ask)
    asking = Worker(lambda: has_happened(document._database, question))
    wait_for(asked, "the first answer")
    asked.clear()
    wait_for(asked, "the second one")
    assert not asking.is_done
    hold.release()
    assert asking.result() is False
