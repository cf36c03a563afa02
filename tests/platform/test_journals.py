"""Which file systems are known to carry a file's content and its new name in one commit of their journal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("options", "is_inside", "expected"),
    [
        ("rw\nbarrier\ndata=ordered\n", True, Journal.ORDERED),
        ("rw\nbarrier\ndata=ordered\n", False, Journal.OTHER),  # a journal on another device
        ("rw\nnobarrier\ndata=ordered\n", True, Journal.OTHER),
        ("rw\nbarrier\ndata=writeback\n", True, Journal.OTHER),
        ("rw\nbarrier\ndata=ordered\nfc_debug_force\n", True, Journal.FAST),
    ],
)
def test_of_ext4_the_kernels_own_list_of_options_tells(
    options: str, is_inside: bool, expected: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "options"
    listed.write_text(options)

    def opened(name: str, **how: Any) -> Any:
        assert name == "/proc/fs/ext4/vdb/options"
        return open(listed, **how)

    monkeypatch.setattr(journals, "open", opened, raising=False)
    monkeypatch.setattr(journals.os.path, "isdir", lambda name: is_inside and name == "/proc/fs/jbd2/vdb-8")
    monkeypatch.setattr(journals, "mounts", lambda: [Mount("/data", "ext4", frozenset(), "254:7", "/dev/vdb")])
    monkeypatch.setattr(journals, "_known", dict.fromkeys(range(journals._MOST), (Journal.OTHER, 0.0)))
    assert journals.journal(DEVICE) is expected
    assert list(journals._known) == [DEVICE]  # the others were too many to be kept
