"""Ctrl-C, for real: a waiter, a holder or the leader of a batch is interrupted, and the store stays usable."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.children import HOLDER, Child, child
from storewriter import PerStoreWriterQueue, per_store_writer_queue
from storewriter._turns import ending, line
from storewriter._turns.ending import Tie

_PROBE = """
def probe(queue):
    # Asked from another thread, so that what this thread left behind shows.
    result = []
    def ask():
        try:
            with queue.turn(path, timeout=5):
                result.append("usable")
        except BaseException as error:
            result.append(repr(error))
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return result[0]
"""


def interrupted(code: str, path: Path) -> None:
    with child(_PROBE + code, path) as process:
        process.expect("ready")
        process.signal(signal.SIGINT)
        process.expect("interrupted")
        process.expect("usable")
        process.finish()


def test_a_waiter_behind_another_thread(path: Path) -> None:
    interrupted(
        """
queue = PerStoreWriterQueue(timeout=30)
let_go = threading.Event()
holds = threading.Event()
def hold():
    with queue.turn(path):
        holds.set()
        let_go.wait()
def tell():
    while queue.pending(path) < 1:
        time.sleep(0.001)
    say("ready")
holder = threading.Thread(target=hold); holder.start(); holds.wait()
threading.Thread(target=tell).start()
try:
    with queue.turn(path):
        say("wrongly in")
except KeyboardInterrupt:
    say("interrupted")
assert queue.pending(path) == 0
let_go.set(); holder.join()
say(probe(queue))
""",
        path,
    )


def test_a_waiter_for_another_process(path: Path) -> None:
    code = """
queue = PerStoreWriterQueue(timeout=30)
def tell():
    while queue.pending(path) < 1:
        time.sleep(0.001)
    say("ready")
threading.Thread(target=tell).start()
try:
    with queue.turn(path):
        say("wrongly in")
except KeyboardInterrupt:
    say("interrupted")
assert queue.pending(path) == 0
hear()
say(probe(queue))
"""
    with child(HOLDER, path) as holder:
        holder.expect("holding")
        with child(_PROBE + code, path) as process:
            process.expect("ready")
            process.signal(signal.SIGINT)
            process.expect("interrupted")
            holder.tell()
            holder.finish()
            process.tell()
            process.expect("usable")
            process.finish()


def test_inside_a_turn(path: Path) -> None:
    interrupted(
        """
queue = PerStoreWriterQueue(timeout=30)
try:
    with queue.turn(path):
        say("ready")
        while True:
            time.sleep(10)
except KeyboardInterrupt:
    say("interrupted")
say(probe(queue))
""",
        path,
    )


_LEADER = """
queue = PerStoreWriterQueue(timeout=30)
store = Store(path, queue=queue)
outcomes = []
def follow(place):
    try:
        store.update(lambda state: state.update({str(place): state.get(str(place), 0) + 1}))
        outcomes.append((place, "done"))
    except BaseException as error:
        outcomes.append((place, repr(error)))
followers = []
def lead(fn):
    # This thread is first in line, two followers stand right behind it: one batch.
    let_go = threading.Event(); holds = threading.Event()
    def hold():
        with queue.turn(path):
            holds.set()
            let_go.wait()
    def start_followers():
        while queue.pending(path) < 1:
            time.sleep(0.001)
        for place in range(2):
            thread = threading.Thread(target=follow, args=(place,))
            thread.start()
            followers.append(thread)
            while queue.pending(path) < 2 + place:
                time.sleep(0.001)
        let_go.set()
    holder = threading.Thread(target=hold); holder.start(); holds.wait()
    threading.Thread(target=start_followers).start()
    return store.update(fn)
def check():
    for thread in followers:
        thread.join()
    assert sorted(outcomes) == [(0, "done"), (1, "done")], outcomes
    state = store.read()
    assert state.get("0") == state.get("1") == 1, state
    return state
"""


def test_the_first_of_a_batch_in_its_own_function(path: Path) -> None:
    """Its own update fails, its neighbours' are committed."""
    interrupted(
        _LEADER
        + """
def fn(state):
    state["mine"] = True
    say("ready")
    while True:
        time.sleep(10)
try:
    lead(fn)
except KeyboardInterrupt:
    say("interrupted")
assert "mine" not in check()
say(probe(queue))
""",
        path,
    )


def test_a_neighbours_function_runs_in_its_own_thread_and_an_interrupt_of_the_first_one_waits_for_the_answer(
    path: Path,
) -> None:
    """Once its function has been applied, the update of the main thread is committed; then the interrupt comes out."""
    code = (
        _LEADER
        + """
def follow(place):
    def fn(state):
        assert threading.current_thread() is not threading.main_thread()
        if place == 0:
            say("ready")
            hear()
        state[str(place)] = state.get(str(place), 0) + 1
    try:
        store.update(fn)
        outcomes.append((place, "done"))
    except BaseException as error:
        outcomes.append((place, repr(error)))
try:
    lead(lambda state: state.update(mine=True))
except KeyboardInterrupt:
    say("interrupted")
assert check()["mine"]
say(probe(queue))
"""
    )
    with child(_PROBE + code, path) as process:
        process.expect("ready")
        process.signal(signal.SIGINT)
        process.tell()
        process.expect("interrupted")
        process.expect("usable")
        process.finish()


