"""A writer whose host is cut off, in a network namespace of its own: the others go on, and afterwards all agree."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.children import Child, child
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


def address(host: Host, server: Server, name: str) -> str:
    return f"postgresql://postgres@{host.gateway}:{server.port}/postgres#{name}"


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
