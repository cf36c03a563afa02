"""What every strategy keeps, a user's own included: the contract of `storewriter.locks.Strategy` and `Hold`."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import attrs
import pytest

from helpers.waiting import until
from storewriter import AsyncStore, LockTimeout, Owner, PerStoreWriterQueue, Store
from storewriter.locks import Flock, Hold, InProcess, Lease, Marker, Strategy, WaitingStrategy, named


# The example of docs/strategies.md: exclusion by a folder, which any file system can make exclusively.
@attrs.frozen
class Folder:
    """The lock is a folder beside the store; its creator holds it. A dead holder's stays."""

    name = "folder"
    is_quick = False

    def attempt(self, path: str, label: str | None) -> FolderHold | None:
        try:
            os.mkdir(f"{path}.locked")
        except FileExistsError:
            return None
        return FolderHold(path)

    def owner(self, path: str) -> Owner | None:
        return None


@attrs.define
class FolderHold:
    path: str
    token: str | None = None  # it is never taken over: there is never a successor beside it

    def may_pass(self) -> bool:
        return False

    def check(self) -> None:
        os.stat(f"{self.path}.locked")

    @contextlib.contextmanager
    def fence(self) -> Iterator[None]:
        self.check()
        yield

    def describe(self, label: str | None) -> None:
        pass

    def release(self) -> None:
        os.rmdir(f"{self.path}.locked")


EXCLUDING = [Flock(), Marker(), Lease(stale=60.0), Folder()]
EVERY = [*EXCLUDING, InProcess()]


def called(strategy: Strategy) -> str:
    return strategy.name


def taken(strategy: Strategy, path: str) -> Hold:
    hold = strategy.attempt(path, None)
    assert hold is not None
    return hold


@pytest.mark.parametrize("strategy", EVERY, ids=called)
def test_a_free_store_is_had_at_the_first_attempt_and_again_after_the_release(strategy: Strategy, path: str) -> None:
    taken(strategy, path).release()
    taken(strategy, path).release()


@pytest.mark.parametrize("strategy", EXCLUDING, ids=called)
def test_a_release_is_one_although_a_child_has_copies_of_the_descriptors(strategy: Strategy, path: str) -> None:
    """Between fork and exec: the kernel's lock would stay until the last copy is closed."""
    hold = taken(strategy, path)
    copies = [os.dup(int(name)) for name in os.listdir("/proc/self/fd") if _is_lock_file(name, path)]
    hold.release()
    taken(strategy, path).release()
    for copy in copies:
        os.close(copy)


def _is_lock_file(descriptor: str, path: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(os.path.dirname(path))
    except OSError:
        return False  # that of the listing


@pytest.mark.parametrize("strategy", EXCLUDING, ids=called)
def test_an_attempt_on_a_held_store_ends_at_once_with_nothing(strategy: Strategy, path: str) -> None:
    hold = taken(strategy, path)
    assert strategy.attempt(path, None) is None
    hold.release()


@pytest.mark.parametrize("strategy", EVERY, ids=called)
def test_a_hold_may_be_checked_fenced_and_described_as_often_as_one_likes(strategy: Strategy, path: str) -> None:
    hold = taken(strategy, path)
    for label in ("this", None, "that"):
        hold.check()
        with hold.fence():
            hold.check()
        hold.describe(label)
    hold.release()


@pytest.mark.parametrize("strategy", EVERY, ids=called)
def test_an_error_inside_the_fence_passes_through_and_leaves_the_hold(strategy: Strategy, path: str) -> None:
    hold = taken(strategy, path)
    with pytest.raises(ZeroDivisionError), hold.fence():
        raise ZeroDivisionError
    hold.check()
    hold.release()


@pytest.mark.parametrize("strategy", EVERY, ids=called)
def test_two_stores_in_one_folder_have_nothing_to_do_with_each_other(strategy: Strategy, path: str) -> None:
    one, other = taken(strategy, path), taken(strategy, f"{path}.other")
    one.release()
    other.check()
    other.release()


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease()], ids=called)
def test_missing_folders_are_made_and_closed_to_others(strategy: Strategy, path: str) -> None:
    deep = f"{path}.d/a/b/state.json"
    taken(strategy, deep).release()
    for folder in (f"{path}.d", f"{path}.d/a", f"{path}.d/a/b"):
        assert os.stat(folder).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease()], ids=called)
