"""The guard of a lease: a kernel lock on a file of its own, which its hold keeps open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.scarcity import no_descriptors
from storewriter.errors import LockLost
from storewriter.locks import Lease, Marker
from storewriter.locks._guard import Guard, guard_file


def test_taken_once_it_needs_no_descriptor_any_more_and_ends_when_it_is_left_although_its_file_stays_open(
    path: str,
) -> None:
    releasing, other = Guard(path), Guard(path)
    assert releasing.take(wait=False)
    releasing.leave()
    with no_descriptors():
        assert releasing.take(wait=False)
    assert not other.take(wait=False)
    releasing.leave()
    releasing.leave()
    assert other.take(wait=False)
    assert not releasing.take(wait=False)
    other.close()
    other.close()
    assert releasing.take(wait=False)
    releasing.close()


def test_it_is_taken_on_the_file_that_is_there_if_its_own_was_deleted(path: str) -> None:
    releasing, other = Guard(path), Guard(path)
    assert releasing.take(wait=False)
    releasing.leave()
    os.unlink(guard_file(path))
    Path(guard_file(path)).touch(0o600)
    assert releasing.take(wait=False)
    assert not other.take(wait=False)
    releasing.close()
    assert other.take(wait=False)
    other.close()


def test_a_release_goes_on_without_it_if_its_file_was_deleted_and_cannot_be_opened_anew(path: str) -> None:
    hold = Lease(stale=60.0).attempt(path, None)
    assert hold is not None
    os.unlink(guard_file(path))
    with no_descriptors():
        hold.release()
    again = Lease(stale=60.0).attempt(path, None)
    assert again is not None
    again.release()


def test_a_commit_happens_under_it_and_an_ended_hold_keeps_nothing_of_it(path: str) -> None:
    hold, other = Lease(stale=60.0).attempt(path, None), Guard(path)
    assert hold is not None
    assert other.take(wait=False), "a hold does not keep it for its whole turn"
    other.leave()
    with hold.fence():
        assert not other.take(wait=False)
    os.unlink(hold.lock.lock_file)
    with pytest.raises(LockLost), hold.fence():
        raise AssertionError
    assert other.take(wait=False)
    other.close()
    hold.release()


def test_a_marker_needs_none(path: str) -> None:
    hold = Marker().attempt(path, None)
    assert hold is not None
    hold.release()
    assert not os.path.exists(guard_file(path))
