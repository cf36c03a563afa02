"""A store's document: where it is, its states, and the flushes of its commits.

Promise    Every state that `decode` returns is a new object that nothing else refers to.
Only       `recover` and `restore` in the store's turn.
Fails by   StoreCorrupt; `Flushes.settle` by CommitUncertain.
"""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakValueDictionary

import attrs

from storewriter import events
from storewriter._backends.files import FileStorage
from storewriter._files.replace import Commit, not_flushed
from storewriter._platform import forks
from storewriter.codecs import Codec, TooDeep, UnknownVersion, UpdateCodec
from storewriter.codecs._faults import Fault, judged
from storewriter.codecs._protocol import update_codec
from storewriter.errors import CommitUncertain, StoreCorrupt
from storewriter.recovery import Recovery, facts_of, forecast, place_of, recover, restore

ABSENT: Final = "absent"
"""Version of a store that has no document yet."""


def version_of(data: bytes | None) -> str:
    """The version of a document: of its content, because inode numbers and clocks repeat."""
    return ABSENT if data is None else hashlib.blake2b(data, digest_size=16).hexdigest()


SMALL: Final = 1 << 16
"""Bytes up to which a document is read and decoded on the event loop: it is cached, and a thread costs more."""


class Flushes:
    """The flushes that one process makes for one store, shared by the commits that wait for one. Needs no lock.

    A commit is settled once a flush that began after its rename has ended: its own, or that of a later document, which
    holds what this one holds. At most one flush is under way and one is due; the commits of all renames that come
    during a flush are settled by the next one together.
    """

    __slots__ = ("__weakref__", "_error", "_failed", "_flushed", "_mutex", "_newest", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._mutex = threading.Lock()
        """Held while a flush is under way: the next one is due for the threads that wait for it."""
        self._newest: Commit | None = None
        self._flushed = 0
        """Number of the newest commit that was flushed."""
        self._failed = 0
        """Number of the newest commit whose flush failed, with this error."""
        self._error = OSError()

    def forget(self) -> None:
        """In a forked child: begin anew."""
        self._mutex = threading.Lock()
        self._newest = None
        self._flushed = self._failed = 0

    def note(self, commit: Commit) -> None:
        """A document has taken the name. Only in the store's turn, so in the order of the renames. Can be repeated."""
        newest = self._newest
        if newest is commit:
            return
        commit.number = 1 if newest is None else newest.number + 1
        self._newest = commit

    def settle(self, commit: Commit) -> None:
        """Return when the document is durable. Raises CommitUncertain. Can be repeated.

        A failed flush is not tried again, but a later document may be flushed, and holds this one's content.
        """
        with self._mutex:
            while True:  # with `break`, and not with a condition: see tests/turns/test_loops_in_handlers.py
                if commit.number <= self._flushed:
                    break
                newest = self._newest
                if newest is None or newest.number <= self._failed:
                    commit.close()
                    raise not_flushed(self.path, self._error) from self._error
                try:
                    newest.flush()
                except OSError as error:
                    if error.errno is None:
                        raise  # a signal handler's
                    self._failed, self._error = newest.number, error
                else:
                    self._flushed = newest.number
        commit.close()


_known: WeakValueDictionary[str, Flushes] = WeakValueDictionary()


def flushes_of(path: str) -> Flushes:
    """One object for all documents of this process at a path.

    Without a mutex, in which a signal handler that makes a store could be caught. If two threads make one at the same
    moment, their documents share no flushes, and nothing else changes.
    """
    return _known.get(path) or _known.setdefault(path, Flushes(path))


def _reset_in_child() -> None:
    # A thread of the parent may have been inside; it does not exist here, and nothing of it is waited for.
    for flushes in list(_known.values()):
        flushes.forget()


forks.in_child(_reset_in_child)


@attrs.define(eq=False)
class Document:
    """A store's document: where it lives, and how it is read and written."""

    path: str
    storage: FileStorage
    codec: Codec[Any]
    default: Callable[[], Any]
    flushes: Flushes = attrs.field(
        init=False, default=attrs.Factory(lambda self: flushes_of(self.path), takes_self=True)
    )

    _update_codec: UpdateCodec[Any] | None = attrs.field(
        init=False, default=attrs.Factory(lambda self: update_codec(self.codec), takes_self=True)
    )
    is_compared_anew: bool = attrs.field(
        init=False, default=attrs.Factory(lambda self: self._update_codec is None, takes_self=True)
    )
    """Whether documents are compared by encoding them once more (`says_the_same`): the codec does not compare them."""

    def has(self, data: bytes) -> bool:
        """Whether the document has this content now, after an interrupted save. Raises CommitUncertain."""
        try:
            return self.storage.load() == data
        except OSError as error:
            if error.errno is None:
                raise
            msg = f"whether {self.path} was saved is unknown, because it cannot be read ({error.strerror})"
            raise CommitUncertain(msg, path=self.path) from error

    def decode(self, data: bytes | None) -> Any:
        """Bytes to a state of the caller's own. Raises StoreCorrupt."""
        if data is None:
            return self._own_default()
        try:
            return self.codec.decode(data)
        except Exception as error:
            raise self._corrupt(judged(self.codec.decode, data, error)) from error

    def decode_for_update(self, data: bytes | None) -> tuple[Any, Callable[[Any], bytes]]:
        """A state of the caller's own, and a function that encodes what becomes of it. Raises StoreCorrupt."""
        codec = self._update_codec
        if codec is None:
            return self.decode(data), self._encode
        if data is None:
            return self._own_default(), codec.encode
        try:
            return codec.decode_for_update(data)
        except Exception as error:
            raise self._corrupt(judged(codec.decode_for_update, data, error)) from error

    def _encode(self, state: Any) -> bytes:
        data: object = self.codec.encode(state)
        if isinstance(data, bytes):
            return data
        if isinstance(data, (bytearray, memoryview)):
            return bytes(data)
        hint = ": encode the text, say as UTF-8" if isinstance(data, str) else ""
        msg = f"{self.path} was not changed: encode() of {self.codec!r} returned {type(data).__name__}, not bytes{hint}"
        raise TypeError(msg)

    def says_the_same(self, found: bytes | None, data: bytes | None) -> bool:
        """Whether the document that was found means the same as new bytes: encoded once more, it gives these.

        For codecs without `decode_for_update`: the others return what they have read if nothing has changed.
        """
        if found is None:
            return False
        try:
            return self._encode(self.codec.decode(found)) == data
        except Exception:  # then it is not known, and the new bytes are written, as they would be anyway
            return False

    def _own_default(self) -> Any:
        """The default, shared with nothing else: `default` may return its own parts (`TEMPLATE.copy`)."""
        state = self.default()
        try:
            return copy.deepcopy(state)
        except Exception:  # a state that cannot be copied: then `default` must make a new one each time
            return state

    def encoded_default(self) -> bytes | None:
        """The bytes of the default state, which mean the same as no document; None if the default cannot be encoded."""
        try:
            return self._encode(self._own_default())
        except (ValueError, TypeError):
            return None

    def _corrupt(self, fault: Fault) -> StoreCorrupt:
        """The error for a document that the codec cannot read; subscribers and the log get it too."""
        where = f"{place_of(fault)}{fault.reason.rstrip('.')}"
        message = (
            f"{self.path} cannot be read: {where}. The file was left as it is, and nothing will be written until "
            f"{_until(fault)}. {self._what_recovery_does(fault)}"
        )
        if events.subscribers:
            events.emit(events.CorruptStore(path=self.path, reason=fault.reason, may_be_intact=fault.may_be_intact))
        events.log.error("%s", message)
        return StoreCorrupt(message, path=self.path, **facts_of(fault))

    def recover(self, *, force: bool) -> Recovery:
        """See `storewriter.recovery.recover`. Only in a turn."""
        return _reported(recover(self.storage, self.codec, self.default, force=force), automatic=False)

    def restore(self) -> Recovery | None:
        """See `storewriter.recovery.restore`. Only in a turn."""
        recovery = restore(self.storage, self.codec)
        return None if recovery is None else _reported(recovery, automatic=True)

    def _what_recovery_does(self, fault: Fault) -> str:
        would = forecast(self.storage, self.codec, force=fault.may_be_intact)
        if not fault.may_be_intact:
            return f"`store.recover()` would {would}."
        return f"It may be intact, so `store.recover()` does not touch it; `store.recover(force=True)` would {would}."


def _reported(recovery: Recovery, *, automatic: bool) -> Recovery:
    """Emit an event and log a recovery that has done something."""
    if recovery.outcome not in ("restored", "reset"):
        return recovery
    if events.subscribers:
        events.emit(
            events.StoreRecovered(
                path=recovery.path,
                automatic=automatic,
                reason=recovery.reason,
                moved_to=recovery.moved_to,
                restored_from=recovery.restored_from,
            )
        )
    events.log.warning("%s%s", recovery, ' (on_corrupt="restore")' if automatic else "")
    return recovery


def _until(fault: Fault) -> str:
    if isinstance(fault.error, TooDeep):
        return "it is nested less deeply"
    if isinstance(fault.error, UnknownVersion):
        return "a program that knows this version opens it"
    if fault.may_be_intact:
        return "it is corrected, or opened with a program or a codec that knows it"
    return "it is repaired, restored or moved away"
