"""The open claims of one namespace: a store of its own beside the keys, so that their file keeps its format.

Promise    What cannot be read as a claim is kept as it is and counts as a claim of an unknown owner: no key is given
           to two callers because a record cannot be read. A file of a later version is neither read nor changed.
Format     {"version": 1, "claims": {key: {"token", "since_ms", "owner": {...}}}}
"""

from __future__ import annotations

import json
from typing import Any, cast

from persistent_dedupe.results import OpenClaim
from storewriter import Owner
from storewriter.codecs import Codec, DecodeError, FunctionCodec, JsonCodec, Versioned

__all__ = ["CODEC", "ClaimBook", "add", "claims", "empty", "free", "holder", "remove"]

ClaimBook = dict[str, Any]
"""The document without its version: key to record under `claims`, each as it is written."""

_JSON = JsonCodec(shape=dict, indent=2)


def _decode(data: bytes) -> ClaimBook:
    book = cast("ClaimBook", _JSON.decode(data))
    if not isinstance(book.get("claims"), dict):
        raise DecodeError("not a file of claims", position=0)
    return book


CODEC: Codec[ClaimBook] = Versioned(FunctionCodec(_JSON.encode, _decode), version=1)
"""The `storewriter` codec of a claims file."""


def empty() -> ClaimBook:
    """A document without a claim."""
    return {"claims": {}}


def holder(book: ClaimBook, key: str) -> OpenClaim | None:
    """The open claim on the key; None if there is none."""
    return _claim(key, book["claims"][key]) if key in book["claims"] else None


def claims(book: ClaimBook) -> list[OpenClaim]:
    """All of them, oldest first."""
    return sorted((_claim(key, record) for key, record in book["claims"].items()), key=lambda claim: claim.since)


def add(book: ClaimBook, claim: OpenClaim) -> None:
    """Add a claim."""
    owner = json.loads(claim.owner.to_record()) if claim.owner is not None else None
    book["claims"][claim.key] = {"token": claim.token, "since_ms": round(claim.since * 1000), "owner": owner}


def remove(book: ClaimBook, key: str, token: str) -> bool:
    """Remove this claim; another claim of the same key stays. Returns whether it was there."""
    found = holder(book, key)
    if found is None or found.token != token:
        return False
    free(book, key)
    return True


def free(book: ClaimBook, key: str) -> None:
    """Remove any claim on the key."""
    book["claims"].pop(key, None)


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
