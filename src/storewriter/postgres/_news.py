"""The changes of a document in a database, for one watcher (`_backends.protocol.News`).

How        A look asks for the stamp, and for the body if the stamp is another one. Where the table has the trigger
           (`storewriter postgres init --notify`), a connection of its own listens, and each commit wakes; a pooler
           does not let that through. Otherwise the watcher looks now and then.
"""

from __future__ import annotations

from typing import Any, cast

from storewriter._backends.protocol import Loaded
from storewriter.postgres._connections import Link
from storewriter.postgres._database import Database
from storewriter.postgres._statements import Stamp, number_of
from storewriter.postgres._wire import Broken, Refused, Rows

__all__ = ["PostgresNews"]


class PostgresNews:
    """What one watcher sees."""

    def __init__(self, database: Database, path: str, name: str, *, events: bool) -> None:
        self._database = database
        self._path = path
        self._name = name
        self._wants_events = events
        self._link: Link | None = None
        """Listens."""
        self._seen: tuple[Stamp | None] | None = None

    def look(self, *, must_load: bool) -> Loaded | None:
        """See `News`."""
        known = self._seen[0] if self._seen is not None and not must_load else None
        row = self._database.repeat(lambda: self._ask(known), self._path)
        stamp = (
            None if row is None else Stamp(cast("int", number_of(row[0])), cast("bytes", row[1]), cast("bytes", row[2]))
        )
        if not must_load and self._seen is not None and stamp == self._seen[0]:
            return None
        self._seen = (stamp,)
        return Loaded(None if row is None else row[3], stamp)

    def _ask(self, known: Stamp | None) -> tuple[bytes | None, ...] | None:
        """The document's row; without its body if that is known. Raises what a link raises."""
        question = self._database.statements.look(self._name, known)
        link = self._listening()
        if link is None:
            (rows,) = self._database.try_to_ask([question])
            return cast("Rows", rows)[0] if rows else None
        try:
            while True:
                (rows,) = link.exchange([question])
                # What came with the answer does not wake the watcher any more, and may be newer than the answer.
                if not self._notified(link):
                    return cast("Rows", rows)[0] if rows else None
        except (Broken, Refused):
            self.close()
            raise

    def _listening(self) -> Link | None:
        if self._link is None and self._wants_events:
            database = self._database
            link = database.source.take(fresh=True)
            if not database.source.may_listen:
                database.source.give_back(link)
                self._wants_events = False
                return None
            results = database.run(link, [database.statements.listen(), database.statements.has_trigger()])
            if cast("Rows", results[1])[0][0] != b"\x01":
                database.source.close(link)
                self._wants_events = False
                return None
            self._link = link
        return self._link

    def _notified(self, link: Link) -> bool:
        """Whether this document was changed, as far as has been received."""
        pgconn: Any = link.connection.pgconn
        changed = False
        while (notification := pgconn.notifies()) is not None:
            changed = changed or notification.extra == self._name.encode()
        return changed

    def fileno(self) -> int | None:
        """See `News`."""
        link = self._link
        return None if link is None or link.is_lost else int(link.connection.pgconn.socket)

    def heard(self) -> bool:
        """See `News`."""
        link = self._link
        if link is None:
            return False
        if link.looks_lost():
            self.close()  # the next look begins anew
            return True
        return self._notified(link)

    def close(self) -> None:
        """See `News`."""
        link, self._link = self._link, None
        if link is not None:
            self._database.source.close(link)
