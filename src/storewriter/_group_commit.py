"""What one batch does: load once, apply in order, save once, answer each.

Promise    Every function is applied to the state that those before it left, in the order of the line. One that raises,
           or leaves a state that cannot be encoded, fails its own caller and leaves no trace in its neighbours' state.
           Nobody is answered before the one save that holds all of them has returned.
How        The functions run on one state. When one fails, the state is thrown away, taken anew from the last known
           good bytes, and those applied since are applied again: hence "a function may run again".
Does not   lock, wait or know threads and loops: the drivers in `store.py` hold the turn and choose where a step runs.
"""

from __future__ import annotations

import contextvars
import copy
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, TypeVar

from storewriter import events
from storewriter._census import Box, Census, is_tree, take
from storewriter._document import SMALL, Document, version_of
from storewriter._reach import may_share
from storewriter._remembered import LARGE
from storewriter.errors import StoreCorrupt, VersionConflict
from storewriter.locks import Hold

T = TypeVar("T")

MOST_UPDATES: Final = 1024
"""Updates in one batch at most."""

APPLY_SECONDS: Final = 0.01
"""Seconds for which functions are applied before the batch is saved; whoever is left over is in the next one. Other
processes, and the other tasks of an event loop, wait for this long at most."""

BESIDE: Final = 1 << 18
"""Bytes from which proving what a state is takes longer than to have another thread do it."""


