"""What our programs write for each other behind the record in the sidecar, at a place of its own.

It says which neighbours' locks they take, and when they last left those a gap.
"""

from __future__ import annotations

import os
import struct
import time
from typing import Final

import attrs

from storewriter._files.keys import sidecar
from storewriter._platform import forks
from storewriter._platform.descriptors import Descriptor
from storewriter._platform.interrupts import quietly
from storewriter._platform.liveness import Verdict, judge, myself
from storewriter._platform.owner import Owner
from storewriter._platform.system import CLOEXEC, NOFOLLOW, NONBLOCK
from storewriter.errors import StrategyMismatch

_PLACE: Final = 2048
_LENGTH: Final = 1024
_MOMENT: Final = struct.Struct("<d")


def agree(fd: int, path: str, name: str, settings: str) -> float:
    """Make sure that every program of ours takes the same neighbours' locks; returns when the last gap was.

    `name` is our strategy's, `settings` the neighbours as text.

    Raises StrategyMismatch if a running one does not.
    """
    found = os.pread(fd, _LENGTH, _PLACE)
    line = found[_MOMENT.size :].partition(b"\n")[0]
    gap = float(_MOMENT.unpack(found[: _MOMENT.size])[0]) if len(found) > _MOMENT.size else 0.0
    ours = _agreement(name, settings)
    if line != ours:
        _require_agreement(line, path, settings)
        quietly(os.pwrite, fd, ours + b"\n", _PLACE + _MOMENT.size)  # on a full disk: the next turn writes it again
    return gap if 0.0 <= gap <= time.monotonic() else 0.0


def note_gap(fd: int, moment: float) -> None:
    """Tell our other programs when the last gap was (time.monotonic())."""
    quietly(os.pwrite, fd, _MOMENT.pack(moment), _PLACE)


_agreements: dict[tuple[str, int], bytes] = {}
forks.in_child(_agreements.clear)


def _agreement(name: str, settings: str) -> bytes:
    key = (settings, os.getpid())
    known = _agreements.get(key)
    if known is None:
        owner = attrs.evolve(myself(), command=None, strategy=name, label=settings)
        known = _agreements[key] = owner.to_record().rstrip(b"\n")
    return known


def _require_agreement(line: bytes, path: str, settings: str) -> None:
    other = Owner.from_record(line)
    # Two settings in one process meet in their lane, if they meet at all.
    if other is None or other.pid == os.getpid() or other.label == settings:
        return
    if judge(other) is not Verdict.ALIVE:
        return
    raise different_neighbours(path, settings, other.label or "", other)


def different_neighbours(path: str, ours: str, theirs: str, owner: Owner) -> StrategyMismatch:
    """The error for a program of ours that takes other neighbours' locks on the same store."""
    return StrategyMismatch(
        f"pid {owner.pid} on {owner.host} uses {path} with {theirs or 'no lock of a neighbour program'}, and "
        f"{ours or 'none'} was asked for: one of the two is not excluded from the neighbour. "
        f"Configure the same lock= and also= in every program, or let that one end first.",
        path=path,
        ours=ours,
        theirs=theirs,
        owner=owner,
    )


def neighbours_of_others(path: str) -> tuple[str, Owner] | None:
    """The neighbours' locks that a running program of ours takes beside our own; None: nothing is known of one.

    For a program that takes none, which does not look here at every turn.
    """
    file = Descriptor()
    try:
        fd = file.open(os.open, sidecar(path), os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
        found = os.pread(fd, _LENGTH, _PLACE)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    finally:
        file.close(quietly=True)
    other = Owner.from_record(found[_MOMENT.size :].partition(b"\n")[0])
    if other is None or other.pid == os.getpid() or judge(other) is not Verdict.ALIVE or not other.label:
        return None
    return other.label, other
