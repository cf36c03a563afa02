"""A disk that begins to answer EIO while several processes commit: what was acknowledged before is there afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from real_disks import CHILD, CannotMount, forgetful_disk, mounted, mounted_if_possible
from updating_child import Plan, document, one_more

from storewriter import Store

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="loop devices and /dev/fuse are Linux's"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.usefixtures("loop_devices"),
]

WRITERS = ("a", "b", "c")


def _start(path: Path, name: str) -> subprocess.Popen[str]:
    words = [sys.executable, str(CHILD), str(path), name, Plan().written()]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _acknowledged(process: subprocess.Popen[str], first: int) -> tuple[int, str]:
    """The last update that a writer has acknowledged until the disk failed, and its error."""
    said, error = process.communicate(timeout=60)
    return max([first, *map(int, said.split())]), error


@pytest.mark.parametrize("what", ["flushes", "writes"])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_disk_that_fails_under_several_writers_loses_nothing_that_was_acknowledged(
    kind: str, what: str, tmp_path: Path
) -> None:
    with forgetful_disk(kind, tmp_path) as disk:
        with mounted_if_possible(disk.at, tmp_path / "inner") as inner:
            path = inner / "state.json"
            Store[Any](path).update(lambda state: one_more(state, "first"))
            processes = {name: _start(path, name) for name in WRITERS}
            first = {}
            for name, process in processes.items():
                assert process.stdout is not None
                first[name] = int(process.stdout.readline())
            disk.fail(what)
            ended = {name: _acknowledged(process, first[name]) for name, process in processes.items()}
        left = tmp_path / "left.img"
        disk.cut(left)
    for _, error in ended.values():
        assert "OSError" in error or "CommitUncertain" in error, error
    try:
        with mounted(left, tmp_path / "again") as again:
            numbers = Store[Any](again / "state.json").read()["numbers"]
            assert Store[Any](again / "state.json").read() == document(numbers)
    except CannotMount as reason:  # the disk failed while the file system wrote to itself
        pytest.fail(f"the file system cannot be mounted: {reason}")
    for name, (number, _) in ended.items():
        assert numbers.get(name, 0) >= number
