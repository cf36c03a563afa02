"""Connections, servers and writers that are killed in the middle: nothing acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from helpers.children import Child
from helpers.postgres_server import Server
from helpers.waiting import until
from storewriter import Store
from storewriter.postgres import Postgres
from storewriter.postgres._asking import Question, has_happened
from storewriter.postgres._statements import new_commit_id

HAMMER = str(Path(__file__).with_name("hammer.py"))


class Hammers:
    """Writers of one document, and what they were told."""

    def __init__(self, url: str, folder: Path, count: int, *, silence: float = 30.0) -> None:
        self._url, self._folder, self._silence = url, folder, silence
        self._started = 0
        self._alive = [self._start() for _ in range(count)]
        for writer in self._alive:
            writer.expect("ready")

    def _start(self) -> Child:
        self._started += 1
        log = self._folder / f"w{self._started}.log"
        words = [sys.executable, HAMMER, self._url, f"w{self._started}", str(log), str(self._silence)]
        return Child.of(words)

    @property
    def answers(self) -> list[tuple[str, str, int]]:
        lines = [line.split() for log in sorted(self._folder.glob("w*.log")) for line in log.read_text().splitlines()]
        return [(caller, what, int(number)) for caller, what, number in lines]

    def go_on(self, more: int = 20) -> None:
        """Return when some more updates were acknowledged."""
        before = self.acknowledged
        until(lambda: self.acknowledged >= before + more or self.broken, "more updates")

    @property
    def acknowledged(self) -> int:
        return sum(log.read_bytes().count(b" done ") for log in self._folder.glob("w*.log"))

    @property
    def broken(self) -> bool:
        return any(b" Broken " in log.read_bytes() for log in self._folder.glob("w*.log"))

    def kill_one(self, dice: random.Random) -> None:
        """SIGKILL, and another one in its place."""
        writer = self._alive.pop(dice.randrange(len(self._alive)))
        writer.kill()
        writer.close()
        self._alive.append(self._start())
        self._alive[-1].expect("ready")

    @contextmanager
    def stopped(self, dice: random.Random) -> Iterator[None]:
        """SIGSTOP for the length of the block."""
        writer = dice.choice(self._alive)
        writer.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            writer.signal(signal.SIGCONT)

    def finish(self) -> Counter[str]:
        """End them, compare what they were told with the document; returns the answers by kind."""
        for writer in self._alive:
            assert writer.process.stdin is not None
            writer.process.stdin.close()
        for writer in self._alive:
            writer.expect("ended")
            assert writer.process.wait(60) == 0
        answers = self.answers
        kinds = Counter(what for _, what, _ in answers)
        assert kinds["Broken"] == 0, [answer for answer in answers if answer[1] == "Broken"]
        last: dict[str, int] = {}
        for caller, what, number in answers:
            if what == "done":
                last[caller] = max(last.get(caller, 0), number)
        found: dict[str, int] = Store(self._url).read()
        for caller, number in last.items():
            # One more than was acknowledged, if its writer was killed before it noted the answer.
            assert number <= found[caller] <= number + 1
        return kinds

    def close(self) -> None:
        for writer in self._alive:
            writer.close()


@contextmanager
def hammering(url: str, folder: Path, count: int, *, silence: float = 30.0) -> Iterator[Hammers]:
    hammers = Hammers(url, folder, count, silence=silence)
    try:
        yield hammers
    finally:
        hammers.close()


def kill_connections(server: Server, dice: random.Random, count: int, hammers: Hammers) -> int:
    """Terminate random sessions of writers at random moments, until so many have ended."""
    killed = 0
    pause = threading.Event()
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        while killed < count and not hammers.broken:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'storewriter %'"
            ).fetchall()
            if rows:
                ended = connection.execute("SELECT pg_terminate_backend(%s)", dice.choice(rows)).fetchone()
                killed += ended == (True,)
            pause.wait(dice.random() * 0.02)
    return killed


@pytest.mark.parametrize("seed", [1])
def test_connections_that_are_killed_at_random_moments(server: Server, url: str, tmp_path: Path, seed: int) -> None:
    with hammering(url, tmp_path, 2) as hammers:
        assert kill_connections(server, random.Random(seed), 60, hammers) == 60
        hammers.go_on()
        kinds = hammers.finish()
    assert set(kinds) == {"done"}, f"an update failed: {kinds}"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["restart", "crash", "kill"])
def test_a_server_that_ends_in_the_middle(server: Server, url: str, tmp_path: Path, how: signal.Signals) -> None:
    with hammering(url, tmp_path, 2) as hammers:
        hammers.go_on()
        server.restart(how)
        hammers.go_on()
        kinds = hammers.finish()
    assert set(kinds) == {"done"}, f"an update failed: {kinds}"


def test_writers_that_are_killed_and_stopped(url: str, tmp_path: Path) -> None:
    dice = random.Random(1)
    with hammering(url, tmp_path, 2, silence=1.0) as hammers:
        for _ in range(2):
            hammers.go_on()
            hammers.kill_one(dice)
            with hammers.stopped(dice):
                hammers.go_on()  # the turn of the stopped one, if it had it, ends after `silence`
        kinds = hammers.finish()
    assert set(kinds) == {"done"}, f"an update failed: {kinds}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_kills_with_restarts_crashes_and_dead_writers(server: Server, url: str, tmp_path: Path) -> None:
    dice, killed = random.Random(7), 0
    with hammering(url, tmp_path, 3, silence=2.0) as hammers:
        for round_ in range(20):
            killed += kill_connections(server, dice, 50, hammers)
            server.restart([signal.SIGINT, signal.SIGQUIT, signal.SIGKILL][round_ % 3])
            hammers.kill_one(dice)
            with hammers.stopped(dice):
                hammers.go_on()
        kinds = hammers.finish()
    print(f"{killed} connections killed, 20 restarts, 20 writers killed: {dict(kinds)}")
    assert killed == 1000
    # A writer that was stopped over a crash may come too late to ask: it says so. Everything else must be done.
    assert set(kinds) <= {"done", "CommitUncertain"}, f"an update failed: {kinds}"
    assert kinds["CommitUncertain"] * 100 < kinds["done"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["restart", "crash", "kill"])
def test_a_number_that_a_crashed_server_gives_out_again_is_not_taken_for_the_commit(
    server: Server, url: str, how: signal.Signals
) -> None:
    """The server had not written the number of the transaction down when it crashed. It is another one's now."""
    document = Postgres(url)
    Store(document).update(lambda state: state.update(n=1))
    hold = document.lock.wait(None, lambda: True)
    assert hold is not None
    question = Question(
        document.key, document._name, hold.xid, hold.found.incarnation, hold.found.stamp, new_commit_id()
    )
    server.restart(how)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for _ in range(20):
            connection.execute("SELECT pg_current_xact_id()")
    for number in range(3):
        Store(document).update(lambda state, number=number: state.update(m=number))
    assert not has_happened(document._database, question)
    hold.release()
