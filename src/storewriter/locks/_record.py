"""The record of its holder in a lock file: one line of JSON, for messages and for `storewriter status`."""

from __future__ import annotations

import json
import os
import time
from typing import Final

import attrs

from storewriter._platform.liveness import myself
from storewriter._platform.owner import Owner

_LABEL_LIMIT: Final = 160
"""Characters of a label that are written: with it and the command, a record is shorter than what is read of one."""

_prefixes: dict[tuple[str, int], bytes] = {}
"""By strategy and pid (a forked child has another one): this process as an owner's record. All but the time and the
label is the same every time."""


def _quoted(label: str) -> bytes:
    # What is no text does not get here: the queue refuses it. Should it all the same, the record is for people.
    text = label if isinstance(label, str) else type(label).__name__
    return json.dumps(text if len(text) <= _LABEL_LIMIT else text[: _LABEL_LIMIT - 1] + "…").encode()


def write_record(fd: int, strategy: str, label: str | None) -> None:
    """Name this process as the holder. Never fails: the record is for people."""
    key = (strategy, os.getpid())
    prefix = _prefixes.get(key)
    if prefix is None:
        prefix = _prefixes[key] = attrs.evolve(myself(), strategy=strategy).to_record()[:-2]
    what_for = b"" if label is None else b',"label":' + _quoted(label)
    try:
        os.pwrite(fd, b'%b,"since":%.3f%b}\n' % (prefix, time.time(), what_for), 0)
    except OSError:
        # On a full disk the lock still excludes; only the waiters' errors cannot name its holder.
        pass


def read_record(fd: int) -> Owner | None:
    """The owner that the record names; its process may have ended long ago."""
    return Owner.from_record(record_line(fd))


def record_line(fd: int) -> bytes:
    """The first line of a lock file, in which the record is; empty if it cannot be read."""
    try:
        return os.pread(fd, 4096, 0).partition(b"\n")[0]
    except OSError:
        return b""
