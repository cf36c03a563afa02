"""A store's document as this process last saw it: loaded and decoded, saved, remembered.

Promise    What `load` hands out belongs to the caller of this turn. What is remembered is used only if the document is
           provably still the one that it belongs to, and nobody else can reach the state.
Only       in the store's turn, except for `decode` and `corrupt`.
Fails by   StoreCorrupt, and what `storage.py` raises.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable
from typing import Any, Final

import attrs

from storewriter import _threads, events
from storewriter._census import Box, Census
from storewriter._remembered import Kept, Slot
from storewriter.codecs import Codec, DecodeError, JsonCodec, TooDeep, UnknownVersion
from storewriter.errors import StoreCorrupt
from storewriter.locks import Hold
from storewriter.storage import FileStorage, stamp_of

ABSENT: Final = "absent"
"""Version of a store that has no document yet."""


def version_of(data: bytes | None) -> str:
    """The version of a document: of its content, because inode numbers and clocks repeat."""
    return ABSENT if data is None else hashlib.blake2b(data, digest_size=16).hexdigest()


SMALL: Final = 1 << 16
"""Bytes up to which a document is read and decoded on the event loop: it is cached, and a thread costs more."""


Keeping = tuple[Box, Census | None] | None
"""A state that is to be remembered, and what is proven of it; None: nothing is. A state that somebody may have a
reference into must not be: it could be changed outside of any update, and that must never be saved."""


@attrs.define(eq=False)
class Document:
    """A store's document as this process last saw it: where it lives, how it is written, and what was decoded."""

    path: str
    storage: FileStorage
    codec: Codec[Any]
    default: Callable[[], Any]
    is_plain: bool = attrs.field(
        init=False, default=attrs.Factory(lambda document: type(document.codec) is JsonCodec, takes_self=True)
    )
    """Whether a state is what JSON says and nothing more, so that it can be proven to be ours alone."""
    is_sealed: bool = attrs.field(
        init=False,
        default=attrs.Factory(lambda document: bool(getattr(document.codec, "sealed", False)), takes_self=True),
    )
    """Whether the codec answers for its states (see `Codec`)."""
    _slot: Slot = attrs.field(factory=Slot)
    _in_use: Kept | None = None
    """The remembered document that the present turn works on."""
    _seen: os.stat_result | None = None
    """What the document was when the present turn loaded it."""

    def load(self) -> tuple[bytes | None, Box, Census | None]:
        """The document's bytes, its state, which the caller owns, and what is proven of that. Only in a turn.

        The remembered state is used if the document is still the one that it belongs to.
        """
        if self.storage.in_place:
            self.storage.finish()
        kept = self._slot.take()
        if kept is not None:
            self._seen = self.storage.still(kept.stamp)
            if self._seen is not None:
                self._in_use = kept
                return kept.data, kept.box, kept.census
            kept.close()
        data, self._seen = self.storage.look()
        return data, [self.decode(data)], None

    def save(self, data: bytes, hold: Hold, keep: Keeping) -> None:
        """Save, and remember what is to be kept, so that nothing is decoded while nobody else writes."""
        self.forget()
        seen, self._seen = self._seen, None
        fd = self.storage.save(data, keep_open=keep is not None, fence=hold.fence, rival=hold.token, seen=seen)
        if fd is not None and keep is not None:
            self._remember(data, keep, fd)

    def save_beside(self, data: bytes, hold: Hold, prove: Callable[[], None], keep: Callable[[], Keeping]) -> None:
        """The same for a large document: find out what is to be kept while the disk is waited for."""
        self.forget()
        seen, self._seen = self._seen, None
        proof = _threads.Beside(prove)
        fd: int | None = None
        try:
            fd = self.storage.save(
                data, keep_open=True, fence=hold.fence, rival=hold.token, seen=seen, meanwhile=proof.set_off
            )
        finally:
            proof.join()  # whatever came of the save: the state must not be touched before
            found = keep()
            if fd is not None and found is None:
                os.close(fd)
        if fd is not None and found is not None:
            self._remember(data, found, fd)

    def _remember(self, data: bytes, keep: tuple[Box, Census | None], fd: int) -> None:
        self._slot.put(Kept(data, *keep, fd, stamp_of(os.fstat(fd))))

    def look_again(self) -> None:
        """Before saving, what the document is must be asked anew: the turn has taken its time."""
        self._seen = None

    def remember(self, keep: Keeping) -> None:
        """Remember a document that needed no save. Only in a turn."""
        kept, self._in_use = self._in_use, None
        if kept is not None:
            if keep is None:
                kept.close()
            else:
                kept.box, kept.census = keep
                self._slot.put(kept)

    def forget(self) -> None:
        """Drop the remembered state."""
        kept, self._in_use = self._in_use, None
        if kept is not None:
            kept.close()
        self._slot.clear()

    def decode(self, data: bytes | None) -> Any:
        """Bytes to a state of the caller's own. Raises StoreCorrupt."""
        if data is None:
            return self._own_default()
        try:
            return self.codec.decode(data)
        except ValueError as error:
            raise self.corrupt(error) from error

    def _own_default(self) -> Any:
        """The default, out of everybody's reach: `default` may hand out its own parts (`TEMPLATE.copy`)."""
        state = self.default()
        try:
            return copy.deepcopy(state)
        except Exception:  # a state that cannot be copied: then `default` must make a new one each time
            return state

    def corrupt(self, error: ValueError) -> StoreCorrupt:
        """The error for a document that the codec cannot read; subscribers and the log are told."""
        reason = error.reason if isinstance(error, DecodeError) else str(error)
        line = getattr(error, "line", None)
        column = getattr(error, "column", None)
        until = "a program that knows this version opens it"
        if isinstance(error, TooDeep):
            until = "it is nested less deeply"
        elif not isinstance(error, UnknownVersion):
            until = "it is repaired, restored or moved away (`store.recover()`)"
        where = f" (line {line}, column {column})" if line is not None else ""
        if events.subscribers:
            events.emit(events.CorruptStore(path=self.path, reason=reason))
        events.log.error("%s cannot be read: %s%s", self.path, reason, where)
        return StoreCorrupt(
            f"{self.path} cannot be read: {reason}{where}. The file was left as it is, and nothing will be written "
            f"until {until}.",
            path=self.path,
            reason=reason,
            line=line,
            column=column,
            position=getattr(error, "position", None),
        )
