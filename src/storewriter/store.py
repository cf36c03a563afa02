"""Load-modify-save: `Store`, `AsyncStore`, `Transaction`.

Promise    The update is the unit. What `update`, `transform` or a transaction has acknowledged is in every later state,
           even if a process is killed; what raised, or was cancelled while it waited, is in none.
How        An update waits in the lane of its store. With the turn it applies its function, and hands the turn and
           the unsaved document on to the update behind it; the last one saves, and all are answered after one flush
           (`_commits/batch.py`). On an event loop the first one applies the functions of the others of its loop, too.
           `Store` and `AsyncStore` drive the same steps; the async one runs what may wait for a disk off the loop.
Fails by   LockTimeout, QueueFull, ReentrantTurn, StrategyMismatch, StoreCorrupt, VersionConflict, LockLost,
           CommitUncertain, ReadOnlyStore, NotARegularFile, OSError.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, Literal, Never, TypedDict, TypeVar, Unpack, overload
from weakref import WeakValueDictionary

from storewriter._backends.addresses import Durability, FileSettings, Place, address_of
from storewriter._backends.protocol import Backend, Fixed, Moved
from storewriter._commits.batch import Batch
from storewriter._commits.document import Document, version_of
from storewriter._commits.draft import TRIES, Isolation, Request, new_request
from storewriter._commits.leading import alead, begun_anew, leave_off_loop, may_begin_anew
from storewriter._commits.transactions import AsyncTransaction, Transaction
from storewriter._platform import forks
from storewriter._platform.system import SYSTEM, System
from storewriter._turns.closed_loops import off_loop_at_head
from storewriter._turns.ending import (
    Frame,
    Tie,
    end_apart,
    inherited,
    leave_for_good,
    leave_turn,
    release_abandoned,
    start_last,
    start_release,
    tie_to,
)
from storewriter._turns.entering import aenter, enter
from storewriter._turns.line import ANSWERED, Ticket, current_task, new_ticket
from storewriter._turns.off_loop import off_loop
from storewriter._turns.waiters import domain_of
from storewriter.backoff import Backoff
from storewriter.codecs import Codec, JsonCodec
from storewriter.codecs._protocol import require_codec
from storewriter.errors import DocumentChanged, LockLost, ReentrantTurn, ReturnedAwaitable, StoreCorrupt
from storewriter.locks import LockName, Strategy
from storewriter.per_store_writer_queue import (
    UNSET,
    PerStoreWriterQueue,
    Unset,
    default_queue,
    hold_of,
    require_seconds,
)
from storewriter.recovery import Recovery

if TYPE_CHECKING:
    from storewriter.watch import AsyncWatch, Watch

__all__ = ["AsyncStore", "AsyncTransaction", "Store", "Transaction"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    # What `Store` alone means in an annotation. Python itself has such defaults from 3.13 on.
    S = TypeVarWithDefault("S", default=dict[str, Any])
else:
    S = TypeVar("S")
T = TypeVar("T")

_DURABILITIES = ("power", "process")
_ISOLATIONS = ("own", "shared")
_ON_CORRUPT = ("raise", "restore")
OnCorrupt = Literal["raise", "restore"]


class Settings(TypedDict, total=False):
    """The settings of a store that say nothing about the type of its state; for type checkers."""

    durability: Durability
    mode: int
    backups: int
    queue: PerStoreWriterQueue | None
    lock: LockName | Strategy | None
    timeout: float | None | Unset
    isolation: Isolation
    in_place: bool
    on_corrupt: OnCorrupt
    system: System


_documents: WeakValueDictionary[tuple[Any, ...], Document] = WeakValueDictionary()


class _StoreBase(Generic[S]):
    """What `Store` and `AsyncStore` share: the settings, and the document."""

    # The type of the state, if no annotation says it. A bare `dict` or `list` leaves the types of its items open.
    @overload
    def __init__(
        self: _StoreBase[dict[str, Any]],
        path: Place,
        default: type[dict[Never, Never]] = ...,
        codec: Codec[dict[str, Any]] | None = None,
        **settings: Unpack[Settings],
    ) -> None: ...

    @overload
    def __init__(
        self,
        path: Place,
        default: Callable[[], S],
        codec: Codec[S] | None = None,
        **settings: Unpack[Settings],
    ) -> None: ...

    def __init__(
        self,
        path: Place,
        default: Callable[[], Any] = dict,
        codec: Codec[Any] | None = None,
        durability: Durability = "power",
        mode: int = 0o600,
        backups: int = 0,
        queue: PerStoreWriterQueue | None = None,
        *,
        lock: LockName | Strategy | None = None,
        timeout: float | None | Unset = UNSET,
        isolation: Isolation = "own",
        in_place: bool = False,
        on_corrupt: OnCorrupt = "raise",
        system: System = SYSTEM,
    ) -> None:
        if isinstance(backups, bool) or not isinstance(backups, int) or backups < 0:
            msg = f"backups must be a whole number from 0, got {backups!r}"
            raise ValueError(msg)
        if isinstance(mode, bool) or not isinstance(mode, int):
            msg = f"mode must be a number such as 0o600, got {mode!r}"
            raise TypeError(msg)
        if not 0 <= mode <= 0o777:
            msg = f"mode must be from 0 to 0o777, got {mode!r}, which is {oct(mode)}; 0o600 is written with the `0o`"
            raise ValueError(msg)
        if durability not in _DURABILITIES:
            msg = f"durability must be one of {_DURABILITIES}, got {durability!r}"
            raise ValueError(msg)
        if isolation not in _ISOLATIONS:
            msg = f"isolation must be one of {_ISOLATIONS}, got {isolation!r}"
            raise ValueError(msg)
        if not isinstance(in_place, bool):
            msg = f"in_place must be True or False, got {in_place!r}"
            raise TypeError(msg)
        if on_corrupt not in _ON_CORRUPT:
            msg = f"on_corrupt must be one of {_ON_CORRUPT}, got {on_corrupt!r}"
            raise ValueError(msg)
        if not callable(default):
            msg = f"default must be callable (it makes the state of a store that does not exist yet), got {default!r}"
            raise TypeError(msg)
        require_codec(codec)
        self._queue = _queue_for(queue, lock)
        self._timeout = self._queue.timeout if isinstance(timeout, Unset) else require_seconds("timeout", timeout)
        self._default = default
        self._codec = codec if codec is not None else _codec_for(default)
        self._isolation: Isolation = isolation
        self._restores = on_corrupt == "restore"
        settings = FileSettings(durability, mode, backups, in_place, system)
        self._address = address_of(path, settings, self._queue.lock, self._queue.backoff)
        self._backend = self._address.locate(exactly=True)
        if lock is not None and isinstance(self._address, Fixed):
            msg = f"lock={lock!r} is for documents in files; {self._backend.key} has a lock of its own"
            raise TypeError(msg)
        self._document = self._document_of(self._backend)

    def _document_of(self, backend: Backend[Any, Any]) -> Document:
        """The document, one object for all stores of this process that read and write it in the same way.

        So their updates share batches.
        """
        settings = (backend, self._codec, self._default)
        try:
            document = _documents.get(settings)
            if document is None:
                document = _documents[settings] = Document(*settings)
        except TypeError:  # a codec, say, that cannot be hashed
            document = Document(*settings)
        return document

    def _document_at(self, backend: Backend[Any, Any]) -> Document:
        """The document where the address leads now."""
        if backend is not self._backend:
            self._document = self._document_of(backend)
            self._backend = backend
        return self._document

    def _current_document(self) -> Document:
        return self._document_at(self._address.locate(exactly=True))

    @property
    def path(self) -> str:
        """Where the document is now: the absolute path, with links resolved; not a file: the name of the document.

        Raises ReservedName or OSError for a link that leads where no store can be.
        """
        return self._address.locate(exactly=True).key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def _is_to_restore(self, error: StoreCorrupt) -> bool:
        """Whether the error is about this document; an update function may also raise one about another store's."""
        return self._restores and not error.may_be_intact and error.path == self._document.path

    def _ticket(self, label: str | None, timeout: float | None | Unset) -> Ticket:
        seconds = self._timeout if timeout is UNSET else require_seconds("timeout", timeout)  # type: ignore[arg-type]
        return new_ticket(self._queue._settings, label, seconds)

    def _read(self) -> tuple[bytes | None, S]:
        document = self._current_document()
        try:
            data = document.backend.read()
        except Moved:
            document = self._current_document()
            data = document.backend.read()
        return data, document.decode(data)


