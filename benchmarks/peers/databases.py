"""A row per record: only the changed record is written, and readers need the library."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import diskcache
import sqlitedict
import tinydb
from tinydb.table import Document

from benchmarks.peers import batches
from benchmarks.peers.locks import PATIENCE
from storewriter.cli.bench.contender import AsyncUpdate, Contender, Layout, TakeTurn, Target, Update
from storewriter.cli.bench.document import RECORD_ID, State, document_of

SELECT = "SELECT body FROM records WHERE id = ?"
REPLACE = "UPDATE records SET body = ? WHERE id = ?"


def records_of(size: int) -> dict[str, State]:
    return document_of(size)["records"]


# SQLite


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


def _sqlite_layout(journal: str) -> Layout:
    def create(path: Path, size: int) -> None:
        with closing(_connect(path, "FULL")) as connection:
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("CREATE TABLE records (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID")
            rows = ((key, json.dumps(record)) for key, record in records_of(size).items())
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO records VALUES (?, ?)", rows)
            connection.execute("COMMIT")

    def attempts(path: Path) -> int:
        with closing(_connect(path, "FULL")) as connection:
            return json.loads(connection.execute(SELECT, (RECORD_ID,)).fetchone()[0])["attempts"]

    return Layout(create, attempts)


def adding_to_row(number: int) -> Callable[[sqlite3.Connection], None]:
    """Make one update within a transaction that the caller has begun."""

    def add(connection: sqlite3.Connection) -> None:
        record = json.loads(connection.execute(SELECT, (RECORD_ID,)).fetchone()[0])
        record["attempts"] += number
        connection.execute(REPLACE, (json.dumps(record), RECORD_ID))

    return add


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def sqlite(journal: str, synchronous: str, *, durable: bool, about: str) -> Contender:
    def updates(target: Target) -> Callable[[], Update]:
        def opened() -> Update:
            connection = _connect(target.path, synchronous)

            def update() -> None:
                with _transaction(connection):
                    adding_to_row(1)(connection)

            return update

        return opened

    def async_updates(target: Target) -> Callable[[], AsyncUpdate]:
        tasks_line, blocking = asyncio.Lock(), updates(target)()

        async def update() -> None:
            async with tasks_line:
                await asyncio.to_thread(blocking)

        return lambda: update

    def turns(path: Path) -> TakeTurn:
        connection = _connect(path, synchronous)
        return lambda: _transaction(connection)

    return Contender(
        name=f"sqlite-{journal}-{synchronous}".lower(),
        about=about,
        layout=_sqlite_layout(journal),
        durabilities=frozenset({durable}),
        updates=updates,
        async_updates=async_updates,
        turns=turns,
    )


def _sqlite_batched(target: Target) -> Callable[[], AsyncUpdate]:
    """All updates that wait are committed in one transaction, by hand."""
    connection = _connect(target.path, "FULL")

    def commit(functions: Sequence[Callable[[sqlite3.Connection], None]]) -> None:
        with _transaction(connection):
            for function in functions:
                function(connection)

    return batches.of_tasks(lambda: adding_to_row(1), commit)


# diskcache, sqlitedict, TinyDB


def _cache(path: Path, *, durable: bool) -> diskcache.Cache:
    return diskcache.Cache(str(path), timeout=PATIENCE, sqlite_synchronous=2 if durable else 1)


def _create_cache(path: Path, size: int) -> None:
    with _cache(path, durable=True) as cache, cache.transact():
        for key, record in records_of(size).items():
            cache[key] = record


def _cache_attempts(path: Path) -> int:
    with _cache(path, durable=True) as cache:
        return cache[RECORD_ID]["attempts"]


def _cache_updates(target: Target) -> Callable[[], Update]:
    def opened() -> Update:
        cache = _cache(target.path, durable=target.durable)

        def update() -> None:
            with cache.transact(retry=True):
                record = cache[RECORD_ID]
                record["attempts"] += 1
                cache[RECORD_ID] = record

        return update

    return opened


def _sqlitedict(path: Path) -> sqlitedict.SqliteDict:
    return sqlitedict.SqliteDict(str(path), journal_mode="WAL", timeout=PATIENCE)


def _create_sqlitedict(path: Path, size: int) -> None:
    with _sqlitedict(path) as records:
        records.update(records_of(size))
        records.commit()


def _sqlitedict_attempts(path: Path) -> int:
    with _sqlitedict(path) as records:
        return records[RECORD_ID]["attempts"]


def _sqlitedict_updates(target: Target) -> Callable[[], Update]:
    def opened() -> Update:
        records = _sqlitedict(target.path)

        def update() -> None:
            record = records[RECORD_ID]
            record["attempts"] += 1
            records[RECORD_ID] = record
            records.commit()

        return update

    return opened


def _create_tinydb(path: Path, size: int) -> None:
    with tinydb.TinyDB(path) as database:
        database.insert_multiple(records_of(size).values())


def _tinydb_attempts(path: Path) -> int:
    with tinydb.TinyDB(path) as database:
        return database.get(doc_id=1)["attempts"]


def _tinydb_updates(target: Target) -> Callable[[], Update]:
    def bump(record: Document) -> None:
        record["attempts"] += 1

    def opened() -> Update:
        database = tinydb.TinyDB(target.path)

        def update() -> None:
            database.update(bump, doc_ids=[1])

        return update

    return opened


DATABASES = (
    sqlite(
        "WAL", "FULL", durable=True,
        about="a row per record; one flush of an appended log; no folder to flush, no document to rewrite",
    ),
    sqlite(
        "WAL", "NORMAL", durable=False,
        about="a row per record; the log is not flushed, and a power cut may take the last updates",
    ),
    sqlite(
        "DELETE", "FULL", durable=True,
        about="a row per record; a rollback journal, flushed and deleted; the folder is not flushed after that",
    ),
    Contender(
        name="sqlite-batched",
        about="all updates that wait in one transaction, batched by hand, WAL and synchronous=FULL",
        layout=_sqlite_layout("WAL"),
        durabilities=frozenset({True}),
        async_updates=_sqlite_batched,
    ),
    Contender(
        name="diskcache",
        about="a row per record in SQLite, pickled; WAL, synchronous=FULL where durable",
        layout=Layout(_create_cache, _cache_attempts),
        updates=_cache_updates,
    ),
    Contender(
        name="sqlitedict",
        about="a row per record in SQLite, pickled, synchronous=OFF; reads and writes in two transactions",
        layout=Layout(_create_sqlitedict, _sqlitedict_attempts),
        durabilities=frozenset({False}),
        across_processes=False,
        updates=_sqlitedict_updates,
    ),
    Contender(
        name="tinydb",
        about="one JSON file written in place and flushed: a crash tears it; no lock",
        layout=Layout(_create_tinydb, _tinydb_attempts),
        durabilities=frozenset({True}),
        across_processes=False,
        updates=_tinydb_updates,
    ),
)  # fmt: skip
