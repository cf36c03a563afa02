"""`PersistentDedupe` for plain code, `AsyncPersistentDedupe` for tasks of asyncio and trio.

What they do is in `checking.py`, `claiming.py` and `contents.py`, as coroutines. The methods of the one run them at
once; those of the other are the same methods, and leave it to their caller to await.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, cast

from persistent_dedupe import checking, claiming, contents
from persistent_dedupe.context import Context
from persistent_dedupe.keys import Location
from persistent_dedupe.options import DedupeOptions
from persistent_dedupe.results import CheckResult, Claim, Counters, Entry, ImportReport, OnError, OpenClaim
from persistent_dedupe.runner import run_here

__all__ = ["AsyncPersistentDedupe", "PersistentDedupe"]

P = ParamSpec("P")
T = TypeVar("T")


def _ignore(_: Exception) -> None:
    """The `on_disk_error` of a call whose errors do not go to that of the options."""


class _Base:
    """What both classes have, and what neither of them has to wait for."""

    _is_for_tasks: ClassVar[bool] = False

    def __init__(self, location: Location | None, options: DedupeOptions) -> None:
        self._context = Context(location, options, is_for_tasks=self._is_for_tasks)
        self._call = self._context.call
        self.options = options
        """The options given at construction."""

    def _run(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run an operation to its end; for tasks, it is the coroutine that `_awaited` awaits."""
        return cast("T", operation) if self._is_for_tasks else run_here(operation)

    def clear_memory(self) -> None:
        """Empty the memory; files and claims stay."""
        self._context.state.memory.clear()

    @property
    def memory_size(self) -> int:
        """Keys in memory."""
        return len(self._context.state.memory)

    @property
    def counters(self) -> Counters:
        """What this object has seen in this process so far."""
        return self._context.state.reports.counters()

    def path(self, namespace: str | None = None) -> Path | str | None:
        """The file of `namespace` (None: `global`), or the name of its document, without user and password of the URL.

        None if this object keeps its keys in memory only.
        """
        file = self._call("", namespace).file
        return None if file is None else file.keys.path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._context.shown_location})"


