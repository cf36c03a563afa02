"""A forked child uses and ends nothing of its parent's: connections, watches, pools."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from contextlib import closing

import pytest

from helpers.postgres_server import Server
from storewriter import LockLost, ServerUnavailable, Store
from storewriter.postgres import Postgres
from storewriter.postgres._statements import ROLLBACK
from storewriter.postgres._turn import PostgresHold
from storewriter.postgres._wire import Broken


def in_child(call: Callable[[], object]) -> None:
    """Run a call in a forked child, whose objects are collected before it ends."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            call()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees the exit code, the report the traceback
            traceback.print_exc()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def _take(document: Postgres) -> PostgresHold:
    hold = document.lock.wait(None, lambda: True)
    assert hold is not None
    return hold


def test_the_turn_stays_the_parents(url: str) -> None:
    document = Postgres(url)
    Store(document).update(lambda state: state.update(n=1))
    hold = _take(document)
    found = document.load(hold)

    def child() -> None:
        with pytest.raises(LockLost, match="forked"):
            hold.check()
        with pytest.raises(LockLost):
            document.commit(hold, b"child", found, document.new_commit())
        hold.release()
        hold.lose("the child is done with it")
        assert document.lock.attempt(None) is None

    in_child(child)
    document.commit(hold, b"parent", found, document.new_commit())
    assert document.read() == b"parent"


def test_an_idle_connection_stays_the_parents(url: str) -> None:
    document = Postgres(url)
    store = Store(document)
    store.update(lambda state: state.update(n=1))
    source = document._database.source
    (link,) = source._idle  # type: ignore[attr-defined]

    def child() -> None:
        assert source._idle == []  # type: ignore[attr-defined]
        for use in (lambda: link.exchange([]), lambda: link.post(ROLLBACK)):
            with pytest.raises(Broken, match="has forked"):
                use()
        assert store.read() == {"n": 1}
        store.update(lambda state: state.update(n=2))
        source.give_back(link)
        assert link not in source._idle  # type: ignore[attr-defined]
        source.close(link)
        source.close_idle()

    in_child(child)
    link.exchange([])  # it is still there
    assert source.take() is link
    source.give_back(link)
    assert store.read() == {"n": 2}


@pytest.mark.parametrize("notify", [True, False])
def test_a_watch_of_the_parent_goes_on_in_both(server: Server, name: str, notify: bool) -> None:
    from storewriter.postgres import create

    table = f"watched_{notify}.documents".lower()
    create(server.dsn(table=table), notify=notify)
    store = Store(server.dsn(name, table=table))
    store.update(lambda state: state.update(n=1))
    with closing(store.watch()) as states:
        assert next(states) == {"n": 1}

        def child() -> None:
            store.update(lambda state: state.update(n=2))
            assert next(states) == {"n": 2}
            states.close()

        in_child(child)
        assert next(states) == {"n": 2}
        store.update(lambda state: state.update(n=3))
        assert next(states) == {"n": 3}


def test_a_pool_of_the_parent_is_refused(server: Server, name: str) -> None:
    psycopg_pool = pytest.importorskip("psycopg_pool")
    with psycopg_pool.ConnectionPool(server.dsn(), min_size=1, open=True) as pool:
        store = Store(Postgres(pool, name))
        store.update(lambda state: state.update(n=1))

        def child() -> None:
            for ask in (store.read, lambda: store.update(lambda state: state.update(n=2))):
                with pytest.raises(ServerUnavailable, match="open a pool of its own"):
                    ask()

        in_child(child)
        store.update(lambda state: state.update(n=3))
        assert store.read() == {"n": 3}
