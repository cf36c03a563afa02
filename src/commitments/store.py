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
from typing import Concatenate, ParamSpec, TypeVar

from commitments import changes, queries
from commitments.candidates import Candidate, Item
from commitments.changes import FinalStatus, Marked, Upserted, new_id
from commitments.document import Document, DocumentCodec
from commitments.location import Location
from commitments.queries import DEFAULT_PENDING_LIMIT, CommitmentsConfig, Listing
from commitments.record import Commitment, Scope, Status
from storewriter import AsyncStore, PerStoreWriterQueue, Recovery, Store
from storewriter.locks import OpenClawLock

P = ParamSpec("P")
T = TypeVar("T")

LOCK_TIMEOUT = 10.0
"""Seconds to wait for other writers. They hold the store for milliseconds, so by then one of them hangs."""

_log = logging.getLogger("commitments")

_OPENCLAW_STALE = 60.0
"""Seconds after which OpenClaw's stores take a lock for abandoned."""


def queue_for(location: Location, neighbour_lock: bool | None) -> PerStoreWriterQueue | None:
    """Return the queue of a store that was given none; None is the process-wide default."""
    if neighbour_lock is None:
        neighbour_lock = location.is_openclaws
    return PerStoreWriterQueue(also=OpenClawLock(stale=_OPENCLAW_STALE)) if neighbour_lock else None


