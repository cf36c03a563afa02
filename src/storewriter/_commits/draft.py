"""What the functions of one batch make of the loaded document: `Draft`, of `Request`s.

Promise    A function gets a state that was decoded from the bytes that the function before it left, and what it leaves
           is encoded at once. So nothing that a caller keeps, puts in or gets out is shared with another caller. One
           that raises, or leaves a state that cannot be encoded, fails its own caller and changes nothing.
How        `bytes -> state -> function -> bytes`, once a function. With `isolation="shared"` the functions of a batch go
           on with one state: threads encode it after each function, an event loop at the end (`seal`).
Does not   load, save or answer: that is the batch's (`batch.py`).
"""

from __future__ import annotations

import _thread
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, Literal

from storewriter._backends.protocol import Loaded
from storewriter._commits.document import Decoded, Document, version_of
from storewriter._turns.line import Ticket
from storewriter.errors import ReturnedAwaitable, VersionConflict

Isolation = Literal["own", "shared"]

TRIES: Final = 8
"""How often a function is applied at most: an update begins anew if its path has become a link, its lock was lost, or
a program without the lock has written the document."""

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
        "tries_left",
    )

    fn: Callable[[Any], Any]
    replaces: bool
    expect: str | None
    _context: Context | None
    """A task's: its function runs there, whichever task leads the batch."""
    is_applied: bool
    """Whether what the function did is in the document that the batch makes; with a shared state, if it is
    `group.is_applied` as well."""
    group: Group
    result: Any
    error: BaseException | None
    failed: bool
    """Whether the error is the function's own."""
    before: Ticket | None
    """The member before it in its batch."""
    is_member: bool
    """Whether it is in a batch, which will answer it."""
    tries_left: int
    """How often it may begin anew."""

    def anew(self) -> Request:
        """The same update, to be made again: the batch that failed may still look at this one."""
        return new_request(self.fn, self.replaces, self.expect, self._context, self.tries_left - 1)

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


def new_request(
    fn: Callable[[Any], Any],
    replaces: bool = False,
    expect: str | None = None,
    context: Context | None = None,
    tries_left: int = TRIES - 1,
) -> Request:
    """A request that no batch has met. A function with slots to fill, as `new_ticket` in `_turns/line.py`."""
    request = Request()
    request.fn = fn
    request.replaces = replaces
    request.expect = expect
    request._context = context
    request.is_applied = False
    request.group = ALONE
    request.result = None
    request.error = None
    request.failed = False
    request.before = None
    request.is_member = False
    request.tries_left = tries_left
    return request


def _require_done(result: Any) -> None:
    if isinstance(result, Awaitable):
        if isinstance(result, CoroutineType):
            result.close()
        msg = "the function returned an awaitable; async functions need AsyncStore"
        raise ReturnedAwaitable(msg)
    if isinstance(result, (GeneratorType, AsyncGeneratorType)):
        msg = "the function returned a generator: what it would do with the state has not been done. Return a list"
        raise TypeError(msg)


class SharedState(Group):
    """The state that the functions of a batch go on with, and those whose changes are in no bytes yet."""

    __slots__ = ("is_whole", "requests", "state")

    def __init__(self) -> None:
        self.is_applied = True
        self.state: Any = None
        self.requests: list[Request] = []
        self.is_whole = True
        """Whether nothing else is in the state: False while a function runs, and if that did not come to its end."""


