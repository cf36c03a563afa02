"""The open claims of one namespace: a store of its own beside the keys, so that their file keeps its format.

Promise    What cannot be read as a claim is kept as it is and counts as a claim of an unknown owner: no key is handed
           out twice because a record is odd.
Format     {"version": 1, "claims": {key: {"token", "since_ms", "owner": {...}}}}; another version is refused.
"""

from __future__ import annotations

import json
from typing import Any, cast

import attrs

from persistent_dedupe.results import OpenClaim
from storewriter import Owner
from storewriter.codecs import DecodeError, JsonCodec

__all__ = ["ClaimBook", "ClaimsCodec"]

VERSION = 1


@attrs.define
class ClaimBook:
    """The claims of one namespace, each as it is written."""

    records: dict[str, Any] = attrs.field(factory=dict[str, Any])

    def holder(self, key: str) -> OpenClaim | None:
        """Who claims the key, if anybody does."""
        return _claim(key, self.records[key]) if key in self.records else None

    def add(self, claim: OpenClaim) -> None:
        """Write a claim down."""
        self.records[claim.key] = _record(claim)

    def remove(self, key: str, token: str) -> bool:
        """Strike this claim out; another claim of the same key stays. Whether it was there."""
        holder = self.holder(key)
        if holder is None or holder.token != token:
            return False
        del self.records[key]
        return True

    def claims(self) -> list[OpenClaim]:
        """All of them, oldest first."""
        return sorted(
            (_claim(key, record) for key, record in self.records.items()), key=lambda claim: claim.since
        )


@attrs.frozen
class ClaimsCodec:
    """`storewriter` codec of a claims file."""

    _json: JsonCodec = JsonCodec(shape=dict, indent=2)

    def encode(self, state: ClaimBook) -> bytes:
        """The claims as bytes."""
        return self._json.encode({"version": VERSION, "claims": state.records})

    def decode(self, data: bytes) -> ClaimBook:
        """The claims in these bytes. Raises DecodeError for anything but a claims file of our version."""
        found = cast("dict[str, Any]", self._json.decode(data))
        records = found.get("claims")
        if found.get("version") != VERSION or not isinstance(records, dict):
            msg = f"not a claims file of version {VERSION}"
            raise DecodeError(msg, position=0)
        return ClaimBook(cast("dict[str, Any]", records))


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
