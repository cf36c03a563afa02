"""Whether the process that owns a lock has provably ended: ALIVE, GONE or UNKNOWN; only GONE permits a reclaim.

Promise    GONE is proof: same host, and the machine has been booted since; or also same PID namespace, and either no
           such process, or that pid was given to another one (start time differs).
How        Signal 0 (kill(2)), field 22 of /proc/<pid>/stat and /proc/sys/kernel/random/boot_id (proc(5)).
Does not   judge another host, another container, or a record without facts: those are UNKNOWN.
           "Not permitted to signal" is ALIVE: the process exists. Hosts are compared by their names, so machines that
           share a file system need different ones.
"""

from __future__ import annotations

import enum
import os
import socket
import sys
import time

import attrs

from storewriter._platform.owner import Owner
from storewriter._platform.secrets import without_passwords


class Verdict(enum.Enum):
    """What is known of an owner's process."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


@attrs.frozen
class Machine:
    """What can be observed from here; tests pass another one."""

    host: str
    boot_id: str | None
    pid_namespace: int | None
    clock_is_shifted: bool = False
    """Whether this process counts time since boot from another moment than its host does (time_namespaces(7))."""

    def is_running(self, pid: int) -> bool:
        """Whether a process with this pid exists; True if it may not be signalled. A zombie has stopped running.

        /proc shows the state of a process's first thread. That one may have ended while others still run: the
        process goes on, or is being killed and not gone yet.
        """
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True
        fields = _stat_fields(pid)
        # A zombie holds nothing any more: its memory and descriptors are gone, its parent has yet to reap it. A thread
        # is counted until it has released both.
        return fields is None or fields[0] not in ("Z", "X") or (len(fields) > 17 and int(fields[17]) > 1)

    def start_ticks(self, pid: int) -> int | None:
        """When the process started, in clock ticks since boot; None where that cannot be read or compared."""
        fields = None if self.clock_is_shifted else _stat_fields(pid)
        return int(fields[19]) if fields is not None and len(fields) > 19 else None


def judge(owner: Owner, machine: Machine | None = None) -> Verdict:
    """Judge an owner by its record and by what can be seen from here."""
    seen = here() if machine is None else machine
    if owner.pid is None or owner.host is None or owner.host != seen.host:
        return Verdict.UNKNOWN
    if owner.boot_id is not None and seen.boot_id is not None and owner.boot_id != seen.boot_id:
        # Before the namespace: no process of any container outlives its machine.
        return Verdict.GONE
    if owner.pid_namespace != seen.pid_namespace:
        return Verdict.UNKNOWN
    if not seen.is_running(owner.pid):
        return Verdict.GONE
    now_ticks = seen.start_ticks(owner.pid)
    if owner.start_ticks is not None and now_ticks is not None and owner.start_ticks != now_ticks:
        return Verdict.GONE
    return Verdict.ALIVE


def is_gone(owner: Owner) -> bool:
    """Return whether the process that a record names has provably ended.

    True only on proof: its host is this one, and no process has that pid in this PID namespace, or the pid belongs to
    a process that started at another time, or the machine has been booted since. False for a live process, and for
    what cannot be known from here: another host, another container, a record without a pid. A process that is a zombie
    has ended. Hosts are compared by name. Never blocks; any thread may call it.

    Args:
        owner: a record made by `this_process`, or the holder in a `LockTimeout`.

    """
    return judge(owner) is Verdict.GONE


def this_process() -> Owner:
    """Return this process as an owner, for a record of your own that `is_gone` can judge later.

    It says pid, host, start, command, boot and PID namespace; `since`, `label` and `strategy` are None. A forked child
    gets its own. `Owner.to_record` and `Owner.from_record` turn it into bytes and back.
    """
    return myself()


_here: Machine | None = None


def here() -> Machine:
    """This host, as every record of this process names it."""
    global _here
    if _here is None:
        _here = Machine(
            host=socket.gethostname(),
            boot_id=_read_text("/proc/sys/kernel/random/boot_id"),
            pid_namespace=_pid_namespace(),
            clock_is_shifted=_clock_is_shifted(),
        )
    return _here


_myself: Owner | None = None


def myself() -> Owner:
    """This process as an owner, without `since`, `label` and `strategy`."""
    global _myself
    # The pid is compared because a forked child inherits the value.
    if _myself is None or _myself.pid != os.getpid():
        _myself = describe(os.getpid())
    return _myself


def describe(pid: int) -> Owner:
    """A process of this host, as far as it can be seen from here."""
    machine = here()
    ticks = machine.start_ticks(pid)
    return Owner(
        pid=pid,
        host=machine.host,
        start=_start_time(ticks),
        command=_command(pid),
        start_ticks=ticks,
        boot_id=machine.boot_id,
        pid_namespace=machine.pid_namespace,
    )


def is_same(pid: int, owner: Owner) -> bool:
    """Whether a process that is seen from here is one that named itself in another container: by its pid there.

    A pid and the moment of its start, in ticks since the same boot of the same host, belong to one process only.
    """
    machine = here()
    if owner.boot_id is None or owner.boot_id != machine.boot_id or owner.start_ticks is None:
        return False
    return machine.start_ticks(pid) == owner.start_ticks and _innermost_pid(pid) == owner.pid


def _innermost_pid(pid: int) -> int | None:
    """What a process calls itself: its pid in its own namespace (`NSpid`, proc(5))."""
    for line in (_read_text(f"/proc/{pid}/status") or "").splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return None


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from field 3 (state) on; the name before them may hold spaces and brackets."""
    text = _read_text(f"/proc/{pid}/stat")
    return text[text.rfind(")") + 1 :].split() if text else None


def _start_time(ticks: int | None) -> float | None:
    if ticks is None:
        return None
    uptime = _read_text("/proc/uptime")
    if uptime is None:
        return None
    booted = time.time() - float(uptime.split()[0])
    return round(booted + ticks / os.sysconf("SC_CLK_TCK"), 2)


_COMMAND_LIMIT = 120


def _command(pid: int) -> str | None:
    text = _read_text(f"/proc/{pid}/cmdline")
    if text is None:
        return without_passwords(" ".join(sys.argv))[:_COMMAND_LIMIT] if pid == os.getpid() else None
    words = without_passwords(" ".join(part for part in text.split("\0") if part))
    # Control characters in a command would be run by the terminal on which an error about the process is printed.
    clean = "".join(char if char.isprintable() else " " for char in words)
    return clean if len(clean) <= _COMMAND_LIMIT else clean[: _COMMAND_LIMIT - 1] + "…"


def _pid_namespace() -> int | None:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's: what is remembered for good must not come of it
        return None


def _clock_is_shifted() -> bool:
    offsets = _read_text("/proc/self/timens_offsets")  # absent where there are no time namespaces
    lines = [] if offsets is None else [line.split() for line in offsets.splitlines()]
    # The clock goes by name since Linux 5.8, by number before.
    return any(line[0] in ("boottime", "7") and line[1:] != ["0", "0"] for line in lines if line)


def _read_text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\n")
    except OSError as error:
        if error.errno is None:
            raise  # as above
        return None
