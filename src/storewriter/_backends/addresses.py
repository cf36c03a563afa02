"""What a store is given becomes the address of its backend: a path, a URL, or a backend.

A text with a scheme (`postgresql://...`) is a URL. Its engine's module is imported at the first store that needs it.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import Any, Final, cast

import attrs

from storewriter._backends.files import FileAddress
from storewriter._backends.protocol import Address, Backend, Fixed, Status
from storewriter._files.replace import Durability
from storewriter._platform.system import SYSTEM, System
from storewriter._turns.adapter import LockAdapter
from storewriter.backoff import Backoff
from storewriter.locks import Strategy

__all__ = ["Durability", "FileSettings", "PathLike", "Place", "address_of", "is_url", "lock_of", "status_of_url"]

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Place = PathLike | Backend[Any, Any]
"""What a store may be given."""

ENGINES: Final[dict[str, str]] = {
    "postgresql": "storewriter.postgres",
    "postgres": "storewriter.postgres",
}
"""By scheme: the module whose `from_url` makes the backend."""

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@attrs.frozen
class FileSettings:
    """What a store defines for a document in a file, with what it is if nothing is said. An engine has its own."""

    durability: Durability = "power"
    mode: int = 0o600
    backups: int = 0
    in_place: bool = False
    system: System = SYSTEM


def address_of(place: Place, settings: FileSettings, strategy: Strategy, backoff: Backoff) -> Address:
    """Where a store is. Raises TypeError or ValueError for settings that do not go with it, or for an unknown scheme.

    `strategy` locks files, and is polled with the backoff; another backend has a lock of its own.
    """
    if not isinstance(place, (str, bytes, os.PathLike)):
        if not hasattr(place, "new_commit"):
            msg = f"a store needs a path, a URL or a backend, got {place!r}"
            raise TypeError(msg)
        _require_default(settings, place.key, *attrs.fields_dict(FileSettings))
        return Fixed(place)
    scheme = _URL.match(place) if isinstance(place, str) else None
    if scheme is not None:
        _require_default(settings, f"a {scheme[1]} store", "mode", "in_place", "system")
        return Fixed(_from_url(place, scheme[1].lower(), settings))
    return FileAddress(place, strategy=strategy, backoff=backoff, **attrs.asdict(settings, recurse=False))


def is_url(text: str) -> bool:
    """Whether a text that names a store is a URL, and not a path."""
    return _URL.match(text) is not None


def lock_of(place: object) -> LockAdapter:
    """The lock of something that is not the path of a file: of a URL, or of a backend. Raises TypeError, ValueError."""
    scheme = _URL.match(place) if isinstance(place, str) else None
    if scheme is not None:
        return _from_url(place, scheme[1].lower(), FileSettings()).lock
    lock = getattr(place, "lock", None)
    if not hasattr(lock, "attempt"):
        msg = f"a store is named by a path, a URL or a backend, got {place!r}"
        raise TypeError(msg)
    return cast("LockAdapter", lock)


def status_of_url(url: str) -> Status:
    """What the engine of a URL says of a document. Raises ValueError, OSError, StoreWriterError."""
    scheme = _URL.match(url)
    assert scheme is not None
    backend: Any = _from_url(url, scheme[1].lower(), FileSettings())
    status: Status = backend.status()
    return status


def _from_url(url: Any, scheme: str, settings: FileSettings) -> Backend[Any, Any]:
    module = ENGINES.get(scheme)
    if module is None:
        msg = (
            f"no store is known for {scheme}://; known are {', '.join(f'{one}://' for one in ENGINES)}. If this is the "
            f"path of a file, give it as a pathlib.Path"
        )
        raise ValueError(msg)
    backend: Backend[Any, Any] = import_module(module).from_url(
        url, durability=settings.durability, backups=settings.backups
    )
    return backend


def _require_default(settings: FileSettings, what: str, *names: str) -> None:
    for name in names:
        given = getattr(settings, name)
        if given != attrs.fields_dict(FileSettings)[name].default:
            msg = f"{name}={given!r} is for documents in files; {what} has settings of its own"
            raise TypeError(msg)