class Draft:
    """The loaded document, and what it will be."""

    # Defaults stand in the class: most batches never need most of these.
    found: Loaded | None = None
    """The document as it was loaded."""
    good: bytes | None = None
    """What the document will be: the state after the last function that did not fail."""
    absent: bytes | None = None
    """Where there is no document: the bytes that would say no more than its absence does."""
    authors: Sequence[Request] = ()
    """Whose functions made `good` of `_before`: one, or those that went on with a shared state."""
    newest: Ticket | None = None
    """Of a batch of threads, the last member whose function has run: only its thread may make a part (`batch.py`)."""
    _before: bytes | None = None
    """What the document was before the functions of `authors`."""
    _encode: Callable[[Any], bytes]
    """Makes bytes of what becomes of the state that was decoded last."""
    _ahead: Decoded | None = None
    """What the first function gets, if it was decoded before that is called (`decode_ahead`)."""

    def __init__(self, document: Document, isolation: Isolation, *, on_loop: bool) -> None:
        self.document = document
        self.shared: SharedState | None = SharedState() if isolation == "shared" else None
        self._on_loop = on_loop
        self.mutex = _thread.allocate_lock()
        """Between the thread that has the turn and the one that makes a part (`batch.py`). Held for a few plain stores
        only, so that no fork finds it locked."""

    def load(self, hold: Any) -> None:
        """Once, before the first function. Raises as `Backend.load` does."""
        found = self.document.backend.load(hold)
        self.good = found.data
        if self.good is None:
            self.absent = self.document.encoded_default()
        self.found = found

    def decode_ahead(self) -> None:
        """Right after `load`, in a thread: decode what the first function gets, so that its event loop need not."""
        document, data = self.document, self.good
        if data is not None:
            try:
                self._ahead = (document.decode_for_update or document.decode_plainly)(data)
            except Exception:
                self._ahead = None  # `state` decodes it again, and says what is wrong with it

    def has_changes(self) -> bool:
        """Whether the document will be another one than was loaded, as far as is known."""
        return self.found is not None and self.good is not self.found.data

    def require_version(self, expected: str) -> None:
        """Raise VersionConflict unless the loaded document has this version."""
        assert self.found is not None
        found = version_of(self.found.data)
        if found != expected:
            path = self.document.path
            if not isinstance(expected, str):  # a caller without a type checker, who would try again for ever
                msg = f"expect must be a version of {path}, a text from `read_versioned()`, got {expected!r}"
                raise TypeError(msg)
            raise VersionConflict(
                f"{path} has changed since it was read (version {found}, expected {expected}): read it again and "
                f"decide anew.",
                path=path,
                expected=expected,
                found=found,
            )

    def apply(self, request: Request, ticket: Ticket | None = None) -> None:
        """Apply the function of a request to a state of its own; raises what it raises, and what encoding raises."""
        state = self.state()
        encode = self._encode
        if request.expect is not None:
            self.require_version(request.expect)
        data = encode(request.run(state))
        # Plain stores, so that no interrupt can come in between.
        if self.newest is None:  # no other thread looks at the draft yet
            self._before, self.authors, self.good, request.is_applied = self.good, (request,), data, True
            self.newest = None if self._on_loop else ticket
        else:
            with self.mutex:
                self._before, self.authors, self.good, request.is_applied = self.good, (request,), data, True
                self.newest = ticket or self.newest

    def state(self) -> Any:
        """A state of the caller's own, decoded from the bytes that the last function left. Raises StoreCorrupt."""
        document, data = self.document, self.good
        if self._ahead is not None:
            (state, self._encode), self._ahead = self._ahead, None
            return state
        if data is None:
            state, self._encode = document.default_for_update()
            return state
        decode = document.decode_for_update or document.decode_plainly
        try:
            state, self._encode = decode(data)
        except Exception as error:
            corrupt, newest = document.corrupt(decode, data, error), self.newest
            authors = self.take_back(error)
            if not authors:
                raise corrupt from error
            # The codec wrote what it cannot read: the function that made such a state fails, and no other one.
            if authors[0].group is not ALONE:
                self.apply_each(authors)
                self.newest = newest
            return self.state()
        return state

    def take_back(self, reason: BaseException | None = None) -> Sequence[Request]:
        """Undo what the last functions did; returns whose they were. If it was one, that has failed for this reason."""
        with self.mutex:
            # Plain stores: what is not in the document must not be answered as if it were, whatever comes next.
            authors = self.authors
            if authors:
                first = authors[0]
                if first.group is not ALONE:
                    first.group.is_applied = False
                    self.newest = None  # no part, as long as functions of its members are applied again
                else:
                    first.is_applied = False
                    if reason is not None:
                        first.error, first.failed = reason, True
                self.authors, self.good = (), self._before
        return authors

    def replace_state(self, request: Request, state: Any) -> None:
        """What a transaction leaves. Raises what the codec raises."""
        data = self._encode(state)
        self._before, self.authors, self.good, request.is_applied = self.good, (request,), data, True

    # -- isolation="shared" --------------------------------------------------------------------------------------------

    def apply_to_shared(self, request: Request, shared: SharedState, ticket: Ticket) -> None:
        """The same, to the state that the functions of the batch go on with."""
        if request.replaces or request.expect is not None:
            # What `transform` returns is the caller's, and a version is judged by bytes.
            self.seal()
            shared.state = None
            self.apply(request, ticket)
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
            self.apply(request, ticket)  # the functions before it may have had a part in that
            return
        group = Group()
        with self.mutex:
            if is_new or not self.authors:
                self._before, self.authors = self.good, ()
            else:
                group = self.authors[0].group
            self.authors = (*self.authors, request)
            self.good, request.is_applied, request.group, self.newest = data, True, group, ticket
        shared.state = state

    def seal(self) -> None:
        """Make bytes of the shared state, where its functions run. Can be repeated."""
        shared = self.shared
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
        self._before, self.authors, self.good, self.shared = self.good, shared.requests, data, fresh

    def _start_over(self, shared: SharedState) -> SharedState:
        """The shared state is lost: those whose changes were in it are applied again. Returns its successor."""
        fresh = SharedState()
        shared.is_applied, self.shared = False, fresh
        self.apply_each(shared.requests)
        return fresh

    def _can_be_encoded(self, state: Any) -> bool:
        try:
            self._encode(state)
        except Exception:
            return False
        return True

    def apply_each(self, requests: Sequence[Request]) -> None:
        """Apply functions that were taken back, each to a state of its own. Interrupted, the others must ask again."""
        for request in requests:
            request.is_applied, request.group = False, ALONE
            try:
                self.apply(request)
            except Exception as error:
                if request.is_applied:
                    raise  # an interrupt that came right after that
                request.error, request.failed = error, True
