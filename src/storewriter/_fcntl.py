"""flock(2) and fcntl(2), where there are such things, and byte locks that belong to an open file.

How        The commands of open-file-description locks (fcntl(2)) are not in every Python's `fcntl`; their numbers are
           part of Linux's interface. `struct flock` is packed as 64-bit Linux has it.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import fcntl
else:
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None

__all__ = ["FREE", "HAS_BYTE_LOCKS", "HAS_FLOCK", "OFD_GETLK", "OFD_SETLK", "OFD_SETLKW", "byte_lock", "fcntl"]

HAS_FLOCK: Final = fcntl is not None
HAS_BYTE_LOCKS: Final = HAS_FLOCK and sys.platform == "linux" and struct.calcsize("P") == 8

OFD_GETLK: Final = 36
OFD_SETLK: Final = 37
OFD_SETLKW: Final = 38

_WRITE: Final = fcntl.F_WRLCK if HAS_FLOCK else 1
_UNLOCK: Final = fcntl.F_UNLCK if HAS_FLOCK else 2

FREE: Final = struct.pack("h", _UNLOCK)
"""How the answer to OFD_GETLK begins if nobody has the byte."""


def byte_lock(byte: int, *, leave: bool = False) -> bytes:
    """The argument that takes, or leaves, a lock on one byte of a file."""
    # l_type, l_whence, l_start, l_len, l_pid, which must be 0 (fcntl(2)).
    return struct.pack("hhqqi4x", _UNLOCK if leave else _WRITE, os.SEEK_SET, byte, 1, 0)
