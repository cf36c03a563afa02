"""A batch that is handed from thread to thread is saved, whatever happens to the thread that gets it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from helpers.lines import held, lined_up
from helpers.waiting import until, wait_for
from storewriter import PerStoreWriterQueue, Store
from storewriter._commits import batch
from storewriter._turns import ending, line
from storewriter._turns.line import Ticket
from storewriter._turns.waiters import ThreadWaiter


class Interrupted(BaseException):
    """Comes to a thread that waits in line."""


def add(name: str) -> Any:
    def fn(state: dict[str, Any]) -> str:
        state[name] = True
        return name

    return fn


def test_a_waiter_that_leaves_in_the_instant_in_which_it_gets_the_batch_saves_it(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    store = Store(path, queue=queue)
    is_interrupted, leaves, goes_on = threading.Event(), threading.Event(), threading.Event()
    victim: list[int] = []
    sleep, give_up = ThreadWaiter.sleep, ending.give_up

    def interrupted_sleep(self: ThreadWaiter, seconds: float | None) -> bool:
        if threading.get_ident() in victim and not is_interrupted.is_set():
            until(is_interrupted.is_set)
            raise Interrupted
        return sleep(self, seconds)

    def slow_give_up(ticket: Ticket) -> bool:
        if ticket.thread in victim and threading.get_ident() in victim and not leaves.is_set():
            leaves.set()
            wait_for(goes_on, "the batch that is handed on")
        return give_up(ticket)

    monkeypatch.setattr(ThreadWaiter, "sleep", interrupted_sleep)
    monkeypatch.setattr(ending, "give_up", slow_give_up)

    def first(state: dict[str, Any]) -> str:
        is_interrupted.set()
        wait_for(leaves, "the waiter on its way out")
        return str(add("first")(state))

    def second() -> Any:
        victim.append(threading.get_ident())
        return store.update(add("second"))

    with held(queue, path) as holding:
        tickets: list[Ticket] = []
        one, two = lined_up(queue, path, lambda: store.update(first), second)
        lane = line.lanes.get(str(path))
        assert lane is not None
        tickets.extend(lane.in_line())
        holding.release()
        until(lambda: tickets[2].batch is not None, "the batch is handed on")
        goes_on.set()
        two.wait()
        assert isinstance(two.error, Interrupted)
        assert one.result() == "first"
    assert "first" in store.read()


def test_an_interrupt_between_two_answers_changes_nothing_for_those_that_have_theirs(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was told to begin anew may be on its way again with the same request, in another batch."""
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    path.write_text("{}")
    store: Store[Any] = Store(path, queue=queue)
    runs_again, is_answered_again, was_interrupted = threading.Event(), threading.Event(), threading.Event()
    real = ending.answer
    answers: list[Ticket] = []

    def answer(ticket: Ticket) -> None:
        answers.append(ticket)
        if len(answers) == 2:
            wait_for(runs_again, "the first, which was told to begin anew")
            was_interrupted.set()
            raise Interrupted
        real(ticket)
        if len(answers) == 4:
            is_answered_again.set()

    monkeypatch.setattr(batch, "answer", answer)
    runs = []

    def first(state: dict[str, Any]) -> int:
        runs.append(1)
        if len(runs) == 1:
            path.write_text('{"a stranger": 1}')
        elif len(runs) == 2:
            runs_again.set()
            wait_for(is_answered_again, "the rest of the first batch")
        state["first"] = state.get("first", 0) + 1
        return int(state["first"])

    with held(queue, path) as holding:
        one, two, three = lined_up(
            queue, path, lambda: store.update(first), *(lambda n=n: store.update(add(n)) for n in ("two", "three"))
        )
        holding.release()
        assert one.result() == 1
        assert two.result() == "two"
        three.wait()
    assert was_interrupted.is_set()
    assert store.read()["first"] == 1


def test_a_neighbours_function_that_waits_for_us_is_no_deadlock(queue: PerStoreWriterQueue, path: Path) -> None:
    """Alone, the first update is committed before the second function runs."""
    store: Store[Any] = Store(path, queue=queue)
    has_returned = threading.Event()

    def first() -> bool:
        store.update(add("first"), timeout=5.0)
        has_returned.set()
        return True

    def waits_for_the_first(state: dict[str, Any]) -> bool:
        return has_returned.wait(3.0)  # without a limit it would wait for ever

    with held(queue, path) as holding:
        one, two = lined_up(queue, path, first, lambda: store.update(waits_for_the_first))
        holding.release()
        assert one.result()
        assert two.result()
