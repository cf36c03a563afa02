"""The guard of a release: on the sidecar that its hold has open, where that carries it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.scarcity import no_descriptors
from storewriter._keys import sidecar
from storewriter._mounts import Trust
from storewriter.locks._guard import Guard, guard_file
from storewriter.locks._sidecar import LockFile

pytestmark = pytest.mark.skipif(
    guard_file("/state.json", Trust.LOCAL) != sidecar("/state.json"), reason="the sidecar carries no guard here"
)


@pytest.fixture
def lent(path: str) -> Iterator[LockFile]:
    file = LockFile()
    file.open_at(path, sidecar(path))
    yield file
    file.close()


def test_it_needs_no_descriptor_and_ends_when_it_is_left_although_the_sidecar_stays_open(
    path: str, lent: LockFile
) -> None:
    releasing, other = Guard(path, Trust.LOCAL), Guard(path, Trust.LOCAL)
    with no_descriptors():
        assert releasing.take_for_release(lent, 0.0)
    assert not other.take(wait=False)
    releasing.leave()
    releasing.leave()
    assert other.take(wait=False)
    assert not releasing.take_for_release(lent, 0.01)
    releasing.leave()
    other.leave()
    assert releasing.take_for_release(lent, 0.0)
    lent.close()
    releasing.leave()


def test_it_is_taken_on_the_sidecar_that_is_there_if_the_lent_one_was_deleted(path: str, lent: LockFile) -> None:
    releasing, other = Guard(path, Trust.LOCAL), Guard(path, Trust.LOCAL)
    os.unlink(sidecar(path))
    Path(sidecar(path)).touch(0o600)
    assert releasing.take_for_release(lent, 0.0)
    assert not other.take(wait=False)
    releasing.leave()
    assert other.take(wait=False)
    other.leave()


def test_where_it_has_a_file_of_its_own_that_cannot_be_opened_the_release_goes_on_without(
    path: str, lent: LockFile
) -> None:
    releasing = Guard(path, Trust.SHARED)
    with no_descriptors():
        assert not releasing.take_for_release(lent, 10.0)
    assert releasing.take_for_release(lent, 0.0)
    releasing.leave()
