"""A store's document: its backend, and how its bytes become states and states bytes.

Promise    Every state that `decode` returns is a new object that nothing else refers to.
Only       `recover` and `restore` in the store's turn.
Fails by   StoreCorrupt.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any, Final

import attrs

from storewriter import events
from storewriter._backends.protocol import Backend
from storewriter.codecs import Codec, TooDeep, UnknownVersion, UpdateCodec
from storewriter.codecs._faults import Fault, judged
from storewriter.codecs._protocol import update_codec
from storewriter.errors import StoreCorrupt
from storewriter.recovery import Recovery, facts_of, forecast, place_of, recover, restore

ABSENT: Final = "absent"
"""Version of a store that has no document yet."""


def version_of(data: bytes | None) -> str:
    """The version of a document: of its content, because inode numbers and clocks repeat."""
    return ABSENT if data is None else hashlib.blake2b(data, digest_size=16).hexdigest()


Decoded = tuple[Any, Callable[[Any], bytes]]
"""A state, and what makes bytes of it."""


@attrs.define(eq=False)
class Document:
    """A store's document: where it lives, and how it is read and written."""

    backend: Backend[Any, Any]
    codec: Codec[Any]
    default: Callable[[], Any]
    path: str = attrs.field(init=False, default=attrs.Factory(lambda self: self.backend.key, takes_self=True))
    """The backend's key, as errors and events name it."""

    last_size: int = attrs.field(init=False, default=0)
    """How many members the batch had that was answered last."""

    _update_codec: UpdateCodec[Any] | None = attrs.field(
        init=False, default=attrs.Factory(lambda self: update_codec(self.codec), takes_self=True)
    )
    decode_for_update: Callable[[bytes], Decoded] | None = attrs.field(
        init=False,
        default=attrs.Factory(lambda self: getattr(self._update_codec, "decode_for_update", None), takes_self=True),
    )
    """The codec's own, which also returns the function that encodes; None: `decode_plainly` is used."""

    is_compared_anew: bool = attrs.field(
        init=False, default=attrs.Factory(lambda self: self._update_codec is None, takes_self=True)
    )
    """Whether documents are compared by encoding them once more (`says_the_same`): the codec does not compare them."""

    def decode(self, data: bytes | None) -> Any:
        """Bytes to a state of the caller's own. Raises StoreCorrupt."""
        if data is None:
            return self._own_default()
        try:
            return self.codec.decode(data)
        except Exception as error:
            raise self.corrupt(self.codec.decode, data, error) from error

    def decode_plainly(self, data: bytes) -> Decoded:
        """A state of the caller's own, and a function that encodes what becomes of it. Raises what the codec raises."""
        return self.codec.decode(data), self._encode

    def default_for_update(self) -> Decoded:
        """The same of a store without a document."""
        return self._own_default(), self._encode if self._update_codec is None else self._update_codec.encode

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

    def corrupt(self, decode: Callable[[bytes], Any], data: bytes, error: Exception) -> StoreCorrupt:
        """The error for a document that `decode` has raised `error` for; subscribers and the log get it, too.

        Raises the error itself if it is not the codec's, but a signal handler's.
        """
        fault = judged(decode, data, error)
        where = f"{place_of(fault)}{fault.reason.rstrip('.')}"
        message = (
            f"{self.path} cannot be read: {where}. The file was left as it is, and nothing will be written until "
            f"{_until(fault)}. {self._what_recovery_does(fault)}"
        )
        if events.subscribers:
            events.emit(events.CorruptStore(path=self.path, reason=fault.reason, may_be_intact=fault.may_be_intact))
        events.log.error("%s", message)
        return StoreCorrupt(message, path=self.path, **facts_of(fault))

    def recover(self, hold: Any, *, force: bool) -> Recovery:
        """See `storewriter.recovery.recover`. Only in a turn."""
        return _reported(recover(self.backend, hold, self.codec, self.default, force=force), automatic=False)

    def restore(self, hold: Any) -> Recovery | None:
        """See `storewriter.recovery.restore`. Only in a turn."""
        recovery = restore(self.backend, hold, self.codec)
        return None if recovery is None else _reported(recovery, automatic=True)

    def _what_recovery_does(self, fault: Fault) -> str:
        would = forecast(self.backend, self.codec, force=fault.may_be_intact)
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
