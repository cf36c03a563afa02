"""The power of real file systems is cut while several processes commit at once, and their journals are replayed.

Several, because the journal is shared: the commit of one process carries the rename of another one, whose data may not
be written yet. With one writer at a time that is never seen.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_disks import SIZES, power_cuts
from updating_child import Plan

from storewriter.testing import System

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="loop devices and /dev/fuse are Linux's"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("loop_devices"),
]

MANY = pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])

OTHER_SETTINGS = [Plan(options={"in_place": True}), Plan(options={"backups": 2})]

NEEDS_WRITE_OUT = pytest.mark.skipif(not hasattr(System, "write_out"), reason="this version flushes before it renames")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory if there is room: more commits a second, and so more that can go wrong."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
    with tempfile.TemporaryDirectory(dir=memory if has_room else tmp_path) as made:
        yield Path(made)


def first_harm(kind: str, plan: Plan, cuts: int, folder: Path, processes: int = 4) -> str | None:
    """What is wrong after the first cut that does harm; None if there was none in so many."""
    with contextlib.closing(power_cuts(kind, plan, cuts, folder, processes)) as found:
        for number, wrong in enumerate(found, start=1):
            if wrong is not None:
                print(f"cut {number}: {wrong}")
                return wrong
    return None


@pytest.mark.parametrize("cuts", [10, MANY])
@pytest.mark.parametrize("kind", SIZES)
def test_a_power_cut_leaves_a_whole_document_with_every_acknowledged_update_of_every_process(
    folder: Path, kind: str, cuts: int
) -> None:
    assert first_harm(kind, Plan(), cuts, folder) is None


@pytest.mark.parametrize("cuts", [4, MANY])
@pytest.mark.parametrize("plan", OTHER_SETTINGS, ids=lambda plan: str(plan.options))
@pytest.mark.parametrize("kind", ["ext4", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ["xfs", "btrfs"])])
def test_the_same_in_place_and_with_backups(folder: Path, kind: str, plan: Plan, cuts: int) -> None:
    assert first_harm(kind, plan, cuts, folder) is None


@pytest.mark.parametrize("cuts", [5, MANY])
@pytest.mark.parametrize("kind", ["ext4 -b 4096", "xfs"])
def test_the_bare_order_of_calls_survives_power_cuts_by_itself(folder: Path, kind: str, cuts: int) -> None:
    """Data written and waited for, renamed, released, flushed once. (By default so small an ext4 has blocks of 1 KB.)"""
    assert first_harm(kind, Plan(sketch=True), cuts, folder) is None


# Defects planted on purpose: what the tests above would say to them.


@pytest.mark.parametrize("kind", ["ext4", pytest.param("xfs", marks=pytest.mark.slow)])
def test_a_rename_that_does_not_wait_for_its_data_is_seen(folder: Path, kind: str) -> None:
    """With larger documents the data takes longer, so that the commit of another process overtakes it more often."""
    assert first_harm(kind, Plan(sketch=True, omit=["write_out"], scale=16), 400, folder, processes=8)


@pytest.mark.slow
def test_on_btrfs_waiting_for_the_data_is_not_enough_which_is_seen(folder: Path) -> None:
    """The end of the write-back comes before the file's tree knows the data (docs/decisions.md)."""
    assert first_harm("btrfs", Plan(sketch=True), 800, folder)


@pytest.mark.parametrize("kind", SIZES)
def test_a_flush_that_is_left_out_is_seen(folder: Path, kind: str) -> None:
    assert first_harm(kind, Plan(sketch=True, omit=["flush"]), 10, folder)


def test_a_file_system_that_does_not_flush_the_disks_cache_is_seen(folder: Path) -> None:
    """Else the tests above would show nothing about the places in which a file system flushes it."""
    assert first_harm("ext4", Plan(sketch=True, mount="nobarrier"), 25, folder)


@NEEDS_WRITE_OUT
def test_the_library_without_its_wait_for_the_data_is_seen(folder: Path) -> None:
    assert first_harm("ext4", Plan(omit=["write_out"], scale=16), 400, folder, processes=8)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize(
    "plan",
    [Plan(omit=["flush", "flush_folder"]), Plan(options={"durability": "process"})],
    ids=["no flush", "durability=process"],
)
def test_the_library_without_its_flushes_is_seen(folder: Path, kind: str, plan: Plan) -> None:
    assert first_harm(kind, plan, 10, folder)
