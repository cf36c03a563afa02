"""What a key and a namespace are, and where the keys of a namespace are: in a file, or in a document of a database.

Promise    Two different namespaces never share a file, on a file system that ignores case or normalises Unicode too;
           no namespace text leaves the folder, and a plain name stays readable.
How        Everything but `a-z 0-9 _ -` is written as %xx per UTF-8 byte; what would get too long, or would be a device
           name on Windows, is changed in a way that no other namespace can produce.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard
from urllib.parse import quote, unquote

import attrs

__all__ = [
    "BLANKS",
    "DEFAULT_NAMESPACE",
    "Location",
    "Place",
    "ScopedKey",
    "claims_place",
    "document_name",
    "file_name",
    "folder_url",
    "is_url",
    "namespace_of",
    "place_of",
    "scope",
    "trimmed",
]

DEFAULT_NAMESPACE = "global"

Location = str | os.PathLike[str] | Callable[[str], str | os.PathLike[str]]
"""A folder that holds a file for each namespace; a URL, below whose document's name each namespace has a document; or a
function from a namespace to the path of its file or the URL of its document."""

Place = Path | str
"""Where one namespace is: the path of a file, or a text for a document that is no file, its URL or its name."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# What JavaScript's trim() removes, not what str.strip() does: OpenClaw reads and writes these files too, and both must
# mean the same key. They differ in U+001C to U+001F and U+0085 (only Python) and U+FEFF (only JavaScript).
_TRIMMED = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
BLANKS = frozenset(_TRIMMED)
"""The characters that no key begins or ends with."""


@attrs.frozen
class ScopedKey:
    """A key within its namespace: a pair, so that (`a`, `b:c`) and (`a:b`, `c`) stay two."""

    namespace: str
    key: str


def trimmed(text: str) -> str:
    """The text without outer white space."""
    return text.strip(_TRIMMED)


def scope(key: str, namespace: str | None) -> ScopedKey:
    """Both texts trimmed; a blank or absent namespace is `global`. A blank key stays, as an empty one.

    Raises TypeError for what is not text.
    """
    for what, given in (("key", key), ("namespace", "" if namespace is None else namespace)):
        if not isinstance(given, str):
            msg = f"a {what} is text, got {type(given).__name__}"
            raise TypeError(msg)
    return ScopedKey(trimmed(namespace or "") or DEFAULT_NAMESPACE, trimmed(key))


def is_url(given: object) -> TypeGuard[str]:
    """Whether a location is a URL, and not a path."""
    return isinstance(given, str) and _URL.match(given) is not None


def place_of(location: Location, namespace: str) -> Place:
    """The file of a namespace, or the URL of its document."""
    if callable(location):
        given = location(namespace)
        return given if is_url(given) else Path(given)
    if is_url(location):
        return f"{folder_url(location)}{quote(document_name(namespace))}"
    return Path(location) / file_name(namespace)


def folder_url(url: str) -> str:
    """A URL up to the namespace in the name of a document."""
    address, _, folder = url.partition("#")
    return f"{address}#{folder.rstrip('/')}/" if folder.strip("/") else f"{address}#"


def claims_place(place: Place) -> Place:
    """Where the claims of a namespace are. No namespace is there: what follows a `~` in its name is a hash."""
    return place.with_name(f"{place.stem}~claims.json") if isinstance(place, Path) else f"{place}~claims"


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])")
_LONGEST = 150
"""Characters before `.json`: leaves room below 255 for what is put around the name (lock, temporary, moved aside)."""
_SUFFIX = ".json"


def file_name(namespace: str) -> str:
    """The file name of a namespace, never longer than 160 characters, all of them ASCII."""
    return document_name(namespace) + _SUFFIX


def document_name(namespace: str) -> str:
    """The name of a namespace's document in a database: that of its file, without `.json`."""
    name = "".join(map(_written, namespace))
    if _DEVICES.fullmatch(name):
        name = f"%{ord(name[0]):02x}{name[1:]}"
    if len(name) > _LONGEST:
        # `~` is never plain, so a shortened name cannot be the name of another namespace.
        name = f"{name[:100]}~{hashlib.sha256(_bytes(namespace)).hexdigest()[:32]}"
    return name


def namespace_of(name: str) -> str | None:
    """The namespace that has this file name, or None if none has, or if it was too long to be kept in it."""
    try:
        namespace = unquote(name.removesuffix(_SUFFIX), errors="surrogatepass")
    except UnicodeDecodeError:
        return None
    return namespace if file_name(namespace) == name else None


def _written(char: str) -> str:
    return char if char in _PLAIN else "".join(f"%{byte:02x}" for byte in _bytes(char))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
