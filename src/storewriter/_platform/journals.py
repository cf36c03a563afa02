"""Whether a file system's journal carries a file's content, its size and its new name in one commit.

Promise    ORDERED only for ext4 with an internal journal, barriers and `data=ordered`, and for xfs with all its parts
           on one device. There a document whose content was written out (sync_file_range(2)) may take its name before
           any flush: whichever journal commit carries the name, that process's or another's, first flushes the device,
           and so cannot make the name durable without the content. One fsync after the rename makes both durable.
           docs/decisions.md names the functions of the kernel that this rests on.
           ext4's `fast_commit` is no such journal: power cuts showed it to be safe only if a commit is flushed before
           the next one begins (FAST).
How        The mount with this device number; for ext4 the options in effect, from /proc/fs/ext4, and the journal's
           inode, from /proc/fs/jbd2. What cannot be read counts as no.
"""

from __future__ import annotations

import enum
import errno
import os
import time
from typing import Final

from storewriter._platform.linux_calls import last_error, sync_file_range
from storewriter._platform.mounts import mounts

_WAIT_BEFORE_WRITE_AND_WAIT_AFTER: Final = 7
_NO_WRITE_OUT: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EPERM})
"""What an old kernel, and an old sandbox around a new one (EPERM), answer."""


class Journal(enum.Enum):
    """What is known of a file system's journal."""

    ORDERED = "orders renames"
    """One flush after the rename makes content and name durable."""
    FAST = "fast_commit"
    """A commit must be flushed before the store's lock is released."""
    OTHER = "not known to order renames"


_known: dict[int, tuple[Journal, float]] = {}
"""By device (`st_dev`), and when it was found out."""

_MOST: Final = 64
_SECONDS: Final = 5.0
"""For so long an answer counts: a file system may be mounted anew with other options, or another one as this device."""


def journal(device: int) -> Journal:
    """What is known of a device's journal. Costs something at the first look, and every few seconds."""
    known, now = _known.get(device), time.monotonic()
    if known is None or now - known[1] > _SECONDS:
        if len(_known) >= _MOST:
            _known.clear()
        known = _known[device] = _examine(device), now
    return known[0]


def _examine(device: int) -> Journal:
    number = f"{os.major(device)}:{os.minor(device)}"
    mount = next((mount for mount in mounts() if mount.device == number), None)  # all of a file system have the same
    if mount is not None and mount.kind == "xfs":
        # A log or the content on another device is not covered by the flush that a commit of the log begins with.
        is_apart = any(option.startswith(("logdev=", "rtdev=", "nobarrier")) for option in mount.options)
        return Journal.OTHER if is_apart else Journal.ORDERED
    if mount is not None and mount.kind == "ext4":
        return _journal_of_ext4(os.path.basename(os.path.realpath(mount.source)))
    return Journal.OTHER


def _journal_of_ext4(name: str) -> Journal:
    try:
        with open(f"/proc/fs/ext4/{name}/options", encoding="utf-8") as file:
            options = set(file.read().split("\n"))
    except (OSError, ValueError):
        return Journal.OTHER
    if "fc_debug_force" in options:  # how the kernel shows the feature `fast_commit`
        return Journal.FAST
    # Inode 8 is the journal of a file system that has one inside; one on another device has no number in its name.
    is_inside = os.path.isdir(f"/proc/fs/jbd2/{name}-8")
    return Journal.ORDERED if is_inside and {"barrier", "data=ordered"} <= options else Journal.OTHER


def write_out(fd: int) -> bool:
    """sync_file_range(2) over the whole file of `fd`, waiting for the end. False where that does not exist."""
    function, zero = sync_file_range()
    if function is None:
        return False
    if not function(fd, zero, zero, _WAIT_BEFORE_WRITE_AND_WAIT_AFTER):
        return True
    code = last_error()
    if code in _NO_WRITE_OUT:
        return False
    raise OSError(code, os.strerror(code))