class PersistentDedupe(_Base):
    """Remembers keys across restarts and between processes, for plain code. Any thread may call any method.

    `location` is a folder that gets one file per namespace; or a URL such as `postgresql://host/database#dedupe`, where
    each namespace gets a document (`dedupe/global`); or a function from a namespace to its path or URL; or None: then
    the keys are kept in this object's memory only.

    Keys and namespaces are trimmed; no namespace means `global`. `now` is in seconds since the epoch and must be
    above 0. What goes wrong with a file is counted in `counters`, logged once per kind, and passed to
    `on_disk_error`, that of the call or else that of the options; `DedupeOptions.failure` decides what the caller
    gets.
    """

    def check_and_record(
        self,
        key: str,
        *,
        namespace: str | None = None,
        now: float | None = None,
        on_disk_error: OnError | None = None,
    ) -> CheckResult:
        """Ask whether the key is new, and record it if it is; the result is true if it is new.

        A second caller with the same key waits for the first, and the key is a duplicate for it. A first caller that
        goes away without an answer passes the question on. The window is fixed: it begins with the first sighting,
        and no duplicate prolongs it.

        From the moment the key is recorded it is a duplicate for every caller, whether the event is
        then handled or not: where that matters, `claim`.

        Args:
            key: Identifies the event; trimmed. A blank one is new each time.
            namespace: Which file; None: `global`.
            now: Present time in seconds since the epoch, above 0; None: the clock's.
            on_disk_error: Called with what goes wrong with the file; None: that of the options.

        Raises:
            ValueError: For an impossible `now`, or a blank key if the options say so.
            StoreWriterError: Failing closed: the file could not be used (LockTimeout, StoreCorrupt and others).
            OSError: Failing closed: the file could not be used.
        """
        return self._run(checking.check_and_record(self._call(key, namespace, now, on_disk_error)))

    def has_recent(
        self,
        key: str,
        *,
        namespace: str | None = None,
        now: float | None = None,
        on_disk_error: OnError | None = None,
    ) -> bool:
        """Whether `key` of `namespace` (None: `global`) is recent at `now`; records nothing and takes no lock.

        A blank key is not. If the file cannot be read, memory answers (failing open), or the error is raised (failing
        closed), and `on_disk_error` is called. `now` is in seconds since the epoch; None: the clock's.
        """
        return self._run(checking.has_recent(self._call(key, namespace, now, on_disk_error)))

    def warmup(
        self, namespace: str | None = None, *, now: float | None = None, on_disk_error: OnError | None = None
    ) -> int:
        """Put the recent keys of `namespace` (None: `global`) into memory; return how many the file has.

        Takes no lock. `now` is in seconds since the epoch; None: the clock's. If the file cannot be read: 0 (failing
        open), or the error is raised (failing closed); errors go to the `on_disk_error` of this call only, not to that
        of the options.
        """
        return self._run(contents.warmup(self._call("", namespace, now, on_disk_error or _ignore)))

    def forget(self, key: str, *, namespace: str | None = None, on_disk_error: OnError | None = None) -> bool:
        """Remove `key` of `namespace` (None: `global`), and any claim on it; return whether the file had the key.

        Claims of other processes end, too; who waits for one gets `ClaimReleased`. The memory of other objects and
        processes is out of reach: they may know the key until its `ttl` is over. Failing open, a file that cannot be
        used counts as not having had the key, and `on_disk_error` is called. Without files: always True, except for a
        blank key.
        """
        return self._run(claiming.forget(self._call(key, namespace, None, on_disk_error)))

    def entries(self, namespace: str | None = None, *, now: float | None = None) -> list[Entry]:
        """Return the keys in the file of `namespace` (None: `global`), newest first, expired ones included.

        Takes no lock. `now`, by which an entry is recent or not, is in seconds since the epoch; None: the clock's.
        Raises OSError, StoreCorrupt, whichever way this object fails.
        """
        return self._run(contents.entries(self._call("", namespace, now)))

    def import_file(
        self,
        source: str | os.PathLike[str],
        namespace: str | None = None,
        *,
        now: float | None = None,
        remove: bool = False,
    ) -> ImportReport:
        """Merge another file of the same format into a namespace; of two times for one key the newer counts.

        Args:
            source: The other file.
            namespace: Where its keys go; None: `global`.
            now: Present time in seconds since the epoch; None: the clock's.
            remove: Remove the source once its entries are committed.

        Raises:
            ValueError: The source is the namespace's file, or this object has no files.
            StoreCorrupt: The source, or the namespace's file, cannot be understood. Nothing was changed or removed.
            OSError: One of the files cannot be used.
        """
        return self._run(contents.import_file(self._call("", namespace, now), Path(source), remove))

    def claim(
        self,
        key: str,
        *,
        namespace: str | None = None,
        now: float | None = None,
        on_disk_error: OnError | None = None,
    ) -> Claim:
        """Ask for the right to handle a key; the claim is true if it is yours, and then you commit or release it.

        In flight: another caller has claimed it, here or in another process; `wait` returns the outcome. Duplicate: it
        was recorded lately. A blank key is claimed by every caller, and recorded for none.

        The claim lasts until it is committed or released, its process ends, this object is no longer referred to, or
        `DedupeOptions.claim_limit` has passed. Failing open, a claim that could not be written down is yours, with
        `recorded` False: another process may get the same.

        Args:
            key: Identifies the event; trimmed.
            namespace: Which file; None: `global`.
            now: Present time in seconds since the epoch, above 0; None: the clock's.
            on_disk_error: Called with what goes wrong with the file; None: that of the options.
        """
        return self._run(claiming.claim(self._call(key, namespace, now, on_disk_error)))

    def commit(
        self,
        key: str,
        *,
        namespace: str | None = None,
        now: float | None = None,
        on_disk_error: OnError | None = None,
    ) -> CheckResult:
        """Record a claimed `key` of `namespace` as `check_and_record` does, and end the claim, also if that raises.

        `now` and `on_disk_error` are as there. The result is false if another caller had recorded it. The waiters of
        the claim get the same answer, or the error. Works without a claim.
        """
        return self._run(claiming.commit(self._call(key, namespace, now, on_disk_error)))

    def release(self, key: str, *, namespace: str | None = None, error: Exception | None = None) -> None:
        """End this object's claim on `key` of `namespace` without a record: the key can be claimed again.

        Waiters in this object get `error`, or `ClaimReleased` if none is given; those in other
        processes always the latter. Without a claim, nothing happens.
        """
        return self._run(claiming.release(self._call(key, namespace), error))

    def wait(self, claim: Claim, timeout: float | None = None) -> bool:
        """Wait for the end of a claim in flight: True if it was recorded, False if another caller had recorded the key.

        In another process than the owner's, True says that the key is recorded by now.

        Args:
            claim: What `claim` returned, in flight.
            timeout: Seconds to wait; None: for ever.

        Raises:
            ClaimReleased: It ended without a record, or its owner died; the error given to `release` instead, if any.
            TimeoutError: It has not ended in time.
            ValueError: The claim is the caller's own.
        """
        return self._run(claiming.wait(self._context, claim, timeout))

    @contextmanager
    def handling(self, key: str, *, namespace: str | None = None) -> Generator[Claim]:
        """Claim `key` of `namespace` for a block: `with dedupe.handling(key) as claim: if claim: ...`.

        Leaving the block commits a claim that is yours; an exception releases it, and the waiters get it.
        """
        claim = self.claim(key, namespace=namespace)
        try:
            yield claim
        except BaseException as error:
            if claim:
                self.release(key, namespace=namespace, error=error if isinstance(error, Exception) else None)
            raise
        if claim:
            self.commit(key, namespace=namespace)

    def open_claims(self, namespace: str | None = None) -> list[OpenClaim]:
        """Return the claims of `namespace` that are neither committed nor released, oldest first, of all owners.

        Raises OSError, StoreCorrupt, whichever way this object fails.
        """
        return self._run(claiming.open_claims(self._call("", namespace)))


