"""A round: several writers and a reader on one store, killed and stopped at random, and then the judgement."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import ledger
import reader
import writer
from clients import next_one_in, violations
from ledger import Ledger, Record
from writer import Fate

from scenarios import STALE, Scenario

WRITERS: Final = 3
_LIFE: Final = (0.03, 0.9)
"""Seconds that most writers live."""
_LONG_LIFE: Final = (0.9, 3.0)
"""Seconds that one in six lives, so that its batches and its line of writers grow."""
_PAUSE: Final = (0.02, 0.3)
"""Seconds that most stops last: a holder of a kernel lock keeps every other writer waiting all the while."""
_LONG_PAUSE: Final = (STALE, 2.5 * STALE)
"""Seconds after which another one may have taken over a lease: half of the stops with leases, else one in six."""
_POINTS: Final = 160
"""A fate at a fault point comes at one of the first so many."""


@attrs.define
class Tally:
    """What was survived."""

    rounds: int = 0
    kills: int = 0
    pauses: int = 0
    points: Counter[str] = attrs.field(factory=Counter[str])
    answered: int = 0
    refused: int = 0
    uncertain: int = 0
    reads: int = 0
    slowest_next: float = 0.0
    """Seconds until the next writer had its turn, at most."""
    wrong: list[str] = attrs.field(factory=list[str])

    def add(self, scenario: Scenario, record: Record, wrong: list[str]) -> None:
        self.rounds += 1
        self.points.update(record.points)
        outcomes = Counter(operation.outcome for operation in record.operations)
        self.answered += outcomes["answered"]
        self.refused += outcomes["refused"]
        self.uncertain += outcomes["uncertain"]
        self.reads += record.reads
        self.wrong.extend(f"{scenario}: {each}" for each in wrong)


@attrs.define
class _Process:
    """A writer that lives."""

    pid: int
    dies: float
    stops: float | None
    continues: float | None = None


class Round:
    """One round, in a folder of its own."""

    def __init__(self, scenario: Scenario, folder: Path, rng: random.Random, tally: Tally) -> None:
        self._scenario = scenario
        self._folder = folder
        self._store = folder / "store"
        self._store.mkdir(parents=True)
        self._path = self._store / "state.json"
        self._rng = rng
        self._tally = tally
        self._started = 0
        self._living: dict[int, _Process] = {}

    def run(self, seconds: float) -> list[str]:
        """Torture, then judge. Returns what is wrong, in words; the folder stays if that is anything."""
        next_one_in(self._scenario, self._path)
        eyes = self._fork(lambda notes: reader.run(self._path, notes))
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                while len(self._living) < WRITERS:
                    self._start()
                self._wait(min(end, *(self._due(process) for process in self._living.values())))
                self._act()
        finally:
            for process in self._living.values():
                os.kill(process.pid, signal.SIGKILL)
                self._tally.kills += 1
                os.waitpid(process.pid, 0)
            os.kill(eyes, signal.SIGTERM)
            os.waitpid(eyes, 0)
        return self._judge()

    def _judge(self) -> list[str]:
        record = ledger.read(sorted(self._folder.glob("*.ledger")))
        wrong = list(violations(self._scenario, self._path, record))
        began = time.monotonic()
        try:
            next_one_in(self._scenario, self._path)
        except Exception as error:  # noqa: BLE001 - the promise is that there is none
            wrong.append(f"the next writer: {type(error).__name__}: {error}")
        self._tally.slowest_next = max(self._tally.slowest_next, time.monotonic() - began)
        known = {"state.json", *(f".state.json.{end}" for end in ("lock", "tmp", "marker", "guard"))}
        litter = {name for name in os.listdir(self._store) if name not in known and not _is_of_a_lease(name)}
        if litter:
            wrong.append(f"left behind: {sorted(litter)}")
        self._tally.add(self._scenario, record, wrong)
        if not wrong:
            shutil.rmtree(self._folder)
        return wrong

    def _fork(self, body: Callable[[Ledger], None]) -> int:
        self._started += 1
        notes = Ledger(self._folder / f"{self._started}.ledger")
        pid = os.fork()
        if pid:
            notes.close()
            return pid
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            body(notes)
        except BaseException:  # noqa: BLE001 - noted for the referee
            notes.note("w", traceback.format_exc())
        finally:
            os._exit(0)

    def _start(self) -> None:
        fate = self._fate()
        name = f"w{self._started}"
        pid = self._fork(lambda notes: writer.run(self._scenario, self._path, name, notes, fate))
        now = time.monotonic()
        stops = now + self._rng.uniform(*_LIFE) if self._rng.random() < 0.25 else None
        life = self._rng.uniform(*(_LONG_LIFE if self._rng.random() < 1 / 6 else _LIFE))
        self._living[pid] = _Process(pid, now + life + (0.3 if fate else 0.0), stops)

    def _fate(self) -> Fate | None:
        chance = self._rng.random()
        if chance < 0.4:
            return Fate("kill", self._rng.randrange(1, _POINTS))
        if chance < 0.55:
            return Fate("stop", self._rng.randrange(1, _POINTS))
        return None

    def _due(self, process: _Process) -> float:
        if process.continues is not None:
            return process.continues
        return process.dies if process.stops is None else min(process.dies, process.stops)

    def _wait(self, until: float) -> None:
        """Until then, or until something has become of a writer."""
        signal.sigtimedwait({signal.SIGCHLD}, max(0.0, until - time.monotonic()))
        for pid in list(self._living):
            ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if not ended:
                continue
            if os.WIFSTOPPED(status):
                self._stopped(self._living[pid])
            else:
                del self._living[pid]
                self._tally.kills += os.WIFSIGNALED(status)

    def _stopped(self, process: _Process) -> None:
        self._tally.pauses += 1
        process.stops = None
        process.continues = time.monotonic() + self._pause()
        process.dies = max(process.dies, process.continues + self._rng.uniform(0.0, 0.2))

    def _pause(self) -> float:
        is_long = self._rng.random() < (1 / 2 if self._scenario.strategy == "lease" else 1 / 6)
        return self._rng.uniform(*(_LONG_PAUSE if is_long else _PAUSE))

    def _act(self) -> None:
        now = time.monotonic()
        for process in self._living.values():
            if process.continues is not None:
                if process.continues <= now:
                    process.continues = None
                    os.kill(process.pid, signal.SIGCONT)
            elif process.dies <= now:
                os.kill(process.pid, signal.SIGKILL)
            elif process.stops is not None and process.stops <= now:
                process.stops = None
                os.kill(process.pid, signal.SIGSTOP)


def _is_of_a_lease(name: str) -> bool:
    """A temporary file that a killed holder of a lease has left: the next turn takes it away."""
    return name.startswith(".state.json.tmp.")


@contextlib.contextmanager
def child_signals_blocked():  # type: ignore[no-untyped-def]
    """So that `sigtimedwait` gets them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
