"""Between processes: exclusion, fairness, sudden death, and a sidecar that goes away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.children import HOLDER, Child, child
from helpers.lines import Worker, lined_up
from helpers.waiting import until
from storewriter import AsyncStore, LockTimeout, PerStoreWriterQueue, Store
from storewriter.locks import Flock


def test_a_turn_in_another_process_excludes(queue: PerStoreWriterQueue, path: Path, run) -> None:
    async def refused() -> None:
        with pytest.raises(LockTimeout):
            async with queue.turn(path, timeout=0):
                pass

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout), queue.turn(path, timeout=0):
            pass
        run(refused)
        holder.tell()
        holder.expect("released")
        holder.finish()
    with queue.turn(path, timeout=0):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_holder_dies_the_waiter_is_in(queue: PerStoreWriterQueue, path: Path, number: int) -> None:
    def ask() -> float:
        with queue.turn(path):
            return time.monotonic()

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        (worker,) = lined_up(queue, path, ask)
        killed = time.monotonic()
        holder.signal(number)
        assert worker.result() - killed < 1.0


def test_when_the_holder_dies_an_async_waiter_is_in(queue, path, run) -> None:
    async def main() -> None:
        async with queue.turn(path):
            pass

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        worker = Worker(lambda: run(main))
        until(lambda: queue.pending(path) == 1)
        holder.kill()
        worker.result()


def test_a_stopped_holder_keeps_its_turn_and_is_named(queue: PerStoreWriterQueue, path: Path) -> None:
    """Alive but stuck: no process may take a kernel lock from it."""
    with child(HOLDER, path) as holder:
        holder.expect("holding")
        holder.signal(signal.SIGSTOP)
        with pytest.raises(LockTimeout, match=f"pid {holder.pid}") as caught, queue.turn(path, timeout=0.1):
            pass
        assert caught.value.alive == "alive"
        holder.signal(signal.SIGCONT)
        holder.tell()
        holder.finish()


def test_a_waiter_that_dies_at_the_gate_holds_up_nobody(queue: PerStoreWriterQueue, path: Path) -> None:
    waiter_code = """
queue = PerStoreWriterQueue(timeout=30)
def tell():
    while queue.pending(path) < 1:
        time.sleep(0.001)
    say("waiting")
threading.Thread(target=tell).start()
with queue.turn(path):
    say("in")
"""
    with child(HOLDER, path) as holder:
        holder.expect("holding")
        with child(waiter_code, path) as first, child(waiter_code, path) as second:
            first.expect("waiting")
            second.expect("waiting")
            first.kill()
            holder.tell()
            second.expect("in")
            second.finish()
    with queue.turn(path, timeout=0):
        pass


@contextlib.contextmanager
def stopped_at_the_gate(path: Path) -> Iterator[Child]:
    """The lock is free, and a process that has the gate has been stopped."""
    sidecar = path.parent / ".state.json.lock"
    with child(HOLDER, path) as holder:
        holder.expect("holding")
        with child(HOLDER, path) as waiter:
            until(lambda: _waits_in_kernel(sidecar), "the waiter in front of the lock")
            waiter.signal(signal.SIGSTOP)
            # Every thread: one that still sleeps in flock(2) may be given the lock, and stop with it in its hands.
            until(lambda: _states(waiter.pid) == {"T"}, "its stop")
            holder.tell()
            holder.expect("released")
            yield waiter
            waiter.signal(signal.SIGCONT)
            waiter.expect("holding")
            waiter.tell()
            waiter.expect("released")


def _states(pid: int) -> set[str]:
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return {stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] for stat in stats}


def test_a_waiter_that_is_stopped_at_the_gate_keeps_nobody_out_for_long(
    queue: PerStoreWriterQueue, path: Path, run: Callable[[Any], Any]
) -> None:
    async def ask() -> None:
        async with queue.turn(path):
            pass

    with stopped_at_the_gate(path) as stopped:
        with pytest.raises(LockTimeout, match=f"pid {stopped.pid}") as caught, queue.turn(path, timeout=0):
            pass
        assert caught.value.alive == "alive"
        with queue.turn(path, timeout=10):
            pass
        # Once that is known, it costs nothing any more.
        for _ in range(3):
            with queue.turn(path, timeout=0):
                pass
        run(ask)
        with child(_OTHER, path) as other:
            other.finish()
    with queue.turn(path, timeout=0):
        pass


_OTHER_AGAIN = """
queue = PerStoreWriterQueue(timeout=20)
with queue.turn(path):
    say("in")
