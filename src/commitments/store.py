"""The store: `CommitmentsStore` for plain code, `AsyncCommitmentsStore` for tasks of asyncio and trio.

Promise    What a call has reported is in the file, and in every later state of it, whatever else writes it
           through storewriter: tasks, threads, a gateway daemon, a command line. A file that cannot be read
           whole is never written.
How        An operation is a function on a document (`changes`, `queries`). It runs inside an update of a
           storewriter store, so updates that wait are committed together.
Does not   deliver anything, or decide what deserves a follow-up.
Fails by   the errors of storewriter (StoreCorrupt, LockTimeout, ReadOnlyStore, ...) and OSError.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Concatenate, Generic, ParamSpec, TypeVar

import attrs

from commitments import changes, queries
from commitments.candidates import Candidate, Item
from commitments.changes import FinalStatus, Marked, Upserted, new_id
from commitments.document import Document, DocumentCodec
from commitments.location import Location
from commitments.queries import DEFAULT_PENDING_LIMIT, CommitmentsConfig, Listing
from commitments.record import Commitment, Scope, Status
from storewriter import AsyncStore, PerStoreWriterQueue, Recovery, Store
from storewriter.locks import OpenClawLock

T = TypeVar("T")
P = ParamSpec("P")
S = TypeVar("S", Store[Document], AsyncStore[Document])

LOCK_TIMEOUT = 10.0
"""Seconds to wait for other writers. They hold the store for milliseconds, so by then one of them hangs."""

_log = logging.getLogger("commitments")

_OPENCLAW_STALE = 60.0
"""Seconds after which OpenClaw's stores take a lock for abandoned."""


