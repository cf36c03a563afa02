"""The errors that storewriter raises. The docstring of each: when it is raised, and when another one is.

Disk errors stay `OSError` of the matching kind (`PermissionError`, `FileNotFoundError`, ...); their text names the
store. Cancellation is never turned into one of these.
"""

from __future__ import annotations

from typing import Any

from storewriter._platform.owner import Owner

__all__ = [
    "CommitUncertain",
    "DecodeError",
    "DocumentChanged",
    "EncodeError",
    "ForeignFile",
    "LockLost",
    "LockTimeout",
    "NotARegularFile",
    "QueueFull",
    "ReadOnlyStore",
    "RecoveryRefused",
    "ReentrantTurn",
    "ReservedName",
    "ReturnedAwaitable",
    "SaveInterrupted",
    "SchemaMissing",
    "ServerRefused",
    "ServerUnavailable",
    "StoreCorrupt",
    "StoreWriterError",
    "StrategyMismatch",
    "TooDeep",
    "UnknownVersion",
    "UnsupportedLock",
    "VersionConflict",
]


class StoreWriterError(Exception):
    """Base of all errors of this package.

    Facts are attributes, `str()` is the message for people, and every error survives pickling with both.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.__dict__.update(facts)

    def __reduce__(self) -> tuple[Any, ...]:
        # An OSError keeps these outside of its __dict__.
        system = {name: getattr(self, name, None) for name in _OS_FACTS if isinstance(self, OSError)}
        known = {name: value for name, value in system.items() if value is not None}
        return (_rebuild, (type(self), self.args, {**self.__dict__, **known}))


_OS_FACTS = ("errno", "strerror", "filename", "filename2")


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], facts: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    for name, value in facts.items():
        setattr(error, name, value)
    return error


class LockTimeout(StoreWriterError, TimeoutError):
    """The turn did not come within `timeout` seconds. Nothing ran and nothing was written.

    Not `LockLost` (the turn was never obtained), and never raised for a cancellation, which stays a cancellation.
    """

    path: str
    """The store."""
    sidecar: str | None
    """The lock file beside it, if the strategy has one."""
    owner: Owner | None
    """The holder of the lock; None if it is not known."""
    alive: str
    """`alive`, `gone` or `unknown`: what is known of the owner's process."""
    waited: float
    """Seconds that were waited."""
    timeout: float | None
    """Seconds that were allowed; None if only the number of attempts was limited."""
    ahead: int
    """How many tickets were ahead in this process's line at that moment, the holder included."""


class LockLost(StoreWriterError):
    """The turn was lost before its commit: another process may already be writing. The commit was refused.

    Raised for a lease that was not refreshed in time, and in a forked child that inherited its parent's turn.
    """

    path: str
    """The store."""
    owner: Owner | None
    """The successor, if known."""


class ReentrantTurn(StoreWriterError, RuntimeError):
    """The caller requested the turn on a store whose turn it already holds; it would wait for itself for ever."""

    path: str
    """The store."""


class QueueFull(StoreWriterError):
    """`max_pending` callers already wait for this store; backpressure, raised at once."""

    path: str
    """The store."""
    pending: int
    """How many wait."""
    max_pending: int
    """How many may."""


class StrategyMismatch(StoreWriterError):
    """Another contender guards this store with a different lock strategy; the two would not exclude each other."""

    path: str
    """The store."""
    ours: str
    """The strategy that was asked for."""
    theirs: str
    """The strategy that is in use."""
    owner: Owner | None
    """The process that uses it; None if it is not known."""


class UnsupportedLock(StoreWriterError, OSError):
    """This strategy excludes no other process on this file system or platform. There is no silent fallback."""

    path: str
    """The store."""
    strategy: str
    """The strategy that cannot work here."""
    filesystem: str | None
    """Type of the file system, if known."""


class StoreCorrupt(StoreWriterError):
    """The document cannot be understood: truncated, not the codec's format, or of the wrong shape.

    The file is left as it is, byte for byte, and no update of this store can replace it. The message says what
    `store.recover()` would do at this moment. What the codec raised is the `__cause__`.
    """

    path: str
    """The store."""
    reason: str
    """What is wrong, in words."""
    line: int | None
    """Line of the first bad character, from 1, if known."""
    column: int | None
    """Column of it, from 1, if known."""
    position: int | None
    """Offset of the first bad byte or character, from 0, if known."""
    where: tuple[str | int, ...] | None = None
    """Keys and indices that lead to the bad place in the document, if known."""
    may_be_intact: bool = False
    """Whether the document may be as its writer meant it, and only not of this store's format: then `recover()` refuses
    it unless `force=True`, and `on_corrupt="restore"` leaves it alone. False: it is damaged."""


class RecoveryRefused(StoreCorrupt):
    """`recover()` has done nothing: the document, or a backup that it would pass over, may be intact.

    `recover(force=True)` sets such a document aside, too, and passes over such backups.
    """

    backup: str | None = None
    """The backup that may be intact; None if it is the document."""


