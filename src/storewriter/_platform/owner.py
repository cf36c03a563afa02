"""The holder of a lock, as a value: for errors and messages, and for the record in a lock file.

Promise    An `Owner` holds only facts that are known; an unknown one is None, never a guess.
Does not   judge whether the owner's process still runs: that depends on the machine (`_platform/liveness.py`).
"""

from __future__ import annotations

import json
import time
from typing import Any, cast

import attrs

_RECORD_LIMIT = 4096
"""Bytes of a record that are ever read: a damaged or foreign file must not cost more than a page."""


@attrs.frozen(kw_only=True)
class Owner:
    """The process that holds a lock, as far as it is known: what is unknown is None. `str()` makes a line of it."""

    pid: int | None = None
    """Process id in the owner's own PID namespace (`pid_namespace`)."""
    host: str | None = None
    """Host name where the process runs."""
    start: float | None = None
    """When the process started, in seconds since the epoch."""
    command: str | None = None
    """Command line, shortened."""
    since: float | None = None
    """When the turn began, in seconds since the epoch, by the owner's clock."""
    label: str | None = None
    """What the turn is for, as its caller put it (`queue.turn(..., label=)`)."""
    strategy: str | None = None
    """Name of the lock strategy that the owner uses."""
    start_ticks: int | None = None
    """Process start in clock ticks since boot: with `boot_id` it distinguishes a reused pid from the real owner."""
    boot_id: str | None = None
    """Which boot of the host `start_ticks` counts from."""
    pid_namespace: int | None = None
    """Inode of the PID namespace: the same pid in another container is another process."""

    inherited_from: int | None = None
    """Process that took the lock, if it does not have it any more: this one has inherited the open file from it."""
    inherited_from_ended: bool | None = None
    """Whether that process has ended."""
    shared_with: tuple[int, ...] | None = None
    """Further processes that have inherited the same open file: the lock ends when the last one has closed it."""

    def held_for(self, now: float | None = None) -> float | None:
        """Return the seconds since the turn began, never below 0 even if clocks differ; None: unknown.

        `now` is in seconds since the epoch; None: this machine's clock.
        """
        if self.since is None:
            return None
        return max(0.0, (time.time() if now is None else now) - self.since)

    def __str__(self) -> str:
        """One line for people: `pid 812 on host-a (python daemon.py), for 14.2 s, "nightly digest"`."""
        parts = [f"pid {self.pid}" if self.pid is not None else "an unknown process"]
        if self.host is not None:
            parts.append(f" on {self.host}")
        if self.command:
            parts.append(f" ({self.command})")
        if self.since is not None:
            began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
            parts.append(f", since {began} ({self.held_for():.1f} s)")
        if self.label:
            parts.append(f', "{self.label}"')
        if self.inherited_from is not None:
            ended = ", which has ended" if self.inherited_from_ended else ""
            parts.append(f", which inherited it from pid {self.inherited_from}{ended}")
        if self.shared_with:
            parts.append(f", and so did pid {', '.join(map(str, self.shared_with))}")
        return "".join(parts)

    def to_record(self) -> bytes:
        """Return the owner as one JSON line, as the lock strategies write it into the lock file."""
        return json.dumps(self._fields(), separators=(",", ":")).encode() + b"\n"

    def _fields(self) -> dict[str, Any]:
        return attrs.asdict(self, filter=lambda _, value: value is not None)

    @staticmethod
    def from_record(data: bytes) -> Owner | None:
        """Return the owner in `data`, a record from `to_record`; None for anything else (empty, torn, foreign)."""
        line = data[:_RECORD_LIMIT].partition(b"\n")[0]
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return _from_fields(cast("dict[str, Any]", fields)) if isinstance(fields, dict) else None


def _printable(text: str) -> str:
    """Another process wrote it: its control characters must not reach the terminal that prints an error about it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "pid": (int,),
    "host": (str,),
    "start": (int, float),
    "command": (str,),
    "since": (int, float),
    "label": (str,),
    "strategy": (str,),
    "start_ticks": (int,),
    "boot_id": (str,),
    "pid_namespace": (int,),
}


def _from_fields(fields: dict[str, Any]) -> Owner | None:
    """An owner from a decoded record; a field of the wrong type is unknown, a record without a pid is none."""
    known: dict[str, Any] = {
        name: _printable(value) if isinstance(value, str) else value
        for name, value in fields.items()
        if isinstance(value, _FIELD_TYPES.get(name, ())) and not isinstance(value, bool)
    }
    if known.get("pid", 0) <= 0:
        return None
    return Owner(**known)