def system_clock() -> int:
    """Return the present time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


@attrs.frozen
class _Look(Generic[T]):
    """A look at a document, once the records that are too old at `now_ms` were marked as expired."""

    find: Callable[[Document], T]
    now_ms: int

    def __call__(self, document: Document) -> T:
        changes.expire(document, self.now_ms)
        return self.find(document)


@attrs.frozen
class _Change(Generic[T]):
    """A change of a document; `answer` is given without touching the store if there is nothing to change."""

    label: str
    apply: Callable[[Document], T]
    answer: T | None = None


class _Operations(Generic[S]):
    """What both stores have, and how each operation is prepared: they differ in how they read and update."""

    _kind: Callable[..., S]
    """Makes the store of storewriter."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        now_ms: Callable[[], int] = system_clock,
        timeout: float | None = LOCK_TIMEOUT,
        queue: PerStoreWriterQueue | None = None,
        neighbour_lock: bool | None = None,
    ) -> None:
        self._location = Location.of(path)
        self._clock = now_ms
        if queue is None and (self._location.is_openclaws if neighbour_lock is None else neighbour_lock):
            queue = PerStoreWriterQueue(also=OpenClawLock(stale=_OPENCLAW_STALE))
        self._store: S = self._kind(self._location.path, Document, DocumentCodec(), queue=queue, timeout=timeout)
        self._location.warn_of_database()

    @property
    def path(self) -> str:
        """The absolute path of the file; of a URL, the name of its document, without user and password."""
        return self._location.path if self._location.is_file else self._store.path

    def _now(self, now_ms: int | None) -> int:
        return self._clock() if now_ms is None else now_ms

    def _listing(self, status: Status | None, agent_id: str | None) -> _Look[Listing]:
        return _Look(lambda document: queries.listing(document, status, agent_id), self._clock())

    def _look(
        self,
        now_ms: int | None,
        find: Callable[Concatenate[Document, int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> _Look[T]:
        now = self._now(now_ms)
        return _Look(lambda document: find(document, now, *args, **kwargs), now)

    def _upsert(self, item: Item, candidates: Iterable[Candidate], now_ms: int | None) -> _Change[Upserted]:
        now, inferred = self._now(now_ms), tuple(candidates)
        ids = tuple(new_id(now) for _ in inferred)  # not in the operation, which may run twice
        return _Change(
            "upsert",
            lambda document: changes.upsert(document, item, inferred, ids, now),
            None if inferred else Upserted(),
        )

    def _marking(
        self,
        label: str,
        ids: Iterable[str],
        now_ms: int | None,
        mark: Callable[Concatenate[Document, tuple[str, ...], int, P], Marked],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> _Change[Marked]:
        now, wanted = self._now(now_ms), tuple(ids)
        return _Change(
            label, lambda document: mark(document, wanted, now, *args, **kwargs), None if wanted else Marked()
        )

    def _prepare_folder(self) -> None:
        self._location.require_in_use()
        self._location.keep_private()


class CommitmentsStore(_Operations[Store[Document]]):
    """One commitments file, for plain code. Every method may be called from any thread.

    `path` is trimmed and a leading `~` expanded; None or blank means the store of this user (`default_path`).
    `now_ms` is the clock: times are integers, milliseconds since the Unix epoch, and where a method takes a
    time, None asks the clock, once, when the method is called. `timeout` is in seconds, for the wait for
    other writers; None waits for ever. `neighbour_lock` says whether OpenClaw's lock is taken as well, so that a
    gateway that writes the same file is excluded; None: where a gateway of this user would look for the file.
    `queue` decides the lock strategy instead, with its `also`.

    Where OpenClaw keeps its commitments in a database by now (`state/openclaw.sqlite`), a warning is logged, and a
    change of the default store raises StoreWriterError instead of making a file that the gateway does not read.

    Looking at the store needs no write access, and takes the lock only to save what has expired.
    """

    _kind = Store[Document]

    def load(self) -> Listing:
        """Every record in file order, as it is stored; expires nothing, never waits and never writes."""
        return queries.everything(self._store.read())

    def list(self, status: Status | None = None, agent_id: str | None = None) -> Listing:
        """Return the records by due time, and the problems of all entries. Saves what has expired.

        Args:
            status: Only records with this status; None: any.
            agent_id: Only records of this agent; None: any.
        """
        return self._ask(self._listing(status, agent_id))

    def watch(self, status: Status | None = None, agent_id: str | None = None) -> Iterator[Listing]:
        """Yield what `list` would return, now and after every change of the file by any program; save nothing.

        Asking for the next one waits for it. Listings that were replaced before they were read are left out.

        Args:
            status: Only records with this status; None: any.
            agent_id: Only records of this agent; None: any.
        """
        with self._store.watch() as states:
            for document in states:
                yield self._listing(status, agent_id)(document)

    def pending_for_scope(
        self, scope: Scope, *, limit: int = DEFAULT_PENDING_LIMIT, now_ms: int | None = None
    ) -> tuple[Commitment, ...]:
        """Return the active records of exactly that scope that no snooze hides, by due time.

        Args:
            scope: Compared by its seven fields, trimmed.
            limit: At most so many, from 0; ValueError for a negative one.
            now_ms: Present time in milliseconds since the epoch; None: the clock's.
        """
        return self._ask(self._look(now_ms, queries.pending_for_scope, scope, limit))

    def due_for_session(
        self,
        config: CommitmentsConfig,
        agent_id: str,
        session_key: str,
        *,
        limit: int | None = None,
        now_ms: int | None = None,
    ) -> tuple[Commitment, ...]:
        """Return what a heartbeat may bring up now in one session: at most 3, `limit`, and the day's rest.

        Where commitments are not enabled, nothing, and the file is not touched.

        Args:
            config: The gateway's settings.
            agent_id: The agent.
            session_key: The session.
            limit: At most so many, from 0; None: no limit of the call. ValueError for a negative one.
            now_ms: Present time in milliseconds since the epoch; None: the clock's.
        """
        if not config.enabled:
            return ()
        return self._ask(self._look(now_ms, queries.due_for_session, config, agent_id, session_key, limit))

    def due_session_keys(
        self, config: CommitmentsConfig, agent_id: str, *, limit: int | None = None, now_ms: int | None = None
    ) -> tuple[str, ...]:
        """Return the sessions of one agent in which something is due and may still be sent today, sorted.

        Where commitments are not enabled, nothing, and the file is not touched.

        Args:
            config: The gateway's settings.
            agent_id: The agent.
            limit: At most so many, the first in the file; None or 0: all. ValueError for a negative one.
            now_ms: Present time in milliseconds since the epoch; None: the clock's.
        """
        if not config.enabled:
            return ()
        return self._ask(self._look(now_ms, queries.due_session_keys, config, agent_id, limit))

    def upsert(self, item: Item, candidates: Iterable[Candidate], *, now_ms: int | None = None) -> Upserted:
        """Merge each candidate into the active record with its scope and dedupe key, or create a record.

        Both kinds come back as they are stored afterwards. Without candidates nothing is touched.

        Args:
            item: The exchange from which they were inferred.
            candidates: Follow-ups; two with one dedupe key are merged.
            now_ms: Present time in milliseconds since the epoch; None: the clock's.

        Raises:
            CandidateRefused: A record would have to be created from a blank text. Nothing of the call was written.
        """
        return self._change(self._upsert(item, candidates, now_ms))

    def mark_attempted(self, ids: Iterable[str], *, now_ms: int | None = None, every_copy: bool = False) -> Marked:
        """Count a delivery attempt on each record, whatever its status; report unknown and terminal ids.

        Args:
            ids: Ids of records. Without any, nothing is touched.
            now_ms: Present time in milliseconds since the epoch; None: the clock's.
            every_copy: If several entries have an id, change all of them; False: none of them.
        """
        return self._change(self._marking("mark attempted", ids, now_ms, changes.mark_attempted, every_copy))

    def mark_status(
        self, ids: Iterable[str], status: FinalStatus, *, now_ms: int | None = None, every_copy: bool = False
    ) -> Marked:
        """Give each active record its final status; report unknown and terminal ids, which change nothing.

        Args:
            ids: Ids of records. Without any, nothing is touched.
            status: `sent`, `dismissed` or `expired`; ValueError for any other.
            now_ms: Present time in milliseconds since the epoch; None: the clock's.
            every_copy: If several entries have an id, change all of them; False: none of them.
        """
        return self._change(self._marking(f"mark {status}", ids, now_ms, changes.mark_status, every_copy, status))

    def snooze(
        self, ids: Iterable[str], until_ms: int, *, now_ms: int | None = None, every_copy: bool = False
    ) -> Marked:
        """Hide each active record for a while; report unknown and terminal ids, which change nothing.

        A snoozed record expires like any other.

        Args:
            ids: Ids of records. Without any, nothing is touched.
            until_ms: When it shows again, in milliseconds since the epoch.
            now_ms: Present time in milliseconds since the epoch; None: the clock's.
            every_copy: If several entries have an id, change all of them; False: none of them.
        """
        return self._change(self._marking("snooze", ids, now_ms, changes.snooze, every_copy, until_ms))

    def recover(self, *, force: bool = False) -> Recovery:
        """Move a damaged file aside, and begin an empty store; the answer says what was done.

        Nothing is done to a file that can be read. One that is whole, but of another version or no commitments store,
        stays, too, and RecoveryRefused is raised, unless `force` says that it is of no use.
        """
        return self._store.recover(force=force, label="commitments: recover")

    def _change(self, change: _Change[T]) -> T:
        if change.answer is not None:
            return change.answer
        self._prepare_folder()
        return self._store.update(change.apply, label=f"commitments: {change.label}")

    def _ask(self, look: _Look[T]) -> T:
        document = self._store.read()
        if not changes.has_work(document, look.now_ms):
            return look.find(document)
        self._location.keep_private()
        try:
            return self._store.update(look, label="commitments: expire")
        except OSError as error:
            _pass_if_not_writable(error, self.path)
            return look(document)


class AsyncCommitmentsStore(_Operations[AsyncStore[Document]]):
    """One commitments file, for tasks of asyncio and trio: `CommitmentsStore`, awaited.

    The loop is never blocked by a flush or by waiting for a lock. A call that is cancelled while it waits in
    line changes nothing; one that is cancelled while it is being committed is committed, and then cancelled.
    """

    _kind = AsyncStore[Document]

    async def load(self) -> Listing:
        """See `CommitmentsStore.load`."""
        return queries.everything(await self._store.read())

    async def list(self, status: Status | None = None, agent_id: str | None = None) -> Listing:
        """See `CommitmentsStore.list`."""
        return await self._ask(self._listing(status, agent_id))

    async def watch(self, status: Status | None = None, agent_id: str | None = None) -> AsyncIterator[Listing]:
        """See `CommitmentsStore.watch`; best inside `async with aclosing(store.watch()) as listings`."""
        async with self._store.watch() as states:
            async for document in states:
                yield self._listing(status, agent_id)(document)

    async def pending_for_scope(
        self, scope: Scope, *, limit: int = DEFAULT_PENDING_LIMIT, now_ms: int | None = None
    ) -> tuple[Commitment, ...]:
        """See `CommitmentsStore.pending_for_scope`."""
        return await self._ask(self._look(now_ms, queries.pending_for_scope, scope, limit))

    async def due_for_session(
        self,
        config: CommitmentsConfig,
        agent_id: str,
        session_key: str,
        *,
        limit: int | None = None,
        now_ms: int | None = None,
    ) -> tuple[Commitment, ...]:
        """See `CommitmentsStore.due_for_session`."""
        if not config.enabled:
            return ()
        return await self._ask(self._look(now_ms, queries.due_for_session, config, agent_id, session_key, limit))

    async def due_session_keys(
        self, config: CommitmentsConfig, agent_id: str, *, limit: int | None = None, now_ms: int | None = None
    ) -> tuple[str, ...]:
        """See `CommitmentsStore.due_session_keys`."""
        if not config.enabled:
            return ()
        return await self._ask(self._look(now_ms, queries.due_session_keys, config, agent_id, limit))

    async def upsert(self, item: Item, candidates: Iterable[Candidate], *, now_ms: int | None = None) -> Upserted:
        """See `CommitmentsStore.upsert`."""
        return await self._change(self._upsert(item, candidates, now_ms))

    async def mark_attempted(
        self, ids: Iterable[str], *, now_ms: int | None = None, every_copy: bool = False
    ) -> Marked:
        """See `CommitmentsStore.mark_attempted`."""
        return await self._change(self._marking("mark attempted", ids, now_ms, changes.mark_attempted, every_copy))

    async def mark_status(
        self, ids: Iterable[str], status: FinalStatus, *, now_ms: int | None = None, every_copy: bool = False
    ) -> Marked:
        """See `CommitmentsStore.mark_status`."""
        return await self._change(self._marking(f"mark {status}", ids, now_ms, changes.mark_status, every_copy, status))

    async def snooze(
        self, ids: Iterable[str], until_ms: int, *, now_ms: int | None = None, every_copy: bool = False
    ) -> Marked:
        """See `CommitmentsStore.snooze`."""
        return await self._change(self._marking("snooze", ids, now_ms, changes.snooze, every_copy, until_ms))

    async def recover(self, *, force: bool = False) -> Recovery:
        """See `CommitmentsStore.recover`."""
        return await self._store.recover(force=force, label="commitments: recover")

    async def _change(self, change: _Change[T]) -> T:
        if change.answer is not None:
            return change.answer
        self._prepare_folder()
        return await self._store.update(change.apply, label=f"commitments: {change.label}")

    async def _ask(self, look: _Look[T]) -> T:
        document = await self._store.read()
        if not changes.has_work(document, look.now_ms):
            return look.find(document)
        self._location.keep_private()
        try:
            return await self._store.update(look, label="commitments: expire")
        except OSError as error:
            _pass_if_not_writable(error, self.path)
            return look(document)


def _pass_if_not_writable(error: OSError, path: str) -> None:
    """Raise `error`, unless it only means that writing is not permitted: reading is enough for a listing."""
    if not isinstance(error, PermissionError) and error.errno != errno.EROFS:
        raise error
    _log.warning("%s: what has expired is shown as expired, but cannot be saved: %s", path, error)
