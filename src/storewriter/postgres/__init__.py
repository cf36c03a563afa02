"""PostgreSQL behind the same `Store`: for writers on several hosts. Needs `pip install 'storewriter[postgres]'`.

`Store("postgresql://host/database#name")`, or `Store(Postgres(pool, "name"))` with a pool of the program's own. The
tables are made once, with `storewriter postgres init URL`. What changes, and what stays: docs/postgres.md.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("psycopg") is None:
    raise ImportError("a store in PostgreSQL needs psycopg 3: pip install 'storewriter[postgres]'", name="psycopg")

from storewriter.postgres._document import Postgres, from_url, names
from storewriter.postgres._schema import create, location_of_table, script

__all__ = ["Postgres", "create", "from_url", "location_of_table", "names", "script"]