def _queue_for(queue: PerStoreWriterQueue | None, lock: LockName | Strategy | None) -> PerStoreWriterQueue:
    if lock is None:
        return default_queue if queue is None else _require_queue(queue)
    if queue is not None:
        msg = "give either lock= or queue=, not both: a queue has a lock strategy of its own"
        raise TypeError(msg)
    return PerStoreWriterQueue(lock=lock)


def _require_queue(queue: object) -> PerStoreWriterQueue:
    if not isinstance(queue, PerStoreWriterQueue):
        msg = f"queue must be a PerStoreWriterQueue, got {queue!r}; a lock strategy is given as lock="
        raise TypeError(msg)
    return queue


def _codec_for(default: Callable[[], Any]) -> Codec[Any]:
    """JSON of the default's shape: a store whose default is a dict holds a JSON object."""
    sample = default()
    for shape in (dict, list):
        if type(sample) is shape:
            return JsonCodec(shape=shape)
    return JsonCodec()


class Store(_StoreBase[S]):
    """One document that several callers update, for plain code: threads, scripts, command lines.

    Example:
        store = Store("settings.json")
        store.update(lambda settings: settings.update(volume=7))

    A store is cheap, opens nothing until it is used, and may be shared by threads; every method may be called from any
    thread. All stores with one path are one store, in this process and in others. What is given for a document that
    exists already (`mode`, `default`) changes nothing about it.

    Args:
        path: File of the document; or a backend object, for a document that is no file. A path is made absolute now, so
            that a later `chdir` does not matter. If it is a link, the target is updated and the link stays. Missing
            folders are created by the first save, with mode 0700.
        default: Function that returns the state of a store without a document. It may return the same object each time,
            since callers get a deep copy; a state that cannot be copied must be made anew at each call.
        codec: Translates between bytes and states (`storewriter.codecs.Codec`). None: JSON, and if `default` makes a
            dict or a list, only documents of that kind.
        durability: `"power"`: an update returns when file and folder are flushed, so it survives a power cut.
            `"process"`: nothing is flushed; an update survives the death of any process.
        mode: Permission bits of a new document and its lock file, up to 0o777. An existing document keeps its own.
        backups: How many former documents are kept, as `.<name>.backup-1` (the newest), `-2`, and so on; from 0.
        queue: Decides the lock strategy, the timeout and `max_pending`. None: the queue of the process (`flock`, 30 s).
        lock: Short for a queue with this lock strategy: `"flock"`, `"marker"`, `"lease"`, `"none"`, or an object of
            `storewriter.locks`. None: that of `queue`. Not both.
        timeout: Seconds that an update waits for its turn, lane and lock together. None: for ever; 0: only a store that
            is free. Not given: that of the queue.
        isolation: `"own"`: each function gets a state decoded for it alone. `"shared"`: functions that are saved
            together go on with one object; safe only if they keep no reference to the state and put in nothing that
            they keep.
        in_place: Write into the existing file, with a journal beside it, instead of replacing the file; for one that
            cannot be replaced, such as a single file that is mounted into a container. Not with a lease, nor with
            `also=` of the queue.
        on_corrupt: `"raise"`: a damaged document is StoreCorrupt. `"restore"`: the first read, update or transaction
            that meets one moves it aside and restores the newest good backup, with an event and a log record. Without
            a good backup, and for a document that may be intact, StoreCorrupt is raised all the same. Such a read takes
            a turn, so it may raise LockTimeout.
        system: System calls for the document; tests replace them (`storewriter.testing`).

    Raises:
        TypeError: For an argument of the wrong kind, or for both `queue` and `lock`.
        ValueError: For a value that is not one of those above, or settings that exclude each other.
        ReservedName: If a file of that name belongs to another store: a lock file or a backup, for example.
    """

    def read(self) -> S:
        """Return the last committed state, or the default if there is no document.

        Takes no lock and never waits for a writer. The state is the caller's own: changing it changes no document. Its
        flush may not have ended yet.

        Raises:
            StoreCorrupt: The document cannot be decoded, or is of another shape. It is left as it is.
            NotARegularFile: There is a folder, a FIFO, a device or a socket at the path.
            LockTimeout: Only with `on_corrupt="restore"`: the turn for the restoration did not come in time.
            OSError: The file cannot be read.
        """
        return self._read_or_restore()[1]

    def read_versioned(self) -> tuple[S, str]:
        """Return the last committed state and its version, for `update(..., expect=version)`.

        The version is a text made from the document's content, so the same content has the same version on every
        machine; a store without a document has one, too. Raises what `read` raises.
        """
        data, state = self._read_or_restore()
        return state, version_of(data)

    def _read_or_restore(self) -> tuple[bytes | None, S]:
        try:
            return self._read()
        except StoreCorrupt as error:
            if not self._restore(error):
                raise
        return self._read()

    def _restore(self, error: StoreCorrupt) -> bool:
        """With `on_corrupt="restore"`: restore the newest good backup, in a turn. False: the error is to be raised."""
        if not self._is_to_restore(error):
            return False
        try:
            return self._in_turn(Document.restore, None, UNSET) is not None
        except ReentrantTurn:  # inside a turn of this store
            return False

    def update(
        self,
        fn: Callable[[S], T],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
        expect: str | None = None,
    ) -> T:
        """Change the state in place: load, call `fn(state)`, save; return what `fn` returned.

        No other task, thread or process that uses the store gets in between. Returns when the change is as durable as
        the store promises. Updates that wait at the same time are saved together. A state that is the same as before
        is not written.

        What is in the state afterwards is what the document holds: a list that was put in two places is two lists for
        the next function, a tuple is a list.

        Args:
            fn: Called with the state, in this thread (with `isolation="shared"`, perhaps in that of another caller). It
                may be called again, on a new state, if a program without the lock has changed the document meanwhile or
                a lease was lost; so it must have no effects outside the state. If it raises, nothing of it is kept, and
                the error is raised here.
            label: What the update is for; shown to other callers while they wait for it.
            timeout: Seconds until `fn` must have been called; None: no limit. Not given: that of the store. From then
                on the update waits for the save and the flush.
            expect: Version from `read_versioned`; `fn` is called only if the document still has it. None: in any case.

        Raises:
            LockTimeout: The turn did not come in time; the error names the holder. Nothing was written.
            QueueFull: Too many callers wait (`max_pending` of the queue). Nothing was written.
            ReentrantTurn: This thread is inside a turn of this store already. Nothing was written.
            StoreCorrupt: The document cannot be decoded. It is left as it is.
            VersionConflict: The document has another version than `expect`, or a program without the lock changed it
                again and again. Nothing was written.
            EncodeError: The codec cannot write the state. Nothing was written.
            ReturnedAwaitable: `fn` is async. Nothing was written.
            LockLost: A lease ran out before the commit, again and again. Nothing was written.
            SaveInterrupted: The thread that was to save this update was interrupted, again and again. Nothing was
                written.
            CommitUncertain: The new document is in place, but its flush failed.
            StrategyMismatch: Another process uses another lock strategy for this store.
            ReadOnlyStore: The document is read-only.
            SchemaMissing: Of a document in a database: the table is not there. Nothing was written.
            ServerRefused: Of a document in a database: the server refused a statement. Nothing was written.
            OSError: Loading or saving failed (a full disk, missing rights, no kernel locks here). Unless the error is
                CommitUncertain, the old document is in place.
        """
        result: T = self._change(new_request(fn, False, expect), label, timeout)
        return result

    def transform(
        self,
        fn: Callable[[S], S],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
        expect: str | None = None,
    ) -> S:
        """Replace the state: load, call `fn(state)`, save what it returns; return that.

        For states that are not changed in place, such as frozen attrs classes. Everything else is as with `update`.

        Args:
            fn: Called with the state; returns the new one. See `update`.
            label: What the update is for; shown to other callers while they wait for it.
            timeout: Seconds until `fn` must have been called; None: no limit. Not given: that of the store.
            expect: Version that the document must still have. None: any.

        Raises:
            StoreWriterError: The kinds that `update` raises.
            OSError: Loading or saving failed.
        """
        state: S = self._change(new_request(fn, True, expect), label, timeout)
        return state

    def _change(
        self, request: Request, label: str | None, timeout: float | None | Unset, *, may_restore: bool = True
    ) -> Any:
        ticket = self._ticket(label, timeout)
        frame = Frame()
        document, is_first = self._document, True
        while True:
            if not ticket.joined:
                backend = self._address.locate(exactly=not is_first)
                document = self._document if backend is self._backend else self._document_at(backend)
                # Which updates may be in one batch: those of one document, written the same way, from threads or from
                # one loop. One that expects a version is judged by what is on disk, so it goes alone.
                ticket.batch_key = None if request.expect is not None else (document, None, self._isolation)
                ticket.payload = request
            try:
                # As `tie_to`, without the call, and without variables: they would outlive the turn.
                ticket.finalizer = (Tie(frame, start_last), Tie(frame, release_abandoned))
                ticket.finalizer[1].ticket = ticket
                ticket.finalizer[0].start = MethodType(start_release, (ticket,))
                enter(ticket, document.backend.lock)
                # With the turn may have come the open batch of the one before: this thread goes on with it, and
                # `leave_turn` hands it on or saves it.
                batch: Any = ticket.batch
                if batch is None:
                    batch = ticket.batch = Batch(document, self._isolation)
                batch.apply(ticket)
                if ticket.generation != forks.generation and request.error is None:
                    raise inherited(ticket)
                leave_turn(ticket)
            except BaseException:
                try:
                    leave_for_good(ticket)
                except BaseException:
                    if ticket.finalizer is not None or ticket.batch is not None:  # it may not have begun
                        ticket.identity = None
                        end_apart(([ticket],))
                    raise
                # An error of before refers to frames that refer to the request: a cycle, and what they had open.
                request.error = None
                raise
            if request.error is None:
                return request.result
            if not may_begin_anew(request):
                break
            is_first, (ticket, request) = False, begun_anew(ticket, request)
        if may_restore and isinstance(request.error, StoreCorrupt) and self._restore(request.error):
            return self._change(request.anew(), label, timeout, may_restore=False)
        return request.unwrap()

    def transaction(self, *, label: str | None = None, timeout: float | None | Unset = UNSET) -> Transaction[S]:
        """Return a turn with the state loaded, for code that has effects or that must run only once.

        Example:
            with store.transaction() as tx:
                tx.state["greeted"] = True

        Entering the block waits for the turn and loads the document. Leaving it commits, and returns when the commit is
        as durable as the store promises; an exception inside it, or `tx.discard()`, leaves the store as it is. One
        object serves one block at a time.

        Args:
            label: What the transaction is for; shown to other callers while they wait for it.
            timeout: Seconds to wait for the turn when the block is entered; None: no limit. Not given: that of the
                store. The block itself may take as long as it likes.

        Raises:
            StoreWriterError: Entering the block raises the kinds that `update` raises before it calls its function;
                then nothing is held. Leaving it raises those that `update` raises for saving.
            DocumentChanged: When the block is left: a program without the lock has changed the document since it was
                loaded. Nothing was written; the block is not run again.
            OSError: Loading or saving failed.
        """
        return Transaction(self._current_document, lambda: self._ticket(label, timeout), self._restore)

    def watch(self, *, poll: Backoff | None = None, events: bool = True) -> Watch[S]:
        """Return an iterator over the current state and then each new one, from whatever process commits it.

        Example:
            with store.watch() as states:
                for state in states:
                    show(state)

        States that were replaced before they were asked for are skipped; the last one never is. Takes no lock. For one
        thread at a time; see `storewriter.watch.Watch` for its methods and errors.

        Args:
            poll: Pace at which the file is looked at where there are no file events: from `poll.minimum` after each new
                state to `poll.maximum` seconds; with events, every `poll.maximum` seconds. None: 0.02 s to 1 s.
            events: False: do not use file events (inotify), only look.
        """
        from storewriter.watch import PACE, Watch  # only programs that watch pay for the import

        return Watch(self._current_document, poll=poll or PACE, events=events)

    def recover(
        self, *, force: bool = False, label: str | None = None, timeout: float | None | Unset = UNSET
    ) -> Recovery:
        """Bring a corrupt store back: move its document aside, and restore the newest good backup or the default.

        The corrupt document is kept, byte for byte, as `<name>.corrupt-1`, `-2`, and so on. Nothing is done to a
        document that can be read; one that is missing is restored from its newest good backup.

        Args:
            force: Also set aside a document that may be intact, and pass over such backups: another format, or written
                by a newer program.
            label: What the recovery is for; shown to other callers while they wait for it.
            timeout: Seconds to wait for the turn; None: no limit. Not given: that of the store.

        Returns:
            What was done; `str()` makes a sentence of it.

        Raises:
            RecoveryRefused: The document, or the backup that would be restored, may be intact. Nothing was done.
            LockTimeout: The turn did not come in time. Nothing was done.
            ReadOnlyStore: The document is read-only. Nothing was done.
            NotARegularFile: What is at the path is no file.
            VersionConflict: A program without the lock wrote the document again and again. Nothing was done.
            CommitUncertain: The store is restored, but the flush failed.
            OSError: A backup cannot be read now, or writing failed. The corrupt document is in place.
        """
        return self._in_turn(partial(Document.recover, force=force), label, timeout)

    def _in_turn(self, step: Callable[[Document, Any], T], label: str | None, timeout: float | None | Unset) -> T:
        """What a step of a recovery returns, in a turn."""
        document = self._current_document()
        ticket = self._ticket(label, timeout)
        frame = Frame()
        try:
            tie_to(ticket, frame)
            enter(ticket, document.backend.lock)
            return _recovered(step, document, ticket)
        finally:
            try:
                leave_turn(ticket)
            except BaseException:
                try:
                    leave_turn(ticket)  # it may not have begun
                except BaseException:
                    if ticket.finalizer is not None:
                        ticket.identity = None
                        end_apart(([ticket],))
                    raise
                raise