def _means_this_thread(error: BaseException) -> bool:
    """Ctrl-C means the thread that runs this, not the caller whose function it happened to run; it hits no other."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


class ReturnedAwaitable(TypeError):
    """A function that looked plain returned an awaitable: nothing of it has run."""

    def __init__(self) -> None:
        super().__init__("the function returned an awaitable; async functions need AsyncStore")


_PLAIN: Final = frozenset({int, str, bool, float, dict, list, tuple, bytes})


class Request:
    """One caller's update: its function, and what came of it."""

    __slots__ = ("_context", "_replaces", "error", "expect", "fn", "result")

    def __init__(self, fn: Callable[[Any], Any], *, replaces: bool, expect: str | None) -> None:
        self.fn = fn
        self.expect = expect
        self._replaces = replaces
        # A function runs in its own caller's context (context variables), whoever leads the batch.
        self._context = contextvars.copy_context()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, state: Any) -> Any:
        """Apply the function; returns the new state."""
        self.error = None
        result = self.result = self._context.run(self.fn, state)
        if result is not None and type(result) not in _PLAIN:
            self._require_done(result)
        return result if self._replaces else state

    def _require_done(self, result: Any) -> None:
        if isinstance(result, Awaitable):
            if isinstance(result, CoroutineType):
                result.close()
            raise ReturnedAwaitable
        if isinstance(result, (GeneratorType, AsyncGeneratorType)):
            msg = "the function returned a generator: what it would do with the state has not been done. Return a list"
            raise TypeError(msg)

    def may_share(self) -> bool:
        """Whether the caller may hold a reference into the state now."""
        return self._replaces or may_share(self.fn, self.result)

    def unwrap(self) -> Any:
        """The result, or the error raised."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # the traceback refers to this frame: break the cycle
        return self.result


class Batch:
    """One load, the functions of those who wait, one save. Steps in order: load, apply, encode, save."""

    # Defaults stand in the class: most batches never need most of these.
    undone: Sequence[Request] = ()
    """Those for whom the time was too short, the last in order: nothing of them is in the state."""
    _base: bytes | None = None
    _good: bytes | None = None
    """Bytes of a state that is known to be good: the base, or one reached in this batch."""
    _census: Census | None = None
    _together: bytes | None = None
    """What `try_together` has found out."""
    _failed = 0
    _data: bytes | None = None
    _beside = False
    """Whether the state is large enough to be proven by another thread while it is saved."""
    _written = False
    _in_hand = False
    """Whether the state was in a caller's hands (a transaction)."""
    _box: Box
    _until: float

    def __init__(self, document: Document, *, on_loop: bool = False) -> None:
        self.document = document
        self._on_loop = on_loop
        """Whether functions run on an event loop, which must not be kept waiting for long."""
        self._started = time.monotonic()
        self._since: list[Request] = []
        """Applied since `_good`, in order."""
        self._settled: list[Request] = []
        """Those whose changes are in `_good`."""

    @property
    def state(self) -> Any:
        """The state. It has one owner, the box: see `_census.py`."""
        return self._box[0]

    @state.setter
    def state(self, state: Any) -> None:
        self._box[0] = state

    def load(self) -> None:
        """Step 1. Raises StoreCorrupt, NotARegularFile, OSError."""
        self._base, self._box, self._census = self.document.load()
        self._good = self._base

    def apply(self, requests: Sequence[Request]) -> None:
        """Step 2: apply functions until all are done or the time is up; the first one always is dealt with."""
        self._until = time.monotonic() + APPLY_SECONDS
        for place, request in enumerate(requests):
            if place and (time.monotonic() > self._until or not self._detach()):
                self.undone = [*self.undone, *requests[place:]]
                return
            try:
                self._run(request)
            except BaseException as error:
                if place and _means_this_thread(error):
                    raise
                self._fail(request, error)

    def _run(self, request: Request) -> None:
        if request.expect is not None:
            self.check_version(request)
        box = self._box
        box[0] = request.run(box[0])
        self._since.append(request)

    def check_version(self, request: Request) -> None:
        if request.expect is None:
            return
        found = version_of(self._base)
        if found != request.expect:
            raise VersionConflict(
                f"{self.document.path} has changed since it was read (version {found}, expected {request.expect}): "
                f"read it again and decide anew.",
                path=self.document.path,
                expected=request.expect,
                found=found,
            )

    def _detach(self) -> bool:
        """Before the next function: take the state out of the reach of the one before.

        A caller may keep what its function put in or got out, and then the next function would change that caller's
        objects; if it failed, its trace would even stay, because the first one put them in again when it was repeated.
        False: the next one is better off in a batch of its own, whose document is decoded where nobody waits for it.
        """
        if self.undone:
            return False
        if not self._since or self.document.is_sealed or not self._since[-1].may_share():
            return True
        before, group = self._good, self._since
        if not self._settle_together():
            return not self.undone
        self._prove(self._good, quick=self._on_loop)
        if self._census is not None:
            return True
        if len(self._good or b"") > SMALL:
            return False
        try:
            self._begin_again()
        except StoreCorrupt:
            # Written by one of us: it cannot be read back. Whose fault is that?
            self._good, self._since = before, group
            del self._settled[-len(group) :]
            self._settle_in_parts()
        return not self.undone

    def _begin_again(self) -> None:
        """Take the state anew from the last good bytes: a tree, and nobody else's."""
        self._census = None
        self._box = [self.document.decode(self._good)]

    def _fail(self, request: Request, error: BaseException) -> None:
        """Get a state without the trace of a function that failed; unless it failed over the traces of others."""
        # What those before it left in memory may be more than their documents would have shown: a tuple, one object in
        # two places. That must not be what it failed over.
        is_suspect = isinstance(error, Exception) and len(self._since) > 0 and not self._is_clean()
        self._settle_in_parts()
        if self.undone:
            self.undone = [*self.undone, request]
            return
        if is_suspect:
            try:
                self._run(request)
            except Exception as second:
                error = second
                self._begin_again()
            else:
                return
        self._refuse(request, error)

    def _refuse(self, request: Request, error: BaseException) -> None:
        request.error = error
        self._failed += 1

    def encode(self) -> None:
        """Step 3. A state that cannot be encoded is the fault of one function: it is found, failed and undone."""
        is_proven = self._together is not None
        self._settle_together()
        data = self._data = self._good
        self._beside = data is not None and len(data) >= BESIDE and self._may_prove_beside(data)
        if not is_proven and not self._beside:
            self._prove(data, quick=self._on_loop)

    def _may_prove_beside(self, data: bytes) -> bool:
        """Whether there will be a wait for the disk, and another thread could prove the state meanwhile."""
        document = self.document
        return data != self._base and document.is_plain and not (self._on_loop or document.storage.in_place)

    def encode_strictly(self) -> None:
        """Step 3 of a transaction, which has no functions to tell apart: the error is its caller's."""
        self._in_hand = True
        self.document.look_again()
        self._data = self._good = self.document.codec.encode(self.state)
        self._prove(self._good, quick=self._on_loop)

    def _settle_together(self) -> bool:
        """Make good bytes of what was applied since the last ones, as if each function had been alone.

        Alone, each is given what the document says. Those that share a batch go on with one state, so a thing that was
        put in two places would stay one thing for the others; then they are applied again in parts. False: so they
        were, and the state is new.
        """
        group = self._since
        if not group:
            return True
        data, self._together = self._together, None
        if data is None:
            data = self._encoded()
        if data is None:
            self._settle_in_parts(failed=True)
            return False
        self._good = data
        self._settled += group
        self._since = []
        return True

    def _encoded(self) -> bytes | None:
        """The state as a document; None if it cannot be one, or not together."""
        try:
            data = self.document.codec.encode(self.state)
        except Exception:
            return None
        return data if len(self._since) < 2 or self._is_clean() else None

    def is_out_of_reach(self) -> bool:
        """Whether the state is large, and nobody could change it while it is looked at off the event loop."""
        is_large = self._base is not None and len(self._base) > SMALL
        return is_large and not any(request.may_share() for request in self._since)

    def try_together(self) -> None:
        """Do what of step 3 takes long and needs no function, off the loop."""
        self._together = self._encoded()
        if self._together is not None:
            self._prove(self._together)

    def _is_clean(self) -> bool:
        """Whether the state is no more than its document will say."""
        document = self.document
        return document.is_sealed or is_tree(self._box, plain=document.is_plain)

    def _settle_in_parts(self, *, failed: bool = False) -> None:
        """Apply again what was applied since the last good bytes: together, if that fails in halves, if need be alone.

        `failed`: together they have failed already. Ends with a state that is taken from the good bytes.
        """
        self._begin_again()
        pending, self._since = [self._since], []
        while pending:
            group = pending.pop()
            if (self._settled or self._failed) and time.monotonic() > self._until:
                self.undone = [*group, *(request for later in reversed(pending) for request in later), *self.undone]
                return
            error = None if failed and len(group) > 1 else self._try(group)
            if (failed or error is not None) and len(group) > 1:
                half = len(group) // 2
                pending += [group[half:], group[:half]]
            elif error is not None:
                error.add_note(f"the update was not applied to {self.document.path}")
                self._refuse(group[0], error)
            failed = False

    def _try(self, group: list[Request]) -> BaseException | None:
        """Apply a group to the good bytes and make good bytes of it; the error if that cannot be."""
        try:
            for request in group:
                self.state = request.run(self.state)
            data = self.document.codec.encode(self.state)
            if len(group) == 1 or self._is_clean():
                self._box = [self.document.codec.decode(data)]
                self._good = data
                self._settled += group
                return None
            error: BaseException = ValueError("together they leave more than the document says")
        except BaseException as problem:
            if _means_this_thread(problem):
                raise
            error = problem
        self._begin_again()
        return error

    def _prove(self, data: bytes | None, *, quick: bool = False) -> None:
        """Find out whether the state, encoded as `data`, is worth keeping, and ours alone."""
        document, before, self._census = self.document, self._census, None
        if before is not None and not document.is_plain:
            before.forget()
            before = None
        if data is not None and len(data) >= LARGE and not document.is_sealed:
            self._census = take(self._box, data, before, quick=quick and len(data) > SMALL)

    def save(self, hold: Hold) -> None:
        """Step 4: one durable save, unless nothing changed. Raises OSError, LockLost, CommitUncertain."""
        data = self._data
        if data is None or data == self._base or (self._base is None and self._is_default(data)):
            hold.check()
            self.document.storage.confirm()
        else:
            if self._beside:
                self.document.save_beside(data, hold, lambda: self._prove(data), lambda: self._keep(data))
            else:
                self.document.save(data, hold, self._keep(data))
            self._written = True
            return
        if data is not None and data == self._base:
            self.document.remember(self._keep(data))
        else:
            self.document.forget()

    def _keep(self, data: bytes) -> tuple[Box, Census | None] | None:
        """What is to be remembered; None if it is not worth it, or if somebody may have a reference into the state."""
        if self._census is not None:
            return self._box, self._census
        if len(data) < LARGE or not self.document.is_sealed or self._in_hand:
            return None
        return self._box, None

    def _is_default(self, data: bytes) -> bool:
        """Whether a document that does not exist would only come to hold what its absence says."""
        return self.document.codec.encode(self.document.default()) == data

    def is_in_place(self) -> bool:
        """After a save that was interrupted: whether the new document got there."""
        return self._data is not None and self.document.storage.load() == self._data

    def fail_all(self, requests: Sequence[Request], error: BaseException) -> None:
        """Nothing was saved: so every update that had not failed by itself has failed now, each with its own error."""
        self.document.forget()
        for request in requests:
            if request.error is None:
                request.error = _copy_of(error)

    def report(self) -> None:
        """Tell subscribers."""
        if events.subscribers:
            events.emit(
                events.BatchCommitted(
                    path=self.document.path,
                    size=len(self._settled) + self._failed,
                    failed=self._failed,
                    written=self._written,
                    duration=time.monotonic() - self._started,
                )
            )


def _copy_of(error: BaseException) -> BaseException:
    """The same error as an object of its own: two callers must not add to one traceback."""
    try:
        twin = copy.copy(error)
    except Exception:  # an exception class whose arguments do not make it again
        return error
    if not isinstance(twin, type(error)):
        return error
    twin.__cause__ = error.__cause__ or error
    return twin
