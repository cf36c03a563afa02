"""Have I handled this event lately? Keys that are remembered across restarts and between processes.

Classes   PersistentDedupe, AsyncPersistentDedupe       (dedupe.py)
Options   DedupeOptions
Answers   CheckResult, Claim, ClaimStatus, OpenClaim, Entry, ImportReport, Counters
Errors    ClaimReleased, and those of `storewriter`
"""

from __future__ import annotations

from persistent_dedupe.dedupe import AsyncPersistentDedupe, PersistentDedupe
from persistent_dedupe.options import DedupeOptions
from persistent_dedupe.results import (
    CheckResult,
    Claim,
    ClaimReleased,
    ClaimStatus,
    Counters,
    Entry,
    ImportReport,
    OpenClaim,
)

__all__ = [
    "AsyncPersistentDedupe",
    "CheckResult",
    "Claim",
    "ClaimReleased",
    "ClaimStatus",
    "Counters",
    "DedupeOptions",
    "Entry",
    "ImportReport",
    "OpenClaim",
    "PersistentDedupe",
]
