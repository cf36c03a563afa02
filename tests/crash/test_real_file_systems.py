"""Real file systems are cut off at random moments, and their journals replayed.

    the store          on the inner file system: ext4, xfs or btrfs, on a loop device
    its backing file   on the outer file system, which is frozen (FIFREEZE, ioctl_fsfreeze(2)) while a copy is made

So a copy is the inner disk at one instant, between any two of its writes, with nothing flushed that the store did not
flush itself: what a power cut leaves. `STOREWRITER_CUTS` is how many cuts are made of each (3 if it is not set).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from storewriter import Store

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="loop devices and FIFREEZE are Linux's"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount"),
]

CUTS = int(os.environ.get("STOREWRITER_CUTS", "3"))
FIFREEZE = 0xC0045877
FITHAW = 0xC0045878

SIZES = {"ext4": 64, "xfs": 320, "btrfs": 128}
"""MiB, about the least that each can be made with."""

MKFS = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"]}

CHILD = Path(__file__).with_name("updating_child.py")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def make(kind: str, image: Path, megabytes: int) -> None:
    if shutil.which(MKFS[kind][0]) is None:
        pytest.skip(f"{MKFS[kind][0]} is not installed")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run(*MKFS[kind], str(image))


@contextlib.contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(at)], capture_output=True, check=False, text=True)
    if done.returncode:
        pytest.skip(f"this machine mounts no {image.name}: {done.stderr.strip()}")
    try:
        yield at
    finally:
        run("umount", str(at))


@contextlib.contextmanager
def frozen(folder: Path) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FIFREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(fd, FITHAW, 0)
    finally:
        os.close(fd)


@attrs.frozen
class Cut:
    """A copy of the disk at one instant."""

    image: Path
    acknowledged: int
    """The update that was known to be acknowledged before that instant."""


def cut_at_random(folder: Path, inner: Path, outer: Path, options: dict[str, Any], cuts: int, seed: int) -> list[Cut]:
    dice = random.Random(seed)
    found: list[Cut] = []
    command = [sys.executable, str(CHILD), str(inner / "state.json"), json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            for number in range(cuts):
                for _ in range(dice.randrange(1, 60)):
                    acknowledged = int(child.stdout.readline())
                image = folder / f"cut-{number}.img"
                with frozen(outer):
                    run("cp", "--sparse=always", str(outer / "inner.img"), str(image))
                found.append(Cut(image, acknowledged))
        finally:
            child.kill()
    return found


def what_is_left(cut: Cut, at: Path) -> int:
    """The number of the update that the replayed file system holds; everything else about it is asserted here."""
    with mounted(cut.image, at):
        path = at / "state.json"
        store = Store[Any](path, in_place=(at / ".state.json.journal").exists())
        state = store.read()
        number = int(state.get("n", 0))
        assert state == ({"n": number, "text": f"{number} " * (500 + 300 * (number % 7))} if number else {})
        store.update(lambda state: state.update(next=True))
        assert store.read() == {**state, "next": True}
        assert not list(at.glob(".*.tmp"))
    cut.image.unlink()
    return number


@contextlib.contextmanager
def disks(kind: str, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The inner and the outer file system, mounted."""
    image = tmp_path / "outer.img"
    make("ext4", image, 2 * SIZES[kind] + 64)
    with mounted(image, tmp_path / "outer") as outer:
        make(kind, outer / "inner.img", SIZES[kind])
        with mounted(outer / "inner.img", tmp_path / "inner") as inner:
            yield inner, outer


@pytest.mark.parametrize("options", [{}, {"in_place": True}, {"backups": 2}], ids=str)
@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.timeout(120 + 10 * CUTS)
def test_a_power_cut_leaves_a_whole_document_with_every_acknowledged_update(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    with disks(kind, tmp_path) as (inner, outer):
        cuts = cut_at_random(tmp_path, inner, outer, options, CUTS, seed)
    for cut in cuts:
        # It may hold more: updates went on between the last answer that was read and the instant of the cut.
        assert what_is_left(cut, tmp_path / "cut") >= cut.acknowledged


@pytest.mark.parametrize("kind", ["ext4"])
def test_what_was_not_flushed_is_really_lost_by_such_a_cut(tmp_path: Path, kind: str) -> None:
    """Else the test above would show nothing."""
    with disks(kind, tmp_path) as (inner, outer):
        [cut] = cut_at_random(tmp_path, inner, outer, {"durability": "process"}, 1, seed=1)
        with mounted(cut.image, tmp_path / "cut") as at:
            assert not (at / "state.json").exists()
