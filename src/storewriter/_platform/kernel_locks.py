"""The processes that have locked a file, from /proc/locks and /proc/<pid> (proc(5)).

Promise    Names holders that do not use this package too: `flock(1)`, another library, another language.
Does not   work outside Linux, nor show processes of other PID namespaces (the kernel leaves them out).
           An open-file-description lock belongs to no process, so /proc/locks names none for it.
"""

from __future__ import annotations

import os

from storewriter._platform.descriptors import read_whole


def flock_holders(found: os.stat_result) -> list[int]:
    """The processes that hold flock(2) on a file; empty where the kernel does not show them."""
    return holders(found, "FLOCK")


def holders(found: os.stat_result, kind: str) -> list[int]:
    """The processes that hold a kind of lock on a file: FLOCK, or POSIX for fcntl(2)."""
    try:
        # 1: FLOCK  ADVISORY  WRITE 812 fd:01:35 0 EOF; a waiter's line has an arrow before its kind.
        lines = [line.split() for line in _lines("/proc/locks") if f" {kind} " in line and "->" not in line]
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return []
    exact = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    pids = [int(fields[4]) for fields in lines if fields[5] == exact]
    # btrfs and overlayfs show another device number here than stat(2) does: the inode alone has to do then.
    return pids or [int(fields[4]) for fields in lines if fields[5].endswith(f":{found.st_ino}")]


def _lines(path: str) -> list[str]:
    return read_whole(path).decode("utf-8", "replace").splitlines()


def has_locked(pid: int, found: os.stat_result) -> bool | None:
    """Whether a process has a descriptor through which this file is locked with flock(2).

    That a process took the lock, which is what /proc/locks shows, does not mean that it still has it: the lock belongs
    to the open file, and a child inherits that. None: this process may not look (another user's process).
    """
    folder = f"/proc/{pid}"
    try:
        numbers = os.listdir(f"{folder}/fd")
        return any(_is_locked_through(folder, number, found) for number in numbers)
    except FileNotFoundError:
        return False  # it has ended
    except OSError:
        return None


def _is_locked_through(folder: str, number: str, found: os.stat_result) -> bool:
    try:
        there = os.stat(f"{folder}/fd/{number}")
        if (there.st_dev, there.st_ino) != (found.st_dev, found.st_ino):
            return False
        fields = [line.split() for line in _lines(f"{folder}/fdinfo/{number}") if line.startswith("lock:")]
    except FileNotFoundError:
        return False  # closed meanwhile, or it leads to what has no name here
    return any("FLOCK" in line and "->" not in line for line in fields)


def all_that_locked(found: os.stat_result) -> list[int]:
    """The processes through whose descriptors this file is locked, as far as this process may look at them."""
    return [pid for pid in _processes() if has_locked(pid, found)]


def _processes() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return []


def processes_with(path: str) -> list[int]:
    """The processes that have a file open, as far as they may be looked at; empty where there is no /proc.

    A waiter for a lock has the file open too: this finds the holders of locks for which /proc/locks names no process.
    """
    return [pid for pid in _processes() if _has_open(pid, path)]


def processes_at(path: str, byte: int) -> list[int]:
    """The processes that have an open-file-description lock on one byte of a file, as far as they may be looked at.

    /proc/locks names no process for it, but each process's `fdinfo` shows what its descriptors have locked (proc(5)).
    """
    return [pid for pid in processes_with(path) if _has_locked(pid, path, byte)]


def _has_locked(pid: int, path: str, byte: int) -> bool:
    folder = f"/proc/{pid}"
    try:
        numbers = [name for name in os.listdir(f"{folder}/fd") if os.readlink(f"{folder}/fd/{name}") == path]
        return any(_locks_byte(f"{folder}/fdinfo/{name}", byte) for name in numbers)
    except OSError:
        return False


def _locks_byte(name: str, byte: int) -> bool:
    # lock:	1: OFDLCK ADVISORY  WRITE -1 fd:01:35 4611686018427387904 4611686018427387904
    with open(name, encoding="utf-8", errors="replace") as file:
        fields = [line.split() for line in file if line.startswith("lock:")]
    return any("OFDLCK" in line and "->" not in line and line[-2] == str(byte) for line in fields)


def _has_open(pid: int, path: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        return any(os.readlink(f"{folder}/{name}") == path for name in os.listdir(folder))
    except OSError:
        return False  # gone meanwhile, or not ours to look at
