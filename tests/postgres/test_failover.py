"""A standby that is promoted: connections move to it, and a commit whose answer was lost is judged by its history."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from helpers.postgres_server import Server
from helpers.waiting import until
from storewriter import CommitUncertain, LockLost, Store
from storewriter.postgres import Postgres, create
from storewriter.postgres._wire import Broken


class Pair:
    """A primary and its standby, asynchronous."""

    def __init__(self, binaries: Any) -> None:
        self.primary = Server(binaries).create().start()
        create(self.primary.dsn())
        self.standby = self.primary.standby()

    def url(self, name: str) -> str:
        folders, ports = f"{self.primary.folder},{self.standby.folder}", f"{self.primary.port},{self.standby.port}"
        return f"postgresql://postgres@/postgres?host={folders}&port={ports}#{name}"

    def catch_up(self) -> None:
        with psycopg.connect(self.primary.dsn(), autocommit=True) as connection:
            row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
            assert row is not None
        with psycopg.connect(self.standby.dsn(), autocommit=True) as connection:
            until(
                lambda: connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row).fetchone() == (True,),
                "the standby has replayed everything",
            )

    def fail_over(self) -> None:
        self.primary.stop(signal.SIGKILL)
        self.promote()

    def promote(self) -> None:
        with psycopg.connect(self.standby.dsn(), autocommit=True) as connection:
            connection.execute("SELECT pg_promote(true, 20)")

    def remove(self) -> None:
        self.standby.remove()
        self.primary.remove()


@pytest.fixture
def pair(server: Server) -> Iterator[Pair]:
    pair = Pair(server.binaries)
    try:
        yield pair
    finally:
        pair.remove()


def bump(state: dict[str, int]) -> int:
    state["n"] = state.get("n", 0) + 1
    return state["n"]


def test_stores_go_on_at_the_promoted_standby(pair: Pair) -> None:
    store = Store(pair.url("state"))
    assert [store.update(bump) for _ in range(3)] == [1, 2, 3]
    pair.catch_up()
    pair.fail_over()
    assert store.update(bump) == 4
    assert store.read() == {"n": 4}


def test_while_there_is_no_primary_updates_wait_and_a_deadline_says_so(pair: Pair) -> None:
    from storewriter import LockTimeout

    store = Store(pair.url("state"))
    store.update(bump)
    pair.catch_up()
    pair.primary.stop(signal.SIGKILL)
    with pytest.raises(LockTimeout, match="which cannot be reached: connection failed"):
        store.update(bump, timeout=0.3)
    pair.promote()
    assert store.update(bump) == 2


@pytest.mark.parametrize("there", ["as before", "replicated", "changed since"])
def test_a_commit_whose_answer_was_lost_is_judged_by_the_new_history(
    pair: Pair, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storewriter.postgres import _connections

    document = Postgres(pair.url("state"))
    Store(document).update(bump)
    pair.catch_up()
    if there != "replicated":
        pair.standby.stop()  # what comes now does not reach it
    hold = document.lock.wait(None, lambda: True)
    assert hold is not None
    link, real = hold._link, _connections.exchange
    assert link is not None

    def cut(pgconn: object, *args: object) -> object:
        results = real(pgconn, *args)  # type: ignore[arg-type]
        if pgconn is link.connection.pgconn:
            link.connection.close()
            if there == "replicated":
                pair.catch_up()
            pair.primary.stop(signal.SIGKILL)
            if not pair.standby.is_running:
                pair.standby.start()
            pair.promote()
            if there == "changed since":
                with psycopg.connect(pair.standby.dsn(), autocommit=True) as other:
                    other.execute(
                        "UPDATE storewriter.documents SET version = 99, commit_id = gen_random_uuid(), recent = '{}'"
                    )
            raise Broken("cut")
        return results

    commit = document.new_commit()
    found = document.load(hold)
    monkeypatch.setattr(_connections, "exchange", cut)
    if there == "replicated":
        document.commit(hold, b'{"n": 2}', found, commit)
        assert document.read() == b'{"n": 2}'
    elif there == "as before":
        with pytest.raises(LockLost):  # this history does not have it, and never will: the update begins anew
            document.commit(hold, b'{"n": 2}', found, commit)
    else:
        with pytest.raises(CommitUncertain, match="another one has taken over"):
            document.commit(hold, b'{"n": 2}', found, commit)
    hold.release()