class AsyncStore(_StoreBase[S]):
    """One document that several callers update, for tasks of asyncio and trio: `Store`, awaited.

    Example:
        store = AsyncStore("settings.json")
        await store.update(lambda settings: settings.update(volume=7))

    The arguments are those of `Store`. Tasks queue up with threads and other processes, in one line. The event loop is
    never blocked by a flush or by waiting for a lock, and no shared thread pool is used. One object may be used from
    several loops.

    Cancelled before its function is called, an update never happens. Cancelled after that, the commit is completed
    first, and then the cancellation is raised. No cancellation is turned into another error.
    """

    async def read(self) -> S:
        """See `Store.read`."""
        return (await self._aread())[1]

    async def read_versioned(self) -> tuple[S, str]:
        """See `Store.read_versioned`."""
        data, state = await self._aread()
        return state, version_of(data)

    async def _aread(self) -> tuple[bytes | None, S]:
        try:
            return await self._aread_once()
        except StoreCorrupt as error:
            if not await self._restore(error):
                raise
        return await self._aread_once()

    async def _aread_once(self) -> tuple[bytes | None, S]:
        _, loop = current_task()
        if loop is None:
            msg = "AsyncStore needs a task of asyncio or trio; in plain code use Store"
            raise RuntimeError(msg)
        answer, cancelled = await off_loop(self._read, loop)
        if cancelled is not None:
            raise cancelled
        return answer

    async def _restore(self, error: StoreCorrupt) -> bool:
        """See `Store._restore`."""
        if not self._is_to_restore(error):
            return False
        try:
            return await self._in_turn(Document.restore, None, UNSET) is not None
        except ReentrantTurn:
            return False

    @overload
    async def update(
        self,
        fn: Callable[[S], Awaitable[T]],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
        expect: str | None = None,
    ) -> T: ...

    @overload
    async def update(
        self,
        fn: Callable[[S], T],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
        expect: str | None = None,
    ) -> T: ...

    async def update(
        self,
        fn: Callable[[S], Any],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
        expect: str | None = None,
    ) -> Any:
        """See `Store.update`.

        A plain `fn` is called on the caller's event loop, in the caller's context. An async one runs in the caller's
        task, in a turn of its own, and is cancelled with it; it is not saved together with other updates.
        """
        return await self._change(fn, False, label, timeout, expect)

    @overload
    async def transform(
        self,
        fn: Callable[[S], Awaitable[S]],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
        expect: str | None = None,
    ) -> S: ...

    @overload
    async def transform(
        self,
        fn: Callable[[S], S],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
        expect: str | None = None,
    ) -> S: ...

    async def transform(
        self,
        fn: Callable[[S], Any],
        *,
        label: str | None = None,
        timeout: float | None | Unset = UNSET,
        expect: str | None = None,
    ) -> Any:
        """See `Store.transform`; `fn` may be async, as with `update`."""
        return await self._change(fn, True, label, timeout, expect)

    async def _change(
        self,
        fn: Callable[[S], Any],
        replaces: bool,
        label: str | None,
        timeout: float | None | Unset,
        expect: str | None,
        *,
        may_restore: bool = True,
    ) -> Any:
        request = new_request(fn, replaces, expect, copy_context())
        if _is_async(fn):
            return await self._change_alone(request, label, timeout)
        ticket = self._ticket(label, timeout)
        document, is_first = self._document, True
        while True:
            if not ticket.joined:
                backend = self._address.locate(exactly=not is_first)
                document = self._document if backend is self._backend else self._document_at(backend)
                domain = domain_of(ticket.loop)
                ticket.batch_key = None if request.expect is not None else (document, domain, self._isolation)
                ticket.payload = request
            try:
                await aenter(ticket, document.backend.lock)
                if ticket.state is not ANSWERED:
                    await alead(document, ticket, self._isolation)
            except BaseException:
                leave_for_good(ticket)  # nothing, unless an interrupt came where no `try` in there had begun
                raise
            if request.error is None:
                return request.result
            if not may_begin_anew(request):
                break
            is_first, (ticket, request) = False, begun_anew(ticket, request)
        if isinstance(request.error, ReturnedAwaitable):
            # A plain function that returns the awaitable of an async one: it must be awaited.
            return await self._change_alone(request, label, timeout)
        if may_restore and isinstance(request.error, StoreCorrupt) and await self._restore(request.error):
            return await self._change(fn, replaces, label, timeout, expect, may_restore=False)
        return request.unwrap()

    async def _change_alone(self, request: Request, label: str | None, timeout: float | None | Unset) -> Any:
        """An async function: in a turn of its own, so that its awaits delay no answers of other updates."""
        for attempt in range(TRIES):
            try:
                async with self.transaction(label=label, timeout=timeout) as tx:
                    tx.expect(request)
                    try:
                        result = await request.fn(tx.state)
                    except BaseException:
                        request.failed = True
                        raise
                    if request.replaces:
                        tx.state = result
            except (LockLost, DocumentChanged):
                if request.failed or attempt + 1 == TRIES:
                    raise
            else:
                return result
        raise AssertionError  # pragma: no cover

    def transaction(self, *, label: str | None = None, timeout: float | None | Unset = UNSET) -> AsyncTransaction[S]:
        """See `Store.transaction`; entered with `async with`.

        Cancelled while it waits for the turn, the block is not entered. Cancelled while the block is left, the commit
        is completed first.
        """
        return AsyncTransaction(self._current_document, lambda: self._ticket(label, timeout), self._restore)

    def watch(self, *, poll: Backoff | None = None, events: bool = True) -> AsyncWatch[S]:
        """See `Store.watch`; iterated with `async for`, best inside `async with store.watch() as states`."""
        from storewriter.watch import PACE, AsyncWatch

        return AsyncWatch(self._current_document, poll=poll or PACE, events=events)

    async def recover(
        self, *, force: bool = False, label: str | None = None, timeout: float | None | Unset = UNSET
    ) -> Recovery:
        """See `Store.recover`. Cancelled while it waits for the turn, nothing is done; after that, it is completed."""
        return await self._in_turn(partial(Document.recover, force=force), label, timeout)

    async def _in_turn(self, step: Callable[[Document, Any], T], label: str | None, timeout: float | None | Unset) -> T:
        document = self._current_document()
        ticket = self._ticket(label, timeout)
        try:
            await aenter(ticket, document.backend.lock)
            call, abandon = partial(_recovered, step, document, ticket), partial(leave_turn, ticket)
            done, cancelled = await off_loop_at_head(ticket, call, abandon)
        finally:
            await leave_off_loop(ticket)
        if cancelled is not None:
            raise cancelled
        return done


_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE


def _is_async(fn: Callable[..., Any]) -> bool:
    code = getattr(fn, "__code__", None)
    if code is not None:  # a plain function, by far the most common
        return bool(code.co_flags & _COROUTINE)
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(type(fn), "__call__", None))  # noqa: B004


def _recovered(step: Callable[[Document, Any], T], document: Document, ticket: Ticket) -> T:
    """A step of a recovery, in a turn."""
    hold = hold_of(ticket)
    hold.check()
    return step(document, hold)
