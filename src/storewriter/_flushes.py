"""The flushes that one process makes for one store, shared by the commits that wait for one.

Promise    A commit is settled once a flush that began after its rename has ended: its own, or that of a later document,
           which holds what this one holds. At most one flush is under way and one is due; the commits of all renames
           that come during a flush are settled by the next one together.
Does not   need the store's lock: documents are flushed after it was passed on.
"""

from __future__ import annotations

import threading
from weakref import WeakValueDictionary

from storewriter import _forks
from storewriter._replace import Commit, not_flushed


class Flushes:
    """Those of one store."""

    __slots__ = ("__weakref__", "_error", "_failed", "_flushed", "_mutex", "_newest", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._mutex = threading.Lock()
        """Held while a flush is under way: the next one is due for the threads that wait for it."""
        self._newest: Commit | None = None
        self._flushed = 0
        """Number of the newest commit that was flushed."""
        self._failed = 0
        """Number of the newest commit whose flush failed, with this error."""
        self._error = OSError()

    def forget(self) -> None:
        """In a forked child: begin anew."""
        self._mutex = threading.Lock()
        self._newest = None
        self._flushed = self._failed = 0

    def note(self, commit: Commit) -> None:
        """A document has taken the name. Only in the store's turn, so in the order of the renames. Can be repeated."""
        newest = self._newest
        if newest is commit:
            return
        commit.number = 1 if newest is None else newest.number + 1
        self._newest = commit

    def settle(self, commit: Commit) -> None:
        """Return when the document is durable. Raises CommitUncertain. Can be repeated.

        A failed flush is not tried again, but a later document may be flushed, and holds this one's content.
        """
        with self._mutex:
            while True:  # with `break`, and not with a condition: see tests/turns/test_loops_in_handlers.py
                if commit.number <= self._flushed:
                    break
                newest = self._newest
                if newest is None or newest.number <= self._failed:
                    commit.close()
                    raise not_flushed(self.path, self._error) from self._error
                try:
                    newest.flush()
                except OSError as error:
                    if error.errno is None:
                        raise  # a signal handler's
                    self._failed, self._error = newest.number, error
                else:
                    self._flushed = newest.number
        commit.close()


_known: WeakValueDictionary[str, Flushes] = WeakValueDictionary()


def flushes_of(path: str) -> Flushes:
    """One object for all documents of this process at a path.

    Without a mutex, in which a signal handler that makes a store could be caught. If two threads make one at the same
    moment, their documents share no flushes, and nothing else changes.
    """
    return _known.get(path) or _known.setdefault(path, Flushes(path))


def _reset_in_child() -> None:
    # A thread of the parent may have been inside; it does not exist here, and nothing of it is waited for.
    for flushes in list(_known.values()):
        flushes.forget()


_forks.in_child(_reset_in_child)
