r"""Documents that evolve: a version in the document, and functions that bring an older one up to date.

Promise    A document of an older version is migrated step by step when it is loaded, and stays as it is on disk until
           an update saves it. One that is newer than the program is refused, as is one whose migration fails: neither
           is ever read as something else, or reset.
How        The version is the first field of a JSON object, and belongs to this codec alone: the codec inside, and the
           state, never see it. It is spliced in and cut out; a document of the present version is decoded once. An
           update keeps the layout if the codec inside does, that of an older document, too.
Slower     where the field's name occurs anywhere else in the document too, or may, because a character is written as
           an escape (`\u001b`): then it is decoded once more, to see where.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

import attrs
import orjson

from storewriter.codecs._places import error_at, locate
from storewriter.codecs._protocol import (
    Codec,
    DecodeError,
    EncodeError,
    TooDeep,
    UnknownVersion,
    UpdateCodec,
    require_codec,
    update_codec,
)
from storewriter.codecs.json import JsonCodec, text_of

__all__ = ["Migration", "Versioned"]

S = TypeVar("S")

Migration = Callable[[dict[str, Any]], dict[str, Any]]
"""The document of one version to that of the next, as JSON values, without the version field. May change and return
what it was given; must have no other effect, and must raise for what it cannot handle."""

_DOCUMENT: Final = JsonCodec(shape=dict, indent=None)
_LAID_OUT: Final = JsonCodec(shape=dict)
_OPENING: Final = re.compile(rb"\{(?P<blank>[ \t\r\n]*)(?P<end>\}?)")
_BLANK: Final = re.compile(rb"[ \t\r\n]*")


def _ordered(migrations: Mapping[int, Migration]) -> tuple[tuple[int, Migration], ...]:
    return tuple(sorted(dict(migrations).items(), key=lambda item: item[0]))


def _none() -> Any:
    return {}


def _is_version(value: object) -> bool:
    return type(value) is int and value >= 0


def _kind_of(error: DecodeError) -> type[DecodeError]:
    """The class for an error of the inner codec: what keeps a document from being set aside is kept."""
    for kind in (TooDeep, UnknownVersion):
        if isinstance(error, kind):
            return kind
    return DecodeError


def _moved(error: DecodeError, text: str, position: int) -> DecodeError:
    """The error of the codec inside, at its place in the whole document."""
    kind = _kind_of(error)
    return error_at(error.reason, text, position, error.path, kind, may_be_intact=error.may_be_intact)


@attrs.frozen
class Versioned(Generic[S]):
    """A codec of JSON objects, with a version and migrations around it.

    `Versioned(AttrsCodec(Book), version=3, migrations={1: rename_owner, 2: add_tags})`

    Raises TypeError or ValueError at once for a version that is no whole number, or migrations that do not lead to it.
    A read never writes: the first update that follows saves the document in the new version.
    """

    codec: Codec[S]
    """For the document of the present version, without its version field. Must write JSON objects."""
    version: int = attrs.field(kw_only=True)
    """The version that this program writes, from 1."""
    migrations: tuple[tuple[int, Migration], ...] = attrs.field(converter=_ordered, factory=_none, kw_only=True)
    """Given as a mapping: `migrations[n]` makes a document of version n + 1 out of one of version n."""
    field: str = attrs.field(default="version", kw_only=True)
    """Name of the field."""
    missing: int | None = attrs.field(default=None, kw_only=True)
    """What a document without the field is: one of this version (0, say, for those from before there were versions), or
    None: refused, because it may be something else altogether."""
    _own: re.Pattern[bytes] = attrs.field(init=False, eq=False, repr=False)
    """The beginning of a document as this codec writes it."""

    def __attrs_post_init__(self) -> None:
        require_codec(self.codec)
        if not _is_version(self.version) or self.version < 1:
            raise ValueError(f"version must be a whole number from 1, got {self.version!r}")
        if self.missing is not None and not _is_version(self.missing):
            raise ValueError(f"missing must be None or a whole number from 0, got {self.missing!r}")
        starts = [start for start, _ in self.migrations]
        if starts and (not all(map(_is_version, starts)) or starts != list(range(starts[0], self.version))):
            raise ValueError(f"migrations start from {starts}; they must lead to {self.version} without a gap")
        # A comma is cut out with the version, so another field must follow it.
        own = rb'\{[ \t\r\n]*%s:[ ]?%d(?:,(?=[ \t\r\n]*")|(?=[ \t\r\n]*\}))' % (re.escape(self._name), self.version)
        object.__setattr__(self, "_own", re.compile(own))

    @property
    def _name(self) -> bytes:
        return orjson.dumps(self.field)

    @property
    def oldest(self) -> int:
        """The oldest version that this codec can read."""
        return self.migrations[0][0] if self.migrations else self.version

    def encode(self, state: S) -> bytes:
        """Return `state` as a document of the present version.

        Raises:
            EncodeError: The codec inside refuses the state, writes no JSON object, or one with a field of that name.
        """
        return self._with_version(self.codec.encode(state))

    def _with_version(self, data: bytes) -> bytes:
        opening = _OPENING.match(data)
        if opening is None:
            raise EncodeError(f"a versioned document must be a JSON object, got {data[:20]!r}")
        name = self._name
        if self._may_name_it(data, 0) and self.field in _DOCUMENT.decode(data):
            raise EncodeError(f"the document has a field {self.field!r} of its own: choose another `field`")
        blank = opening["blank"]
        colon = b": " if blank else b":"
        comma = b"" if opening["end"] else b","
        return b"".join((b"{", blank, name, colon, b"%d" % self.version, comma, data[1:]))

    def decode(self, data: bytes) -> S:
        """Return the state in `data`, brought up to the present version if it is of an older one.

        Raises:
            UnknownVersion: It is of a version that this program cannot read; the message names both.
            DecodeError: It is no document of its version, or a migration raised.
        """
        own = self._own.match(data)
        # A second one might be a duplicate key.
        if own is not None and not self._may_name_it(data, own.end()):
            return self._decode_own(data, own.end())
        document = _DOCUMENT.decode(data)
        found = self._version_of(document, data)
        document.pop(self.field, None)
        if found == self.version:
            return self._decode_laid_out_otherwise(document, data)
        return self._decode_older(document, found)

    def decode_for_update(self, data: bytes) -> tuple[S, Callable[[S], bytes]]:
        """Return the state in `data`, and a function that encodes what an update makes of it. Raises as `decode` does.

        A document of an older version is written in the new one by the first update that changes something.
        """
        inner = update_codec(self.codec)
        if inner is None:
            return self.decode(data), partial(self._encode_over, data)
        own = self._own.match(data)
        try:
            if own is not None and data[own.end() - 1 : own.end()] == b"," and not self._may_name_it(data, own.end()):
                return self._own_for_update(inner, data, own.end())
            return self._other_for_update(inner, data)
        except ValueError:
            self.decode(data)  # raises the same, with the place in this document
            raise

    def _encode_over(self, data: bytes, state: S) -> bytes:
        new = self.encode(state)
        return data if new != data and self.encode(self.decode(data)) == new else new

    def _own_for_update(self, inner: UpdateCodec[S], data: bytes, end: int) -> tuple[S, Callable[[S], bytes]]:
        """The version comes first, and another field after it: the white space in front of it is the one that stays."""
        opening = _OPENING.match(data)
        assert opening is not None
        start = opening.end("blank")
        head = data[start : _BLANK.match(data, end).end()]  # type: ignore[union-attr]
        state, write = inner.decode_for_update(data[:start] + data[start + len(head) :])

        def encode(state: S) -> bytes:
            new = write(state)
            found = _OPENING.match(new)
            if found is None or found["end"] or found.end() != start or self._may_name_it(new, 0):
                return self._with_version(new)
            return b"".join((new[:start], head, new[start:]))

        return state, encode

    def _other_for_update(self, inner: UpdateCodec[S], data: bytes) -> tuple[S, Callable[[S], bytes]]:
        document, write = _LAID_OUT.decode_for_update(data)
        found = self._version_of(document, data)
        if found != self.version:
            state, encode = self._older_for_update(inner, document, found, write)
            return state, partial(self._encode_older, inner, data, encode)
        place = list(document).index(self.field) if self.field in document else 0
        document.pop(self.field, None)
        cut = write(document)
        state, write = inner.decode_for_update(cut)

        def encode_with_version(state: S) -> bytes:
            new = write(state)
            return data if new == cut else self._put_in(new, place)

        return state, encode_with_version

    def _older_for_update(
        self, inner: UpdateCodec[S], document: dict[str, Any], found: int, write: Callable[[Any], bytes]
    ) -> tuple[S, Callable[[S], bytes]]:
        document.pop(self.field, None)
        state, write = inner.decode_for_update(write(self._migrated_from(document, found)))
        return state, lambda state: self._put_in(write(state), 0)

    def _encode_older(self, inner: UpdateCodec[S], data: bytes, encode: Callable[[S], bytes], state: S) -> bytes:
        """An older document is written in the new version only if the update has changed something."""
        new = encode(state)
        document, write = _LAID_OUT.decode_for_update(data)
        again, encode = self._older_for_update(inner, document, self._version_of(document, data), write)
        return data if encode(again) == new else new

    def _put_in(self, data: bytes, place: int) -> bytes:
        """The version, as the field number `place` of a document that the codec inside has written."""
        bare = data.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
        if _OPENING.match(bare) is None:
            return self._with_version(bare)  # raises
        document, write = _LAID_OUT.decode_for_update(data)
        if self.field in document:
            return self._with_version(bare)  # raises
        members = list(document.items())
        members.insert(place, (self.field, self.version))
        return write(dict(members))

    def _may_name_it(self, data: bytes, start: int) -> bool:
        """Whether a field of that name may be there, spelled out or with escapes."""
        # Backwards is quicker, and a single byte quicker than all.
        if data.rfind(self._name, start) >= 0:
            return True
        escapes = data.find(b"\\", start) >= 0
        return escapes and (data.rfind(b"\\u", start) >= 0 or ("/" in self.field and data.rfind(b"\\/", start) >= 0))

    def _decode_own(self, data: bytes, end: int) -> S:
        try:
            return self.codec.decode(b"{" + data[end:])
        except DecodeError as error:
            text = text_of(data)
            if error.position is None:
                raise
            cut = len(data[:end].decode("utf-8")) - 1
            raise _moved(error, text, error.position + cut) from error

    def _decode_laid_out_otherwise(self, document: dict[str, Any], data: bytes) -> S:
        try:
            return self.codec.decode(_DOCUMENT.encode(document))
        except DecodeError as error:
            if error.path is None:
                raise _kind_of(error)(error.reason, may_be_intact=error.may_be_intact) from error
            text = text_of(data)
            raise _moved(error, text, locate(text, error.path)) from error

    def _version_of(self, document: dict[str, Any], data: bytes) -> int:
        if self.field not in document:
            if self.missing is None:
                raise UnknownVersion(f"there is no field {self.field!r} to tell the version of the document")
            found: Any = self.missing
        else:
            found = document[self.field]
        reason = self._objection(found)
        if reason is None:
            return found  # type: ignore[no-any-return]
        text = text_of(data)
        raise error_at(reason, text, locate(text, (self.field,)), (self.field,), UnknownVersion)

    def _objection(self, found: Any) -> str | None:
        if not _is_version(found):
            return f"the version of the document ({self.field!r}) must be a whole number from 0, found {found!r}"
        if found > self.version:
            return (
                f"the document has version {found}, and this program knows versions up to {self.version}: it was "
                f"written by a newer program; upgrade this one"
            )
        if found < self.oldest:
            return (
                f"the document has version {found}, and this program reads versions {self.oldest} to {self.version}: "
                f"migrate it with an older program first"
            )
        return None

    def _migrated_from(self, document: dict[str, Any], found: int) -> dict[str, Any]:
        for start, migrate in self.migrations:
            if start >= found:
                document = self._migrated(migrate, document, start)
        return document

    def _decode_older(self, document: dict[str, Any], found: int) -> S:
        document = self._migrated_from(document, found)
        try:
            return self.codec.decode(_DOCUMENT.encode(document))
        except ValueError as error:
            path = getattr(error, "path", None)
            # Its place in the file is not known: the file holds an older document.
            raise UnknownVersion(f"migrated from version {found} to {self.version}: {error}", path=path) from error

    def _migrated(self, migrate: Migration, document: dict[str, Any], start: int) -> dict[str, Any]:
        try:
            made: Any = migrate(document)
        except Exception as error:
            reason = f"the migration from version {start} to {start + 1} failed: {type(error).__name__}: {error}"
            raise UnknownVersion(reason) from error
        if not isinstance(made, dict) or self.field in made:
            what = type(made).__name__ if not isinstance(made, dict) else f"a document with {self.field!r}"
            raise UnknownVersion(f"the migration from version {start} to {start + 1} returned {what}, no document")
        return cast("dict[str, Any]", made)
