"""Ctrl-C, and what else a signal handler may raise, at every point at which CPython can deliver it
(`helpers/interrupts.py`): nothing stays behind.

One run a point. After each: what was raised came out and nothing else, no lane is left, nothing of the store is open, the
lock is free, the document is the old or the new one, and the next turn begins at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, Literal

import attrs
import pytest

import storewriter
from helpers.interrupts import (
    KINDS,
    Alarm,
    Ended,
    Expired,
    Interrupt,
    Kind,
    Landing,
    Point,
    interrupted,
    interrupted_twice,
    points,
)
from helpers.lines import Worker
from helpers.waiting import until
from storewriter import PerStoreWriterQueue, Store
from storewriter._platform.journals import Journal
from storewriter._platform.system import SYSTEM, System
from storewriter._turns import line, marks
from storewriter.locks import Neighbour, OpenClawLock, ProperLockfile
from storewriter.locks._marker_file import RELEASED

NEIGHBOURS: dict[str, Neighbour] = {"openclaw": OpenClawLock(), "proper-lockfile": ProperLockfile()}
"""Instead of a strategy's name: the default one, with such a lock inside."""

_SOURCE = os.path.dirname(storewriter.__file__)


@attrs.define
class Setting:
    """One fresh store, or two."""

    folder: Path
    lock: str = "flock"
    both: bool = False
    durability: Literal["power", "process"] = "process"
    system: System = SYSTEM
    queue: PerStoreWriterQueue = attrs.field(init=False)
    store: Store[dict[str, Any]] = attrs.field(init=False)
    workers: list[Worker] = attrs.field(init=False, factory=list)
    is_closed: bool = False
    """Whether no marker can be removed from the folder."""
    kept: list[object] = attrs.field(init=False, factory=list)
    """What the operation's caller still has when it is over."""

    def __attrs_post_init__(self) -> None:
        also = NEIGHBOURS.get(self.lock)
        self.queue = PerStoreWriterQueue(lock="flock" if also else self.lock, also=also, timeout=20.0)  # type: ignore[arg-type]
        path = self.folder / "a.json"
        self.store = Store(path, queue=self.queue, durability=self.durability, system=self.system)

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name in (["a.json", "b.json"] if self.both else ["a.json"])]

    def write(self, text: str) -> None:
        (self.folder / "a.json").write_text(text)

    def left_open(self) -> list[str]:
        """Files of the store that are open."""
        found = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{name}").removesuffix(" (deleted)")
                if target == str(self.folder) or target.startswith(f"{self.folder}/"):
                    found.append(target)
        return found

    def faults(self) -> list[str]:
        """What is not as it should be."""
        found = [f"lane of {os.path.basename(key)}" for key in line.lanes if key.startswith(f"{self.folder}/")]
        found += ["the mark of a step"] if marks.inside.get(threading.get_ident()) else []
        found += [f"open {os.path.basename(name)}" for name in self.left_open()]
        found += [f"left {file.name}" for pattern in (".*.marker", "a.json.lock") for file in self.folder.glob(pattern)]
        found += [f"locked {file.name}" for file in self.folder.glob(".*.lock") if not _is_free(file)]
        if not found:
            try:
                with self.queue.turn(*self.paths, timeout=0):
                    pass
            except Exception as error:  # noqa: BLE001 - told with the place
                found.append(f"next turn: {error!r}")
        return found