_LAST_IN_LINE = """
from storewriter._commits import batch
batch.APPLY_SECONDS = 60.0  # one batch, however slow the machine is
queue = PerStoreWriterQueue(timeout=30)
store = Store(path, queue=queue)
outcomes = []
def follow(place):
    try:
        store.update(lambda state: state.update({str(place): state.get(str(place), 0) + 1}))
        outcomes.append((place, "done"))
    except BaseException as error:
        outcomes.append((place, repr(error)))
followers = [threading.Thread(target=follow, args=(place,)) for place in range(2)]
def save(fn):
    # Two threads stand in line before this one: it saves what the three have applied.
    let_go = threading.Event(); holds = threading.Event()
    def hold():
        with queue.turn(path):
            holds.set()
            let_go.wait()
    def open_the_line():
        while queue.pending(path) < 3:
            time.sleep(0.001)
        let_go.set()
    holder = threading.Thread(target=hold); holder.start(); holds.wait()
    for place, thread in enumerate(followers):
        thread.start()
        while queue.pending(path) < 1 + place:
            time.sleep(0.001)
    threading.Thread(target=open_the_line).start()
    return store.update(fn)
def check():
    for thread in followers:
        thread.join()
    assert sorted(outcomes) == [(0, "done"), (1, "done")], outcomes
    assert not [name for name in os.listdir(os.path.dirname(path)) if name.endswith(".tmp")]
    return store.read()
"""


def test_the_thread_that_saves_before_the_rename(path: Path) -> None:
    """Its own update is taken back, what the others applied is saved all the same, and once."""
    interrupted(
        _LAST_IN_LINE
        + """
from storewriter._platform.system import SYSTEM
real_replace = os.replace
def slow(source, target):
    object.__setattr__(SYSTEM, "rename", real_replace)
    say("ready")
    while True:
        time.sleep(10)
object.__setattr__(SYSTEM, "rename", slow)
try:
    save(lambda state: state.update(mine=True))
except KeyboardInterrupt:
    say("interrupted")
assert check() == {"0": 1, "1": 1}
say(probe(queue))
""",
        path,
    )


def test_the_thread_that_saves_after_the_rename(path: Path) -> None:
    """The document is in place: all are told so, and the interrupt comes out."""
    interrupted(
        _LAST_IN_LINE
        + """
from storewriter._platform.system import SYSTEM
real_replace = os.replace
def slow(source, target):
    real_replace(source, target)
    say("ready")
    while True:
        time.sleep(10)
object.__setattr__(SYSTEM, "rename", slow)
try:
    save(lambda state: state.update(mine=True))
except KeyboardInterrupt:
    say("interrupted")
assert check() == {"0": 1, "1": 1, "mine": True}
say(probe(queue))
""",
        path,
    )


def test_a_transaction(path: Path) -> None:
    interrupted(
        """
queue = PerStoreWriterQueue(timeout=30)
store = Store(path, queue=queue)
try:
    with store.transaction() as tx:
        tx.state["x"] = 1
        say("ready")
        while True:
            time.sleep(10)
except KeyboardInterrupt:
    say("interrupted")
assert store.read() == {}
say(probe(queue))
""",
        path,
    )


def test_asyncio_run_with_a_leader_and_waiters(path: Path) -> None:
    """asyncio turns Ctrl-C into a cancellation of the main task, and cancels the others on its way out."""
    interrupted(
        """
import asyncio
queue = PerStoreWriterQueue(timeout=30)
store = AsyncStore(path, default=list, queue=queue)
async def main():
    async def endless():
        while True:
            await store.update(lambda state: state.append(1) or None)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(endless())
        say("ready")
try:
    asyncio.run(main())
except KeyboardInterrupt:
    say("interrupted")
assert queue.pending(path) == 0
say(probe(queue))
""",
        path,
    )


def test_many_interrupts_at_any_moment_leave_the_line_usable(path: Path) -> None:
    """Whatever line of ours the interrupt hits, the store can be used afterwards, or the turn was ended by the user."""
    code = (
        _PROBE
        + """
queue = PerStoreWriterQueue(timeout=5)
store = Store(path, queue=queue)
rounds = 0
def work():
    while True:
        store.update(lambda state: state.update(n=state.get("n", 0) + 1))
for _ in range(int(args[0])):
    try:
        try:
            say("ready")
            work()
        except KeyboardInterrupt:
            pass
        verdict = probe(queue)
        if verdict != "usable":
            say("wedged", _, verdict)
    except KeyboardInterrupt:
        say("late")
say("end")
"""
    )
    with child(code, path, 40) as process:
        assert _storm(process) == []


def _storm(process: Child) -> list[str]:
    bad = []
    while (line := process.hear()) != "end":
        if line == "ready":
            process.signal(signal.SIGINT)
        else:
            bad.append(line)
    return bad


def test_a_turn_ends_although_the_callback_that_ends_it_is_interrupted(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second interrupt, in the callback that ends the turn of an `__exit__` that a first one has ended."""
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reported.append(unraisable.exc_type))
    release_abandoned = ending.release_abandoned

    def interrupted_once(tie: Tie) -> None:
        if not reported:
            raise KeyboardInterrupt
        release_abandoned(tie)

    monkeypatch.setattr(per_store_writer_queue, "release_abandoned", interrupted_once)
    request = queue.turn(path)
    request.__enter__()
    del request
    assert reported == [KeyboardInterrupt]
    with queue.turn(path, timeout=5):
        pass


def test_an_abandoned_turn_ends_where_it_is_dropped(
    queue: PerStoreWriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callback that needs no thread ends it; the other one is for an interrupt in that."""
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reported.append(unraisable.exc_type))

    async def in_a_task() -> None:
        request = queue.turn(path)
        await request.__aenter__()
        del request
        assert str(path) not in line.lanes

    request = queue.turn(path)
    request.__enter__()
    del request
    assert str(path) not in line.lanes
    asyncio.run(in_a_task())
    assert reported == []
