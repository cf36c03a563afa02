"""What members of a team do besides updates: record their turns, hold the lock until they are killed, wait for it."""

import time
from multiprocessing.connection import Connection

from storewriter.cli.bench import document
from storewriter.cli.bench.callers import Window, run_threads
from storewriter.cli.bench.contender import Update
from storewriter.cli.bench.team import Gate, Job, Mode, Sighting


def _timeline(job: Job, connection: Connection) -> Sighting:
    assert job.contender.turns is not None
    turn = job.contender.turns(job.target.path)
    holds: list[tuple[int, int]] = []

    def opened() -> Update:
        return update

    def update() -> None:
        with turn():
            entered = time.monotonic_ns()
            document.plain_update(job.target.path, durable=job.target.durable)
            holds.append((entered, time.monotonic_ns()))

    gate = Gate(connection)

    def without_warm_up() -> Window:
        holds.clear()
        return gate()

    records = run_threads(opened, 1, without_warm_up)
    return gate.counted(Sighting(callers=records, holds=holds))


def _hold(job: Job, connection: Connection) -> Sighting:
    assert job.contender.turns is not None
    with job.contender.turns(job.target.path)():
        connection.send(None)
        connection.recv()  # until it is released, or killed
    return Sighting()


def _wait(job: Job, connection: Connection) -> Sighting:
    assert job.contender.turns is not None
    turn = job.contender.turns(job.target.path)
    connection.send(None)
    gave_up = 0
    while True:
        try:
            with turn():
                return Sighting(entered=time.monotonic_ns(), gave_up=gave_up)
        except Exception:  # noqa: BLE001 - whatever a contender raises means that it has given up
            gave_up += 1


TIMELINE = Mode("timeline", _timeline)
HOLD = Mode("hold", _hold)
WAIT = Mode("wait", _wait)
