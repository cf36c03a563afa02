"""The tables, and how they are made: by an explicit command, never behind the user's back.

Promise    `script` can be run again: it makes what is missing, changes no document, and brings a table of an older
           version up to date. A table of a newer version is refused.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from storewriter.errors import StoreWriterError
from storewriter.postgres._location import Table, place_of, split_url

__all__ = ["VERSION", "create", "location_of_table", "script"]

VERSION: Final = 1
"""Version of the tables."""

_TABLES: Final = """\
CREATE SCHEMA IF NOT EXISTS "{schema}";

CREATE TABLE IF NOT EXISTS {documents} (
    name text PRIMARY KEY,
    body bytea NOT NULL,  -- the document, byte for byte
    version bigint NOT NULL,  -- grows by one with each commit
    commit_id uuid NOT NULL,  -- names the commit: numbers repeat after a restore
    recent uuid[] NOT NULL DEFAULT '{{}}',  -- the commits before it, the newest first
    content_type text,
    updated_at timestamptz NOT NULL,
    updated_by text
);
ALTER TABLE {documents} ALTER COLUMN body SET STORAGE EXTERNAL;  -- not compressed: it is replaced as a whole

CREATE TABLE IF NOT EXISTS {backups} (
    kept bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    version bigint NOT NULL,
    commit_id uuid NOT NULL,
    body bytea NOT NULL,
    saved_at timestamptz NOT NULL,
    PRIMARY KEY (name, kept),
    UNIQUE (name, commit_id)
);

CREATE TABLE IF NOT EXISTS {versions} (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only), version integer NOT NULL
);
INSERT INTO {versions} (version) VALUES ({number}) ON CONFLICT DO NOTHING;
"""

_NOTIFY: Final = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    PERFORM pg_catalog.pg_notify(''{channel}'', NEW.name);
    RETURN NULL;
END
';
CREATE OR REPLACE TRIGGER storewriter_notify AFTER INSERT OR UPDATE ON {documents}
    FOR EACH ROW EXECUTE FUNCTION {function}();
"""

_GRANTS: Final = """
GRANT USAGE ON SCHEMA "{schema}" TO "{role}";
GRANT SELECT, INSERT, UPDATE ON {documents} TO "{role}";
GRANT SELECT, INSERT, DELETE ON {backups} TO "{role}";
GRANT SELECT ON {versions} TO "{role}";
"""


def script(table: Table, *, role: str | None = None, notify: bool = False) -> str:
    """The SQL that makes the tables at `table`.

    `role`: who gets the rights that a writer needs, and no others. `notify`: with a trigger that wakes watchers at each
    commit; it makes the commits of the whole database wait for each other.
    """
    names = {
        "schema": table.schema,
        "documents": table.documents,
        "backups": table.backups,
        "versions": table.version,
        "function": f'"{table.schema}"."{table.name}_notify"',
        "channel": table.channel,
        "number": VERSION,
        "role": "" if role is None else role.replace('"', '""'),
    }
    parts = [_TABLES, _NOTIFY if notify else "", "" if role is None else _GRANTS]
    return "".join(part.format(**names) for part in parts)


def location_of_table(url: str) -> tuple[str, Table]:
    """The address of the table in `url`, for messages, and the table. Raises ValueError."""
    conninfo, table, _, _ = split_url(url)
    return place_of(conninfo, table), table


def create(url: str, *, role: str | None = None, notify: bool = False) -> bool:
    """Make the tables of a database; returns whether there was anything to make.

    Args:
        url: As for a store; the name of a document in it does not matter.
        role: A role that gets the rights that a writer needs, and no others; None: no rights are given.
        notify: With a trigger that wakes watchers at each commit; it makes the commits of the whole database wait for
            each other.

    Raises:
        StoreWriterError: The database could not be asked, or its tables are of a later version.
        ValueError: The URL is not one of PostgreSQL.
    """
    conninfo, table, _, _ = split_url(url)
    place = place_of(conninfo, table)
    try:
        with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection, connection.transaction():
            # "IF NOT EXISTS" is no protection from another program that does the same at the same time.
            connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", [table.lock_key("")])
            found = _version_in(connection, table)
            if found is not None and found > VERSION:
                msg = (
                    f"{place}: the table {table} is of version {found}, and this program knows {VERSION} only. "
                    f"Install the newer storewriter"
                )
                raise StoreWriterError(msg, path=place)
            connection.execute(script(table, role=role, notify=notify).encode())
    except psycopg.Error as error:
        msg = f"{place}: the tables could not be made: {str(error).strip()}"
        raise StoreWriterError(msg, path=place) from error
    return found is None


def _version_in(connection: Any, table: Table) -> int | None:
    (there,) = connection.execute("SELECT pg_catalog.to_regclass(%s)", [table.version]).fetchone()
    if there is None:
        return None
    row = connection.execute(f"SELECT version FROM {table.version}".encode()).fetchone()
    return None if row is None else int(row[0])
