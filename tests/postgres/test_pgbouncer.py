"""Behind PgBouncer in transaction mode: the same promises; no notifications."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from helpers.children import HOLDER, child
from helpers.postgres_server import Server
from helpers.waiting import until
from storewriter import LockTimeout, Store
from storewriter.postgres import Postgres, create

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="there is no pgbouncer (Debian: apt install pgbouncer)"
)

_PORT = 6432


@pytest.fixture
def pooled(server: Server, name: str) -> Iterator[str]:
    """The address of a document behind a pooler with two connections."""
    folder = server.folder / f"bouncer-{name[:6]}"
    folder.mkdir()
    users, settings = folder / "users", folder / "settings"
    users.write_text('"postgres" ""\n')
    settings.write_text(
        f"[databases]\npostgres = host={server.folder} port={server.port} user=postgres\n[pgbouncer]\n"
        f"listen_addr=\nlisten_port={_PORT}\nunix_socket_dir={folder}\nauth_type=any\nauth_file={users}\n"
        f"pool_mode=transaction\ndefault_pool_size=4\nmax_client_conn=100\nlogfile={folder}/log\n"
    )
    command = [shutil.which("pgbouncer") or "", str(settings)]
    prefix = ["setpriv", "--pdeathsig", "KILL"]
    if os.getuid() == 0:
        prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000", *prefix]
    process = subprocess.Popen([*prefix, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        socket_of_it = str(folder / f".s.PGSQL.{_PORT}")
        until(lambda: _answers(socket_of_it) or process.poll() is not None, "pgbouncer")
        assert process.poll() is None, (folder / "log").read_text()
        yield f"postgresql://postgres@/postgres?host={folder}&port={_PORT}#{name}"
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    """Whether a server listens: its socket has a name before it does."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(address) == 0


def bump(state: dict[str, int]) -> int:
    state["n"] = state.get("n", 0) + 1
    return state["n"]


def test_updates_of_threads_and_processes(pooled: str) -> None:
    code = "store = Store(path)\nfor _ in range(20): store.update(lambda s: s.update(n=s.get('n', 0) + 1))\nsay('done')"
    store = Store(pooled)
    with child(code, pooled) as first, child(code, pooled) as second:
        threads = [threading.Thread(target=lambda: [store.update(bump) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        first.expect("done")
        second.expect("done")
    assert store.read() == {"n": 120}


def test_a_turn_excludes_and_ends_with_its_process(pooled: str) -> None:
    store = Store(pooled)
    with child(HOLDER, pooled, "nightly") as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout, match=f"pid {holder.pid} on "):
            store.update(bump, timeout=0.3)
        holder.kill()
        assert store.update(bump) == 1


def test_the_settings_of_a_turn_are_set_in_its_transaction(pooled: str) -> None:
    document = Postgres(pooled)
    hold = document.lock.wait(None, lambda: True)
    assert hold is not None
    from storewriter.postgres._wire import Statement

    rows: Any = hold.run([Statement(b"SHOW idle_in_transaction_session_timeout")])[0]
    hold.release()
    assert rows == [(b"6s",)]
    assert not document._database.source.may_listen


def test_a_watcher_looks_now_and_then(pooled: str, server: Server, name: str) -> None:
    create(server.dsn(), notify=True)
    store = Store(pooled)
    with closing(store.watch()) as states:
        assert next(states) == {}
        Store(server.dsn(name)).update(bump)
        assert next(states) == {"n": 1}


def test_a_pool_of_the_program_serves_the_store(server: Server, name: str, tmp_path: Path) -> None:
    from psycopg_pool import ConnectionPool

    with ConnectionPool(server.dsn(), min_size=1, max_size=4) as pool:
        store: Store[dict[str, int]] = Store(Postgres(pool, name))
        threads = [threading.Thread(target=lambda: [store.update(bump) for _ in range(10)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.read() == {"n": 40}
        with pool.connection() as connection:
            assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)
