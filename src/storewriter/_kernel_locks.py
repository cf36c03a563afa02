"""Who has locked a file, as /proc/locks and /proc/<pid> tell (proc(5)).

Promise    Names holders that never heard of us too: `flock(1)`, another library, another language.
Does not   work outside Linux, nor show processes of other PID namespaces (the kernel leaves them out).
           An open-file-description lock belongs to no process, so /proc/locks names none for it.
"""

from __future__ import annotations

import os


def flock_holders(found: os.stat_result) -> list[int]:
    """The processes that hold flock(2) on a file; empty where the kernel does not tell."""
    try:
        with open("/proc/locks", encoding="utf-8", errors="replace") as file:
            # 1: FLOCK  ADVISORY  WRITE 812 fd:01:35 0 EOF; a waiter's line has an arrow before its kind.
            lines = [line.split() for line in file if " FLOCK " in line and "->" not in line]
    except OSError:
        return []
    exact = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    holders = [int(fields[4]) for fields in lines if fields[5] == exact]
    # btrfs and overlayfs show another device number here than stat(2) does: the inode alone has to do then.
    return holders or [int(fields[4]) for fields in lines if fields[5].endswith(f":{found.st_ino}")]


def processes_with(path: str) -> list[int]:
    """The processes that have a file open, as far as they may be looked at; empty where there is no /proc.

    A waiter for a lock has the file open too: this names those for whom /proc/locks shows no process.
    """
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    return [pid for pid in pids if _has_open(pid, path)]


def processes_at(path: str, byte: int) -> list[int]:
    """The processes that have an open-file-description lock on one byte of a file, as far as they may be looked at.

    /proc/locks names none for it, but each process tells what its descriptors have locked (`fdinfo`, proc(5)).
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
