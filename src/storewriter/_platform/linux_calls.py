"""System calls of Linux that Python's `os` does not have, and the C library for others (`_files/folder_events.py`).

Which      Swapping two names, a file's time of birth and what chattr(1) forbids; in `journals.py`, writing a file out
           without a flush of its device.
How        Through the C library. ctypes costs milliseconds to import, so the first store does that (`load`), and not
           the first commit: that one may come in a signal handler, without free descriptors, or after privileges were
           dropped.
Fails by   OSError, as the calls do; where a kernel, a C library or a sandbox does not have them, False or None.
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
_FORBIDDING: Final = {"immutable": 0x10, "append-only": 0x20}  # STATX_ATTR_IMMUTABLE and STATX_ATTR_APPEND

_NO_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENOENT})
_NO_BIRTH: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM})
"""What an old kernel, and an old sandbox around a new one (EPERM), answer."""


@cache
def c_library() -> Any:
    """The C library of Linux; None on other systems."""
    if sys.platform != "linux":  # pragma: no cover - not on Linux
        return None
    try:
        import ctypes
    except ImportError:  # no descriptor left, or no right to read it any more: commits go on without these calls
        return None
    return ctypes.CDLL(None, use_errno=True)


@cache
def find(name: str) -> Any:
    """A function of the C library; None where there is no such thing (old libraries, other systems).

    It has no `argtypes`: converting arguments by them costs more than the call. A whole number is passed as an `int`,
    bytes as a `char *`; what is neither must be passed as a value of ctypes.
    """
    return getattr(c_library(), name, None)


@cache
def sync_file_range() -> tuple[Any, Any]:
    """sync_file_range(2), or None; and 0 as an offset of 64 bits, which it takes for the begin and for the length."""
    function = find("sync_file_range")
    if function is None:
        return None, None
    import ctypes

    return function, ctypes.c_int64(0)


def load() -> None:
    """Find the functions now, so that no commit has to import anything."""
    find("renameat2")
    sync_file_range()


def last_error() -> int:
    """Why the last call through the C library has failed."""
    import ctypes

    return ctypes.get_errno()


def exchange(source: str, target: str) -> bool:
    """renameat2(RENAME_EXCHANGE): swap two names atomically. False where that does not exist."""
    function = find("renameat2")
    if function is None:
        return False
    if not function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE):
        return True
    code = last_error()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), source, None, target)


def born(path: str) -> int | None:
    """When a file was made, in nanoseconds since the epoch; None if its file system or the system does not keep it."""
    function = find("statx")
    if function is None:
        birth = getattr(os.lstat(path), "st_birthtime", None)  # the BSDs and macOS
        return None if birth is None else int(birth * 1e9)
    buffer = _statx(function, path)
    if buffer is None:
        return None
    # `struct statx`: the mask of what is known comes first, the time of birth at byte 80.
    (known,) = struct.unpack_from("=I", buffer, 0)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, 80)
    return int(seconds * 10**9 + nanoseconds) if known & _STATX_BTIME else None


def forbidden(path: str) -> str | None:
    """The attribute of a file that forbids to replace it, as chattr(1) calls it; None: none, or it is not known."""
    function = find("statx")
    try:
        buffer = None if function is None else _statx(function, path)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    if buffer is None:
        return None
    (attributes,) = struct.unpack_from("=Q", buffer, 8)
    return next((name for name, bit in _FORBIDDING.items() if attributes & bit), None)


def _statx(function: Any, path: str) -> Any:
    """statx(2); None where a kernel or a sandbox does not have it. Raises OSError."""
    import ctypes

    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if not function(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer):
        return buffer
    code = last_error()
    if code in _NO_BIRTH:
        return None
    raise OSError(code, os.strerror(code), path)
