"""Two system calls of Linux that Python's `os` does not have: swapping two names, and a file's time of birth.

How        Through the C library, loaded at first use: ctypes costs milliseconds that most stores never need.
Fails by   OSError, as the calls do; where a kernel, a C library or a sandbox does not know them, the answer says so.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from functools import cache
from typing import Any, Final

_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_RENAME_EXCHANGE: Final = 2
_STATX_BTIME: Final = 0x800
_STATX_SIZE: Final = 256

_NO_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENOENT})
_NO_BIRTH: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM})
"""What an old kernel, and an old sandbox around a new one (EPERM), answer."""


@cache
def _function(name: str) -> Any:
    """A function of the C library; None where there is no such thing (old libraries, other systems)."""
    if sys.platform != "linux":
        return None
    import ctypes

    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        file = [ctypes.c_int, ctypes.c_char_p]
        number = ctypes.c_uint
        function.argtypes = {
            "renameat2": [*file, *file, number],
            "statx": [*file, ctypes.c_int, number, ctypes.c_char_p],
        }[name]
    return function


def _fails_with() -> int:
    import ctypes

    return ctypes.get_errno()


def exchange(source: str, target: str) -> bool:
    """renameat2(RENAME_EXCHANGE): swap two names atomically. False where that does not exist."""
    function = _function("renameat2")
    if function is None:
        return False
    if not function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE):
        return True
    code = _fails_with()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), source, None, target)


def born(path: str) -> int | None:
    """When a file was made, in nanoseconds since the epoch; None if its file system or the system does not tell."""
    function = _function("statx")
    if function is None:
        birth = getattr(os.lstat(path), "st_birthtime", None)  # the BSDs and macOS
        return None if birth is None else int(birth * 1e9)
    import ctypes

    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if function(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer):
        code = _fails_with()
        if code in _NO_BIRTH:
            return None
        raise OSError(code, os.strerror(code), path)
    # `struct statx`: the mask of what is known comes first, the time of birth at byte 80.
    (known,) = struct.unpack_from("=I", buffer, 0)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, 80)
    return int(seconds * 10**9 + nanoseconds) if known & _STATX_BTIME else None
