"""The lock file: what its errors say, and who may open it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storewriter import ForeignFile, PerStoreWriterQueue, Store
from storewriter.locks import Flock, Lease, Marker, _rights

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
NOBODY = 65534


def update(path: Path) -> None:
    Store[Any](path).update(lambda state: state.update(a=1))


def refused(path: Path, code: int, advice: str) -> None:
    with pytest.raises(OSError, match=advice) as caught:
        update(path)
    error = caught.value
    assert error.errno == code
    assert type(error) is type(OSError(code, ""))
    assert str(path) in str(error)
    assert ".lock" in str(error)
    assert "nothing was written" in str(error)


def test_a_name_that_is_too_long_only_for_the_lock_file_is_told(tmp_path: Path) -> None:
    refused(tmp_path / ("n" * 250), errno.ENAMETOOLONG, "shorter name")


def test_a_path_that_leads_through_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file" / "state.json", errno.ENOTDIR, "no folder")
    refused(tmp_path / "file" / "deeper" / "state.json", errno.ENOTDIR, "no folder")


def test_a_lock_file_that_is_a_link_or_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / ".link.json.lock").symlink_to("elsewhere")
    refused(tmp_path / "link.json", errno.ELOOP, "symbolic link")
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / ".folder.json.lock").mkdir()
    refused(tmp_path / "folder.json", errno.EISDIR, "is a folder")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for very few files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not IS_ROOT or sys.platform != "linux":
        pytest.skip("only root may mount")
    words = ["mount", "-t", "tmpfs", "-o", "nr_inodes=3", "none", str(disk)]
    done = subprocess.run(words, capture_output=True, check=False, text=True)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_read_only_file_system_is_told(disk: Path) -> None:
    (disk / "state.json").write_text("{}")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused(disk / "state.json", errno.EROFS, "mounted read-only")
    refused(disk / "new" / "state.json", errno.EROFS, "mounted read-only")
    assert Store[Any](disk / "state.json").read() == {}


def test_a_file_system_without_room_for_another_file_is_told(disk: Path) -> None:
    (disk / "state.json").write_text("{}")
    (disk / "other").write_text("")
    refused(disk / "state.json", errno.ENOSPC, "Make room")


def as_nobody(work: Callable[[], None]) -> None:
    """Run something in a child that has no rights of its own beyond its files."""
    pid = os.fork()
    if pid == 0:
        try:
            if IS_ROOT:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
        except BaseException:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users can work in, unlike pytest's."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o777)
        update(Path(made, "first.json"))  # whatever has to be imported, others may have no right to read
        yield Path(made)


def test_missing_rights_are_told(shared: Path) -> None:
    update(shared / "state.json")
    (shared / ".state.json.lock").chmod(0o400)
    (shared / "open.json").write_text("{}")
    (shared / "open.json").chmod(0o666)
    (shared / ".open.json.lock").touch(0o600)
    closed = shared / "closed"
    closed.mkdir()
    closed.chmod(0o555)

    def work() -> None:
        refused(shared / "state.json", errno.EACCES, "may not write it. Only users who may write a document")
        refused(shared / "open.json", errno.EACCES, "chmod 0666 .*lock")
        refused(closed / "state.json", errno.EACCES, "needs the right to make files in its folder")
        refused(closed / "folder" / "state.json", errno.EACCES, "needs the right to make files in its folder")

    as_nobody(work)
    assert stat.S_IMODE((shared / ".state.json.lock").stat().st_mode) == 0o400


@pytest.mark.parametrize("mask", [0o777, 0o700, 0o400, 0o277, 0])
def test_folders_and_the_lock_file_are_their_owners_whatever_the_umask(shared: Path, mask: int) -> None:
    path = shared / "a" / "b" / "state.json"

    def work() -> None:
        os.umask(mask)
        update(path)
        Store[Any](path).update(lambda state: state.update(b=2))
        assert Store[Any](path).read() == {"a": 1, "b": 2}
        for folder in (path.parent, path.parent.parent):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for file in (path, path.with_name(".state.json.lock")):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600

    as_nobody(work)


def test_a_lock_file_whose_maker_died_before_it_could_open_it_to_itself_is_usable(shared: Path) -> None:
    path = shared / "state.json"

    def work() -> None:
        path.with_name(".state.json.lock").touch(0)
        update(path)
        assert stat.S_IMODE(path.with_name(".state.json.lock").stat().st_mode) == 0o600

    as_nobody(work)


def test_another_programs_file_in_the_place_of_the_lock_file_is_left_as_it_is(tmp_path: Path) -> None:
    """`claude.json` and a program that keeps its own lock in `.claude.json.lock`, say."""
    path = tmp_path / "claude.json"
    for content in ('{"pid":1,"createdAt":"2026-01-01T00:00:00Z"}', "4711\n", '{\n  "pid": 1\n}\n', '{"host":"a"}\n'):
        lock = tmp_path / ".claude.json.lock"
        lock.write_text(content)
        for strategy in (Flock(), Marker(), Lease()):
            with pytest.raises(ForeignFile, match=r"another program.*left as it is.*another name") as caught:
                Store[Any](path, queue=PerStoreWriterQueue(lock=strategy)).update(lambda state: state.update(a=1))
            assert caught.value.file == str(lock)
        with pytest.raises(ForeignFile):
            Flock().wait(str(path), None)
        assert lock.read_text() == content
    assert os.listdir(tmp_path) == [".claude.json.lock"]


def test_a_foreign_file_is_noticed_that_comes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    update(path)
    monkeypatch.setattr(_rights, "_INTERVAL", 0.0)
    (tmp_path / ".state.json.lock").write_text("4711\n")
    with pytest.raises(ForeignFile):
        Store[Any](path).update(lambda state: state.update(a=2))
    assert (tmp_path / ".state.json.lock").read_text() == "4711\n"


def test_a_folder_in_the_place_of_the_lock_file_may_be_another_programs(tmp_path: Path) -> None:
    (tmp_path / ".state.json.lock").mkdir()
    refused(tmp_path / "state.json", errno.EISDIR, r"Another program's lock may be one.*another name")


def test_who_asks_for_the_holder_follows_no_link_in_the_place_of_the_lock_file(contender: Any, path: str) -> None:
    """It would name the holder of another file, or read what the link leads to."""
    other = contender()
    assert other.ask("attempt", "flock", f"{path}.other", "elsewhere")
    os.symlink(f"{os.path.dirname(path)}/.state.json.other.lock", f"{os.path.dirname(path)}/.state.json.lock")
    assert Flock().owner(f"{path}.other") is not None
    assert Flock().owner(path) is None
    other.ask("release", f"{path}.other")
