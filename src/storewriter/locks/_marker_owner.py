"""The holder of a store that is guarded by markers (`marker`, `lease`)."""

from __future__ import annotations

import os

import attrs

from storewriter._platform.liveness import Verdict, judge
from storewriter._platform.owner import Owner
from storewriter.locks._holder import open_to_read, sidecar_holder
from storewriter.locks._marker_file import look
from storewriter.locks._record import read_record


def owner_of_store(path: str) -> Owner | None:
    """The holder: the owner of the marker, or the process that has the sidecar locked.

    A dead owner's marker excludes no process; a child that has inherited the lock on the sidecar may.
    """
    owner = owner_at(path)
    if owner is not None and judge(owner) is not Verdict.GONE:
        return owner
    return sidecar_holder(path) or owner


def owner_at(path: str) -> Owner | None:
    """The owner that the marker names; the sidecar's record adds `since` and `label`, if it is by the same process."""
    try:
        seen = look(path)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    if seen is None or seen.owner is None:
        return None
    fd = open_to_read(path)
    if fd is None:
        return seen.owner
    try:
        record = read_record(fd)
    finally:
        os.close(fd)
    if record is None or (record.pid, record.host, record.start_ticks) != (
        seen.owner.pid,
        seen.owner.host,
        seen.owner.start_ticks,
    ):
        return seen.owner
    return attrs.evolve(record, strategy=seen.strategy)
