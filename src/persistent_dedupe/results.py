"""What callers get back: values, and the one error of our own."""

from __future__ import annotations

import enum

import attrs

from storewriter import Owner, StoreWriterError

__all__ = ["CheckResult", "Claim", "ClaimReleased", "ClaimStatus", "Entry", "ImportReport", "OpenClaim"]


@attrs.frozen(kw_only=True)
class CheckResult:
    """The answer to "have I handled this key lately?". True in a condition means: new, go ahead."""

    is_new: bool
    """Whether the caller should handle the event."""
    recorded: bool
    """Whether this call has recorded the key: in its file, or in memory if the object has no files. New but not
    recorded: `error` says why, and another process that checks gets new as well; or the key is blank."""
    seen_at: float | None = None
    """First sighting in seconds since the epoch; None for a blank key."""
    error: Exception | None = None
    """What kept the key from being recorded, or from surely being so (`CommitUncertain`)."""
    took: float = 0.0
    """Seconds from asking for the file to its answer, waiting for the lock included; 0 if memory knew."""

    def __bool__(self) -> bool:
        """Whether the key is new."""
        return self.is_new


class ClaimStatus(enum.Enum):
    """What a claim came to."""

    CLAIMED = "claimed"
    """The key is the caller's: handle it, then commit or release."""
    IN_FLIGHT = "inflight"
    """Another caller has claimed it: `wait` for the outcome, or leave."""
    DUPLICATE = "duplicate"
    """It has been handled lately."""


@attrs.frozen(kw_only=True)
class OpenClaim:
    """A claim that has been neither committed nor released, as its file shows it."""

    key: str
    token: str
    """Which claim of this key it is: a later one has another."""
    since: float
    """When it was taken, in seconds since the epoch, by its owner's clock."""
    owner: Owner | None
    """The process that took it; None if the file does not name it."""
    gone: bool = False
    """Whether it can be taken over now: its owner is provably dead, or its time is up."""


@attrs.frozen(kw_only=True)
class Claim:
    """The answer to `claim`. True in a condition means: the caller has the claim."""

    status: ClaimStatus
    namespace: str
    key: str
    recorded: bool = False
    """Whether other objects and processes can see the claim. False also for a blank key and a memory-only object."""
    holder: OpenClaim | None = None
    """The claim that is open, if it is of another object or process."""
    error: Exception | None = None
    """What kept the claim from being recorded."""
    local: object = attrs.field(default=None, repr=False, eq=False)
    """The claim in this object that `wait` follows."""

    def __bool__(self) -> bool:
        """Whether the caller owns the key now."""
        return self.status is ClaimStatus.CLAIMED


class ClaimReleased(StoreWriterError):
    """The claim that a caller waited for ended without a record: released, forgotten, or its owner died.

    The key can be claimed again.
    """

    namespace: str
    """The namespace."""
    key: str
    """The key."""


@attrs.frozen(kw_only=True)
class Entry:
    """One key of a namespace."""

    key: str
    seen_at: float
    """First sighting, in seconds since the epoch."""
    recent: bool
    """Whether it still counts."""


@attrs.frozen(kw_only=True)
class ImportReport:
    """What became of the entries of an imported file."""

    imported: int
    expired: int
    """At least one TTL old: left out."""
    invalid: int
    """No time, or no plain key: left out."""
    already_present: int
    """The namespace has them with an equal or a newer time."""
