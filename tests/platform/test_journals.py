"""Which file systems are known to carry a file's content and its new name in one commit of their journal."""

from __future__ import annotations

import os

import pytest

from storewriter._platform import journals
from storewriter._platform.journals import Journal
from storewriter._platform.mounts import Mount

DEVICE = os.makedev(254, 7)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("xfs", "rw,relatime,attr2", Journal.ORDERED),
        ("xfs", "rw,logdev=/dev/vdb", Journal.OTHER),
        ("xfs", "rw,rtdev=/dev/vdb", Journal.OTHER),
        ("xfs", "rw,nobarrier", Journal.OTHER),
        ("btrfs", "rw", Journal.OTHER),
        ("ext4", "rw,relatime", Journal.OTHER),  # no such device in /proc/fs/ext4, where its real options are
    ],
)
def test_the_mount_with_the_devices_number_tells(
    kind: str, options: str, expected: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Mount("/", "tmpfs", frozenset({"rw"}), "254:6", "tmpfs")
    mount = Mount("/data", kind, frozenset(options.split(",")), "254:7", "/dev/no-such-disk")
    monkeypatch.setattr(journals, "mounts", lambda: [other, mount])
    monkeypatch.setattr(journals, "_known", {})
    assert journals.journal(DEVICE) is expected
    monkeypatch.setattr(journals, "mounts", lambda: [other])
    monkeypatch.setattr(journals, "_known", {})
    assert journals.journal(DEVICE) is Journal.OTHER