for _ in range(10):
    hear()
    with queue.turn(path):
        with open(path + ".order", "a") as file:
            file.write("other ")
    say("out")
"""


def test_past_a_stopped_waiter_all_others_get_their_turns(queue: PerStoreWriterQueue, path: Path) -> None:
    """There is no queue in front of the gate then. The kernel grants flock(2) in about the order of the requests."""
    sidecar = path.parent / ".state.json.lock"
    with stopped_at_the_gate(path), child(_OTHER_AGAIN, path) as other:
        with queue.turn(path):
            pass
        other.expect("in")
        for _ in range(10):
            with queue.turn(path):
                others = _waiters_in_kernel(sidecar)
                other.tell()
                until(lambda others=others: _waiters_in_kernel(sidecar) > others, "the other one in front of the lock")  # type: ignore[misc]
                _write(path, "first")
            with queue.turn(path):
                _write(path, "again")
            other.expect("out")
        other.finish()
    assert Counter(_order(path)) == {"first": 10, "other": 10, "again": 10}


def test_whoever_the_lock_goes_past_again_and_again_is_let_through(queue: PerStoreWriterQueue, path: Path) -> None:
    """At no look is the lock free: it is never let go of, and its record changes as if it went from hand to hand."""
    sidecar = path.parent / ".state.json.lock"
    with stopped_at_the_gate(path):
        fd = os.open(sidecar, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)

            def ask() -> None:
                with queue.turn(path):
                    pass

            worker = Worker(ask)
            until(lambda: os.utime(fd) or _locks_waited_for(sidecar), "the waiter in front of the lock itself")
        finally:
            os.close(fd)
        worker.result()


def _locks_waited_for(sidecar: Path) -> int:
    inode = f":{sidecar.stat().st_ino} "
    with open("/proc/locks", encoding="ascii") as file:
        return sum("->" in line and "FLOCK" in line and inode in line for line in file)


def test_a_sidecar_that_was_deleted_while_somebody_waited_is_made_anew(queue: PerStoreWriterQueue, path: Path) -> None:
    """1. A holds. 2. B waits. 3. The sidecar is deleted. 4. A leaves. B must not end up on the nameless file: C, who
    finds the new one, would get in beside it."""
    sidecar = path.parent / ".state.json.lock"

    def ask() -> None:
        with queue.turn(path):
            in_turn.set()
            leave.wait(20)

    in_turn, leave = threading.Event(), threading.Event()
    with child(HOLDER, path) as holder:
        holder.expect("holding")
        (worker,) = lined_up(queue, path, ask)
        until(lambda: _waits_in_kernel(sidecar), "the waiting thread in the kernel")
        sidecar.unlink()
        holder.tell()
        holder.finish()
    assert in_turn.wait(20)
    with child(_TRY, path) as other:
        other.expect("refused")
        other.finish()
    leave.set()
    worker.result()


_TRY = """
try:
    with PerStoreWriterQueue().turn(path, timeout=0):
        say("in")
except LockTimeout:
    say("refused")
"""


def _waits_in_kernel(sidecar: Path) -> bool:
    return _waiters_in_kernel(sidecar) > 0


def _waiters_in_kernel(sidecar: Path) -> int:
    """Those who wait for the lock or at its gate (proc(5): a waiter's line has an arrow)."""
    try:
        inode = f":{sidecar.stat().st_ino} "
    except FileNotFoundError:
        return 0
    with open("/proc/locks", encoding="ascii") as file:
        return sum("->" in line and inode in line for line in file)


def test_a_folder_that_was_deleted_and_made_again_is_used(path: Path, queue: PerStoreWriterQueue) -> None:
    store = Store(path.parent / "folder" / "state.json", queue=queue)
    for place in range(5):
        store.update(lambda state, place=place: state.update(place=place))
        shutil.rmtree(path.parent / "folder")
    store.update(lambda state: state.update(again=True))
    assert store.read() == {"again": True}
    with child(HOLDER, path.parent / "folder" / "state.json") as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout), queue.turn(path.parent / "folder" / "state.json", timeout=0):
            pass


