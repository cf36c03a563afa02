"""Access lists (acl(5)): from the mode and the list of a document to those of its lock file."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

_ENTRY: Final = struct.Struct("<HHI")
_VERSION: Final = struct.pack("<I", 2)
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID: Final = 0xFFFF_FFFF
_WRITE: Final = 2
_READ_WRITE: Final = 6

Entry = tuple[int, int, int]
"""Tag, permissions, id."""


def entries_of(data: bytes | None, mode: int) -> list[Entry]:
    """The access list of a document; without one, the list that its mode stands for."""
    if data is not None and data.startswith(_VERSION) and (len(data) - len(_VERSION)) % _ENTRY.size == 0:
        return list(_ENTRY.iter_unpack(data[len(_VERSION) :]))
    return [
        (_USER_OBJ, mode >> 6 & 7, _NO_ID),
        (_GROUP_OBJ, mode >> 3 & 7, _NO_ID),
        (_OTHER, mode & 7, _NO_ID),
    ]


def allowed(entries: Iterable[Entry]) -> list[Entry]:
    """Every entry that may write gets `rw`, every other one nothing."""
    # No look at the mask: a list is read only if its mask lets entries write (`wanted`).
    return [
        (tag, _READ_WRITE if perms & _WRITE or tag == _USER_OBJ else 0, number)
        for tag, perms, number in entries
        if tag != _MASK
    ]


@attrs.frozen
class Rights:
    """What a lock file should be."""

    document: os.stat_result | None
    """The document; None: there is none."""
    entries: tuple[Entry, ...]

    def mode_for(self, lock: os.stat_result) -> tuple[int, bytes | None]:
        """The mode, and the access list (None: none), of a lock file that has the owner and the group of `lock`.

        An owner or a group of the document that the file could not be given to has an entry of its own in the list.
        """
        entries = self._for(lock)
        # Lists, here and below: in a generator a StopIteration of a signal handler becomes a RuntimeError.
        group, other = _perms_of(_GROUP_OBJ, entries), _perms_of(_OTHER, entries)
        if all([tag in (_USER_OBJ, _GROUP_OBJ, _OTHER) for tag, _, _ in entries]):
            return 0o600 | group << 3 | other, None
        mask = max([perms for tag, perms, _ in entries if tag not in (_USER_OBJ, _OTHER)])
        entries.append((_MASK, mask, _NO_ID))
        packed = b"".join([_ENTRY.pack(*entry) for entry in sorted(entries, key=lambda entry: (entry[0], entry[2]))])
        return 0o600 | mask << 3 | other, _VERSION + packed

    def _for(self, lock: os.stat_result) -> list[Entry]:
        document = self.document
        if document is None:
            return list(self.entries)
        other = _perms_of(_OTHER, self.entries)
        entries = list(self.entries)
        if lock.st_gid != document.st_gid:
            group = _perms_of(_GROUP_OBJ, entries)
            entries = [(_GROUP_OBJ, other, _NO_ID) if entry[0] == _GROUP_OBJ else entry for entry in entries]
            _add(entries, (_GROUP, group, document.st_gid), unless=other)
        if lock.st_uid != document.st_uid and self._has_names:
            _add(entries, (_USER, _READ_WRITE, document.st_uid), unless=other)
        return entries

    @property
    def _has_names(self) -> bool:
        return any([tag in (_USER, _GROUP) for tag, _, _ in self.entries])

    @property
    def is_shared(self) -> bool:
        """Whether other users than the owner may write the document."""
        return any([perms for tag, perms, _ in self.entries if tag != _USER_OBJ])


def _perms_of(tag: int, entries: Sequence[Entry]) -> int:
    (perms,) = [perms for each, perms, _ in entries if each == tag]
    return perms


def _add(entries: list[Entry], entry: Entry, *, unless: int) -> None:
    tag, perms, number = entry
    if perms != unless and all([(other[0], other[2]) != (tag, number) for other in entries]):
        entries.append(entry)
