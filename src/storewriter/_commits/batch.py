"""One batch: load once, apply each function to a state of its own, save once, flush, answer each.

Promise    No update is answered before a flush that holds it has ended, and none waits for a neighbour's function when
           the time of the batch is over.
How        What the functions make of the document is the draft (`draft.py`); the batch has the members, and saves,
           settles and answers.
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
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from storewriter import events
from storewriter._backends.protocol import Loaded
from storewriter._commits.document import Document
from storewriter._commits.draft import ALONE, TRIES, Draft, Isolation, Request
from storewriter._platform.interrupts import is_of_a_step
from storewriter._platform.threads import Apart, give_way
from storewriter._turns import line
from storewriter._turns.ending import answer
from storewriter._turns.line import ANSWERED, LEFT, Ticket
from storewriter._turns.marks import in_step
from storewriter.errors import CommitUncertain, DocumentChanged, LockLost, SaveInterrupted

APPLY_SECONDS: Final = 0.01
"""Seconds for which functions are applied before the batch is saved; the next waiter is in the next batch. Other
processes, and the other tasks of an event loop, wait for this long, and for one function more, at most."""

_THREADS: Final = 2
"""So many times as long for a batch of threads: no event loop waits for them, and each needs the interpreter first."""


_FEW_INTERRUPTS: Final = 3
"""After so many interrupts, by a timer for example, a save or a flush is not tried again in the same thread."""

_MOST_INTERRUPTS: Final = 1000
"""So often a save and a flush that are interrupted are repeated."""


def _interrupted(path: str) -> SaveInterrupted:
    """For a member of a batch that failed because of another one: its update is in no document."""
    return SaveInterrupted(
        f"{path} was not changed: the thread that was to save this update together with others was interrupted by a "
        f"signal handler or an exception of its own, {TRIES} times in a row. Try again.",
        path=path,
    )


class Batch:
    """Steps, in order: apply (once a function), save, settle, answer. The last three can be repeated."""

    # Defaults stand in the class: most batches never need most of these.
    last: Ticket | None = None
    """The newest member; each payload refers to the member before it, so that joining is a plain store."""
    error: BaseException | None = None
    """What the save or the flush ended with."""
    is_complete = True
    """Whether each function that was applied is in the document that was saved. Until that is known, True."""
    _is_saved = False
    _is_settled = False
    _is_reported = False
    _is_written = False
    _must_confirm = False
    _attempts = 0
    """How many attempts at the save and the flush were interrupted, and one more while one runs.

    Counted where they begin: where one is interrupted, another interrupt may come before it is counted."""
    _apart: Apart | None = None
    """The step that another thread makes."""
    _is_closed = False
    """Whether the save has begun, so that no part can be made any more."""
    _early: Batch | None = None
    """What was applied before the last function, if that took too long. Its members are not members any more."""
    _gate: Any = None
    """Of a part: held while it is saved."""
    _base: bytes | None = None
    """What the early part wants to save, and the last function was applied to."""
    _is_rebased = False
    """Whether the draft's `found` is the early part's document."""

    def __init__(self, document: Document, isolation: Isolation = "own", *, on_loop: bool = False) -> None:
        self.document = document
        self._started = time.monotonic()
        self._seconds = APPLY_SECONDS if on_loop else APPLY_SECONDS * _THREADS
        self._until = self._started + self._seconds
        self._on_loop = on_loop
        self._commit = document.backend.new_commit()
        self.draft = Draft(document, isolation, on_loop=on_loop)

    def load(self, ticket: Ticket) -> None:
        """In the turn of this ticket, once, before the first function. Raises as `Backend.load` does."""
        if self.draft.found is None:
            self.draft.load(ticket.lane.hold)
            self._until = time.monotonic() + self._seconds

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
        return not self._is_closed and time.monotonic() < self._until

    def apply(self, ticket: Ticket) -> None:
        """Apply the function of a ticket to a state of its own. What it raises is the request's error.

        The function runs in the thread of its own caller (or on its loop), so whatever comes out belongs there.
        """
        request: Request = ticket.payload
        if not request.is_member:
            self.add(ticket)
        request.error, request.failed, request.is_applied, request.group = None, False, False, ALONE
        draft = self.draft
        try:
            if draft.found is None:
                if self.document.last_size > 1 and not self._on_loop:
                    self._let_others_in(ticket)
                self.load(ticket)
        except BaseException as error:
            request.error, request.is_member = error, False
            return
        try:
            if draft.shared is None:
                draft.apply(request, ticket)
            else:
                draft.apply_to_shared(request, draft.shared, ticket)
        except BaseException as error:
            if request.is_applied:
                raise  # an interrupt that came right after that: the update is in the batch, and stays
            # Nothing of it is in the batch. But what it raised may come from what it has seen of the others, and they
            # are not saved yet: then it waits for the answer with them.
            is_member = isinstance(error, Exception) and draft.has_changes()
            request.error, request.failed, request.is_member = error, True, is_member
            if is_member:
                draft.newest = ticket

    def _let_others_in(self, ticket: Ticket) -> None:
        """Give way once, if fewer wait than were in the last batch.

        Those were answered a moment ago, and most ask again as soon as they get a processor and the interpreter.
        Without this, the first one of them is saved and flushed alone, and the others wait for that flush. (A task lets
        its loop run once.)
        """
        if ticket.batch_key is not None and ticket.lane.waiting() + 1 < self.document.last_size:
            give_way()

    # -- a function that takes too long -------------------------------------------------------------------------------

    def patience(self, ticket: Ticket) -> float | None:
        """Seconds for which a member that has handed the batch on sleeps before it looks for its `part` again."""
        if self._is_closed or self.draft.newest is not ticket:
            return None
        left = self._until - time.monotonic()
        return left if left > 0 else self._seconds

    def part(self, ticket: Ticket) -> Batch | None:
        """What was applied before the thread that has the turn, if the time is over: the last of its members saves it.

        None: it is not over, another member makes the part, or the save has begun. Can be repeated.
        The thread that has the turn keeps it until the part is saved, and goes on with that document.
        """
        if self._early is None and self.draft.newest is ticket and time.monotonic() >= self._until:
            self._take_part(ticket)
        early = self._early
        return early if early is not None and early.last is ticket else None

    def _take_part(self, ticket: Ticket) -> None:
        """Make a batch of what was applied until this member, unless the save has begun or more was applied."""
        part, draft = Batch(self.document), self.draft
        part.last, part._gate, part._started = ticket, _thread.allocate_lock(), self._started
        with draft.mutex:
            # Plain stores, so that the thread that has the turn sees all of them or none.
            if self._early is None and draft.newest is ticket and not self._is_closed:
                part.draft.found, part.draft.good, part.draft.absent = draft.found, draft.good, draft.absent
                self._early, self._base, draft.authors = part, draft.good, ()

    def save_part(self, ticket: Ticket) -> None:
        """Save a part in its own thread, or in that of the last function; the other one waits."""
        with self._gate:
            self.save(ticket)
            if not self.is_complete:
                in_step(self._put_back, ticket)  # in the turn of the other thread, which goes on when this has returned

    def _go_on_from_part(self, early: Batch, hold: Any) -> Loaded:
        """The last function was applied to what the part was to save: go on if that is the document now."""
        found = self.document.backend.load(hold)
        data, absent = found.data, self.draft.absent
        is_there = data == self._base or (data is None and self._base == absent)
        if not is_there and not (self.document.is_compared_anew and self.document.says_the_same(data, self._base)):
            hold.check()
            raise self.document.backend.changed() if early.error is None else _interrupted(self.document.path)
        self.draft.found, self._is_rebased, self.draft.absent = found, True, absent if data is None else None
        return found

    # -- after the last function ---------------------------------------------------------------------------------------

    def save(self, ticket: Ticket) -> None:
        """In the turn of this ticket: give the new document the name, unless nothing changed. Errors are kept."""
        if self._is_saved:
            return
        self._attempts += 1
        try:
            with self.draft.mutex:
                self._is_closed = True
            if self._early is not None:
                self._early.save_part(ticket)
            if self.draft.shared is not None:
                self.draft.seal()
            self._perform(self._save, ticket)
        except BaseException as error:
            self.is_complete = False
            if not self._is_the_end(error):
                raise
            self.error = self._as_outcome(error)
        self._is_saved = True
        self._attempts -= 1

    def _save(self, ticket: Ticket) -> None:
        draft, found = self.draft, self.draft.found
        hold: Any = ticket.lane.hold
        if found is None:
            return
        if self._early is not None and draft.authors and not self._is_rebased:
            found = self._go_on_from_part(self._early, hold)
        if self._attempts > 1:
            if self._has_landed(hold, found):
                self._is_written = True
                return
            self._give_back(ticket.payload)
        if not draft.authors and not self._has_applied():
            return
        data = self._data_to_write(found)
        if data is None:
            hold.check()
            self._must_confirm = True
            return
        self.document.backend.commit(hold, data, found, self._commit)
        self._is_written = True

    def _has_landed(self, hold: Any, found: Loaded) -> bool:
        """After an interrupt: whether the commit has been made."""
        good = self.draft.good
        return good is not None and good != found.data and self.document.backend.landed(hold, good, self._commit)

    def _give_back(self, request: Request) -> None:
        """The thread of this request was interrupted before the commit: its update is taken back, if it is the last.

        What others applied before it is saved all the same.
        """
        draft = self.draft
        if request in draft.authors:
            draft.apply_each([other for other in draft.take_back() if other is not request])

    def _has_applied(self) -> bool:
        """Whether the function of any member is in the draft."""
        return any([member.payload.is_applied and member.payload.group.is_applied for member in self.members()])

    def _data_to_write(self, found: Loaded) -> bytes | None:
        """The new document; None if it says the same as the one that was found, and that is sure to last."""
        document, data = self.document, self.draft.good
        is_same = data is None or data == found.data or data == self.draft.absent
        if not is_same and document.is_compared_anew and document.says_the_same(found.data, data):
            is_same, data = True, found.data
        return None if is_same and not document.backend.is_doubtful(found) else data

    def _is_the_end(self, error: BaseException) -> bool:
        """Whether a step of the commit has ended with this, for all members.

        What is not an error of a step belongs to this thread, and the step is repeated; but not for ever, or the
        members would never be answered.
        """
        return is_of_a_step(error) or self._attempts > _MOST_INTERRUPTS

    def _as_outcome(self, error: BaseException) -> BaseException:
        if is_of_a_step(error):
            return error
        path = self.document.path
        msg = (
            f"saving {path} did not come to an end, because {error!r} was raised in the middle of it again and again: "
            f"whether the update is in the document is unknown. Read the store before repeating it."
        )
        return CommitUncertain(msg, path=path)

    def put_back(self, ticket: Ticket) -> None:
        """In the turn of this ticket, after the save: the members that begin anew keep their place in the line.

        Each applies its function again in its own thread or on its own loop. Can be repeated.
        """
        ticket.hold_is_lost = isinstance(self.error, LockLost)
        self._put_back(ticket)

    def _put_back(self, saver: Ticket) -> None:
        for member in self.members():
            request: Request = member.payload
            if member is saver and self._attempts:
                continue  # what has interrupted it is raised in its thread, which does not begin anew
            if request.tries_left > 0 and self._begins_anew(request):
                line.put_back(member, request.anew())

    def _begins_anew(self, request: Request) -> bool:
        """Whether a member's update is in no document, and its function may be applied again.

        One that has failed without having seen changes is no member: its caller may have its error, and be gone.
        """
        if not request.is_member or not self._is_without_own_answer(request):
            return False
        if self.error is not None:
            return isinstance(self.error, (LockLost, DocumentChanged))
        return not (request.is_applied and request.group.is_applied)

    def settle(self) -> None:
        """After the turn: return when the document is durable. An error is kept, for all members."""
        if self._is_settled or self.error is not None:
            return
        self._attempts += 1
        try:
            if self._is_written:
                self._perform(self.document.backend.settle, self._commit)
            elif self._must_confirm:
                self._perform(self.document.backend.confirm, self.draft.found)
        except BaseException as error:
            if not self._is_the_end(error):
                raise
            self.error = self._as_outcome(error)
        self._is_settled = True
        self._attempts -= 1

    def _perform(self, step: Callable[..., None], *args: Any) -> None:
        """Make a step of the commit. A thread that is interrupted again and again leaves it to one of our own."""
        if self._attempts <= _FEW_INTERRUPTS:
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
        is_durable = self.error is None and self._is_saved and self._is_settled
        members = self.members()
        self.document.last_size = len(members)
        for member in members:
            # Once: a member that was answered, or has failed, may be on its way with the same request again, in another
            # batch.
            request: Request = member.payload
            is_in = is_durable and request.is_applied and request.error is None and request.group.is_applied
            if not is_in and request.is_member and member.state is not ANSWERED:
                self._decide(request)
            if member.state is not LEFT:
                answer(member)  # again, if this was interrupted before it was awake: that does no harm

    def _decide(self, request: Request) -> None:
        """The outcome of a member whose update is not in a document that was saved and flushed."""
        own = request.error
        if not self._is_without_own_answer(request):
            return
        request.error = _interrupted(self.document.path) if self.error is None else _copy_of(self.error)
        request.error.__context__, request.failed = own, False

    def _is_without_own_answer(self, request: Request) -> bool:
        """Whether nothing was raised for it alone, or what its function has raised may come from what is in vain."""
        return request.error is None or (request.failed and self._is_in_vain())

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
                    failed=sum([member.payload.failed for member in members]),
                    written=self._is_written,
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
