"""The example receiver: four real workers, real requests, workers that are stopped and killed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhook_receiver.py"

# Notes each delivery in the ledger when it is done. One named "stuck..." says who it is and then waits for a line from
# the pipe that the test holds; one named "bad..." fails.
COMMAND = """
import os, sys
delivery, folder = os.environ["DELIVERY_ID"], sys.argv[1]
if delivery.startswith("stuck"):
    with open(f"{folder}/stuck", "w") as said:
        said.write(f"{os.getpid()} {os.getppid()}")
    with open(f"{folder}/go") as pipe:
        pipe.readline()
if delivery.startswith("bad"):
    sys.exit(7)
line = f"{delivery} {sys.stdin.read()}\\n".encode()
ledger = os.open(f"{folder}/ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(ledger, line)
"""


@attrs.frozen
class Running:
    process: subprocess.Popen[str]
    workers: list[int]
    port: int
    folder: Path

    def deliver(self, delivery: str, body: str = "body") -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/hook", body, {"X-Delivery-Id": delivery} if delivery else {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def ledger(self) -> list[str]:
        path = self.folder / "ledger"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    def says(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Running]:
    for name in ("said", "go"):
        os.mkfifo(tmp_path / ("stuck" if name == "said" else name))
    process = subprocess.Popen(
        [sys.executable, EXAMPLE, tmp_path / "store", "0", sys.executable, "-c", COMMAND, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    workers = [int(process.stdout.readline().split()[1]) for _ in range(4)]
    port = int(process.stdout.readline().split()[-1])
    try:
        yield Running(process, workers, port, tmp_path)
    finally:
        process.terminate()
        process.stdout.close()
        assert process.wait(60) == 0


def test_a_delivery_that_comes_many_times_at_once_is_handled_once(receiver: Running) -> None:
    deliveries = [f"evt-{number}" for number in range(12)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(receiver.deliver, deliveries * 4))
    assert {status for status, _ in answers} == {200}
    told = [answer["answer"] for _, answer in answers]
    assert sorted(told) == ["duplicate"] * 36 + ["handled"] * 12
    assert receiver.ledger() == sorted(f"{delivery} body" for delivery in deliveries)
    assert {answer["worker"] for _, answer in answers} <= set(receiver.workers)


def test_every_worker_knows_what_the_others_have_handled(receiver: Running) -> None:
    """Each in turn is the only one that runs."""
    for number, only in enumerate(receiver.workers):
        for worker in receiver.workers:
            os.kill(worker, signal.SIGCONT if worker == only else signal.SIGSTOP)
        assert receiver.deliver(f"evt-{number}") == (200, {"answer": "handled", "worker": only})
        for earlier in range(number + 1):
            assert receiver.deliver(f"evt-{earlier}") == (200, {"answer": "duplicate", "worker": only})
    for worker in receiver.workers:
        os.kill(worker, signal.SIGCONT)
    assert receiver.ledger() == [f"evt-{number} body" for number in range(4)]


def test_a_delivery_that_comes_again_while_it_is_handled_waits_for_the_outcome(receiver: Running) -> None:
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(receiver.deliver, "stuck")
        (receiver.folder / "stuck").read_text()
        others = [pool.submit(receiver.deliver, "stuck") for _ in range(3)]
        assert receiver.deliver("evt-1")[1]["answer"] == "handled"
        assert not any(other.done() for other in others)
        (receiver.folder / "go").write_text("go\n")
        assert first.result()[1]["answer"] == "handled"
        assert [other.result()[1]["answer"] for other in others] == ["duplicate"] * 3
    assert receiver.ledger() == ["evt-1 body", "stuck body"]


def test_when_a_worker_is_killed_the_next_delivery_is_handled_and_the_worker_replaced(receiver: Running) -> None:
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(receiver.deliver, "stuck")
        command, worker = map(int, (receiver.folder / "stuck").read_text().split())
        assert worker in receiver.workers
        os.kill(worker, signal.SIGKILL)
        os.kill(command, signal.SIGKILL)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            lost.result()
        assert receiver.says()[0] == "worker"
        again = pool.submit(receiver.deliver, "stuck")
        (receiver.folder / "stuck").read_text()
        (receiver.folder / "go").write_text("go\n")
        status, answer = again.result()
    assert (status, answer["answer"]) == (200, "handled")
    assert answer["worker"] != worker
    assert receiver.deliver("stuck")[1]["answer"] == "duplicate"
    assert receiver.ledger() == ["stuck body"]


def test_a_delivery_whose_handling_fails_is_not_recorded(receiver: Running) -> None:
    for _ in range(2):
        status, answer = receiver.deliver("bad")
        assert (status, answer["answer"]) == (500, "the command ended with 7")
    assert receiver.ledger() == []


def test_a_delivery_without_an_id_is_refused(receiver: Running) -> None:
    assert receiver.deliver("")[0] == 400
    assert receiver.deliver("   ")[0] == 400
