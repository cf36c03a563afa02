"""Several processes on one file: the gateway daemon and the command line, some of them killed or stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commitments_support import Child, record, run_cli, stored

from commitments import CommitmentsStore
from storewriter import LockTimeout

Write = Callable[..., Path]
Start = Callable[[Path], Child]

ROUNDS = 100


def test_s1_in_two_processes_disjoint_dismissals_all_persist(write: Write, start_child: Start) -> None:
    ours, theirs = ([f"{side}{number}" for number in range(ROUNDS)] for side in "ab")
    path = write(*[record(id_) for pair in zip(ours, theirs, strict=True) for id_ in pair])
    first, second = start_child(path), start_child(path)
    first.tell("dismiss", *ours)
    second.tell("dismiss", *theirs)
    assert (first.answer(), second.answer()) == (ours, theirs)
    assert {each["status"] for each in stored(path).values()} == {"dismissed"}


def test_s2_in_five_processes_every_attempt_counts(write: Write, start_child: Start) -> None:
    path = write(record("a"))
    children = [start_child(path) for _ in range(5)]
    for child in children:
        child.tell("attempt", "a", ROUNDS)
    assert [child.answer() for child in children] == [ROUNDS] * 5
    assert stored(path)["a"]["attempts"] == 5 * ROUNDS


def test_s3_in_two_processes_dismissals_and_attempts_converge(write: Write, start_child: Start) -> None:
    dismissed = [f"d{number}" for number in range(ROUNDS)]
    path = write(record("a"), *[record(id_) for id_ in dismissed])
    first, second = start_child(path), start_child(path)
    first.tell("dismiss", *dismissed)
    second.tell("attempt", "a", ROUNDS)
    assert (first.answer(), second.answer()) == (dismissed, ROUNDS)
    found = stored(path)
    assert found["a"]["attempts"] == ROUNDS
    assert {found[id_]["status"] for id_ in dismissed} == {"dismissed"}


def test_row_17_of_two_processes_exactly_one_ends_each_record(write: Write, start_child: Start) -> None:
    ids = [f"r{number}" for number in range(ROUNDS)]
    path = write(*[record(id_) for id_ in ids])
    first, second = start_child(path), start_child(path)
    first.tell("dismiss", *ids)
    second.tell("sent", *ids)
    dismissed, sent = first.answer(), second.answer()
    assert sorted(dismissed + sent) == sorted(ids)
    for id_, each in stored(path).items():
        assert each["status"] == ("dismissed" if id_ in dismissed else "sent")


def test_the_command_line_and_a_gateway_do_not_undo_each_other(write: Write, start_child: Start) -> None:
    ids = [f"r{number}" for number in range(8)]
    path = write(record("a"), *[record(id_) for id_ in ids])
    gateway = start_child(path)
    gateway.tell("attempt", "a", 600)
    for id_ in ids:
        assert run_cli("dismiss", id_, "--store", str(path)).returncode == 0
    assert gateway.answer() == 600
    assert stored(path)["a"]["attempts"] == 600
    assert {stored(path)[id_]["status"] for id_ in ids} == {"dismissed"}


def test_a_holder_that_is_killed_frees_the_store_at_once(write: Write, start_child: Start) -> None:
    path = write(record("a"))
    holder, waiter = start_child(path), start_child(path)
    assert holder.ask("hold") == "held"
    waiter.tell("dismiss", "a")
    holder.process.kill()
    assert waiter.answer() == ["a"]


def test_a_holder_that_is_stopped_is_never_robbed_and_goes_on_where_it_was(write: Write, start_child: Start) -> None:
    path = write(record("a"), record("b"))
    holder = start_child(path)
    assert holder.ask("hold") == "held"
    os.kill(holder.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LockTimeout, match=str(holder.process.pid)):
            CommitmentsStore(path, timeout=0.05).mark_attempted(["a"])
        done = run_cli("--store", str(path))
        assert done.returncode == 0, "looking needs no lock"
    finally:
        os.kill(holder.process.pid, signal.SIGCONT)
    assert holder.ask("") == "released"
    assert CommitmentsStore(path).mark_attempted(["a"]).changed == ("a",)
    assert holder.ask("dismiss", "b") == ["b"]
    assert (stored(path)["a"]["attempts"], stored(path)["b"]["status"]) == (1, "dismissed")


def test_whoever_waits_behind_a_slow_holder_gets_its_turn(write: Write, start_child: Start) -> None:
    path = write(record("a"), record("b"))
    holder, waiter = start_child(path), start_child(path)
    assert holder.ask("hold") == "held"
    waiter.tell("dismiss", "a", "b")
    assert holder.ask("") == "released"
    assert waiter.answer() == ["a", "b"]


class Turmoil:
    """A gateway and three command-line loops on one store, each killed at random; what they acknowledge is noted."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.acknowledged = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen[str]] = set()
        self.added: list[str] = []
        self.dismissed: list[str] = []
        self.sent: list[str] = []
        self.attempts: dict[str, int] = {}
        self.seen: dict[str, dict[str, Any]] = {}
        self.kills = 0

    def run(self, seconds: float) -> None:
        works = [self.gateway, self.adding, self.dismissing, self.attempting, self.watching, self.killing]
        with ThreadPoolExecutor(len(works)) as threads:
            running = [threads.submit(work) for work in works]
            ended = wait(running, seconds, FIRST_EXCEPTION).done
            while not ended and not self._has_seen_enough():  # a busy machine is given longer
                ended = wait(running, 0.1, FIRST_EXCEPTION).done
            self.over.set()
            while wait(running, 0.05).not_done:
                self._kill_all()
        for each in running:
            each.result()
        self._check_against(stored(self.path))

    def _has_seen_enough(self) -> bool:
        with self.lock:
            return self.kills > 2 and len(self.added) > 2 and bool(self.sent and self.attempts)

    def _kill_all(self) -> None:
        with self.lock:
            for process in self.running:
                process.kill()

    def gateway(self) -> None:
        """Delivers what is due, over and over; its lines are what it did."""
        script = Path(__file__).with_name("commitments_gateway.py")
        while not self.over.is_set():
            with self._process([sys.executable, str(script), str(self.path)]) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if not line.endswith("\n"):
                        break  # killed while writing: not acknowledged
                    self._note(*json.loads(line))

    def adding(self) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            options = ["--agent", "main", "--session", "s", "--channel", "telegram", "--reason", "r", "--due", "+0s"]
            done = self._command("add", *options, "--text", "t", "--key", f"k{number}")
            for id_ in done.get("created", []):
                self._note("added", id_, 0)

    def dismissing(self) -> None:
        while not self.over.is_set():
            for id_ in self._command("dismiss", self._some_id()).get("dismissed", []):
                self._note("dismissed", id_, 0)

    def attempting(self) -> None:
        while not self.over.is_set():
            for id_ in self._command("attempt", self._some_id()).get("attempted", []):
                self._note("attempted", id_, 1)

    def watching(self) -> None:
        """At every moment the file is whole, and nothing in it goes back."""
        while not self.over.wait(0.002):
            now = stored(self.path)
            assert now.keys() >= self.seen.keys()
            for id_, before in self.seen.items():
                assert now[id_]["attempts"] >= before["attempts"]
                if before["status"] in ("sent", "dismissed"):
                    assert now[id_]["status"] == before["status"]
            self.seen = now

    def killing(self) -> None:
        """Kill one at random, some acknowledgements after the last: however slow the machine, work gets done."""
        while not self.over.is_set():
            for _ in range(self.random.randint(1, 5)):
                while not self.acknowledged.acquire(timeout=0.1):
                    if self.over.is_set():
                        return
            self.over.wait(self.random.uniform(0, 0.1))
            with self.lock:
                victims = sorted(self.running, key=lambda process: process.pid)
            if victims:
                self.random.choice(victims).kill()
                self.kills += 1

    def _some_id(self) -> str:
        with self.lock:
            return self.random.choice(self.added) if self.added else "nobody"

    def _command(self, *arguments: str) -> dict[str, Any]:
        """Run the command line; what it reports if it lived to report it."""
        with self._process(
            [sys.executable, "-m", "commitments", *arguments, "--json", "--store", str(self.path)]
        ) as process:
            out, err = process.communicate()
        assert process.returncode in (0, 1, -signal.SIGKILL), err
        return json.loads(out) if process.returncode in (0, 1) else {}

    @contextmanager
    def _process(self, command: list[str]) -> Iterator[subprocess.Popen[str]]:
        """A process that may be killed while it runs."""
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            with self.lock:
                self.running.add(process)
            try:
                yield process
            finally:
                with self.lock:
                    self.running.discard(process)
                process.kill()

    def _note(self, what: str, id_: str, count: int) -> None:
        with self.lock:
            if what == "attempted":
                self.attempts[id_] = self.attempts.get(id_, 0) + count
                if id_ == "pulse":
                    return  # too many to be killed for
            else:
                {"added": self.added, "dismissed": self.dismissed, "sent": self.sent}[what].append(id_)
        self.acknowledged.release()

    def _check_against(self, final: dict[str, dict[str, Any]]) -> None:
        assert len(self.sent) == len(set(self.sent)), "sent twice"
        assert final.keys() >= set(self.added)
        assert {final[id_]["status"] for id_ in self.dismissed} <= {"dismissed"}
        assert {final[id_]["status"] for id_ in self.sent} <= {"sent"}
        for id_, count in self.attempts.items():
            assert final[id_]["attempts"] >= count


@pytest.mark.parametrize("seconds", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_whoever_is_killed_when_every_acknowledged_change_is_there_and_nothing_comes_back(
    write: Write, seconds: int
) -> None:
    Turmoil(write(record("pulse", status="dismissed")), seed=seconds).run(seconds)
