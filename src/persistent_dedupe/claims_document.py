"""The open claims of one namespace: a store of its own beside the keys, so that their file keeps its format.

Promise    What cannot be read as a claim is kept as it is and counts as a claim of an unknown owner: no key is given
           to two callers because a record cannot be read. A file of a later version is neither read nor changed.
Format     {"version": 1, "claims": {key: {"token", "since_ms", "owner": {...}}}}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import attrs

from persistent_dedupe.results import OpenClaim
from storewriter import Owner, StoreWriterError
from storewriter.codecs import DecodeError, JsonCodec

__all__ = ["ClaimBook", "ClaimsCodec"]

VERSION = 1


def _empty() -> dict[str, Any]:
    return {"version": VERSION, "claims": {}}


@attrs.define
class ClaimBook:
    """The claims of one namespace, each as it is written.

    Every method raises StoreWriterError if a later version of this code has written them.
    """

    content: dict[str, Any] = attrs.field(factory=_empty)
    foreign: bytes | None = None
    """The file as it is, if it is of a later version."""

    def holder(self, key: str) -> OpenClaim | None:
        """The open claim on the key; None if there is none."""
        records = self._records()
        return _claim(key, records[key]) if key in records else None

    def claims(self) -> list[OpenClaim]:
        """All of them, oldest first."""
        claims = [_claim(key, record) for key, record in self._records().items()]
        return sorted(claims, key=lambda claim: claim.since)

    def add(self, claim: OpenClaim) -> None:
        """Add a claim."""
        self._records()[claim.key] = _record(claim)

    def remove(self, key: str, token: str) -> bool:
        """Remove this claim; another claim of the same key stays. Returns whether it was there."""
        holder = self.holder(key)
        if holder is None or holder.token != token:
            return False
        del self._records()[key]
        return True

    def free(self, key: str) -> None:
        """Remove any claim on the key."""
        self._records().pop(key, None)

    def _records(self) -> dict[str, Any]:
        if self.foreign is not None:
            version = self.content["version"]
            msg = f"the claims are of version {version}, this code knows version {VERSION}: upgrade it"
            raise StoreWriterError(msg)
        return cast("dict[str, Any]", self.content["claims"])


@attrs.frozen
class ClaimsCodec:
    """`storewriter` codec of a claims file."""

    _json: JsonCodec = attrs.field(default=JsonCodec(shape=dict, indent=2))

    def encode(self, state: ClaimBook) -> bytes:
        """The claims as bytes."""
        return self._json.encode(state.content) if state.foreign is None else state.foreign

    def decode(self, data: bytes) -> ClaimBook:
        """The claims in these bytes. Raises DecodeError for anything but a file of claims."""
        return self._book(self._json.decode(data), data)

    def decode_for_update(self, data: bytes) -> tuple[ClaimBook, Callable[[ClaimBook], bytes]]:
        """The same, and a function that encodes what becomes of them."""
        content, write = self._json.decode_for_update(data)

        def encode(state: ClaimBook) -> bytes:
            return write(state.content) if state.foreign is None else state.foreign

        return self._book(content, data), encode

    def _book(self, decoded: Any, data: bytes) -> ClaimBook:
        content = cast("dict[str, Any]", decoded)
        version = content.get("version")
        is_versioned = type(version) is int and version >= VERSION
        if is_versioned and version != VERSION:
            return ClaimBook(content, foreign=data)
        if not is_versioned or not isinstance(content.get("claims"), dict):
            msg = "not a file of claims"
            raise DecodeError(msg, position=0)
        return ClaimBook(content)


def _record(claim: OpenClaim) -> dict[str, Any]:
    owner = json.loads(claim.owner.to_record()) if claim.owner is not None else None
    return {"token": claim.token, "since_ms": round(claim.since * 1000), "owner": owner}


def _claim(key: str, record: Any) -> OpenClaim:
    fields = cast("dict[str, Any]", record) if isinstance(record, dict) else {}
    token: object = fields.get("token")
    since: object = fields.get("since_ms")
    return OpenClaim(
        key=key,
        token=token if isinstance(token, str) else "",
        since=since / 1000 if isinstance(since, (int, float)) else 0.0,
        owner=Owner.from_record(json.dumps(fields.get("owner")).encode()),
    )
