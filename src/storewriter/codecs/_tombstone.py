"""What is left in a store whose document has moved: a line that names its new place, and is in no codec's format.

Promise    No codec reads it as a document: it begins with a character with which neither JSON, YAML nor TOML begins. So
           programs that still use the old store fail, and `StoreCorrupt` says where the document is. It counts as
           intact: no recovery puts an old backup in its place.
"""

from __future__ import annotations

from typing import Final

__all__ = ["moved_to", "tombstone"]

_MARK: Final = b"@storewriter: this store has moved to "
_LONGEST: Final = 4096


def tombstone(place: str) -> bytes:
    """The document that says where a store is now."""
    return _MARK + place.encode() + b"\n"


def moved_to(data: bytes) -> str | None:
    """Where a store has moved; None if the document is no tombstone."""
    if not data.startswith(_MARK) or len(data) > _LONGEST:
        return None
    return data[len(_MARK) :].decode(errors="replace").strip()
