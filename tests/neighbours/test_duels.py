"""Two programs count in one document, each under its own lock: nothing is lost on either side, or it is told."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from programs import IN_PYTHON, counters, program

from helpers.children import child
from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter.locks import Flock, Neighbour, OpenClawLock, ProperLockfile

ON_NODE: dict[str, Neighbour] = {
    "proper-lockfile": ProperLockfile(),
    "fs-safe-0.3": OpenClawLock(),
    "fs-safe-0.21": OpenClawLock(),
    "fs-safe-0.21-reference": OpenClawLock(),
    "openclaw": OpenClawLock(),
    "openclaw-reference": OpenClawLock(),
}
OURS, THEIRS = 120, 60


def queue_for(kind: str, lock: str = "flock") -> PerStoreWriterQueue:
    if kind in IN_PYTHON:
        return PerStoreWriterQueue(Flock(file="{name}.lock"), timeout=60.0)
    return PerStoreWriterQueue(lock, also=ON_NODE[kind], timeout=60.0)  # type: ignore[arg-type]


def count(state: dict[str, Any]) -> None:
    state["ours"] = state.get("ours", 0) + 1


def until(is_over: Callable[[], bool], update: Callable[[], object]) -> int:
    """Update at least so often, and as long as the other program does."""
    done = 0
    while done < OURS or not is_over():
        update()
        done += 1
    return done


def in_tasks(path: Path, queue: PerStoreWriterQueue, is_over: Callable[[], bool], backend: str) -> int:
    done = 0

    async def one(store: AsyncStore[Any]) -> None:
        nonlocal done
        while done < OURS or not is_over():
            await store.update(count)
            done += 1

    async def main() -> None:
        store: AsyncStore[Any] = AsyncStore(path, durability="process", queue=queue)
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(one, store)

    anyio.run(main, backend=backend)
    return done


def in_a_thread(path: Path, queue: PerStoreWriterQueue, is_over: Callable[[], bool]) -> int:
    store: Store[Any] = Store(path, durability="process", queue=queue)
    return until(is_over, lambda: store.update(count))


def duel(kind: str, path: Path, node: Path | None, ours: Callable[[Callable[[], bool]], int]) -> tuple[int, int]:
    """Let both count side by side; returns what each takes for done."""
    with program(kind, path, node) as other:
        over = threading.Event()
        theirs: list[int] = []

        def listen() -> None:
            try:
                theirs.append(other.counted())
            finally:
                over.set()

        listener = threading.Thread(target=listen)
        other.count(THEIRS)
        listener.start()
        try:
            done = ours(over.is_set)
        finally:
            listener.join()
        return done, theirs[0]


@pytest.mark.parametrize("how", ["thread", "asyncio", "trio"])
@pytest.mark.parametrize("kind", IN_PYTHON)
def test_nothing_is_lost_beside_a_program_that_locks_a_file(kind: str, how: str, path: Path) -> None:
    def ours(is_over: Callable[[], bool]) -> int:
        queue = queue_for(kind)
        return in_a_thread(path, queue, is_over) if how == "thread" else in_tasks(path, queue, is_over, how)

    done, theirs = duel(kind, path, None, ours)
    assert theirs == THEIRS
    assert counters(path) == {"ours": done, "theirs": theirs}


@pytest.mark.parametrize("how", ["thread", "asyncio", "trio"])
@pytest.mark.parametrize("kind", ON_NODE)
def test_nothing_is_lost_beside_a_program_on_node(kind: str, how: str, path: Path, node: Path) -> None:
    def ours(is_over: Callable[[], bool]) -> int:
        queue = queue_for(kind)
        return in_a_thread(path, queue, is_over) if how == "thread" else in_tasks(path, queue, is_over, how)

    done, theirs = duel(kind, path, node, ours)
    assert theirs == THEIRS
    assert counters(path) == {"ours": done, "theirs": theirs}


@pytest.mark.parametrize("lock", ["marker", "lease", "none"])
@pytest.mark.parametrize("kind", ["proper-lockfile", "openclaw"])
def test_nothing_is_lost_with_other_strategies_of_ours(kind: str, lock: str, path: Path, node: Path) -> None:
    done, theirs = duel(kind, path, node, lambda is_over: in_a_thread(path, queue_for(kind, lock), is_over))
    assert counters(path) == {"ours": done, "theirs": theirs}


_COUNTING = """
from storewriter import locks
also = {"OpenClawLock": locks.OpenClawLock, "ProperLockfile": locks.ProperLockfile}[args[0]]()
store = Store(path, durability="process", queue=PerStoreWriterQueue(also=also, timeout=60))
say("ready")
for number in range(int(hear())):
    store.update(lambda state: state.update(ours=state.get("ours", 0) + 1))