def _is_free(file: Path) -> bool:
    with open(file, "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def turn(setting: Setting) -> None:
    with setting.queue.turn(*setting.paths):
        pass


def update(setting: Setting) -> None:
    setting.store.update(_count)


def transaction(setting: Setting) -> None:
    with setting.store.transaction() as tx:
        _count(tx.state)


def kept_transaction(setting: Setting) -> None:
    with setting.store.transaction() as tx:
        setting.kept.append(tx)


def recover(setting: Setting) -> None:
    setting.store.recover()


def _count(state: dict[str, Any]) -> None:
    state["n"] = state.get("n", 0) + 1


Operation = Callable[[Setting], None]


def ours(*operations: Operation) -> Callable[[CodeType], bool]:
    """The code in which interrupts are tried: the package, what it is woven with, and the operation's own frame."""
    codes = {operation.__code__ for operation in operations}

    def inside(code: CodeType) -> bool:
        name = code.co_filename
        return name.startswith((_SOURCE, "<attrs")) or name.endswith("/contextlib.py") or code in codes

    return inside


@pytest.fixture
def swallowed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Interrupts that arrived where they cannot be caught: in a destructor or a callback."""
    found: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda it: found.append(f"swallowed in {it.object!r}: {it.exc_value!r}"))
    return found


class Runs:
    """Fresh settings, one after the other, and what was wrong with them."""

    def __init__(
        self, folder: Path, swallowed: list[str], make: Callable[[Path], Setting], kind: Kind = Interrupt
    ) -> None:
        self.kind = kind
        self._folder = folder
        self._swallowed = swallowed
        self._make = make
        self._number = 0
        self.wrong: list[str] = []
        self.fired = 0

    def setting(self) -> Setting:
        self._number += 1
        folder = self._folder / str(self._number)
        folder.mkdir()
        return self._make(folder)

    def points(self, operation: Operation) -> list[Point]:
        operation(self.setting())  # what is imported or examined once
        setting = self.setting()
        return points(lambda: operation(setting), ours(operation))

    def judge(self, setting: Setting, landing: Landing, *more: str) -> None:
        if landing.kind is not None:
            self.fired += 1
        faults = [*setting.faults(), *more, *self._swallowed]
        self._swallowed.clear()
        if landing.kind not in (self.kind.__name__, None):
            faults.append(f"{landing.kind} instead of the interrupt")
        if faults:
            self.wrong.append(f"{landing.place}: {'; '.join(faults)}")


def _damaged(folder: Path) -> Setting:
    setting = Setting(folder)
    setting.write('{"n": ')
    return setting


def _document_faults(setting: Setting, landing: Landing, operation: Operation) -> list[str]:
    if operation in (turn, recover):
        return []
    allowed = [{"n": 1}] if landing.kind is None else [{}, {"n": 1}]
    state = setting.store.read()
    return [] if state in allowed else [f"the document is {state}"]


CASES = [
    *((operation, lock, Ended) for lock in ("flock", "none") for operation in (turn, update, transaction)),
    (recover, "flock", Ended),
    *((operation, lock, Ended) for lock in NEIGHBOURS for operation in (turn, update)),
    *((operation, "flock", kind) for operation in (turn, update, transaction, recover) for kind in KINDS),
    *((operation, lock, Interrupt) for lock in ("none", "marker", "lease") for operation in (turn, update)),
    *((operation, lock, Expired) for lock in ("none", "marker", "lease") for operation in (turn, update)),
    *((operation, lock, kind) for lock in NEIGHBOURS for operation in (turn, update) for kind in (Interrupt, Expired)),
]


@pytest.mark.parametrize(("operation", "lock", "kind"), CASES)
def test_wherever_an_interrupt_arrives_nothing_is_left_behind(
    operation: Operation, lock: str, kind: Kind, tmp_path: Path, swallowed: list[str]
) -> None:
    def make(folder: Path) -> Setting:
        return _damaged(folder) if operation is recover else Setting(folder, lock)

    _try_everywhere(Runs(tmp_path, swallowed, make, kind), operation)


@pytest.mark.parametrize("operation", [update, transaction])
@pytest.mark.parametrize("ordered", [False, True], ids=["the folder is flushed", "the file is flushed"])
@pytest.mark.parametrize("kind", KINDS)
def test_with_flushes_too(
    operation: Operation,
    ordered: bool,
    kind: Kind,
    tmp_path: Path,
    swallowed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = attrs.evolve(SYSTEM, journal=lambda device: Journal.ORDERED if ordered else Journal.OTHER)
    monkeypatch.setattr(System, "flush", staticmethod(lambda fd: os.fstat(fd)))  # thousands of runs
    monkeypatch.setattr(System, "flush_folder", staticmethod(lambda fd: os.fstat(fd)))
    monkeypatch.setattr(System, "write_out", staticmethod(lambda fd: os.fstat(fd) is not None))

    def make(folder: Path) -> Setting:
        setting = Setting(folder, durability="power", system=system)
        setting.write("{}")
        return setting

    _try_everywhere(Runs(tmp_path, swallowed, make, kind), operation)


def _try_everywhere(runs: Runs, operation: Operation) -> None:
    tried = runs.points(operation)
    for point in tried:
        setting = runs.setting()
        landing = interrupted(lambda setting=setting: operation(setting), point, kind=runs.kind)  # type: ignore[misc]
        runs.judge(setting, landing, *_document_faults(setting, landing, operation))
    assert not runs.wrong, "\n".join(runs.wrong)
    assert runs.fired > 0.9 * len(tried) > 35


@pytest.mark.parametrize("lock", ["flock", "marker"])
def test_with_two_stores_neither_is_left_behind(lock: str, tmp_path: Path, swallowed: list[str]) -> None:
    runs = Runs(tmp_path, swallowed, lambda folder: Setting(folder, lock, both=True))
    for point in runs.points(turn):
        setting = runs.setting()
        runs.judge(setting, interrupted(lambda setting=setting: turn(setting), point))  # type: ignore[misc]
    assert not runs.wrong, "\n".join(runs.wrong)


def test_a_transaction_ends_although_its_user_still_has_it(tmp_path: Path, swallowed: list[str]) -> None:
    """`tx` is a variable, and may outlive the interrupt that left its block."""
    runs = Runs(tmp_path, swallowed, Setting)
    for point in runs.points(kept_transaction):
        setting = runs.setting()
        landing = interrupted(lambda setting=setting: kept_transaction(setting), point)  # type: ignore[misc]
        runs.judge(setting, landing)
    assert not runs.wrong, "\n".join(runs.wrong)


@pytest.mark.parametrize("operation", [turn, update, transaction, recover])
def test_the_turn_ends_before_the_interrupt_comes_out_but_for_the_first_instant_of_an_exit(
    operation: Operation, tmp_path: Path, swallowed: list[str]
) -> None:
    """So the code that catches it can wait for the waiters of the turn. `__exit__` itself cannot begin inside a `try`."""
    runs = Runs(tmp_path, swallowed, Setting)
    late: set[str] = set()

    def look(landing: Landing) -> None:
        if line.lanes:
            late.add(landing.place.partition(" ")[2])

    for point in runs.points(operation):
        setting = runs.setting()
        interrupted(lambda setting=setting: operation(setting), point, look)  # type: ignore[misc]
    exits = {turn: "TurnRequest.__exit__", transaction: "Transaction.__exit__"}
    assert late == ({exits[operation]} if operation in exits else set())


@pytest.mark.parametrize("operation", [turn, update, transaction])
def test_a_second_interrupt_while_the_first_is_being_dealt_with_changes_nothing(
    operation: Operation, tmp_path: Path, swallowed: list[str]
) -> None:
    """The second one itself may be swallowed: one comes out."""
    runs = Runs(tmp_path, swallowed, Setting)
    for place, point in enumerate(runs.points(operation)):
        for more in range(3):
            setting = runs.setting()
            later = 1 + (place * 7919 + more * 3571) % 300  # spread over what follows, the same at every run
            landing = interrupted_twice(
                lambda setting=setting: operation(setting),  # type: ignore[misc]
                point,
                ours(operation),
                later,
            )
            swallowed.clear()
            runs.judge(setting, landing)
    assert not runs.wrong, "\n".join(runs.wrong)


def in_a_folder_that_closes(setting: Setting) -> None:
    """A turn, at whose end its marker cannot be removed any more."""
    with setting.queue.turn(*setting.paths):
        setting.is_closed = True


@pytest.mark.parametrize("lock", ["marker", "lease"])
def test_a_marker_that_cannot_be_removed_is_given_back_wherever_an_interrupt_arrives(
    lock: str, tmp_path: Path, swallowed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(tmp_path, swallowed, lambda folder: Setting(folder, lock))
    unlink = Path.unlink

    def refuse(file: Path, missing_ok: bool = False) -> None:
        if setting.is_closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        unlink(file, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    setting = Setting(tmp_path)
    stayed = 0
    in_a_folder_that_closes(setting)
    setting = runs.setting()
    for point in points(lambda: in_a_folder_that_closes(setting), ours(in_a_folder_that_closes)):
        setting = runs.setting()
        landing = interrupted(lambda: in_a_folder_that_closes(setting), point)
        setting.is_closed = False
        beating = [f"{thread.name} beats on" for thread in threading.enumerate() if "filelock" in thread.name]
        for file in setting.folder.glob(".*.marker"):
            if file.read_bytes() == RELEASED:
                file.unlink()
                stayed += 1
        runs.judge(setting, landing, *beating)
    assert not runs.wrong, "\n".join(runs.wrong)
    assert stayed > 35


# -- with others in line ----------------------------------------------------------------------------------------------


def holding(setting: Setting) -> None:
    """A turn, behind which a ticket waits in line before it ends."""
    with setting.queue.turn(*setting.paths):
        _line_up(setting, lambda: setting.store.update(_count))


def _line_up(setting: Setting, call: Callable[[], object]) -> None:
    before = setting.queue.pending(setting.paths[0])
    setting.workers.append(Worker(call))
    until(lambda: setting.queue.pending(setting.paths[0]) > before, "somebody in line")


@pytest.mark.parametrize(
    ("lock", "kind"), [("flock", Interrupt), ("flock", Alarm), ("none", Expired), ("marker", Interrupt)]
)
def test_an_interrupted_holder_hands_on_to_the_next_in_line(
    lock: str, kind: Kind, tmp_path: Path, swallowed: list[str]
) -> None:
    runs = Runs(tmp_path, swallowed, lambda folder: Setting(folder, lock), kind)
    for point in runs.points(holding):
        setting = runs.setting()
        landing = interrupted(lambda setting=setting: holding(setting), point, kind=kind)  # type: ignore[misc]
        for worker in setting.workers:
            worker.result()
        came = len(setting.workers)
        state = setting.store.read()
        runs.judge(
            setting, landing, *([] if state.get("n", 0) == came else [f"{came} came, and the document is {state}"])
        )
    assert not runs.wrong, "\n".join(runs.wrong)


@contextlib.contextmanager
def _in_line(
    setting: Setting, before: list[Callable[[], object]], behind: list[Callable[[], object]]
) -> Iterator[None]:
    """A turn is held until the caller, and the others before it and behind it, stand in line."""
    has_it, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with setting.queue.turn(*setting.paths):
            for follower in before:
                _line_up(setting, follower)
            has_it.set()
            until(lambda: setting.queue.pending(setting.paths[0]) > len(before) or ended.is_set(), "the caller in line")
            for follower in behind:
                if ended.is_set():
                    setting.workers.append(Worker(follower))
                else:
                    _line_up(setting, follower)

    holder = Worker(hold)
    until(lambda: has_it.is_set() or holder.error is not None, "a held turn")
    try:
        yield
    finally:
        ended.set()
        holder.result()


@pytest.mark.parametrize("kind", [*KINDS, Ended])
def test_an_interrupted_waiter_leaves_the_line_wherever_it_stands(
    kind: Kind, tmp_path: Path, swallowed: list[str]
) -> None:
    runs = Runs(tmp_path, swallowed, Setting, kind)

    def waiting(setting: Setting) -> None:
        with setting.queue.turn(*setting.paths):
            pass

    def run(setting: Setting, call: Callable[[], Any]) -> Any:
        with _in_line(setting, [], []):
            return call()

    first = runs.setting()
    tried: list[Point] = run(first, lambda: points(lambda: waiting(first), ours(waiting)))
    for point in tried:
        setting = runs.setting()
        landing = run(setting, lambda s=setting, p=point: interrupted(lambda: waiting(s), p, kind=kind))
        runs.judge(setting, landing)
    assert not runs.wrong, "\n".join(runs.wrong)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("kind", [*KINDS, Ended])
def test_the_others_in_an_interrupted_batch_are_applied_once_and_told_so(
    place: str, kind: Kind, tmp_path: Path, swallowed: list[str]
) -> None:
    """Wherever in the batch the interrupted thread stands: the first hands it on, the last one saves it."""
    runs = Runs(tmp_path, swallowed, Setting, kind)

    def run(setting: Setting, call: Callable[[], Any]) -> Any:
        def follow(name: str) -> Callable[[], object]:
            def add(state: dict[str, Any]) -> None:
                state[name] = state.get(name, 0) + 1

            return lambda: setting.store.update(add)

        others = [follow("b"), follow("c")]
        before = {"first": 0, "middle": 1, "last": 2}[place]
        with _in_line(setting, others[:before], others[before:]):
            return call()

    first = runs.setting()
    tried: list[Point] = run(first, lambda: points(lambda: update(first), ours(update)))
    for point in tried:
        setting = runs.setting()
        landing = run(setting, lambda s=setting, p=point: interrupted(lambda: update(s), p, kind=kind))
        for worker in setting.workers:
            worker.wait()
        state = setting.store.read()
        wrong = [] if state.get("n", 0) in (0, 1) else [f"its own function was applied {state['n']} times"]
        for name, worker in zip("bc", setting.workers, strict=True):
            if worker.error is not None:
                wrong.append(f"a neighbour was told {worker.error!r}")
            if state.get(name, 0) != 1:
                wrong.append(f"{name} was applied {state.get(name, 0)} times")
        runs.judge(setting, landing, *wrong)
    assert not runs.wrong, "\n".join(runs.wrong)
    assert len(tried) > 50  # how many there are is CPython's choice: 98 in the middle with 3.13