def system_clock() -> int:
    """Return the present time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class CommitmentsStore:
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
        queue = queue_for(self._location, neighbour_lock) if queue is None else queue
        self._store = Store(self.path, Document, DocumentCodec(), queue=queue, timeout=timeout)
        self._location.warn_of_database()

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return self._location.path

    def load(self) -> Listing:
        """Every record in file order, as it is stored; expires nothing, never waits and never writes."""
        return queries.everything(self._store.read())

    def list(self, status: Status | None = None, agent_id: str | None = None) -> Listing:
        """Return the records by due time, and the problems of all entries. Saves what has expired.

        Args:
            status: Only records with this status; None: any.
            agent_id: Only records of this agent; None: any.
        """
        return self._ask(lambda document: queries.listing(document, status, agent_id), self._clock())

    def watch(self, status: Status | None = None, agent_id: str | None = None) -> Iterator[Listing]:
        """Yield what `list` would return, now and after every change of the file by any program; save nothing.

        Asking for the next one waits for it. Listings that were replaced before they were read are left out.

        Args:
            status: Only records with this status; None: any.
            agent_id: Only records of this agent; None: any.
        """
        with self._store.watch() as states:
            for document in states:
                yield _listing_of(document, status, agent_id, self._clock())

    def pending_for_scope(
        self, scope: Scope, *, limit: int = DEFAULT_PENDING_LIMIT, now_ms: int | None = None
    ) -> tuple[Commitment, ...]:
        """Return the active records of exactly that scope that no snooze hides, by due time.

        Args:
            scope: Compared by its seven fields, trimmed.
            limit: At most so many, from 0; ValueError for a negative one.
            now_ms: Present time in milliseconds since the epoch; None: the clock's.
        """
        now = self._now(now_ms)
        return self._ask(lambda document: queries.pending_for_scope(document, scope, limit, now), now)

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
        now = self._now(now_ms)
        if not config.enabled:
            return ()
        return self._ask(
            lambda document: queries.due_for_session(document, config, agent_id, session_key, limit, now), now
        )

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
        now = self._now(now_ms)
        if not config.enabled:
            return ()
        return self._ask(lambda document: queries.due_session_keys(document, config, agent_id, limit, now), now)

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
        now, inferred = self._now(now_ms), tuple(candidates)
        if not inferred:
            return Upserted()
        ids = _new_ids(inferred, now)
        return self._change("upsert", changes.upsert, item, inferred, ids, now)

    def mark_attempted(self, ids: Iterable[str], *, now_ms: int | None = None, every_copy: bool = False) -> Marked:
        """Count a delivery attempt on each record, whatever its status; report unknown and terminal ids.

        Args:
            ids: Ids of records. Without any, nothing is touched.
            now_ms: Present time in milliseconds since the epoch; None: the clock's.
            every_copy: If several entries have an id, change all of them; False: none of them.
        """
        now, wanted = self._now(now_ms), tuple(ids)
        if not wanted:
            return Marked()
        return self._change("mark attempted", changes.mark_attempted, wanted, now, every_copy)

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
        now, wanted = self._now(now_ms), tuple(ids)
        if not wanted:
            return Marked()
        return self._change(f"mark {status}", changes.mark_status, wanted, status, now, every_copy)

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
        now, wanted = self._now(now_ms), tuple(ids)
        if not wanted:
            return Marked()
        return self._change("snooze", changes.snooze, wanted, until_ms, now, every_copy)

    def recover(self, *, force: bool = False) -> Recovery:
        """Move a damaged file aside, and begin an empty store; the answer says what was done.

        Nothing is done to a file that can be read. One that is whole, but of another version or no commitments store,
        stays, too, and RecoveryRefused is raised, unless `force` says that it is of no use.
        """
        return self._store.recover(force=force, label="commitments: recover")

    def _now(self, now_ms: int | None) -> int:
        return self._clock() if now_ms is None else now_ms

    def _change(
        self, label: str, operation: Callable[Concatenate[Document, P], T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        self._location.require_in_use()
        self._location.keep_private()
        return self._store.update(
            lambda document: operation(document, *arguments, **named), label=f"commitments: {label}"
        )

    def _ask(self, question: Callable[[Document], T], now_ms: int) -> T:
        answer = _after_expiry(question, now_ms)
        document = self._store.read()
        if changes.has_work(document, now_ms):
            self._location.keep_private()
            try:
                return self._store.update(answer, label="commitments: expire")
            except OSError as error:
                _pass_if_not_writable(error, self.path)
        return answer(document)


class AsyncCommitmentsStore:
    """One commitments file, for tasks of asyncio and trio: `CommitmentsStore`, awaited.

    The loop is never blocked by a flush or by waiting for a lock. A call that is cancelled while it waits in
    line changes nothing; one that is cancelled while it is being committed is committed, and then cancelled.
    """

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
        queue = queue_for(self._location, neighbour_lock) if queue is None else queue
        self._store = AsyncStore(self.path, Document, DocumentCodec(), queue=queue, timeout=timeout)
        self._location.warn_of_database()

    @property
    def path(self) -> str:
        """See `CommitmentsStore.path`."""
        return self._location.path

    async def load(self) -> Listing:
        """See `CommitmentsStore.load`."""
        return queries.everything(await self._store.read())

    async def list(self, status: Status | None = None, agent_id: str | None = None) -> Listing:
        """See `CommitmentsStore.list`."""
        return await self._ask(lambda document: queries.listing(document, status, agent_id), self._clock())

    async def watch(self, status: Status | None = None, agent_id: str | None = None) -> AsyncIterator[Listing]:
        """See `CommitmentsStore.watch`; best inside `async with aclosing(store.watch()) as listings`."""
        async with self._store.watch() as states:
            async for document in states:
                yield _listing_of(document, status, agent_id, self._clock())

    async def pending_for_scope(
        self, scope: Scope, *, limit: int = DEFAULT_PENDING_LIMIT, now_ms: int | None = None
    ) -> tuple[Commitment, ...]:
        """See `CommitmentsStore.pending_for_scope`."""
        now = self._now(now_ms)
        return await self._ask(lambda document: queries.pending_for_scope(document, scope, limit, now), now)

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
        now = self._now(now_ms)
        if not config.enabled:
            return ()
        return await self._ask(
            lambda document: queries.due_for_session(document, config, agent_id, session_key, limit, now), now
        )

    async def due_session_keys(
        self, config: CommitmentsConfig, agent_id: str, *, limit: int | None = None, now_ms: int | None = None
    ) -> tuple[str, ...]:
        """See `CommitmentsStore.due_session_keys`."""
        now = self._now(now_ms)
        if not config.enabled:
            return ()
        return await self._ask(lambda document: queries.due_session_keys(document, config, agent_id, limit, now), now)

    async def upsert(self, item: Item, candidates: Iterable[Candidate], *, now_ms: int | None = None) -> Upserted:
        """See `CommitmentsStore.upsert`."""
        now, inferred = self._now(now_ms), tuple(candidates)
        if not inferred:
            return Upserted()
        ids = _new_ids(inferred, now)
        return await self._change("upsert", changes.upsert, item, inferred, ids, now)

    async def mark_attempted(
        self, ids: Iterable[str], *, now_ms: int | None = None, every_copy: bool = False
    ) -> Marked:
        """See `CommitmentsStore.mark_attempted`."""
        now, wanted = self._now(now_ms), tuple(ids)
        if not wanted:
            return Marked()
        return await self._change("mark attempted", changes.mark_attempted, wanted, now, every_copy)

    async def mark_status(
        self, ids: Iterable[str], status: FinalStatus, *, now_ms: int | None = None, every_copy: bool = False
    ) -> Marked:
        """See `CommitmentsStore.mark_status`."""
        now, wanted = self._now(now_ms), tuple(ids)
        if not wanted:
            return Marked()
        return await self._change(f"mark {status}", changes.mark_status, wanted, status, now, every_copy)

    async def snooze(
        self, ids: Iterable[str], until_ms: int, *, now_ms: int | None = None, every_copy: bool = False
    ) -> Marked:
        """See `CommitmentsStore.snooze`."""
        now, wanted = self._now(now_ms), tuple(ids)
        if not wanted:
            return Marked()
        return await self._change("snooze", changes.snooze, wanted, until_ms, now, every_copy)

    async def recover(self, *, force: bool = False) -> Recovery:
        """See `CommitmentsStore.recover`."""
        return await self._store.recover(force=force, label="commitments: recover")

    def _now(self, now_ms: int | None) -> int:
        return self._clock() if now_ms is None else now_ms

    async def _change(
        self, label: str, operation: Callable[Concatenate[Document, P], T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        self._location.require_in_use()
        self._location.keep_private()
        return await self._store.update(
            lambda document: operation(document, *arguments, **named), label=f"commitments: {label}"
        )

    async def _ask(self, question: Callable[[Document], T], now_ms: int) -> T:
        answer = _after_expiry(question, now_ms)
        document = await self._store.read()
        if changes.has_work(document, now_ms):
            self._location.keep_private()
            try:
                return await self._store.update(answer, label="commitments: expire")
            except OSError as error:
                _pass_if_not_writable(error, self.path)
        return answer(document)


def _after_expiry(question: Callable[[Document], T], now_ms: int) -> Callable[[Document], T]:
    """Return the query, run after the records that are too old were marked as expired."""

    def answer(document: Document) -> T:
        changes.expire(document, now_ms)
        return question(document)

    return answer


def _listing_of(document: Document, status: Status | None, agent_id: str | None, now_ms: int) -> Listing:
    changes.expire(document, now_ms)
    return queries.listing(document, status, agent_id)


def _pass_if_not_writable(error: OSError, path: str) -> None:
    """Raise `error`, unless it only means that writing is not permitted: reading is enough for a listing."""
    if not isinstance(error, PermissionError) and error.errno != errno.EROFS:
        raise error
    _log.warning("%s: what has expired is shown as expired, but cannot be saved: %s", path, error)


def _new_ids(candidates: tuple[Candidate, ...], now_ms: int) -> tuple[str, ...]:
    """Return an id for each candidate, made outside of the operation because that may run twice."""
    return tuple(new_id(now_ms) for _ in candidates)