class VersionConflict(StoreWriterError):
    """`update(..., expect=version)` found another version: another caller committed in between. Nothing was written."""

    path: str
    """The store."""
    expected: str
    """The version the caller had read."""
    found: str
    """The version that is there now."""


class DocumentChanged(VersionConflict):
    """A program that takes no lock has replaced or changed the document since it was loaded. Nothing was written.

    An update begins anew on it; a transaction cannot, and raises this.
    """


class CommitUncertain(StoreWriterError):
    """The new document is in place, but it could not be made sure that it survives a power cut.

    Readers see the update now. Whether it is there after a crash of the machine is unknown: check before repeating
    anything that must not happen twice.
    """

    path: str
    """The store."""


class SaveInterrupted(StoreWriterError):
    """The thread that was to save this update with others was interrupted, 8 times in a row. Nothing was written.

    The update itself did not fail: it can be made again. An interrupt is an exception of a signal handler in that
    thread, or one sent to it. After the first 7 the update begins anew by itself.
    """

    path: str
    """The store."""


class ReadOnlyStore(StoreWriterError, PermissionError):
    """The document is read-only. Its folder would permit a replace, which would ignore the document's mode."""

    path: str
    """The store."""


class NotARegularFile(StoreWriterError, OSError):
    """What is at the path of the store, or of a lock file of it, is a folder, a FIFO, a device or a socket.

    Refused at once, never waited for.
    """

    path: str
    """The store."""
    kind: str
    """What it is."""


class ForeignFile(StoreWriterError, PermissionError):
    """What has the name of the store's lock file or journal is another program's, or another user's.

    It is left as it is. Raised before anything is written: the record of a holder would overwrite another program's
    lock.
    """

    path: str
    """The store."""
    file: str
    """The file in question."""


class ReservedName(StoreWriterError, ValueError):
    """The path is that of a file which another store keeps beside its document: a lock file, a backup, and so on.

    As a store of its own it would be overwritten or removed by the first update of that other store.
    """

    path: str
    """The path that was given."""
    store: str
    """The store to which a file of that name belongs."""
    use: str
    """What that store uses it for, in words."""


Path = tuple[str | int, ...]
"""The place of something in a document: keys of objects and indices of arrays, from the outside in."""


class DecodeError(StoreWriterError, ValueError):
    """A codec raises it for bytes that are not a document of its format. It does not know the file.

    Stores raise `StoreCorrupt` from it, which names the file; only those who call a codec themselves meet this one.

    `reason` says what is wrong; `position` is the offset from 0, in characters, or in bytes where the bytes are no
    text; `line` and `column` count from 1; `path` are the keys and indices that lead to the value. What is not known is
    None. `may_be_intact=None` leaves that to the class.
    """

    may_be_intact: bool = False
    """Whether the document may be as its writer meant it: a newer program's, another format, a person's edit. Such a
    document is never set aside, except by `recover(force=True)`. False: it is damaged (cut off, overwritten)."""

    def __init__(
        self,
        reason: str,
        *,
        position: int | None = None,
        line: int | None = None,
        column: int | None = None,
        path: Path | None = None,
        may_be_intact: bool | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        if may_be_intact is not None:  # None: as the class says
            self.may_be_intact = may_be_intact
        self.position = position
        self.line = line
        self.column = column
        self.path = path


class UnknownVersion(DecodeError):
    """The document may be intact, but it is of a version that this program cannot read."""

    may_be_intact = True


class TooDeep(UnknownVersion):
    """The document may be intact, but it is nested more deeply than is read here (254 levels)."""


class EncodeError(StoreWriterError, ValueError):
    """The state cannot be written as a document: the codec has no way to keep some value of it. Nothing was written.

    Raised by `update`, `transform`, or the end of a transaction, to the caller whose function left that state.
    """

    def __init__(self, message: str, *, path: Path | None = None, objection: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        """Keys and indices that lead to the value, if known."""
        self.objection = objection
        """What is wrong with the value at `path`, without the place."""


class ReturnedAwaitable(StoreWriterError, TypeError):
    """The function of an update returned an awaitable, which a plain store cannot await. Nothing was written.

    Pass async functions to an `AsyncStore`.
    """


class ServerUnavailable(StoreWriterError, ConnectionError):
    """The database server cannot be reached: a wrong address or password, or it is away for too long.

    Nothing was written. A server that was reached before is tried again for a while first, paced by a `Backoff`.
    """

    path: str
    """The store."""


class ServerRefused(StoreWriterError):
    """The database server has refused a statement, for want of rights or of space, for example. Nothing was written."""

    path: str
    """The store."""
    sqlstate: str | None
    """PostgreSQL's code of the error."""


class SchemaMissing(StoreWriterError):
    """The database has no table for documents, or one of another version: `storewriter postgres init URL` makes it."""

    path: str
    """The store."""
    table: str
    """The table that was expected."""
