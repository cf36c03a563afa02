"""A turn with the store's state loaded, for code that has effects: `Transaction` and `AsyncTransaction`.

Promise    Leaving the block commits, and returns when the commit is as durable as the store promises. Raising inside
           it, or `discard()`, leaves the store untouched. The turn ends in every case.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from storewriter._commits.batch import Batch
from storewriter._commits.document import Document
from storewriter._commits.draft import Request, new_request
from storewriter._turns.closed_loops import off_loop_at_head
from storewriter._turns.ending import end_apart, leave_turn, tie_to
from storewriter._turns.entering import aenter, enter
from storewriter._turns.line import Ticket
from storewriter._turns.off_loop import off_loop, raise_if_cancelled
from storewriter.errors import StoreCorrupt
from storewriter.locks import Hold
from storewriter.per_store_writer_queue import hold_of

__all__ = ["AsyncTransaction", "Transaction"]

S = TypeVar("S")


class _Work(Generic[S]):
    """The open turn of a transaction."""

    __slots__ = ("_batch", "_request", "_ticket", "discarded", "state")

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._ticket: Ticket | None = None
        self._request = new_request(_no_function, tries_left=0)
        self.discarded = False
        self.state: Any = None

    def begin(self, ticket: Ticket, document: Document) -> None:
        if self._ticket is not None:
            msg = "this transaction is already in use; ask store.transaction() for another one"
            raise RuntimeError(msg)
        self._ticket = ticket
        self._batch = Batch(document)
        self._request = ticket.payload = new_request(_no_function, tries_left=0)
        self.discarded = False

    def load(self) -> None:
        batch, ticket = self.batch(), self._ticket
        assert ticket is not None
        batch.load(ticket)
        self.state = batch.draft.state()

    def batch(self) -> Batch:
        if self._batch is None:
            msg = "the transaction is not open: use its state inside the `with` block"
            raise RuntimeError(msg)
        return self._batch

    def hold(self) -> Hold:
        if self._ticket is None:
            msg = "the transaction is not open"
            raise RuntimeError(msg)
        return hold_of(self._ticket)

    def encode(self) -> None:
        """Step 1 of a commit, where nothing can change the state meanwhile. The end of the turn saves it."""
        self.hold().check()
        batch, ticket = self.batch(), self._ticket
        assert ticket is not None
        batch.draft.replace_state(self._request, self.state)
        batch.last, self._request.is_member, ticket.batch = ticket, True, batch

    def end_if_of(self, ticket: Ticket) -> None:
        """End what a failed entrance has begun; does nothing while another caller uses the object."""
        if self._ticket is ticket:
            self.end()

    def end(self) -> None:
        """End the turn, and save what was encoded. Can be repeated."""
        ticket = self._ticket
        if ticket is not None:
            leave_turn(ticket)
        self._ticket = self._batch = self.state = None

    def finish(self) -> None:
        """The same; raises what the save or the flush has raised."""
        self.end()
        self._request.unwrap()


def _no_function(_: Any) -> None:
    raise AssertionError


class _TransactionBase(Generic[S]):
    """What the block can do with its transaction; the two kinds differ in how they begin and end."""

    def __init__(self) -> None:
        self._work = _Work[S]()

    @property
    def state(self) -> S:
        """The state: to read, change or replace, inside the block only (RuntimeError otherwise)."""
        self._work.batch()  # raises if it is not open
        return self._work.state  # type: ignore[no-any-return]

    @state.setter
    def state(self, state: S) -> None:
        self._work.batch()
        self._work.state = state

    def discard(self) -> None:
        """Write nothing when the block is left, whatever was done to the state. The turn goes on until then."""
        self._work.discarded = True

    def check(self) -> None:
        """Raise an error if the turn may have been lost, before something is done that cannot be undone.

        Raises:
            LockLost: A lease ran out, or this is a forked child: the commit would be refused.
            RuntimeError: The block is not open.
        """
        self._work.hold().check()


class Transaction(_TransactionBase[S]):
    """A turn with the store's state loaded: what `with store.transaction() as tx:` gives.

    For the thread that has entered it. Leaving the block commits; an exception inside it writes nothing.
    """

    def __init__(
        self,
        find: Callable[[], Document],
        ask: Callable[[], Ticket],
        restore: Callable[[StoreCorrupt], bool],
    ) -> None:
        super().__init__()
        self._find = find
        self._ask = ask
        self._restore = restore
        """Called with the error for a corrupt document, after the turn. True: it has been restored."""

    def __enter__(self) -> Transaction[S]:
        try:
            return self._enter()
        except StoreCorrupt as error:
            if not self._restore(error):
                raise
        return self._enter()

    def _enter(self) -> Transaction[S]:
        document = self._find()
        ticket = self._ask()
        try:
            tie_to(ticket, self)
            enter(ticket, document.backend.lock)
            self._work.begin(ticket, document)
            self._work.load()
            return self._in_hand()
        except BaseException:
            try:
                try:
                    self._work.end_if_of(ticket)
                finally:
                    leave_turn(ticket)  # nothing, unless an interrupt came before the work began, or it could not
            except BaseException:
                if ticket.finalizer is not None:  # it may not have begun
                    ticket.identity = None
                    end_apart(([ticket],))
                raise
            raise

    def _in_hand(self) -> Transaction[S]:
        """The object that the block gets: a view of the same work. The turn ends when it is collected (`tie_to`)."""
        face = Transaction[S](self._find, self._ask, self._restore)
        face._work = self._work
        return face

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._work.discarded:
                self._work.encode()
                self._work.finish()
        finally:
            try:
                self._work.end()
            except BaseException:
                try:
                    self._work.end()  # it may not have begun
                except BaseException:
                    work, ticket = self._work, self._work._ticket
                    work._ticket = work._batch = work.state = None
                    if ticket is not None and (ticket.finalizer is not None or ticket.batch is not None):
                        ticket.identity = None
                        end_apart(([ticket],))
                    raise
                raise


class AsyncTransaction(_TransactionBase[S]):
    """A turn with the store's state loaded: what `async with store.transaction() as tx:` gives.

    For the task that has entered it. Leaving the block commits; an exception inside it, or a cancellation, writes
    nothing. Cancelled while the block is left, the commit is completed first.
    """

    def __init__(
        self,
        find: Callable[[], Document],
        ask: Callable[[], Ticket],
        restore: Callable[[StoreCorrupt], Awaitable[bool]],
    ) -> None:
        super().__init__()
        self._find = find
        self._ask = ask
        self._restore = restore
        self._is_quick = True
        self._loop: Any = None

    def expect(self, request: Request) -> None:
        """For `AsyncStore.update`: raise VersionConflict unless the document has the version that `request` names."""
        if request.expect is not None:
            self._work.batch().draft.require_version(request.expect)

    async def __aenter__(self) -> AsyncTransaction[S]:
        try:
            return await self._enter()
        except StoreCorrupt as error:
            if not await self._restore(error):
                raise
        return await self._enter()

    async def _enter(self) -> AsyncTransaction[S]:
        document = self._find()
        ticket = self._ask()
        try:
            tie_to(ticket, self)
            await aenter(ticket, document.backend.lock)
            self._work.begin(ticket, document)
            self._is_quick = ticket.is_quick
            self._loop = ticket.loop
            _, cancelled = await off_loop_at_head(ticket, self._work.load, lambda: leave_turn(ticket))
            if cancelled is not None:
                raise cancelled
            await raise_if_cancelled(self._loop)
        except BaseException:
            self._work.end_if_of(ticket)
            leave_turn(ticket)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or self._work.discarded:
            await self._end()
            return
        try:
            self._work.encode()
            await self._off_loop(self._work.finish)
        except BaseException:
            await self._end()  # nothing, if it has ended
            raise

    async def _end(self) -> None:
        if self._is_quick:
            self._work.end()
        else:
            await self._off_loop(self._work.end)

    async def _off_loop(self, call: Callable[[], None]) -> None:
        _, cancelled = await off_loop(call, self._loop)
        if cancelled is not None:
            raise cancelled
