"""A process that is stopped at the gate: which of those that sleep in front of it are replaced, and when."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from helpers.lines import Worker
from helpers.waiting import until
from storewriter._files.keys import sidecar
from storewriter._platform.fcntl import OFD_SETLK, byte_lock
from storewriter._platform.threads import WaiterReplaced
from storewriter.locks import Flock, _gate
from storewriter.locks._gate import GATE_BYTE, lock_through_gate

NEVER, AT_ONCE = 3600.0, 0.0


class Sleeper:
    """A thread that sleeps at the gate. Looks at it are made by the test."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(sidecar(path), os.O_RDWR)
        self.replacements = 0
        self.has_threads = True
        self.worker = Worker(lambda: lock_through_gate(self.fd, path, self._replace))
        until(lambda: len(_gate._sleepers) == 1, "the sleeper")

    def _replace(self) -> None:
        if not self.has_threads:
            raise RuntimeError("can't start new thread")
        self.replacements += 1

    def look(self) -> int:
        """How often it has been replaced after one more look."""
        _gate._check_sleepers()
        return self.replacements


@pytest.fixture
def gate(path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The sidecar, with the gate taken by a descriptor that stays there."""
    monkeypatch.setattr(_gate, "_watch", SimpleNamespace(ensure=lambda: None))
    monkeypatch.setattr(_gate, "_LOOK", AT_ONCE)
    fd = os.open(sidecar(path), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.fcntl(fd, OFD_SETLK, byte_lock(GATE_BYTE))
    yield fd
    os.close(fd)


@pytest.fixture
def sleeper(gate: int, path: str) -> Iterator[Sleeper]:
    sleeper = Sleeper(path)
    yield sleeper
    fcntl.flock(gate, fcntl.LOCK_UN)
    fcntl.fcntl(gate, OFD_SETLK, byte_lock(GATE_BYTE, leave=True))
    with contextlib.suppress(WaiterReplaced):
        sleeper.worker.result()
    os.close(sleeper.fd)
    assert (_gate._sleepers, _gate.stalled) == (set(), {})


def test_one_that_sleeps_although_the_lock_is_free_is_replaced_once(sleeper: Sleeper) -> None:
    assert sleeper.look() == 1
    assert sleeper.look() == 1
    assert _gate.stalled == {sleeper.path: 1}, "later waits of this process go past the gate"


def test_it_ends_when_the_gate_moves_on_and_takes_no_lock(sleeper: Sleeper, gate: int) -> None:
    assert sleeper.look() == 1
    fcntl.fcntl(gate, OFD_SETLK, byte_lock(GATE_BYTE, leave=True))
    with pytest.raises(WaiterReplaced):
        sleeper.worker.result()
    assert _gate.stalled == {}
    fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_none_is_replaced_in_its_first_moments(sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate, "_LOOK", NEVER)
    assert sleeper.look() == 0


def test_none_is_replaced_while_the_lock_has_one_holder(sleeper: Sleeper, gate: int) -> None:
    fcntl.flock(gate, fcntl.LOCK_EX)
    assert [sleeper.look() for _ in range(10)] == [0] * 10


def test_it_is_replaced_when_the_lock_changes_owner_again_and_again_without_it(sleeper: Sleeper, gate: int) -> None:
    """Each owner writes its record: the time of the file is another one."""
    fcntl.flock(gate, fcntl.LOCK_EX)
    replaced = []
    for time in range(1, 6):
        os.utime(gate, ns=(time, time))
        replaced.append(sleeper.look())
    assert replaced == [0, 0, 0, 0, 1]


def test_without_another_thread_it_is_looked_at_again(sleeper: Sleeper) -> None:
    sleeper.has_threads = False
    assert sleeper.look() == 0
    assert _gate.stalled == {}
    sleeper.has_threads = True
    assert sleeper.look() == 1


def test_of_a_free_lock_no_process_is_named_that_is_this_one(gate: int, path: str) -> None:
    """It has the gate; a caller would be told to wait for itself."""
    assert Flock().owner(path) is None
