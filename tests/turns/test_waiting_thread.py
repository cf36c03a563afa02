"""The waiting thread of a lane whose tickets leave: it waits for nothing, or goes on for the ticket that comes next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.waiting import until, wait_for
from storewriter import Backoff
from storewriter._platform import threads
from storewriter._turns import ending, line, waiting_thread
from storewriter._turns.line import HOLDING, RUNNING, WAITING, Ticket, new_ticket

KEY = "/a/store/that/another/process/holds"
SETTINGS = line.Settings(Backoff(), max_pending=None, warn_after=None)


class Lock:
    """A lock that another process has, until it is set free."""

    key = KEY

    def __init__(self) -> None:
        self.waits = 0
        self.releases = 0
        self.is_waited_for = threading.Event()
        self.is_free = threading.Event()

    def wait(self, label: str | None, *_: Any) -> Lock:
        self.waits += 1
        self.is_waited_for.set()
        wait_for(self.is_free, "the end of the other process's turn")
        return self

    def may_pass(self) -> bool:
        return True

    def release(self) -> None:
        self.releases += 1


@pytest.fixture
def lock() -> Iterator[Lock]:
    lock = Lock()
    yield lock
    lock.is_free.set()


def in_line(lock: Any) -> Ticket:
    ticket = new_ticket(SETTINGS, None, None)
    line.join(ticket, lock, lambda lane, ticket, adapter: None)
    ticket.waiter = ticket.new_waiter()
    return ticket


def test_a_thread_that_runs_only_after_the_last_ticket_has_left_does_not_wait(
    lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    ticket = in_line(lock)
    with monkeypatch.context() as late:
        late.setattr(threads, "start", lambda *call: started.append(call))
        waiting_thread.wait_for_lock(ticket)
    assert ending.give_up(ticket)
    assert KEY not in line.lanes
    lock.is_free.set()
    ((call, *arguments),) = started
    call(*arguments)
    assert lock.waits == 0


def test_a_wait_that_has_begun_is_that_of_every_ticket_that_comes_and_goes_until_it_ends(lock: Lock) -> None:
    first = in_line(lock)
    waiting_thread.wait_for_lock(first)
    wait_for(lock.is_waited_for, "the waiting thread")
    lane = line.lanes[KEY]
    assert ending.give_up(first)
    assert (line.lanes.get(KEY), lane.waiting_thread) == (lane, RUNNING)
    second, third = in_line(lock), in_line(lock)
    assert ending.give_up(second)
    assert third.state is WAITING, "it would try the lock by itself, and start a thread that waits as well"
    lock.is_free.set()
    until(lambda: third.state is HOLDING)
    ending.pass_on(third)
    assert (lock.waits, lock.releases) == (1, 1)
    assert KEY not in line.lanes
