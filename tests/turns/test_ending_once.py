"""A turn ends once, whichever threads end it, and a caller that declined it may ask again at once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from helpers.lines import Worker, held, lined_up
from helpers.waiting import until, until_async, wait_for
from storewriter import AsyncStore, Backoff, PerStoreWriterQueue, Store, per_store_writer_queue
from storewriter import store as store_module
from storewriter._commits import batch
from storewriter._turns import ending, entering, line
from storewriter._turns.line import HOLDING, LEFT, new_ticket

KEY = "/somewhere/state.json"
SETTINGS = line.Settings(Backoff(), max_pending=None, warn_after=None)


class Hold:
    """May always be passed on; the first answer comes when it may."""

    token: str | None = None

    def __init__(self, problem: Exception | None = None) -> None:
        self.asked = 0
        self.released = 0
        self.released_in: set[int] = set()
        self.problem = problem
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def may_pass(self) -> bool:
        self.asked += 1
        if self.asked == 1:
            self.is_asked.set()
            wait_for(self.may_answer, "another caller that ends the turn")
        return True

    def check(self) -> None:
        pass

    def fence(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def describe(self, label: str | None) -> None:
        pass

    def release(self) -> None:
        self.released += 1
        self.released_in.add(threading.get_ident())
        if self.problem is not None:
            raise self.problem


class Own:
    """A user's strategy whose releases may wait for a disk."""

    name = "own"
    is_quick = False

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.holds: list[Hold] = []

    def attempt(self, path: str, label: str | None) -> Any:
        self.holds.append(Hold(self.problem))
        return self.holds[-1]

    def owner(self, path: str) -> None:
        return None


class Lock:
    """A lock that is always free."""

    key = KEY

    def __init__(self) -> None:
        self.hold = Hold()

    def attempt(self, label: str | None) -> Hold:
        return self.hold


def test_two_threads_that_end_one_turn_name_one_head() -> None:
    lock: Any = Lock()
    tickets = [new_ticket(SETTINGS, None, None) for _ in range(3)]
    for ticket in tickets:
        line.join(ticket, lock, lambda lane, ticket, adapter: None)
    assert entering._attempt(tickets[0])
    lock.hold.may_answer.clear()
    first = Worker(lambda: ending.pass_on(tickets[0]))
    wait_for(lock.hold.is_asked, "the first thread in the middle of the end")
    Worker(lambda: ending.pass_on(tickets[0])).result()
    lock.hold.may_answer.set()
    first.result()
    assert [ticket.state for ticket in tickets] == [LEFT, HOLDING, line.WAITING]
    assert lock.hold.asked == 1
    for ticket in tickets[1:]:
        ending.pass_on(ticket)
    assert lock.hold.released == 1
    assert line.lanes.get(KEY) is None


def test_turns_that_are_ended_apart_end_last_in_first_out() -> None:
    ended: list[str] = []

    class Named(Lock):
        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key
            self.hold.release = lambda: ended.append(key)  # type: ignore[method-assign]

    tickets = [new_ticket(SETTINGS, None, None) for _ in range(3)]
    for ticket, key in zip(tickets, "abc", strict=True):
        lock: Any = Named(f"{KEY}.{key}")
        assert line.join(ticket, lock, lambda lane, ticket, adapter: None)
        assert entering._attempt(ticket)
    ending._release_each(tickets)
    assert ended == [f"{KEY}.{key}" for key in "cba"]


def test_those_that_are_put_back_stand_before_the_others_in_the_order_in_which_they_asked() -> None:
    """Whichever of them is put back first: one may begin anew once more while the other still waits."""
    lock: Any = Lock()
    head, early, late, newcomer = (new_ticket(SETTINGS, None, None) for _ in range(4))
    early.asked, late.asked, newcomer.asked = 1.0, 2.0, 3.0
    for ticket in (head, early, late):
        line.join(ticket, lock, lambda lane, ticket, adapter: None)
    assert entering._attempt(head)
    assert ending.give_up(early)
    assert ending.give_up(late)
    line.join(newcomer, lock, lambda lane, ticket, adapter: None)
    for ticket in (late, early, late):
        line.put_back(ticket, None)
    tickets = list(line.lanes[KEY].in_line())
    assert tickets == [head, early.replacement, late.replacement, newcomer]
    for ticket in tickets:
        assert ticket.state is HOLDING
        ending.pass_on(ticket)
    assert line.lanes.get(KEY) is None