_OTHER = """
with PerStoreWriterQueue(timeout=20).turn(path):
    with open(path + ".order", "a") as file:
        file.write("other ")
"""


def _write(path: Path, word: str) -> None:
    with open(f"{path}.order", "a", encoding="ascii") as file:
        file.write(f"{word} ")


def _order(path: Path) -> list[str]:
    return Path(f"{path}.order").read_text(encoding="ascii").split()


def test_a_holder_that_wants_the_turn_again_stands_behind_another_process(
    queue: PerStoreWriterQueue, path: Path
) -> None:
    """The turnstile. Without it we would be back in before the kernel has woken the other one."""
    sidecar = path.parent / ".state.json.lock"
    for round_ in range(3):
        with child(_OTHER, path) as other:
            with queue.turn(path):
                until(lambda: _waits_in_kernel(sidecar), "the other process in the kernel")
                _write(path, "first")
            with queue.turn(path):
                _write(path, "again")
            other.finish()
        assert _order(path) == ["first", "other", "again"] * (round_ + 1)


def test_a_fresh_lock_is_not_passed_on_past_another_process(queue: PerStoreWriterQueue, path: Path) -> None:
    """X holds, A waits in the kernel, B behind A in our line, C in another process behind A: A, C, B."""
    sidecar = path.parent / ".state.json.lock"

    def first() -> None:
        with queue.turn(path):
            until(lambda: _waits_in_kernel(sidecar), "C in front of the lock")
            _write(path, "A")

    def second() -> None:
        with queue.turn(path):
            _write(path, "B")

    with child(HOLDER, path) as holder:
        holder.expect("holding")
        (a,) = lined_up(queue, path, first)
        until(lambda: _waits_in_kernel(sidecar), "A in the kernel")
        with child(_OTHER.replace("other ", "C "), path) as other:
            until(lambda: _waiters_in_kernel(sidecar) == 2, "C at the gate")
            (b,) = lined_up(queue, path, second)
            holder.tell()
            a.result()
            b.result()
            other.finish()
    assert _order(path) == ["A", "C", "B"]


_CONTENDER = """
store = Store(path, queue=PerStoreWriterQueue(timeout=30), durability="process")
def bump(state):
    state[args[0]] = state.get(args[0], 0) + 1
say("ready"); hear()
mine = 0
while not os.path.exists(path + ".stop"):
    store.update(bump)
    mine += 1
say(mine)
"""


def test_eight_processes_in_a_tight_loop_lose_no_update_and_starve_nobody(path: Path) -> None:
    """None of them leaves the race before each has had 20 turns. How even it is, `benchmarks/` measures."""
    store = Store(path)
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(child(_CONTENDER, path, place)) for place in range(8)]
        for process in processes:
            process.expect("ready")
        for process in processes:
            process.tell()
        until(lambda: len(counts := store.read().values()) == 8 and min(counts) >= 20, "20 turns of each process")
        Path(f"{path}.stop").touch()
        counts = [int(process.hear()) for process in processes]
        for process in processes:
            process.finish()
    assert store.read() == {str(place): count for place, count in enumerate(counts)}


_KILLED_LATER = """
store = Store(path, queue=PerStoreWriterQueue(timeout=30), durability="process")
place = 0
while True:
    place += 1
    store.update(lambda state: state.update({args[0]: place}))
    say(place)
"""


