"""File systems whose locks do not exclude, or not every host."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator

import pytest

from contenders import Contender
from storewriter import PerStoreWriterQueue
from storewriter._platform import mounts
from storewriter._platform.mounts import Mount, Trust, mount_of, trust_in
from storewriter.errors import UnsupportedLock
from storewriter.locks import Flock, flock
from storewriter.locks._refusals import unsupported

MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:50 / /data rw,relatime shared:1 - nfs4 server:/data rw,vers=4.2,local_lock=none
41 40 0:51 / /data/local rw - nfs server:/l rw,nolock,local_lock=all
42 27 0:52 / /with\\040a\\040space rw master:1 - fuse.sshfs me@host: rw,user_id=0
43 27 0:53 / /data rw - xfs /dev/vdb rw
"""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    def clear() -> None:
        mounts.forget()
        for devices in flock._fine.values():
            devices.clear()

    clear()
    yield
    clear()


def test_the_mount_of_a_path_is_the_deepest_above_it_and_the_last_one_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: io.StringIO(MOUNTINFO))

    def kind(path: str) -> str | None:
        mount = mount_of(path)
        return None if mount is None else mount.kind

    assert kind("/etc/state.json") == "ext4"
    assert kind("/database/state.json") == "ext4"
    assert kind("/data/state.json") == "xfs"
    assert kind("/data/local/state.json") == "nfs"
    assert kind("/with a space/state.json") == "fuse.sshfs"
    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: io.StringIO("garbage\n\n"))
    assert kind("/etc") is None


def test_the_kernel_tells_the_mount_of_a_real_path() -> None:
    mount = mount_of("/proc/self/stat")
    assert mount is not None
    assert (mount.point, mount.kind) == ("/proc", "proc")


@pytest.mark.parametrize(
    ("kind", "options", "trust"),
    [
        ("ext4", "rw", Trust.LOCAL),
        ("tmpfs", "rw", Trust.LOCAL),
        ("overlay", "rw", Trust.LOCAL),
        ("a kind of tomorrow", "rw", Trust.LOCAL),
        ("nfs4", "rw,local_lock=none", Trust.SHARED),
        ("nfs", "rw,local_lock=flock", Trust.HOST_ONLY),
        ("nfs", "rw,nolock", Trust.HOST_ONLY),
        ("nfs4", "rw,local_lock=posix", Trust.SHARED),
        ("cifs", "rw", Trust.SHARED),
        ("cifs", "rw,nobrl", Trust.HOST_ONLY),
        ("lustre", "rw,flock", Trust.SHARED),
        ("lustre", "rw,localflock", Trust.HOST_ONLY),
        ("gpfs", "rw", Trust.HOST_ONLY),
        ("9p", "rw", Trust.HOST_ONLY),
        ("fuse.sshfs", "rw", Trust.HOST_ONLY),
        ("fuse.fuse-overlayfs", "rw", Trust.LOCAL),
    ],
)
def test_types_and_options_tell_whom_a_lock_reaches(kind: str, options: str, trust: Trust) -> None:
    assert trust_in(Mount("/", kind, frozenset(options.split(",")))) is trust


def test_locks_that_work_are_tried_once_a_device(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    real = mounts.is_refused_twice

    def counted(fd: int, name: str) -> bool | None:
        tried.append(name)
        return real(fd, name)

    monkeypatch.setattr(mounts, "is_refused_twice", counted)
    queue = PerStoreWriterQueue(lock=Flock())
    for name in (path, path, f"{path}.other"):
        with queue.turn(name):
            pass
    assert len(tried) == 1


def test_locks_that_are_granted_to_everybody_are_refused_at_the_first_turn(
    path: str, contender: Callable[[], Contender]
) -> None:
    fooled = contender()
    fooled.ask("with_useless_locks")
    with pytest.raises(UnsupportedLock, match="second descriptor was not refused") as caught:
        fooled.ask("attempt", "flock", path)
    assert "lock='lease'" in str(caught.value)
    assert caught.value.filesystem == mount_of(path).kind  # type: ignore[union-attr]
    assert fooled.ask("attempt", "lease:60", path)


def test_a_file_system_without_locks_is_refused_by_name_and_names_the_lease(
    path: str, contender: Callable[[], Contender]
) -> None:
    fooled = contender()
    fooled.ask("without_kernel_locks")
    with pytest.raises(UnsupportedLock, match="no kernel locks") as caught:
        fooled.ask("attempt", "flock", path)
    assert "lock='lease'" in str(caught.value)
    assert path in str(caught.value)


def on_sshfs(path: str) -> Mount:
    return Mount(os.path.dirname(path), "fuse.sshfs", frozenset({"rw"}))


def test_locks_that_may_not_reach_other_hosts_are_warned_about_once_a_mount(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mounts, "mount_of", on_sshfs)
    queue = PerStoreWriterQueue(lock="flock")
    with caplog.at_level(logging.WARNING, logger="storewriter"):
        for name in (path, path, f"{path}.other"):
            with queue.turn(name):
                pass
    (record,) = caplog.records
    assert "fuse.sshfs" in record.getMessage()
    assert path in record.getMessage()


def test_locks_that_may_not_reach_other_hosts_are_refused_or_allowed_as_asked(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mounts, "mount_of", on_sshfs)
    with PerStoreWriterQueue(lock=Flock(untrusted="allow")).turn(path):
        pass
    assert not caplog.records
    for _ in range(2):
        with (
            pytest.raises(UnsupportedLock, match=r"fuse\.sshfs"),
            PerStoreWriterQueue(lock=Flock(untrusted="refuse")).turn(path),
        ):
            pass
    with pytest.raises(ValueError, match="untrusted"):
        Flock(untrusted="perhaps")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mount", "where"),
    [
        (None, "the file system of /s"),
        (Mount("/mnt", "nfs4", frozenset({"rw"})), "the file system (nfs4, mounted at /mnt) of /s"),
    ],
    ids=["not known", "known"],
)
def test_a_file_system_that_does_not_exclude_is_named_as_far_as_it_is_known(
    mount: Mount | None, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "mount_of", lambda path: mount)
    error = unsupported("/s", "flock", None)
    assert str(error).startswith(where)
    assert error.filesystem == (None if mount is None else "nfs4")