@pytest.mark.parametrize("how", ["turn", "update", "updates of a batch", "transaction", "recover"])
def test_a_turn_that_has_ended_is_not_ended_once_more_when_its_object_goes(
    path: Path, queue: PerStoreWriterQueue, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What watches the object is for turns that are abandoned; after an ordinary end it is not called any more."""
    late: list[object] = []
    for module in (ending, per_store_writer_queue, store_module):
        monkeypatch.setattr(module, "release_abandoned", late.append)
    monkeypatch.setattr(batch, "APPLY_SECONDS", 60.0)
    store = Store(path, queue=queue)
    if how == "turn":
        with queue.turn(path):
            pass
    elif how == "update":
        store.update(dict)
    elif how == "transaction":
        with store.transaction():
            pass
    elif how == "recover":
        store.recover()
    else:
        with held(queue, path) as holding:
            workers = lined_up(queue, path, *[lambda: store.update(dict)] * 3)
            holding.release()
            for worker in workers:
                worker.result()
    gc.collect()
    assert late == []


def test_a_task_that_is_cancelled_at_its_hand_over_lets_one_in_and_loses_nobody(path, run) -> None:
    lock = Own()
    queue = PerStoreWriterQueue(lock, timeout=20)

    async def main() -> list[str]:
        ran: list[str] = []
        inside = 0

        async def ask(name: str, scope: anyio.CancelScope) -> None:
            nonlocal inside
            with scope:
                async with queue.turn(path):
                    inside += 1
                    assert inside == 1, "two turns at once"
                    await anyio.sleep(0.02)
                    inside -= 1
                    ran.append(name)

        scopes = [anyio.CancelScope() for _ in range(4)]
        with held(queue, path) as holding:
            async with anyio.create_task_group() as group:
                for place, scope in enumerate(scopes):
                    group.start_soon(ask, f"task {place}", scope)
                    await until_async(lambda place=place: queue.pending(path) == place + 1)
                holding.release()  # the first is named, but its task has not run yet
                scopes[0].cancel()
        return ran

    assert run(main) == ["task 1", "task 2", "task 3"]
    assert all(threading.get_ident() not in hold.released_in for hold in lock.holds), "the loop waits for a disk"


def test_a_task_that_is_cancelled_with_the_only_turn_in_hand_gives_it_back_off_its_loop(path, run) -> None:
    lock = Own()
    queue = PerStoreWriterQueue(lock, timeout=20)

    async def main() -> None:
        async def ask() -> None:
            with scope:
                async with queue.turn(path):
                    raise AssertionError

        scope = anyio.CancelScope()
        with held(queue, path) as holding:
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await until_async(lambda: queue.pending(path) == 1)
                holding.release()
                scope.cancel()

    run(main)
    (hold,) = lock.holds
    assert hold.released == 1
    assert threading.get_ident() not in hold.released_in, "the loop waits for a disk"


def test_of_several_turns_every_one_is_ended_by_their_own_thread_although_no_release_succeeds(tmp_path: Path) -> None:
    lock = Own(OSError(errno.EIO, "no such server"))
    queue = PerStoreWriterQueue(lock, timeout=20)
    with pytest.raises(OSError, match="no such server"), queue.turn(*(tmp_path / name for name in "abc")):
        pass
    assert [hold.released_in for hold in lock.holds] == [{threading.get_ident()}] * 3
    assert not line.lanes


@pytest.mark.parametrize("lock", ["flock", "marker", "lease"])
def test_a_task_that_was_cancelled_at_its_hand_over_may_ask_again_at_once(path, run, lock) -> None:
    """It comes back from its cancelled wait when the line has forgotten it, and not before."""
    queue = PerStoreWriterQueue(lock, timeout=20)

    async def main() -> None:
        with held(queue, path) as holding:
            async with anyio.create_task_group() as group:

                async def let_go() -> None:
                    await until_async(lambda: queue.pending(path) == 1)
                    holding.release()
                    scope.cancel()

                with anyio.CancelScope() as scope:
                    group.start_soon(let_go)
                    async with queue.turn(path):
                        raise AssertionError
                assert scope.cancelled_caught
                async with queue.turn(path):
                    pass

    run(main)


def test_a_release_that_fails_does_not_hide_the_cancellation(
    queue: PerStoreWriterQueue, path: Path, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    queue = PerStoreWriterQueue(Own(OSError("no such server")), timeout=20)

    async def main() -> None:
        with contextlib.suppress(OSError), held(queue, path) as holding:
            async with anyio.create_task_group() as group:

                async def let_go() -> None:
                    await until_async(lambda: queue.pending(path) == 1)
                    holding.release()
                    scope.cancel()

                with anyio.CancelScope() as scope:
                    group.start_soon(let_go)
                    async with queue.turn(path):
                        raise AssertionError
                assert scope.cancelled_caught

    with caplog.at_level(logging.ERROR, "storewriter"):
        run(main)
    assert "could not release the lock" in caplog.text
    assert line.lanes.get(str(path)) is None


@pytest.mark.parametrize("lock", ["flock", "marker", "lease"])
def test_a_waiter_that_is_torn_down_with_its_turn_in_hand_passes_it_on(path: Path, lock: str) -> None:
    """Its loop is closed between the hand-over and its next step."""
    queue = PerStoreWriterQueue(lock, timeout=20)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()

    async def ask() -> None:
        async with queue.turn(path):
            raise AssertionError

    async def main(holding: Any) -> list[asyncio.Task[Any]]:
        task = asyncio.ensure_future(ask())
        await until_async(lambda: queue.pending(path) == 1)
        holding.release()
        return [task]

    with held(queue, path) as holding:
        tasks = loop.run_until_complete(main(holding))
        loop.close()
        while tasks:
            tasks.pop()._log_destroy_pending = False  # type: ignore[attr-defined]
        gc.collect()
    with queue.turn(path):
        pass
    until(lambda: line.lanes.get(str(path)) is None)


@pytest.mark.parametrize("lock", ["flock", "marker", "lease"])
@pytest.mark.parametrize("what", ["turn", "transaction", "update"])
def test_a_coroutine_that_is_closed_in_the_middle_ends_its_turn_quietly(path: Path, lock: str, what: str) -> None:
    """Nothing can be awaited any more, so the release happens there and then."""
    store = AsyncStore(path, queue=PerStoreWriterQueue(lock, timeout=20))  # type: ignore[arg-type]

    async def turn() -> None:
        async with store._queue.turn(path):
            inside.set()
            await asyncio.sleep(60)

    async def transaction() -> None:
        async with store.transaction():
            inside.set()
            await asyncio.sleep(60)

    async def change(state: dict[str, int]) -> None:
        inside.set()
        await asyncio.sleep(60)

    async def main() -> list[asyncio.Task[Any]]:
        work = {"turn": turn, "transaction": transaction, "update": lambda: store.update(change)}[what]
        task = asyncio.ensure_future(work())
        await until_async(inside.is_set)
        return [task]

    inside = threading.Event()
    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(main())
    loop.close()
    while tasks:
        tasks.pop()._log_destroy_pending = False  # type: ignore[attr-defined]
    gc.collect()
    assert line.lanes.get(str(path)) is None
    assert Store(path, queue=PerStoreWriterQueue(lock, timeout=1)).update(lambda state: dict(state)) == {}  # type: ignore[arg-type]


def test_a_task_that_is_cancelled_during_its_only_attempt_holds_nothing(path, run) -> None:
    """A timeout of zero, and a lock whose attempt takes a while: the cancellation comes first, then the lock."""
    asked, go_on = threading.Event(), threading.Event()

    class Slow(Own):
        def attempt(self, path: str, label: str | None) -> Any:
            asked.set()
            assert go_on.wait(20)
            return super().attempt(path, label)

    lock = Slow()
    queue = PerStoreWriterQueue(lock, timeout=0)

    async def main() -> None:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await until_async(asked.is_set)
                scope.cancel()
                await anyio.sleep(0.01)
                go_on.set()

            with anyio.CancelScope() as scope:
                group.start_soon(cancel)
                async with queue.turn(path):
                    raise AssertionError
            assert scope.cancelled_caught
            assert line.lanes.get(str(path)) is None
        async with queue.turn(path):
            pass

    run(main)
    assert [hold.released for hold in lock.holds] == [1, 1]
