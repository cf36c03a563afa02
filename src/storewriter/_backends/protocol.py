"""What a backend is: where one document lives, and who may write it. The seam below `Store`, `watch` and `recovery`.

Above this protocol nothing knows files, connections or servers. A backend is a value with identity: two stores whose
backends are equal write one document in the same way and share batches, so `==` and `hash` compare the address and
every setting that changes what a commit does.

A backend does all the work; what it hands out is opaque to everything above it and comes back as an argument:

* a *hold*, from `lock.attempt` or `lock.wait`: the turn. It may have been taken for another store object or for a plain
  `queue.turn()` of the same key, and handed on inside this process. Its `check` and `may_pass` are called on event
  loops, so they answer from what this process knows, and never wait for a disk or a network. `check` raises LockLost in
  a forked child. Once a commit has ended a hold, `may_pass` is False and `release` does nothing;
* a *stamp*, in `Loaded`: which document was loaded;
* a *commit*, from `new_commit`: how far one commit has come.

Order     One update: `load` (once a batch), then `commit` or, if nothing has changed, `hold.check`; then the hold is
          passed on or released; then `settle` or `confirm`; then the callers are answered. `load`, `commit` and
          `landed` are called by the holder of the turn only; everything else needs no turn.
Threads   One step of a batch at a time, but not always the same thread: a step may be made by another thread than the
          one before (`_platform.threads.Apart`, calls off an event loop, a thread that goes on with a handed-on batch).
          `settle` and `confirm` of several commits may run at the same time, next to the next turn.
Errors    A step fails by a `StoreWriterError` or an `OSError` with an errno. Whatever else a step raises
          (KeyboardInterrupt, an exception of a signal handler, a library's own exception type) counts as an interrupt:
          it is kept for the thread to which it came, and the step is *repeated*, up to 1000 times. So a backend
          converts the exceptions of its libraries, and every step can be repeated after an interrupt at any point.
Waiting   Nothing here knows deadlines of callers. A step that waits for a server has a limit of its own.
URLs      An engine's module offers `from_url(url, *, durability, backups) -> Backend`, and is imported at the first
          store whose address begins with its scheme (`addresses.py`). `durability="process"` is the weaker promise: an
          engine that has no such thing keeps the stronger one.
Forks     A forked child holds nothing: `hold.check` raises LockLost there, and no descriptor, connection or lock of the
          parent is used, flushed or ended by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from storewriter._turns.adapter import Hold, LockAdapter
from storewriter.errors import DocumentChanged

__all__ = ["Address", "Backend", "Fixed", "Loaded", "Moved", "News", "Rescue", "Status"]

H = TypeVar("H", bound=Hold, contravariant=True)
"""What the backend's lock hands out."""
C = TypeVar("C")
"""What the backend remembers of one commit."""

Stamp = Any
"""Which document was loaded, for the backend that loaded it; opaque for everything else."""


class Loaded(NamedTuple):
    """A document as it was loaded."""

    data: bytes | None
    """The whole document; None if there is none."""
    stamp: Stamp
    """Which one it is. Two documents with the same bytes may have different stamps; never the other way around."""


class Moved(OSError):
    """The address leads to another backend than when it was resolved: nothing was read or written. It has an errno.

    An update or a read begins anew at the backend to which `Address.locate` leads then.
    """