say("counted")
"""


# Two programs with the reference's lock exclude each other almost always: one that finds the lock file gone while it looks
# takes it for stale, and removes the next one if that has the same inode number.
@pytest.mark.parametrize(("kind", "programs"), [("proper-lockfile", 2), ("fs-safe-0.21", 2), ("openclaw-reference", 1)])
def test_several_processes_on_both_sides(kind: str, programs: int, path: Path, node: Path) -> None:
    also = type(ON_NODE[kind]).__name__
    with ExitStack() as stack:
        others = [stack.enter_context(program(kind, path, node)) for _ in range(programs)]
        children = [stack.enter_context(child(_COUNTING, path, also)) for _ in range(2)]
        for ours in children:
            ours.expect("ready")
        for ours in children:
            ours.tell(str(OURS))
        for other in others:
            other.count(THEIRS)
        for ours in children:
            ours.expect("counted")
        assert [other.counted() for other in others] == [THEIRS] * programs
    assert counters(path) == {"ours": 2 * OURS, "theirs": programs * THEIRS}


@pytest.mark.parametrize("kind", IN_PYTHON)
def test_a_locked_file_that_is_not_configured_is_told(kind: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "storewriter"), program(kind, path) as other:
        other.tell("hold")
        other.expect("holding")
        Store[Any](path).update(count)
        other.tell("release")
        other.expect("released")
    (told,) = caplog.messages
    assert f"{path}.lock is a file on which flock(2) is held" in told
    assert f"pid {other.pid}" in told
    assert 'PerStoreWriterQueue(Flock(file="{name}.lock"))' in told


@pytest.mark.parametrize(
    ("kind", "advice", "who"),
    [
        ("proper-lockfile", "also=ProperLockfile()", "a folder, refreshed"),
        ("fs-safe-0.21", "also=OpenClawLock()", "a file with the record of its owner"),
        ("openclaw", "also=OpenClawLock()", "a file with the record of its owner"),
    ],
)
def test_a_lock_on_node_that_is_not_configured_is_told(
    kind: str, advice: str, who: str, path: Path, node: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "storewriter"), program(kind, path, node) as other:
        other.tell("hold")
        other.expect("holding")
        Store[Any](path).update(count)
        other.tell("release")
        other.expect("released")
    (told,) = caplog.messages
    assert f"{path}.lock is {who}" in told
    assert f"PerStoreWriterQueue({advice})" in told
    assert kind == "proper-lockfile" or f"pid {other.pid}" in told


def test_a_program_without_a_lock_is_told_when_it_writes(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store: Store[Any] = Store(path)
    store.update(count)
    writes = iter([True, False, False])

    def fn(state: dict[str, Any]) -> None:
        if next(writes):
            path.write_text('{"theirs": 1}')
        count(state)

    with caplog.at_level(logging.WARNING, "storewriter"):
        store.update(fn)
    (told,) = caplog.messages
    assert f"{path} was changed by another program while it was being updated here" in told
    assert store.read() == {"theirs": 1, "ours": 1}
