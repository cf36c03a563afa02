"""A file that may not grow (RLIMIT_FSIZE), and a file system that becomes read-only: an error, the old document, and no litter."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.children import Child, child
from helpers.waiting import until
from storewriter import PerStoreWriterQueue, Store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts of Linux")

STRATEGIES = ["flock", "marker", "lease"]


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """CPython ignores SIGXFSZ, so a write beyond it fails with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


OPTIONS: list[dict[str, Any]] = [{}, {"durability": "process"}, {"backups": 2}]
SETTINGS = [(strategy, options) for strategy in STRATEGIES for options in OPTIONS]
SETTINGS += [("flock", {"in_place": True}), ("marker", {"in_place": True})]


@pytest.mark.parametrize(("strategy", "options"), SETTINGS, ids=str)
@pytest.mark.parametrize("size", [20_000, 0])
def test_a_document_that_may_not_grow_stays_as_it_was(
    size: int, strategy: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    store = Store[Any](path, queue=PerStoreWriterQueue(strategy, timeout=10.0), **options)
    store.update(lambda state: state.update(text="x" * 10_000))
    before = path.read_bytes()
    for _ in range(2):
        with no_file_larger_than(size), pytest.raises(OSError, match="File too large") as caught:
            store.update(lambda state: state.update(text="y" * 60_000))
        assert caught.value.errno == errno.EFBIG
        assert path.read_bytes() == before
        assert store.read() == {"text": "x" * 10_000}
        assert not list(tmp_path.glob(".*.tmp*"))
    store.update(lambda state: state.update(text="z" * 60_000))
    assert store.read() == {"text": "z" * 60_000}


def test_a_turn_whose_record_cannot_be_written_excludes_all_the_same(tmp_path: Path) -> None:
    """The record is for error messages."""
    path = tmp_path / "state.json"
    with no_file_larger_than(0), PerStoreWriterQueue().turn(path), contenders_process(path) as other:
        other.expect("timed out")
    with contenders_process(path) as other:
        other.expect("got in")


def contenders_process(path: Path) -> contextlib.AbstractContextManager[Child]:
    return child(
        """
try:
    with PerStoreWriterQueue(timeout=0.0).turn(path):
        say("got in")
except LockTimeout:
    say("timed out")
""",
        path,
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, check=False, text=True)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def remounted(disk: Path, how: str) -> bool:
    """It is refused as long as a file is open for writing, which an idle lock file is for a moment."""
    return subprocess.run(["mount", "-o", f"remount,{how}", disk], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_on_a_file_system_that_becomes_read_only_updates_fail_and_reads_go_on(strategy: Any, disk: Path) -> None:
    path = disk / "state.json"
    store = Store[Any](path, queue=PerStoreWriterQueue(strategy, timeout=10.0))
    store.update(lambda state: state.update(n=1))
    until(lambda: remounted(disk, "ro"))
    for _ in range(2):
        with pytest.raises(OSError, match="Read-only file system") as caught:
            store.update(lambda state: state.update(n=2))
        assert caught.value.errno == errno.EROFS
        assert "state.json" in str(caught.value)
        assert store.read() == {"n": 1}
    assert remounted(disk, "rw")
    store.update(lambda state: state.update(n=3))
    assert Store[Any](path).read() == {"n": 3}
    assert not list(disk.glob(".*.tmp*"))
