"""One batch: load once, apply each function to a state of its own, save once, flush, answer each.

Promise    A function gets a state that was decoded from the bytes that the function before it left, and what it leaves
           is encoded at once. So nothing that a caller keeps, puts in or gets out is shared with another caller. One
           that raises, or leaves a state that cannot be encoded, fails its own caller and changes nothing. No update is
           answered before a flush that holds it has ended, and none waits for a neighbour's function when the time of
           the batch is over.
How        `bytes -> state -> function -> bytes`, once a function. With `isolation="shared"` the functions of a batch go
           on with one state: threads encode it after each function, an event loop at the end.
           Among threads, each applies its function, hands the batch on and waits. If the time of the batch is over and
           a function still runs, the thread that was the last before it saves what was applied until then, as a batch
           of its own (`part`). The running function then ends up in a second save, on the document of the first one.
Does not   lock, wait or use threads and loops: `_turns/ending.py` ends turns, and `store.py` chooses where functions
           run.
"""

from __future__ import annotations

import _thread
import copy
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, Literal

from storewriter import events
from storewriter._backends.protocol import Loaded
from storewriter._commits.document import Document, version_of
from storewriter._platform.interrupts import is_of_a_step
from storewriter._platform.threads import Apart
from storewriter._turns.ending import answer
from storewriter._turns.line import ANSWERED, LEFT, Ticket
from storewriter._turns.marks import in_step
from storewriter.errors import (
    CommitUncertain,
    DocumentChanged,
    ReturnedAwaitable,
    StoreCorrupt,
    StoreWriterError,
    VersionConflict,
)

Isolation = Literal["own", "shared"]

APPLY_SECONDS: Final = 0.01
"""Seconds for which functions are applied before the batch is saved; the next waiter is in the next batch. Other
processes, and the other tasks of an event loop, wait for this long, and for one function more, at most."""

_THREADS: Final = 2
"""So many times as long for a batch of threads: no event loop waits for them, and each needs the interpreter first."""


_FEW_INTERRUPTS: Final = 3
"""After so many interrupts, by a timer for example, a save or a flush is not tried again in the same thread."""

_MOST_INTERRUPTS: Final = 1000
"""So often a save and a flush that are interrupted are repeated."""


