"""The gate of `flock`: processes queue for the lock, so that a holder that wants it again queues behind them."""

from __future__ import annotations

import fcntl
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from contenders import Contender
from helpers.waiting import until
from storewriter._files.keys import sidecar
from storewriter._platform.fcntl import OFD_SETLK, byte_lock
from storewriter.locks import Flock
from storewriter.locks._gate import GATE_BYTE

Start = Callable[[], Contender]


def waiting(path: str) -> Counter[str]:
    """How many sleep in the kernel on the sidecar, by kind of lock (proc(5): a waiter's line has an arrow)."""
    inode = f":{os.stat(sidecar(path)).st_ino}"
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return Counter(fields[2] for fields in lines if fields[6].endswith(inode))


def test_one_process_waits_for_the_lock_and_the_others_in_front_of_the_gate(contender: Start, path: str) -> None:
    hold = Flock().attempt(path, None)
    assert hold is not None
    contenders = [contender() for _ in range(3)]
    for number, one in enumerate(contenders, start=1):
        one.tell("wait", "flock", path)
        until(lambda n=number: waiting(path).total() == n, "one more that waits")
    assert waiting(path) == {"FLOCK": 1, "OFDLCK": 2}
    hold.release()
    for left, one in zip((2, 1, 0), contenders, strict=True):
        # In the order in which they came; and none that comes now gets in before them.
        assert one.answer() is True
        until(lambda n=left: waiting(path) == Counter(FLOCK=min(n, 1), OFDLCK=max(n - 1, 0)), "the next one moves up")
        assert Flock().attempt(path, None) is None
        one.ask("release", path)
    again = Flock().attempt(path, None)
    assert again is not None
    again.release()


def test_a_holder_that_wants_the_free_lock_again_comes_after_the_process_at_the_gate(
    contender: Start, path: str
) -> None:
    hold = Flock().attempt(path, None)
    assert hold is not None
    other = contender()
    other.tell("wait", "flock", path)
    until(lambda: waiting(path)["FLOCK"] == 1, "the other one waits")
    other.stop()  # so it cannot take the lock
    hold.release()
    assert Flock().attempt(path, None) is None
    other.signal(signal.SIGCONT)
    assert other.answer() is True
    other.ask("release", path)


def test_a_hold_is_not_passed_on_within_a_process_while_another_one_is_at_the_gate(contender: Start, path: str) -> None:
    hold = Flock().attempt(path, None)
    assert hold is not None
    other = contender()
    other.tell("wait", "flock", path)
    until(lambda: waiting(path)["FLOCK"] == 1, "the other one waits")
    hold.taken = float("inf")  # as if just taken, however long this test takes
    assert not hold.may_pass()
    hold.release()
    assert other.answer() is True
    other.ask("release", path)


def test_the_gate_alone_keeps_out_who_has_not_waited(path: str) -> None:
    taken = Flock().attempt(path, None)
    assert taken is not None
    taken.release()
    fd = os.open(sidecar(path), os.O_RDWR)
    try:
        fcntl.fcntl(fd, OFD_SETLK, byte_lock(GATE_BYTE))
        assert Flock().attempt(path, None) is None
        fcntl.fcntl(fd, OFD_SETLK, byte_lock(GATE_BYTE, leave=True))
        after = Flock().attempt(path, None)
        assert after is not None
        after.release()
    finally:
        os.close(fd)


def test_an_attempt_on_a_held_lock_does_not_wait(contender: Start, path: str) -> None:
    """In a process of its own, whose answer has a deadline."""
    hold = Flock().attempt(path, None)
    assert hold is not None
    other = contender()
    assert other.ask("attempt", "flock", path) is False
    hold.release()
    assert other.ask("attempt", "flock", path) is True
    other.ask("release", path)
