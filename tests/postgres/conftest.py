"""A real server for each major version that is there; skipped with a reason where there is none, but not in CI."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from helpers import postgres_server
from helpers.postgres_server import Server

pytest.importorskip("psycopg", reason="PostgreSQL is not tested: pip install 'storewriter[postgres]'")

from storewriter.postgres import create
from storewriter.postgres._connections import caretaker


def _majors() -> list[object]:
    return [pytest.param(found, id=f"pg{found.major}") for found in postgres_server.installations()] or [None]


@pytest.fixture(scope="session", params=_majors())
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of one major version, for all tests of this process."""
    reason = postgres_server.missing()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = Server(request.param)
    try:
        server.create().start()
        create(server.dsn())
        yield server
    finally:
        server.remove()


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
