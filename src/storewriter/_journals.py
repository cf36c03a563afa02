"""Whether a file system's journal carries a file's content, its size and its new name in one commit.

Promise    True only for ext4 with an internal journal, barriers and `data=ordered`, and for xfs with all its parts on
           one device. There a document whose content has been written out (sync_file_range(2)) may take its name before
           any flush: whichever journal commit carries the name, that process's or another's, first flushes the device,
           and so cannot make the name durable without the content. One fsync after the rename makes both durable.
           docs/decisions.md names the functions of the kernel that this rests on.
How        The mount with this device number, from /proc/self/mountinfo (proc(5)); for ext4 the options in effect, from
           /proc/fs/ext4, and the journal's inode, from /proc/fs/jbd2. What cannot be read counts as no. Answers are
           kept per device.
"""

from __future__ import annotations

import os
from typing import Final

_known: dict[int, bool] = {}
"""By device (`st_dev`)."""

_MOST: Final = 64


def orders_renames(device: int) -> bool:
    """See the module. Costs something at the first look at a device only."""
    known = _known.get(device)
    if known is None:
        if len(_known) >= _MOST:
            _known.clear()
        known = _known[device] = _examine(device)
    return known


def _examine(device: int) -> bool:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:  # another system, or one that does not tell
        return False
    return any(map(_is_ordered, _mounts_with(device, lines)))


def _mounts_with(device: int, lines: list[str]) -> list[list[str]]:
    """Type, source and options of the file system with this number; every mount of it says the same."""
    number = f"{os.major(device)}:{os.minor(device)}"
    found: list[list[str]] = []
    for line in lines:
        # 36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue   (proc(5))
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [number] and len(after.split()) == 3:
            found.append(after.split())
    return found


def _is_ordered(mount: list[str]) -> bool:
    kind, source, options = mount
    if kind == "xfs":
        # A log or the content on another device is not covered by the flush that a commit of the log begins with.
        return not any(option.startswith(("logdev=", "rtdev=", "nobarrier")) for option in options.split(","))
    return kind == "ext4" and _is_ordered_ext4(os.path.basename(os.path.realpath(source)))


def _is_ordered_ext4(name: str) -> bool:
    try:
        with open(f"/proc/fs/ext4/{name}/options", encoding="ascii") as file:
            options = file.read().split("\n")
    except (OSError, ValueError):
        return False
    # Inode 8 is the journal of a file system that has one inside; one on another device has no number in its name.
    return {"barrier", "data=ordered"} <= set(options) and os.path.isdir(f"/proc/fs/jbd2/{name}-8")
