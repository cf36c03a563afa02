"""A lock that a child has inherited from a process that has ended: the holder is the one that has the file open."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from contenders import Contender
from helpers.users import ADA, EVE, needs_root, run_as
from helpers.waiting import until
from storewriter import LockTimeout, Owner, PerStoreWriterQueue
from storewriter._files.keys import sidecar
from storewriter._platform import kernel_locks
from storewriter.cli.status import status
from storewriter.locks import Flock, Lease, Marker, Strategy

pytestmark = [
    pytest.mark.skipif(shutil.which("flock") is None or shutil.which("bash") is None, reason="needs bash and flock(1)"),
    pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs /proc/locks"),
]

Leave = Callable[..., "Left"]


class Left:
    """A shell that has taken the lock and ended; its children have it."""

    def __init__(self, path: str, children: int, as_user: list[str]) -> None:
        # `exec 9>>file; flock 9` is the usual way in a script: flock(1) takes the lock on the shell's open file.
        sleeps = "sleep 600 & echo $!; " * children
        script = f'exec 9>>"$0"; flock 9; {sleeps} exit 0'
        done = subprocess.Popen(
            [*as_user, "bash", "-c", script, sidecar(path)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert done.stdout is not None
        self.pids = [int(done.stdout.readline()) for _ in range(children)]
        assert done.wait(30) == 0
        done.stdout.close()
        [self.taker] = kernel_locks.flock_holders(os.stat(sidecar(path)))
        assert self.taker not in self.pids
        until(lambda: all(_command(pid).startswith("sleep") for pid in self.pids), "the children")

    def end(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


@pytest.fixture
def leave() -> Iterator[Leave]:
    left: list[Left] = []

    def start(path: str, children: int = 1, as_user: list[str] | None = None) -> Left:
        left.append(Left(path, children, as_user or []))
        return left[-1]

    yield start
    for one in left:
        one.end()


def timed_out(path: str, strategy: Strategy) -> LockTimeout:
    with pytest.raises(LockTimeout) as caught:
        PerStoreWriterQueue(lock=strategy, timeout=0.1, warn_after=0.01).turn(path).__enter__()
    return caught.value


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease()], ids=lambda strategy: strategy.name)
def test_the_child_that_has_the_lock_is_named_and_the_process_that_took_it(
    strategy: Strategy, path: str, leave: Leave, caplog: pytest.LogCaptureFixture
) -> None:
    left = leave(path)
    with caplog.at_level(logging.WARNING, "storewriter"):
        error = timed_out(path, strategy)
    said = f"(sleep 600), which inherited it from pid {left.taker}, which has ended"
    assert f"held by pid {left.pids[0]} on " in str(error)
    assert f"{said}; it is alive; nobody ahead" in str(error)
    assert f"look at what pid {left.pids[0]} does; the lock ends when it closes the file" in str(error)
    assert "reclaim" not in str(error)
    assert error.alive == "alive"
    assert error.owner is not None
    assert error.owner.inherited_from == left.taker
    assert said in caplog.text
    shown = CliRunner().invoke(status, [path], catch_exceptions=False).output
    assert said in " ".join(shown.split())
    assert "takes over" not in shown
    facts = json.loads(CliRunner().invoke(status, ["--json", path], catch_exceptions=False).output)
    assert facts["holder"]["pid"] == left.pids[0]
    assert facts["holder"]["inherited_from"] == left.taker
    assert facts["holder"]["state"] == "alive"


def test_all_of_several_children_are_named(path: str, leave: Leave) -> None:
    left = leave(path, 3)
    owner = Flock().owner(path)
    assert owner is not None
    assert [owner.pid, *(owner.shared_with or ())] == sorted(left.pids)
    assert f"and so did pid {', '.join(map(str, sorted(left.pids)[1:]))}" in str(owner)


def test_a_script_that_locked_with_flock_1_and_goes_on_is_named_itself(path: str) -> None:
    script = 'exec 9>>"$0"; flock 9; echo in; read line'
    with subprocess.Popen(
        ["bash", "-c", script, sidecar(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "in\n"
        error = timed_out(path, Flock())
        assert shell.stdin is not None
        shell.stdin.close()
    assert error.owner is not None
    assert error.owner.pid == shell.pid
    assert error.alive == "alive"


def test_a_process_that_runs_on_without_the_file_is_not_the_holder(path: str) -> None:
    """It took the lock, its child inherited the file, and it closed its own."""
    code = """
import fcntl, os, subprocess, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
child = subprocess.Popen(["sleep", "600"], pass_fds=[fd], stdout=subprocess.DEVNULL)
os.close(fd)
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, sidecar(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as taker:
        assert taker.stdout is not None
        child = int(taker.stdout.readline())
        owner = Flock().owner(path)
        assert taker.stdin is not None
        taker.stdin.close()
    assert owner is not None
    assert (owner.pid, owner.inherited_from) == (child, taker.pid)
    assert "ended" not in str(owner)


@pytest.mark.parametrize("name", ["flock", "marker"])
def test_a_dead_holder_of_ours_whose_child_has_the_file_is_not_gone(
    name: str, path: str, contender: Callable[[], Contender]
) -> None:
    """A program in C, say, that forked inside a turn: nothing of ours closed the file in its child."""
    holder = contender()
    assert holder.ask("attempt", name, path, "digest")
    child = holder.ask("leave_a_child_with", path)
    holder.kill()
    try:
        error = timed_out(path, {"flock": Flock(), "marker": Marker()}[name])  # type: ignore[arg-type]
        assert error.owner is not None
        assert error.owner.pid == child
        assert error.owner.inherited_from == holder.pid
        assert error.alive == "alive"
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_lease_is_taken_over_although_a_child_has_the_file(path: str, contender: Callable[[], Contender]) -> None:
    """Leases share the sidecar: what keeps others out is the marker, and its owner is gone."""
    holder = contender()
    assert holder.ask("attempt", "lease:60", path)
    child = holder.ask("leave_a_child_with", path)
    holder.kill()
    try:
        hold = Lease(stale=60.0).attempt(path, None)
        assert hold is not None
        hold.release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_cannot_be_seen_is_said_to_be_unknown(path: str, leave: Leave, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with hidepid, or for another user's processes."""
    left = leave(path)
    monkeypatch.setattr(kernel_locks, "_processes", list)
    error = timed_out(path, Flock())
    assert error.alive == "unknown"
    assert error.owner is not None
    assert error.owner.pid is None
    text = str(error)
    assert f"an unknown process, which inherited it from pid {left.taker}, which has ended" in text
    assert "cannot be seen from here" in text
    assert "try again" not in text
    shown = " ".join(CliRunner().invoke(status, [path], catch_exceptions=False).output.split())
    assert f"an unknown process, which inherited it from pid {left.taker}, which has ended" in shown
    assert "takes over" not in shown


@needs_root
def test_another_users_child_is_unknown_to_a_user_and_known_to_root(leave: Leave) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        path = str(Path(folder, "state.json"))
        Path(sidecar(path)).touch()
        os.chmod(sidecar(path), 0o666)
        setpriv = ["setpriv", f"--reuid={ADA.uid}", f"--regid={ADA.gid}", "--clear-groups"]
        left = leave(path, as_user=setpriv)
        owner = run_as(EVE, lambda: Flock().owner(path))
        assert owner == Owner(inherited_from=left.taker, inherited_from_ended=True)
        seen = Flock().owner(path)
        assert seen is not None
        assert seen.pid == left.pids[0]
