"""A writer whose host is cut off, in a network namespace of its own: the others go on, and afterwards all agree."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from helpers.children import Child, child
from helpers.lines import Worker
from helpers.postgres_server import Server
from helpers.waiting import until
from storewriter import Store
from storewriter.postgres import Postgres, create

SILENCE = 2.0
HAMMER = str(Path(__file__).with_name("hammer.py"))


class Host:
    """A network namespace with one cable to this one."""

    def __init__(self, number: int) -> None:
        self.name = f"sw{os.getpid()}-{number}"
        self._cable = f"sw{os.getpid() % 100000}{number}"
        self._net = f"10.{200 + number}.{os.getpid() % 250}"
        self.prefix = ["ip", "netns", "exec", self.name]

    def __enter__(self) -> Host:
        for command in (
            f"ip netns add {self.name}",
            f"ip link add {self._cable} type veth peer name eth0 netns {self.name}",
            f"ip addr add {self._net}.1/24 dev {self._cable}",
            f"ip link set {self._cable} up",
            f"ip -n {self.name} addr add {self._net}.2/24 dev eth0",
            f"ip -n {self.name} link set eth0 up",
        ):
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                self.__exit__()
                pytest.skip(f"network namespaces cannot be made here: {command}: {done.stderr.strip()}")
        return self

    @property
    def gateway(self) -> str:
        return f"{self._net}.1"

    def pull(self) -> None:
        subprocess.run(["ip", "link", "set", self._cable, "down"], check=True)

    def plug_in(self) -> None:
        subprocess.run(["ip", "link", "set", self._cable, "up"], check=True)

    def __exit__(self, *error: object) -> None:
        subprocess.run(["ip", "link", "del", self._cable], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


@pytest.fixture
def reachable(server: Server) -> Iterator[Server]:
    """A server that listens on the network."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    other = Server(server.binaries, settings=["listen_addresses=*"])
    other.port = 20000 + os.getpid() % 20000
    try:
        other.create()
        with (other.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.0.0.0/8 trust\n")
        create(other.start().dsn())
        yield other
    finally:
        other.remove()


def address(host: Host, server: Server, name: str, query: str = "") -> str:
    return f"postgresql://postgres@{host.gateway}:{server.port}/postgres{query}#{name}"


_HOLDER = """
from storewriter.postgres import Postgres
turn = PerStoreWriterQueue().turn(Postgres(path, silence=float(args[0])))
with turn as held:
    say("holding"); hear()
    while True:
        try:
            held.check()
        except LockLost as error:
            say("lost")
            break
        time.sleep(0.01)
"""


def test_the_turn_of_a_holder_that_is_cut_off_ends(reachable: Server, name: str) -> None:
    store = Store(Postgres(reachable.dsn(name), silence=SILENCE))
    with Host(1) as host, child(_HOLDER, address(host, reachable, name), SILENCE, prefix=host.prefix) as holder:
        holder.expect("holding")
        host.pull()
        store.update(lambda state: state.update(n=1), timeout=20 * SILENCE)
        holder.tell("check")
        holder.expect("lost")
        host.plug_in()
        holder.finish()
    assert store.read() == {"n": 1}


_GATEWAY = """
import asyncio
from commitments import AsyncCommitmentsStore, Candidate, Item, Scope

def candidate(number):
    return Candidate(
        kind="open_loop", reason="r", suggested_text="t", dedupe_key=f"k{number}", confidence=1.0,
        earliest_ms=1, latest_ms=10**15, timezone="UTC",
    )

async def main():
    store = AsyncCommitmentsStore(path, queue=PerStoreWriterQueue(timeout=120.0))
    item = Item(Scope("main", "s", "telegram"))
    number = 0
    say("ready")
    loop = asyncio.get_running_loop()
    asked = loop.run_in_executor(None, hear)
    while not asked.done():
        number += 1
        created = (await store.upsert(item, [candidate(number)])).created
        say("created", *(record.id for record in created))

asyncio.run(main())
"""


class Gateway:
    """What infers commitments, on a host of its own: it notes the ids that were acknowledged."""

    def __init__(self, process: Child) -> None:
        self._process = process
        self.created: list[str] = []
        process.expect("ready")
        self._reading = Worker(self._read)

    def _read(self) -> None:
        assert self._process.process.stdout is not None
        for line in self._process.process.stdout:
            self.created += line.split()[1:]

    def goes_on(self, more: int = 5) -> None:
        before = len(self.created)
        until(lambda: len(self.created) >= before + more, "the gateway goes on")

    def end(self) -> None:
        self._process.tell()
        self._reading.wait()
        self._process.finish()


def test_a_gateway_and_the_command_line_on_two_hosts_agree_after_the_cable_of_one_was_pulled(
    reachable: Server, name: str
) -> None:
    """The gateway is in the middle of its work when its cable is pulled; `commitments dismiss` goes on."""
    with Host(1) as first, Host(2) as second:
        silence = f"?silence={SILENCE}"
        place = address(second, reachable, name, silence)

        def command(*words: str) -> dict[str, Any]:
            line = [sys.executable, "-m", "commitments", *words, "--json", "--store", place]
            done = subprocess.run([*second.prefix, *line], capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 0, done.stderr
            return cast("dict[str, Any]", json.loads(done.stdout))

        dismissed: list[str] = []

        def dismiss_one() -> None:
            (id_,) = (one["id"] for one in command("list")["commitments"][:1])
            assert command("dismiss", id_)["dismissed"] == [id_]
            dismissed.append(id_)

        with child(_GATEWAY, address(first, reachable, name, silence), prefix=first.prefix) as process:
            gateway = Gateway(process)
            gateway.goes_on()
            dismiss_one()
            for _ in range(2):
                gateway.goes_on()
                first.pull()
                dismiss_one()  # if the gateway had the turn, within `silence`
                dismiss_one()
                first.plug_in()
                gateway.goes_on()
            gateway.end()
        listed = command("list", "--all")["commitments"]
    status = {one["id"]: one["status"] for one in listed}
    assert set(gateway.created) == set(status), "each acknowledged commitment is there, and no other"
    assert {id_ for id_, what in status.items() if what == "dismissed"} == set(dismissed)
    assert len({one["dedupeKey"] for one in listed}) == len(listed), "none was created twice"


def test_writers_on_two_hosts_agree_after_one_was_cut_off(reachable: Server, name: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(Host(number)) for number in (1, 2)]
        logs = [tmp_path / f"w{number}.log" for number in (1, 2)]
        writers = []
        for host, log in zip(hosts, logs, strict=True):
            words = [sys.executable, HAMMER, address(host, reachable, name), log.stem, str(log), str(SILENCE)]
            writers.append(Child.of([*host.prefix, *words]))
            stack.callback(writers[-1].close)
        for writer in writers:
            writer.expect("ready")

        def goes_on(log: Path) -> None:
            before = log.read_bytes().count(b"done")
            until(lambda: log.read_bytes().count(b"done") > before + 20, f"{log.stem} goes on")

        for log in logs:
            goes_on(log)
        for _ in range(3):
            hosts[0].pull()
            goes_on(logs[1])
            hosts[0].plug_in()
            goes_on(logs[0])
        for writer in writers:
            assert writer.process.stdin is not None
            writer.process.stdin.close()
            writer.expect("ended")
    answers = [line.split() for log in logs for line in log.read_text().splitlines()]
    assert {what for _, what, _ in answers} == {"done"}
    found = Store(reachable.dsn(name)).read()
    told = {
        caller: max(int(number) for one, _, number in answers if one == caller) for caller in {a[0] for a in answers}
    }
    assert found == told