def _awaited(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """The method of `PersistentDedupe` for an object whose `_run` returns a coroutine."""

    @wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await cast("Coroutine[Any, Any, T]", method(self, *args, **kwargs))

    return call


class AsyncPersistentDedupe(_Base):
    """`PersistentDedupe` for tasks of asyncio and trio: the same methods with the same arguments, awaited.

    The event loop is never blocked by a disk or a lock. A check that is cancelled while it waits for the file records
    nothing; one that is being recorded is recorded first, and its answer goes to the waiters for the same key. A
    cancelled `claim` owns nothing. A cancelled `commit` may have recorded the key; its claim is ended in any case, as
    by a cancelled `release`. Cancelling a `wait` affects no other waiter, and a cancelled block of `handling` releases
    its claim.
    """

    _is_for_tasks = True

    check_and_record = _awaited(PersistentDedupe.check_and_record)
    has_recent = _awaited(PersistentDedupe.has_recent)
    warmup = _awaited(PersistentDedupe.warmup)
    forget = _awaited(PersistentDedupe.forget)
    entries = _awaited(PersistentDedupe.entries)
    import_file = _awaited(PersistentDedupe.import_file)
    claim = _awaited(PersistentDedupe.claim)
    commit = _awaited(PersistentDedupe.commit)
    release = _awaited(PersistentDedupe.release)
    wait = _awaited(PersistentDedupe.wait)
    open_claims = _awaited(PersistentDedupe.open_claims)

    @asynccontextmanager
    async def handling(self, key: str, *, namespace: str | None = None) -> AsyncGenerator[Claim]:
        """See `PersistentDedupe.handling`; entered with `async with`."""
        claim = await self.claim(key, namespace=namespace)
        try:
            yield claim
        except BaseException as error:
            if claim:
                await self.release(key, namespace=namespace, error=error if isinstance(error, Exception) else None)
            raise
        if claim:
            await self.commit(key, namespace=namespace)
