"""What can be seen of a document in a database and of its lock, for `storewriter status`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from storewriter.postgres._database import Database
from storewriter.postgres._statements import number_of, seconds_of, text_of
from storewriter.postgres._wire import Rows

if TYPE_CHECKING:
    from storewriter.postgres._turn import AdvisoryLock

__all__ = ["PostgresStatus"]


class PostgresStatus:
    """One look at one document."""

    def __init__(self, database: Database, path: str, name: str, lock: AdvisoryLock) -> None:
        statements = database.statements
        facts, backups = database.ask([statements.facts(name), statements.backups(name)], path)
        self._path = path
        self._lock = lock
        self._owner = lock.owner()
        self._row = cast("Rows", facts)[0] if facts else None
        self._backups = len(cast("Rows", backups))

    def rows(self) -> Mapping[str, str]:
        """See `Status`."""
        row = self._row
        if row is None:
            document = "does not exist yet"
        else:
            size, version, updated, author, _ = row
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds_of(updated)))
            document = f"{number_of(size)} bytes, version {number_of(version)}, of {when}, by {text_of(author)}"
        return {
            "store": self._path,
            "document": document,
            "backups": str(self._backups),
            "lock": f"held by {self._owner}" if self._owner is not None else "free",
            "strategy": "postgres: an advisory lock of the server; excludes every program that uses the table",
        }

    def as_json(self) -> Mapping[str, Any]:
        """See `Status`."""
        row = self._row
        return {
            "path": self._path,
            "exists": row is not None,
            "size": None if row is None else number_of(row[0]),
            "version": None if row is None else number_of(row[1]),
            "updated_at": None if row is None else seconds_of(row[2]),
            "updated_by": None if row is None else text_of(row[3]),
            "backups": self._backups,
            "lock": {
                "strategy": "postgres",
                "held": self._owner is not None,
                "owner": None if self._owner is None else str(self._owner),
            },
        }
