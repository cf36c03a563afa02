"""The modules whose `__all__` is public."""

from __future__ import annotations

PUBLIC_MODULES = (
    "storewriter",
    "storewriter.codecs",
    "storewriter.codecs.attrs",
    "storewriter.codecs.msgspec",
    "storewriter.codecs.pydantic",
    "storewriter.errors",
    "storewriter.events",
    "storewriter.locks",
    "storewriter.otel",
    "storewriter.postgres",
    "storewriter.testing",
    "storewriter.watch",
    "commitments",
    "persistent_dedupe",
)