class Backend(Protocol[H, C]):
    """One document: read without a turn, loaded and committed in a turn."""

    @property
    def key(self) -> str:
        """The document's name in the whole process: key of its lane, `path` of every error and event.

        Two backends that reach one document have one key. Holds no secret (a password in a URL).
        """
        ...

    @property
    def lock(self) -> LockAdapter:
        """What takes the turn; its key is the backend's."""
        ...

    # -- without a turn ------------------------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        """The last committed document, whole; None if there is none. Never waits for a writer.

        Raises Moved, OSError, StoreWriterError.
        """
        ...

    def loads_quickly(self, hold: H | None = None) -> bool:
        """Whether `read` and `News.look` may run on an event loop now: small, and cached on this machine.

        With a hold: whether `load` may. A server may have sent the document with the lock.
        """
        ...

    # -- in a turn -----------------------------------------------------------------------------------------------------

    def load(self, hold: H) -> Loaded:
        """The document as it is now, under this hold; it sees every commit of every turn before this one.

        Called once a batch, before the first function. A repair of what a killed writer has left belongs here.
        Raises Moved, LockLost, OSError, StoreWriterError; nothing was changed then.
        """
        ...

    def new_commit(self) -> C:
        """A record of one commit that has not begun. Never fails, touches nothing, costs little.

        It exists before the commit, so that an interrupt between the commit and the caller's next step loses nothing.
        """
        ...

    def commit(self, hold: H, data: bytes, found: Loaded, commit: C) -> None:
        """Make `data` the document if that still is `found`.

        On return every `read` and `load`, of every process, finds it, and it survives the end of this process; `settle`
        then makes it as durable as the backend promises.
        `commit` notes how far it has come. The step may end the hold (a transaction that commits): then `may_pass` is
        False from now on. It is all or nothing, for every reader at every instant.

        Raises, with the old document in place: LockLost (the hold was lost, or the commit is known to have been
        rolled back: the batch begins anew in a new turn), DocumentChanged (it is another one than `found`: made by
        `changed`; the batch begins anew), ReadOnlyStore, OSError, StoreWriterError. Raises CommitUncertain if it cannot
        be found out whether it has happened: its updates are not repeated, and their callers get this error.
        A commit that may have happened is never reported as one that has failed.
        """
        ...

    def landed(self, hold: H, data: bytes, commit: C) -> bool:
        """After an interrupt in or after `commit`, which may not have returned: whether `data` is the document now.

        True: `settle(commit)` is called next, as after a commit that has returned. False: it is not, and never will be
        by that commit; the batch commits again, with the same or with other bytes, the same hold and the same record,
        which may raise LockLost. Raises CommitUncertain if it cannot be found out.
        """
        ...

    def is_doubtful(self, found: Loaded) -> bool:
        """Whether this very document may be lost although it can be read, because its flush has failed.

        Then an update that changes nothing writes it anew. False for most backends.
        """
        ...

    def changed(self) -> DocumentChanged:
        """The error for a document that was changed without its turn since it was loaded. May report who did it."""
        ...

    # -- after the turn ------------------------------------------------------------------------------------------------

    def settle(self, commit: C) -> None:
        """Return when a commit is as durable as the backend promises, and give back what its record holds.

        Called once after each commit that has returned or landed, usually after the release; commits that wait
        together may share the work. Nothing to do where `commit` was durable already.
        Raises CommitUncertain: the document can be read, and may be lost by a crash of its machine.
        """
        ...

    def confirm(self, found: Loaded) -> None:
        """The same for a document that was found and left as it was: its writer may not have settled it yet.

        Raises LockLost if it has gone since, in a crash: the batch begins anew. CommitUncertain, OSError,
        StoreWriterError.
        """
        ...

    # -- the rest ------------------------------------------------------------------------------------------------------

    def news(self, *, events: bool) -> News:
        """The changes of the document, for one watcher. `events=False`: without being woken, by looking only.

        Listening begins with the first `News.look`. If events cannot be had, the news do without, and say so in the
        log; they are never less right for that.
        """
        ...

    def rescue(self) -> Rescue:
        """What a recovery of a corrupt document needs."""
        ...


class News(Protocol):
    """The changes of one document, for one watcher: one thread at a time calls it (`close` may come from any)."""

    def look(self, *, must_load: bool) -> Loaded | None:
        """Listen first, then look: the document, or None if it certainly is the one that was returned last.

        A change after this look wakes (`fileno`), or is found by the next look; so none falls in between. `must_load`:
        the document is returned in any case (something was heard, or the last one could not be decoded).
        Raises OSError, StoreWriterError; the watcher passes that on and looks again later.
        """
        ...

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when the document may have changed. None: look now and then.

        Asked before each wait: it may become another one, or None, in `look` and `heard`.
        """
        ...

    def heard(self) -> bool:
        """Take what made the descriptor readable; whether something may have happened to the document. Never waits."""
        ...

    def close(self) -> None:
        """Give back the descriptor. Can be repeated."""
        ...


class Rescue(Protocol):
    """The recovery of a corrupt document, as far as it depends on where the document lives.

    `recovery.py` decides what is corrupt, which backup is good, and whether anything may be done. Backups and documents
    that were set aside have names: text for people, and for `read`.
    """

    def backups(self) -> Sequence[str]:
        """The backups that exist, the newest first. Raises OSError, StoreWriterError."""
        ...

    def read(self, name: str) -> bytes | None:
        """A backup, whole; None if that name holds none. Raises OSError, StoreWriterError."""
        ...

    def saved_at(self, name: str) -> float | None:
        """When a backup was saved (seconds since the epoch); None if that is not known."""
        ...

    def name_aside(self) -> str:
        """The name that a corrupt document would get if it were set aside now."""
        ...

    def is_quiet(self, found: Loaded) -> bool:
        """Whether no program without the turn is in the middle of writing this document. May take a second.

        True at once where nothing can be written without a turn.
        """
        ...

    def replace(self, hold: Any, found: Loaded, data: bytes, *, like: str | None) -> str | None:
        """Set the document that was found aside and put `data` in its place, durably; returns the name of the first.

        `found.data` None: there is none, nothing is set aside, and `like` names the backup that `data` comes from.
        A reader finds the one or the other, never none. The document that is replaced does not become a backup.
        Raises DocumentChanged, LockLost, ReadOnlyStore, OSError, StoreWriterError, and nothing was changed then;
        CommitUncertain.
        """
        ...


class Status(Protocol):
    """What `storewriter status` shows of one store: returned by the method `status` of an engine that has URLs."""

    def rows(self) -> Mapping[str, str]:
        """Label and text of each line, in order; the first is `store`."""
        ...

    def as_json(self) -> Mapping[str, Any]:
        """The same for programs: values that JSON has. `path` is the backend's key."""
        ...


class Address(Protocol):
    """What a store was given: it leads to a backend, and may come to lead to another one (a path that becomes a link).

    Not for most engines: their backend is given as it is (`Fixed`).
    """

    def locate(self, *, exactly: bool) -> Backend[Any, Any]:
        """The backend to which the address leads now; without `exactly`, or to which it led a moment ago.

        The second costs little; if it is wrong, `Backend.load` raises Moved.
        """
        ...


class Fixed:
    """The address of a backend that stays where it is."""

    __slots__ = ("_backend",)

    def __init__(self, backend: Backend[Any, Any]) -> None:
        self._backend = backend

    def locate(self, *, exactly: bool) -> Backend[Any, Any]:
        """See `Address`."""
        return self._backend