def test_processes_killed_at_random_moments_lose_nothing_that_they_acknowledged(path: Path) -> None:
    acknowledged: dict[str, int] = {}
    keeper = Store(path, queue=PerStoreWriterQueue(timeout=20.0), durability="process")
    for round_ in range(6):
        name = f"victim {round_}"
        with child(_KILLED_LATER, path, name) as victim:
            for _ in range(3 + round_):
                last = int(victim.hear())
            keeper.update(lambda state, round_=round_: state.update(keeper=round_))
            victim.kill()
            rest = victim.process.stdout.read().split("\n")  # type: ignore[union-attr]
            complete = [int(line) for line in rest[:-1]]
            acknowledged[name] = complete[-1] if complete else last
        state = keeper.read()
        for known, least in acknowledged.items():
            assert least <= state[known] <= least + 1
        with PerStoreWriterQueue().turn(path, timeout=5):
            pass


def test_readers_see_whole_documents_and_never_a_missing_one(path: Path) -> None:
    """Every document that is ever committed has two equal halves."""
    code = """
store = Store(path, durability="process")
say("ready")
for place in range(100_000):
    if os.path.exists(path + ".stop"):
        break
    store.update(lambda state: state.update(left="x" * (place % 5000), right="x" * (place % 5000)))
say("stopped")
"""
    store = Store(path)
    store.update(lambda state: state.update(left="", right=""))
    with child(code, path) as writer:
        writer.expect("ready")
        for _ in range(2000):
            state = store.read()
            assert state["left"] == state["right"]
            assert path.read_bytes().endswith(b"}\n")
        Path(f"{path}.stop").touch()
        writer.expect("stopped")
        writer.finish()


def test_readers_do_not_wait_for_a_holder(path: Path, run) -> None:
    store = Store(path)
    store.update(lambda state: state.update(x=1))
    with child(HOLDER, path) as holder:
        holder.expect("holding")
        assert store.read() == {"x": 1}
        assert run(AsyncStore(path).read) == {"x": 1}
        holder.tell()
        holder.finish()


_CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
"""A PID namespace of its own (unshare(1)), as a container has."""


def _has_containers() -> bool:
    try:
        return subprocess.run([*_CONTAINER, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


in_containers = pytest.mark.skipif(not _has_containers(), reason="no PID namespaces to be had here")

_ASK = """
try:
    PerStoreWriterQueue(timeout=0, lock=(args or ["flock"])[0]).turn(path).__enter__()
except LockTimeout as error:
    print(error.alive, error.owner and (error.owner.pid, error.owner.label, error.owner.since is not None), error)
"""


@in_containers
@pytest.mark.parametrize("lock", ["flock", "marker", "lease"])
def test_a_holder_outside_the_container_is_named_by_its_record(path: Path, lock: str) -> None:
    with PerStoreWriterQueue(lock=lock).turn(path, label="outside"):  # type: ignore[arg-type]
        told = Child(_ASK, path, lock, prefix=_CONTAINER).output()
    assert told.startswith(f"unknown ({os.getpid()}, 'outside', True)"), told


@in_containers
def test_a_holder_inside_a_container_is_named_by_its_pid_out_here(path: Path) -> None:
    with child(HOLDER, path, "inside", prefix=_CONTAINER) as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout) as caught, PerStoreWriterQueue(timeout=0).turn(path):
            pass
        owner = caught.value.owner
        assert owner is not None
        assert (owner.label, owner.since is not None, owner.strategy) == ("inside", True, "flock")
        assert caught.value.alive == "alive"
        assert owner.pid is not None
        assert Path(f"/proc/{owner.pid}/cmdline").read_bytes().endswith(b"inside\0")
        holder.tell()
        holder.expect("released")
        holder.finish()


@in_containers
def test_a_record_from_another_container_names_nobody_when_the_lock_is_free(path: Path) -> None:
    with child(HOLDER, path, "inside", prefix=_CONTAINER) as holder:
        holder.expect("holding")
        holder.tell()
        holder.expect("released")
        holder.finish()
    assert Flock().owner(str(path)) is None
    # A holder that keeps no record: it must not be taken for the one before it.
    fd = os.open(path.parent / ".state.json.lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        owner = Flock().owner(str(path))
        assert owner is not None
        assert (owner.pid, owner.label) == (os.getpid(), None)
    finally:
        os.close(fd)
