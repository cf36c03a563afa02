"""Documents in memory: a backend that keeps the protocol and knows nothing of files. `Document` plays the server.

Every `MemoryBackend` of one document has a key of its own, as if it were in a process of its own: two of them meet only
at the document's lock. What may go wrong is a hook that a test sets.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from storewriter import LockLost, Owner, StrategyMismatch
from storewriter._backends.protocol import Loaded
from storewriter._platform import forks
from storewriter.errors import DocumentChanged

__all__ = ["Document", "MemoryBackend"]

_numbers = itertools.count()


def nothing() -> None:
    """A hook that is not set."""


class Document:
    """One document, its lock, its backups, and what goes wrong with it."""

    def __init__(self, data: bytes | None = None, *, backups: int = 0, ends_turn: bool = False) -> None:
        self.data = data
        self.version = 0
        self.backups: list[bytes] = []
        self.aside: dict[str, bytes] = {}
        self.count = backups
        self.ends_turn = ends_turn
        """Whether a commit ends the turn, as that of a transaction does."""
        self.holder: MemoryHold | None = None
        self.changed = threading.Condition()
        self.listeners: list[socket.socket] = []
        self.loads = self.commits = self.settled = self.confirmed = 0
        self.before_commit: Callable[[], None] = nothing
        self.after_commit: Callable[[], None] = nothing
        self.at_settle: Callable[[], None] = nothing

    def write(self, data: bytes | None) -> None:
        """A new document, of any writer."""
        with self.changed:
            self.data = data
            self.version += 1
            for listener in self.listeners:
                listener.send(b"!")

    def take_away(self) -> None:
        """The holder loses its turn."""
        with self.changed:
            self.holder = None
            self.changed.notify_all()


class MemoryHold:
    """The turn on a document."""

    def __init__(self, document: Document, key: str, label: str | None) -> None:
        self.document = document
        self.key = key
        self.label = label
        self.generation = forks.generation

    def may_pass(self) -> bool:
        return self.document.holder is self

    def check(self) -> None:
        if self.document.holder is not self or self.generation != forks.generation:
            raise LockLost(f"the turn on {self.key} was lost", path=self.key, owner=None)

    def describe(self, label: str | None) -> None:
        self.label = label

    def release(self) -> None:
        with self.document.changed:
            if self.document.holder is self:
                self.document.holder = None
                self.document.changed.notify_all()


class MemoryLock:
    """The lock of one backend."""

    name = settings = "memory"
    sidecar = None

    def __init__(self, document: Document, key: str, *, is_quick: bool) -> None:
        self.document = document
        self.key = key
        self.is_quick = is_quick

    def next_look(self) -> float:
        return float("inf")

    def look(self) -> None:
        raise AssertionError("never due")

    def attempt(self, label: str | None) -> MemoryHold | None:
        with self.document.changed:
            if self.document.holder is not None:
                return None
            self.document.holder = hold = MemoryHold(self.document, self.key, label)
            return hold

    def wait(self, label: str | None, wanted: Callable[[], bool], replace: Callable[[], None]) -> MemoryHold | None:
        with self.document.changed:
            while wanted():
                hold = self.attempt(label)
                if hold is not None:
                    return hold
                self.document.changed.wait(0.005)
        return None

    def owner(self) -> Owner | None:
        holder = self.document.holder
        return None if holder is None else Owner(host="memory", label=holder.label)

    def mismatch(self, owner: Owner) -> StrategyMismatch | None:
        return None

    def whereabouts(self) -> str:
        return "lock in memory"

    def advice(self, owner: Owner | None) -> None:
        return None

    def same_lock(self, keys: Iterable[str]) -> Any:
        return None


class MemoryCommit:
    """How far one commit has come."""

    is_done = False


class MemoryBackend:
    """A document, as one process sees it."""

    def __init__(self, document: Document, *, is_quick: bool = True) -> None:
        self.document = document
        self.key = f"memory:{next(_numbers)}"
        self.lock = MemoryLock(document, self.key, is_quick=is_quick)
        self.is_quick = is_quick

    new_commit = MemoryCommit

    def read(self) -> bytes | None:
        return self.document.data

    def loads_quickly(self, hold: object = None) -> bool:
        return self.is_quick

    def load(self, hold: MemoryHold) -> Loaded:
        hold.check()
        self.document.loads += 1
        return Loaded(self.document.data, self.document.version)

    def commit(self, hold: MemoryHold, data: bytes, found: Loaded, commit: MemoryCommit) -> None:
        document = self.document
        document.before_commit()
        with document.changed:
            hold.check()
            if document.version != found.stamp:
                raise self.changed()
            if found.data is not None and document.count:
                document.backups = [found.data, *document.backups][: document.count]
            document.write(data)
            document.commits += 1
            commit.is_done = True
            if document.ends_turn:
                hold.release()
        document.after_commit()

    def landed(self, hold: MemoryHold, data: bytes, commit: MemoryCommit) -> bool:
        return commit.is_done

    def is_doubtful(self, found: Loaded) -> bool:
        return False

    def changed(self) -> DocumentChanged:
        return DocumentChanged(f"{self.key} was changed", path=self.key, expected="", found="")

    def settle(self, commit: MemoryCommit) -> None:
        assert commit.is_done
        self.document.at_settle()
        self.document.settled += 1

    def confirm(self, found: Loaded) -> None:
        self.document.confirmed += 1

    def news(self, *, events: bool) -> MemoryNews:
        return MemoryNews(self, events=events)

    def rescue(self) -> MemoryRescue:
        return MemoryRescue(self)

    def status(self) -> MemoryBackend:
        return self

    def rows(self) -> dict[str, str]:
        return {"store": self.key}

    def as_json(self) -> dict[str, Any]:
        return {"path": self.key}


class MemoryNews:
    """Told by the document through a socket."""

    def __init__(self, backend: MemoryBackend, *, events: bool) -> None:
        self.backend = backend
        self.version = -1
        self.ears: tuple[socket.socket, socket.socket] | None = None
        if events:
            self.ears = socket.socketpair()
            self.ears[0].setblocking(False)
            backend.document.listeners.append(self.ears[1])

    def look(self, *, must_load: bool) -> Loaded | None:
        document = self.backend.document
        with document.changed:
            if document.version == self.version and not must_load:
                return None
            self.version = document.version
            return Loaded(document.data, document.version)

    def fileno(self) -> int | None:
        return None if self.ears is None else self.ears[0].fileno()

    def heard(self) -> bool:
        try:
            return self.ears is not None and bool(self.ears[0].recv(4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        ears, self.ears = self.ears, None
        if ears is not None:
            with self.backend.document.changed:
                self.backend.document.listeners.remove(ears[1])
            for ear in ears:
                ear.close()


class MemoryRescue:
    """Backups and documents that were set aside."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.backend = backend

    def backups(self) -> list[str]:
        return [f"backup {number}" for number, _ in enumerate(self.backend.document.backups, 1)]

    def read(self, name: str) -> bytes | None:
        return self.backend.document.backups[int(name.split()[1]) - 1]

    def saved_at(self, name: str) -> float | None:
        return None

    def name_aside(self) -> str:
        return f"aside {len(self.backend.document.aside) + 1}"

    def is_quiet(self, found: Loaded) -> bool:
        return True

    def replace(self, hold: MemoryHold, found: Loaded, data: bytes, *, like: str | None) -> str | None:
        hold.check()
        document = self.backend.document
        if document.version != found.stamp:
            raise self.backend.changed()
        aside = None
        if found.data is not None:
            aside = self.name_aside()
            document.aside[aside] = found.data
        document.write(data)
        return aside