class AskAgain(StoreWriterError):
    """The batch failed because of another member, and this update is in no document: its caller starts anew."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the updates of {path} that were to be saved together were interrupted; try again", path=path)


_PLAIN: Final = frozenset({int, str, bool, float, dict, list, tuple, bytes})


class Group:
    """Requests whose functions went on with one state. They can be taken back together, by one plain store."""

    __slots__ = ("is_applied",)

    def __init__(self) -> None:
        self.is_applied = True


ALONE: Final = Group()
"""Of requests that share their state with no other one."""


class Request:
    """One caller's update: its function, and what came of it."""

    __slots__ = (
        "_context",
        "before",
        "error",
        "expect",
        "failed",
        "fn",
        "group",
        "is_applied",
        "is_member",
        "replaces",
        "result",
    )

    def __init__(
        self,
        fn: Callable[[Any], Any],
        *,
        replaces: bool = False,
        expect: str | None = None,
        context: Context | None = None,
    ) -> None:
        self.fn = fn
        self.replaces = replaces
        self.expect = expect
        self._context = context
        """A task's: its function runs there, whichever task leads the batch."""
        self.is_applied = False
        """Whether what the function did is in the document that the batch makes; with a shared state, if it is
        `group.is_applied` as well."""
        self.group = ALONE
        self.result: Any = None
        self.error: BaseException | None = None
        self.failed = False
        """Whether the error is the function's own."""
        self.before: Ticket | None = None
        """The member before it in its batch."""
        self.is_member = False
        """Whether it is in a batch, which will answer it."""

    def anew(self) -> Request:
        """The same update, to be made again: the batch that failed may still look at this one."""
        return Request(self.fn, replaces=self.replaces, expect=self.expect, context=self._context)

    def run(self, state: Any) -> Any:
        """Apply the function; returns the new state."""
        context = self._context
        result = self.result = self.fn(state) if context is None else context.run(self.fn, state)
        if result is not None and type(result) not in _PLAIN:
            _require_done(result)
        return result if self.replaces else state

    def unwrap(self) -> Any:
        """The result, or the error raised."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # the traceback refers to this frame: break the cycle
        return self.result


def _require_done(result: Any) -> None:
    if isinstance(result, Awaitable):
        if isinstance(result, CoroutineType):
            result.close()
        msg = "the function returned an awaitable; async functions need AsyncStore"
        raise ReturnedAwaitable(msg)
    if isinstance(result, (GeneratorType, AsyncGeneratorType)):
        msg = "the function returned a generator: what it would do with the state has not been done. Return a list"
        raise TypeError(msg)


class Batch:
    """Steps, in order: apply (once a function), save, settle, answer. The last three can be repeated."""

    # Defaults stand in the class: most batches never need most of these.
    last: Ticket | None = None
    """The newest member; each payload refers to the member before it, so that joining is a plain store."""
    error: BaseException | None = None
    """What the save or the flush ended with."""
    _found: Loaded | None = None
    _good: bytes | None = None
    """What the document will be: the state after the last function that did not fail."""
    _before: bytes | None = None
    """What it was before the functions of `_authors`."""
    _authors: Sequence[Request] = ()
    """Whose functions made `_good` of `_before`: one, or those that went on with a shared state."""
    _is_saved = False
    _is_settled = False
    _is_reported = False
    _is_written = False
    _must_confirm = False
    _interrupts = 0
    """How often the save or the flush was interrupted."""
    _apart: Apart | None = None
    """The step that another thread makes."""
    _encode: Callable[[Any], bytes]
    """Makes bytes of what becomes of the state that was decoded last."""
    _absent: bytes | None = None
    """Where there is no document: the bytes that would say no more than its absence does."""
    _newest: Ticket | None = None
    """The last member whose function has run, which makes the part."""
    _is_closed = False
    """Whether the save has begun, so that no part can be made any more."""
    _early: Batch | None = None
    """What was applied before the last function, if that took too long. Its members are not members any more."""
    _gate: Any = None
    """Of a part: held while it is saved."""
    _base: bytes | None = None
    """What the early part wants to save, and the last function was applied to."""
    _is_rebased = False
    """Whether `_found` is the early part's document."""

    def __init__(self, document: Document, isolation: Isolation = "own", *, on_loop: bool = False) -> None:
        self.document = document
        self._started = time.monotonic()
        self._seconds = APPLY_SECONDS if on_loop else APPLY_SECONDS * _THREADS
        self._until = self._started + self._seconds
        self._commit = document.backend.new_commit()
        self._shared: SharedState | None = SharedState() if isolation == "shared" else None
        self._on_loop = on_loop
        self._mutex = _thread.allocate_lock()
        """Between the thread that has the turn and the one that makes a part. Held for a few plain stores only, so that
        no fork finds it locked."""

    def load(self, ticket: Ticket) -> None:
        """In the turn of this ticket, once, before the first function. Raises as `Backend.load` does."""
        if self._found is None:
            found = self.document.backend.load(ticket.lane.hold)
            self._good = found.data
            if self._good is None:
                self._absent = self.document.encoded_default()
            self._until = time.monotonic() + self._seconds
            self._found = found

    def add(self, ticket: Ticket) -> None:
        """Make a ticket the last member; plain stores, so that no interrupt can come in between."""
        request: Request = ticket.payload
        request.before, self.last, request.is_member = self.last, ticket, True

    def answers(self, ticket: Ticket) -> bool:
        """Whether the ticket is a member, which gets the batch's answer."""
        request: Request = ticket.payload
        return request.is_member

    def has_time(self) -> bool:
        """Whether another function may be applied before the save."""
        return not self._is_saved and not self._interrupts and time.monotonic() < self._until

    def apply(self, ticket: Ticket) -> None:
        """Apply the function of a ticket to a state of its own. What it raises is the request's error.

        The function runs in the thread of its own caller (or on its loop), so whatever comes out belongs there.
        """
        request: Request = ticket.payload
        if not request.is_member:
            self.add(ticket)
        request.error, request.failed, request.is_applied, request.group = None, False, False, ALONE
        try:
            if self._found is None:
                self.load(ticket)
        except BaseException as error:
            request.error, request.is_member = error, False
            return
        try:
            if self._shared is None:
                self._apply(request, ticket)
            else:
                self._apply_to_shared(request, self._shared, ticket)
        except BaseException as error:
            if request.is_applied:
                raise  # an interrupt that came right after that: the update is in the batch, and stays
            # Nothing of it is in the batch. But what it raised may come from what it has seen of the others, and they
            # are not saved yet: then it waits for the answer with them.
            found = self._found
            is_member = isinstance(error, Exception) and found is not None and self._good is not found.data
            request.error, request.failed, request.is_member = error, True, is_member
            if is_member:
                self._newest = ticket

    def require_version(self, expected: str) -> None:
        """Raise VersionConflict unless the loaded document has this version."""
        assert self._found is not None
        found = version_of(self._found.data)
        if found != expected:
            path = self.document.path
            raise VersionConflict(
                f"{path} has changed since it was read (version {found}, expected {expected}): read it again and "
                f"decide anew.",
                path=path,
                expected=expected,
                found=found,
            )

    def _apply(self, request: Request, ticket: Ticket | None = None) -> None:
        state = self.state()
        encode = self._encode
        if request.expect is not None:
            self.require_version(request.expect)
        data = encode(request.run(state))
        with self._mutex:
            # Plain stores, so that no interrupt can come in between.
            self._before, self._authors, self._good, request.is_applied = self._good, (request,), data, True
            self._newest = ticket or self._newest

    def state(self) -> Any:
        """A state of the caller's own, decoded from the bytes that the last function left. Raises StoreCorrupt."""
        try:
            state, self._encode = self.document.decode_for_update(self._good)
        except StoreCorrupt as error:
            newest = self._newest
            authors = self._take_back(error.__cause__ or error)
            if not authors:
                raise
            # The codec wrote what it cannot read: the function that made such a state fails, and no other one.
            if authors[0].group is not ALONE:
                self._apply_each(authors)
                self._newest = newest
            return self.state()
        return state

    def _take_back(self, reason: BaseException | None = None) -> Sequence[Request]:
        """Undo what the last functions did; returns whose they were. If it was one, that has failed for this reason."""
        with self._mutex:
            # Plain stores: what is not in the document must not be answered as if it were, whatever comes next.
            authors = self._authors
            if authors:
                first = authors[0]
                if first.group is not ALONE:
                    first.group.is_applied = False
                    self._newest = None  # no part, as long as functions of its members are applied again
                else:
                    first.is_applied = False
                    if reason is not None:
                        first.error, first.failed = reason, True
                self._authors, self._good = (), self._before
        return authors

    def replace_state(self, request: Request, state: Any) -> None:
        """What a transaction leaves. Raises what the codec raises."""
        data = self._encode(state)
        self._before, self._authors, self._good, request.is_applied = self._good, (request,), data, True

    # -- isolation="shared" --------------------------------------------------------------------------------------------

    def _apply_to_shared(self, request: Request, shared: SharedState, ticket: Ticket) -> None:
        if request.replaces or request.expect is not None:
            # What `transform` returns is the caller's, and a version is judged by bytes.
            self.seal()
            shared.state = None
            self._apply(request, ticket)
            return
        if not self._on_loop:
            self._apply_and_encode(request, shared, ticket)
            return
        if not shared.is_whole:
            shared = self._start_over(shared)
        if not shared.requests:
            shared.state = self.state()
        shared.is_whole = False
        try:
            request.run(shared.state)
        except BaseException:
            self._start_over(shared)
            raise
        # Plain stores up to the call, so that an interrupt leaves it in the batch, or out of it.
        request.group, request.is_applied, shared.is_whole = shared, True, True
        shared.requests.append(request)

    def _apply_and_encode(self, request: Request, shared: SharedState, ticket: Ticket) -> None:
        """Among threads the state goes on, and is encoded after each function, in case the next one takes too long."""
        is_new = shared.state is None
        state = self.state() if is_new else shared.state
        shared.state = None  # if the function fails, the next one gets a new state
        request.run(state)
        try:
            data: bytes | None = self._encode(state)
        except Exception:
            if is_new or self._can_be_encoded(state):
                raise  # in the second case it is a signal handler's, and not the codec's
            data = None
        if data is None:
            self._apply(request, ticket)  # the functions before it may have had a part in that
            return
        group = Group()
        with self._mutex:
            if is_new or not self._authors:
                self._before, self._authors = self._good, ()
            else:
                group = self._authors[0].group
            self._authors = (*self._authors, request)
            self._good, request.is_applied, request.group, self._newest = data, True, group, ticket
        shared.state = state

    def seal(self) -> None:
        """Make bytes of the shared state, where its functions run. Can be repeated."""
        shared = self._shared
        if shared is None or not shared.requests:
            return
        if not shared.is_whole:
            self._start_over(shared)
            return
        try:
            data = self._encode(shared.state)
        except Exception:
            if self._can_be_encoded(shared.state):
                raise  # it is a signal handler's, and not the codec's
            # One of them left what cannot be encoded: each is applied alone, and that one fails.
            self._start_over(shared)
            return
        fresh = SharedState()
        self._before, self._authors, self._good, self._shared = self._good, shared.requests, data, fresh

    def _start_over(self, shared: SharedState) -> SharedState:
        """The shared state is lost: those whose changes were in it are applied again. Returns its successor."""
        fresh = SharedState()
        shared.is_applied, self._shared = False, fresh
        self._apply_each(shared.requests)
        return fresh

    def _can_be_encoded(self, state: Any) -> bool:
        try:
            self._encode(state)
        except Exception:
            return False
        return True

    def _apply_each(self, requests: Sequence[Request]) -> None:
        """Apply functions that were taken back, each to a state of its own. Interrupted, the others must ask again."""
        for request in requests:
            request.is_applied, request.group = False, ALONE
            try:
                self._apply(request)
            except Exception as error:
                if request.is_applied:
                    raise  # an interrupt that came right after that
                request.error, request.failed = error, True

    # -- a function that takes too long -------------------------------------------------------------------------------

    def patience(self, ticket: Ticket) -> float | None:
        """Seconds for which a member that has handed the batch on sleeps before it looks for its `part` again."""
        if self._is_closed or self._newest is not ticket:
            return None
        left = self._until - time.monotonic()
        return left if left > 0 else self._seconds

    def part(self, ticket: Ticket) -> Batch | None:
        """What was applied before the thread that has the turn, if the time is over: the last of its members saves it.

        None: it is not over, another member makes the part, or the save has begun. Can be repeated.
        The thread that has the turn keeps it until the part is saved, and goes on with that document.
        """
        if self._early is None and (self._newest is not ticket or time.monotonic() < self._until):
            return None
        part = Batch(self.document)
        part.last, part._gate, part._started = ticket, _thread.allocate_lock(), self._started
        with self._mutex:
            if self._early is None and self._newest is ticket and not self._is_closed:
                part._found, part._good, part._absent = self._found, self._good, self._absent
                self._early, self._base, self._authors = part, self._good, ()
        early = self._early
        return early if early is not None and early.last is ticket else None

    def save_part(self, ticket: Ticket) -> None:
        """Save a part in its own thread, or in that of the last function; the other one waits."""
        with self._gate:
            self.save(ticket)

    def _go_on_from_part(self, early: Batch, hold: Any) -> Loaded:
        """The last function was applied to what the part was to save: go on if that is the document now."""
        found = self.document.backend.load(hold)
        data, absent = found.data, self._absent
        is_there = data == self._base or (data is None and self._base == absent)
        if not is_there and not (self.document.is_compared_anew and self.document.says_the_same(data, self._base)):
            hold.check()
            raise self.document.backend.changed() if early.error is None else AskAgain(self.document.path)
        self._found, self._is_rebased, self._absent = found, True, absent if data is None else None
        return found

    # -- after the last function ---------------------------------------------------------------------------------------

    def save(self, ticket: Ticket) -> None:
        """In the turn of this ticket: give the new document the name, unless nothing changed. Errors are kept."""
        if self._is_saved:
            return
        try:
            with self._mutex:
                self._is_closed = True
            if self._early is not None:
                self._early.save_part(ticket)
            if self._shared is not None:
                self.seal()
            self._perform(self._save, ticket)
        except BaseException as error:
            if not self._is_the_end(error):
                raise
            self.error = self._as_outcome(error)
        self._is_saved = True

    def _save(self, ticket: Ticket) -> None:
        document, found, backend = self.document, self._found, self.document.backend
        hold: Any = ticket.lane.hold
        if found is None:
            return
        if self._early is not None and self._authors and not self._is_rebased:
            found = self._go_on_from_part(self._early, hold)
        if self._interrupts:
            good = self._good
            if good is not None and good != found.data and backend.landed(hold, good, self._commit):
                self._is_written = True
                return
            self._give_back(ticket.payload)
        if not self._authors and not any(
            member.payload.is_applied and member.payload.group.is_applied for member in self.members()
        ):
            return
        data = self._good
        is_same = data is None or data == found.data or data == self._absent
        if not is_same and document.is_compared_anew and document.says_the_same(found.data, data):
            is_same, data = True, found.data
        if data is None or (is_same and not backend.is_doubtful(found)):
            hold.check()
            self._must_confirm = True
            return
        backend.commit(hold, data, found, self._commit)
        self._is_written = True

    def _give_back(self, request: Request) -> None:
        """The thread of this request was interrupted before the rename: its update is taken back, if it is the last.

        What others applied before it is saved all the same.
        """
        if request in self._authors:
            self._apply_each([other for other in self._take_back() if other is not request])

    def _is_the_end(self, error: BaseException) -> bool:
        """Whether a step of the commit has ended with this, for all members.

        What is not an error of a step belongs to this thread, and the step is repeated; but not for ever, or the
        members would never be answered.
        """
        if is_of_a_step(error):
            return True
        self._interrupts += 1
        return self._interrupts > _MOST_INTERRUPTS

    def _as_outcome(self, error: BaseException) -> BaseException:
        if is_of_a_step(error):
            return error
        path = self.document.path
        msg = (
            f"saving {path} did not come to an end, because {error!r} was raised in the middle of it again and again: "
            f"whether the update is in the document is unknown. Read the store before repeating it."
        )
        return CommitUncertain(msg, path=path)

    def settle(self) -> None:
        """After the turn: return when the document is durable. An error is kept, for all members."""
        if self._is_settled or self.error is not None:
            return
        try:
            if self._is_written:
                self._perform(self.document.backend.settle, self._commit)
            elif self._must_confirm:
                self._perform(self.document.backend.confirm)
        except BaseException as error:
            if not self._is_the_end(error):
                raise
            self.error = self._as_outcome(error)
        self._is_settled = True

    def _perform(self, step: Callable[..., None], *args: Any) -> None:
        """Make a step of the commit. A thread that is interrupted again and again leaves it to one of our own."""
        if self._interrupts < _FEW_INTERRUPTS:
            step(*args)
            return
        if self._apart is None:
            self._apart = Apart(partial(in_step, step, *args))
        error = self._apart.finish()
        self._apart = None
        if error is not None:
            raise error

    def answer(self) -> None:
        """Give every member its outcome, in the order of the line. Only when all else is done."""
        if events.subscribers and not self._is_reported:
            self._report()
        for member in self.members():
            # Once: a member that was answered, or has failed, may be on its way with the same request again, in another
            # batch.
            request: Request = member.payload
            if (
                request.is_member
                and member.state is not ANSWERED
                and not (
                    self.error is None
                    and request.error is None
                    and request.is_applied
                    and request.group.is_applied
                    and self._is_saved
                    and self._is_settled
                )
            ):
                self._decide(request)
            if member.state is not LEFT:
                answer(member)  # again, if this was interrupted before it was awake: that does no harm

    def _decide(self, request: Request) -> None:
        """The outcome of a member whose update is not in a document that was saved and flushed."""
        own = request.error
        if own is not None and not (request.failed and self._is_in_vain()):
            return
        request.error = AskAgain(self.document.path) if self.error is None else _copy_of(self.error)
        request.error.__context__, request.failed = own, False

    def _is_in_vain(self) -> bool:
        """Whether what the functions have seen of each other is in no document."""
        early = self._early
        return (self.error is not None and not self._is_written) or (
            early is not None and early.error is not None and not early._is_written
        )

    def members(self) -> list[Ticket]:
        """In the order of the line."""
        first = None if self._early is None else self._early.last
        found: list[Ticket] = []
        member = self.last
        while member is not first and member is not None:
            found.append(member)
            member = member.payload.before
        found.reverse()
        return found

    def _report(self) -> None:
        self._is_reported = True
        path, members = self.document.path, self.members()
        if isinstance(self.error, DocumentChanged):
            events.emit(events.DocumentChanged(path=path))
        if self.error is None and members:
            events.emit(
                events.BatchCommitted(
                    path=path,
                    size=len(members),
                    failed=sum(member.payload.failed for member in members),
                    written=self._is_written,
                    duration=time.monotonic() - self._started,
                )
            )


class SharedState(Group):
    """The state that the functions of a batch go on with, and those whose changes are in no bytes yet."""

    __slots__ = ("is_whole", "requests", "state")

    def __init__(self) -> None:
        self.is_applied = True
        self.state: Any = None
        self.requests: list[Request] = []
        self.is_whole = True
        """Whether nothing else is in the state: False while a function runs, and if that did not come to its end."""


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
