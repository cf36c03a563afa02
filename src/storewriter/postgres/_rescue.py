"""The recovery of a corrupt document in a database (`_backends.protocol.Rescue`).

Backups are rows of the table beside the documents; a document that is set aside is another document of the table, with
a name of its own: `commitments.corrupt-1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from storewriter._backends.protocol import Loaded
from storewriter.errors import DocumentChanged
from storewriter.postgres._asking import Found, Question, has_happened
from storewriter.postgres._connections import author
from storewriter.postgres._database import CHANGED, Database, is_passing
from storewriter.postgres._statements import new_commit_id, number_of, seconds_of
from storewriter.postgres._turn import PostgresHold
from storewriter.postgres._wire import Broken, Refused, Rows, Statement

__all__ = ["PostgresRescue"]

_BACKUP: Final = re.compile(r".* backup ([0-9]+)", re.DOTALL)


class PostgresRescue:
    """What a recovery needs of one document."""

    def __init__(
        self,
        database: Database,
        path: str,
        name: str,
        load: Callable[[Any], Loaded],
        changed: Callable[[], DocumentChanged],
    ) -> None:
        self._database = database
        self._path = path
        self._name = name
        self.load = load
        self._changed = changed
        self._times: dict[str, float | None] = {}

    def _ask(self, statement: Statement) -> Rows:
        return cast("Rows", self._database.ask([statement], self._path)[0])

    def backups(self) -> Sequence[str]:
        """See `Rescue`."""
        rows = self._ask(self._database.statements.backups(self._name))
        self._times = {f"{self._path} backup {number_of(row[0])}": seconds_of(row[2]) for row in rows}
        return list(self._times)

    def read(self, name: str) -> bytes | None:
        """See `Rescue`."""
        found = _BACKUP.fullmatch(name)
        if found is None:
            return None
        rows = self._ask(self._database.statements.backup(self._name, int(found[1])))
        return rows[0][0] if rows else None

    def saved_at(self, name: str) -> float | None:
        """See `Rescue`."""
        return self._times.get(name)

    def name_aside(self) -> str:
        """See `Rescue`."""
        return f"{self._path}.corrupt-{self._free_number()}"

    def _free_number(self) -> int:
        prefix = f"{self._name}.corrupt-"
        rows = self._ask(self._database.statements.names_like(prefix))
        taken = {cast("bytes", row[0]).decode() for row in rows}
        number = 1
        while f"{prefix}{number}" in taken:
            number += 1
        return number

    def is_quiet(self, found: Loaded) -> bool:
        """See `Rescue`: a row is replaced as a whole."""
        return True

    def replace(self, hold: PostgresHold, found: Loaded, data: bytes, *, like: str | None) -> str | None:
        """See `Rescue`: both in the turn's transaction."""
        statements = self._database.statements
        seen: Found = found.stamp
        question = Question(self._path, self._name, hold.xid, seen.incarnation, seen.stamp, new_commit_id())
        aside: str | None = None
        if question.before is None:
            work = [statements.insert(self._name, data, question.commit_id, author(), None)]
        else:
            aside = f"{self._name}.corrupt-{self._free_number()}"
            work = [
                statements.update(self._name, data, question.before, question.commit_id, author()),
                statements.insert(aside, cast("bytes", found.data), new_commit_id(), author(), None),
            ]
        try:
            results = hold.run(work)
            if any(result != 1 for result in results):
                hold.release()
                raise self._changed()
            hold.finish([])
        except Refused as error:
            if error.sqlstate in CHANGED:
                raise self._changed() from error
            if is_passing(error.sqlstate):
                raise hold.lost(str(error)) from error
            raise self._database.error_of(error, self._path) from error
        except Broken as error:
            if not has_happened(self._database, question):
                raise hold.lost(str(error)) from error
        return None if aside is None else f"{self._path}.corrupt-{aside.rpartition('-')[2]}"
