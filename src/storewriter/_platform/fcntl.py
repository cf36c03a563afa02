"""Byte locks that belong to an open file (fcntl(2)): the numbers that are not in every Python's `fcntl`.

How        They are part of Linux's interface. `struct flock` is packed as 64-bit Linux has it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from typing import Final

__all__ = ["FREE", "HAS_BYTE_LOCKS", "OFD_GETLK", "OFD_SETLK", "OFD_SETLKW", "byte_lock", "fcntl"]

HAS_BYTE_LOCKS: Final = sys.platform == "linux" and struct.calcsize("P") == 8

OFD_GETLK: Final = 36
OFD_SETLK: Final = 37
OFD_SETLKW: Final = 38

FREE: Final = struct.pack("h", fcntl.F_UNLCK)
"""How the answer to OFD_GETLK begins if the byte is not locked."""


def byte_lock(byte: int, *, leave: bool = False) -> bytes:
    """The argument that takes, or leaves, a lock on one byte of a file."""
    # l_type, l_whence, l_start, l_len, l_pid, which must be 0 (fcntl(2)).
    return struct.pack("hhqqi4x", fcntl.F_UNLCK if leave else fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