def test_every_lock_file_is_its_owners_alone(strategy: Strategy, path: str) -> None:
    before = os.umask(0)
    try:
        hold = taken(strategy, path)
    finally:
        os.umask(before)
    for file in Path(path).parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
    hold.release()


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease()], ids=called)
def test_the_holder_is_named_with_what_it_does(strategy: Strategy, path: str) -> None:
    hold = taken(strategy, path)
    hold.describe("the nightly digest")
    owner = strategy.owner(path)
    assert owner is not None
    assert (owner.pid, owner.label, owner.strategy) == (os.getpid(), "the nightly digest", strategy.name)
    assert owner.since is not None
    hold.release()
    assert strategy.owner(path) is None


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease()], ids=called)
def test_a_release_leaves_no_descriptor_no_thread_and_no_marker(strategy: Strategy, path: str) -> None:
    threads = threading.active_count()
    taken(strategy, path).release()
    descriptors = set(os.listdir("/proc/self/fd"))
    taken(strategy, path).release()
    assert set(os.listdir("/proc/self/fd")) == descriptors
    until(lambda: threading.active_count() == threads, "the end of all threads")
    kept = {".state.json.lock", ".state.json.guard"} if strategy.name == "lease" else {".state.json.lock"}
    assert {file.name for file in Path(path).parent.iterdir()} == kept


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease()], ids=called)
def test_a_hold_that_is_dropped_is_given_back(strategy: Strategy, path: str) -> None:
    hold = taken(strategy, path)
    del hold
    taken(strategy, path).release()


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease()], ids=called)
def test_a_hold_is_released_once(strategy: Strategy, path: str) -> None:
    hold = taken(strategy, path)
    hold.release()
    with pytest.raises(RuntimeError, match="already released"):
        hold.release()


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease()], ids=called)
def test_a_link_in_the_place_of_a_lock_file_is_never_followed(strategy: Strategy, path: str) -> None:
    folder = Path(path).parent
    victim = folder / "somebody's file"
    victim.write_text("precious")
    for name in (".state.json.lock", ".state.json.marker"):
        (folder / name).symlink_to(victim)
    with contextlib.suppress(OSError):
        hold = strategy.attempt(path, None)
        if hold is not None:
            hold.release()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease()], ids=called)
def test_a_hard_link_in_the_place_of_the_sidecar_is_refused_and_not_written_through(
    strategy: Strategy, path: str
) -> None:
    folder = Path(path).parent
    victim = folder / "somebody's file"
    victim.write_text("precious")
    (folder / ".state.json.lock").hardlink_to(victim)
    ways = [strategy.attempt]
    if isinstance(strategy, WaitingStrategy):
        ways.append(strategy.wait)
    for way in ways:
        with pytest.raises(OSError, match=r"\.state\.json\.lock has another name") as caught:
            way(path, "mine")
        assert caught.value.errno == errno.EMLINK
    assert victim.read_text() == "precious"
    (folder / ".state.json.lock").unlink()
    taken(strategy, path).release()


@pytest.mark.parametrize("strategy", EXCLUDING, ids=called)
def test_of_many_threads_that_attempt_at_once_one_gets_in(strategy: Strategy, path: str) -> None:
    holds: list[Hold] = []
    together = threading.Barrier(8)

    def attempt() -> None:
        together.wait()
        hold = strategy.attempt(path, None)
        if hold is not None:
            holds.append(hold)

    for _ in range(10):
        threads = [threading.Thread(target=attempt) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(holds) <= 1
        while holds:
            holds.pop().release()


@pytest.mark.parametrize("strategy", EVERY, ids=called)
def test_threads_count_together_through_a_store(strategy: Strategy, path: str) -> None:
    store = Store(path, lambda: {"n": 0}, durability="process", queue=PerStoreWriterQueue(lock=strategy))

    def add() -> None:
        for _ in range(5):
            store.update(lambda state: state.update(n=state["n"] + 1))

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read() == {"n": 30}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("strategy", EVERY, ids=called)
def test_tasks_count_together_through_a_store(strategy: Strategy, path: str, backend: str) -> None:
    async def main() -> None:
        store = AsyncStore(path, lambda: {"n": 0}, durability="process", queue=PerStoreWriterQueue(lock=strategy))

        async def add() -> None:
            async with store.transaction() as tx:
                tx.state["n"] += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(add)
        assert await store.read() == {"n": 20}

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("strategy", [Marker(), Lease(), Folder()], ids=called)
def test_an_attempt_of_a_strategy_that_is_not_quick_never_runs_on_the_event_loop(strategy: Strategy, path: str) -> None:
    assert not strategy.is_quick
    ran: list[int] = []

    @attrs.frozen
    class Watched:
        name = strategy.name
        is_quick = strategy.is_quick

        def attempt(self, path: str, label: str | None) -> Hold | None:
            ran.append(threading.get_ident())
            return strategy.attempt(path, label)

        def owner(self, path: str) -> Owner | None:
            return strategy.owner(path)

    async def main() -> None:
        async with PerStoreWriterQueue(lock=Watched()).turn(path):
            pass

    anyio.run(main)
    assert ran
    assert threading.get_ident() not in ran


@pytest.mark.parametrize("strategy", EXCLUDING, ids=called)
def test_a_wait_that_is_too_long_ends_with_a_timeout_and_leaves_the_store_usable(strategy: Strategy, path: str) -> None:
    hold = taken(strategy, path)
    queue = PerStoreWriterQueue(lock=strategy, timeout=0.05)
    with pytest.raises(LockTimeout), queue.turn(path):
        pass
    hold.release()
    with queue.turn(path, timeout=10.0):
        pass


def test_strategies_are_values_and_go_by_name() -> None:
    assert named("marker") == Marker()
    assert named("lease") == Lease(stale=60.0)
    assert named("none") == InProcess()
    assert hash(named("none")) == hash(InProcess())
    assert Lease(stale=60.0) != Lease(stale=30.0)
    assert Flock(untrusted="refuse") == Flock()
    with pytest.raises(ValueError, match="'marker', 'lease'"):
        named("markers")  # type: ignore[arg-type]


@pytest.mark.parametrize("stale", [0, -1.0, float("nan"), float("inf"), True, "60"])
def test_a_lease_needs_a_term(stale: object) -> None:
    with pytest.raises(ValueError, match="stale"):
        Lease(stale=stale)  # type: ignore[arg-type]
