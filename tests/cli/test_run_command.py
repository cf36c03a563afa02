"""`storewriter run`: a command in an exclusive turn, its exit code and its signals, and what becomes of the lock."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from helpers.commands import COMMAND, Here, started
from helpers.waiting import PATIENCE, until
from storewriter import LockTimeout, PerStoreWriterQueue

AT_ONCE = PerStoreWriterQueue(timeout=0)

SAYS_AND_SLEEPS = """
import os, sys, time
open(sys.argv[1] + ".new", "w").write(str(os.getpid())); os.rename(sys.argv[1] + ".new", sys.argv[1]); time.sleep(1000)
"""


def is_free(path: Path) -> bool:
    try:
        with AT_ONCE.turn(path):
            return True
    except LockTimeout:
        return False


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_the_exit_code_is_the_commands(cli: Here, path: Path, script: str, code: int) -> None:
    assert cli("run", path, "--", "sh", "-c", script).code == code
    assert is_free(path)


def test_options_of_the_command_are_its_own(cli: Here, path: Path) -> None:
    assert cli("run", path, "--", "echo", "--timeout", "--", "x") == (0, "--timeout -- x\n", "")


@pytest.mark.parametrize("strategy", ["flock", "marker", "lease"])
def test_the_store_is_held_while_the_command_runs(cli: Here, path: Path, strategy: str) -> None:
    inner = [*COMMAND, "run", "--timeout", "0", "--lock", strategy, str(path), "--", "true"]
    code, _, err = cli("run", "--lock", strategy, "--label", "the outer one", path, "--", *inner)
    assert code == 75
    assert f"waiting for the lock on {path}" in err
    assert "the outer one" in err
    assert cli("run", "--lock", strategy, path, "--", "true").code == 0


def test_a_timeout_ends_with_75_and_names_the_holder(path: Path) -> None:
    with PerStoreWriterQueue().turn(path, label="nightly digest"):
        ran = path.parent / "ran"
        done = subprocess.run(
            [*COMMAND, "run", "--timeout", "0", path, "--", "touch", ran], capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (75, "")
    assert f"pid {os.getpid()}" in done.stderr
    assert '"nightly digest"' in done.stderr
    assert not ran.exists()


def test_several_stores_are_held_together(cli: Here, tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    inner = [*COMMAND, "run", "--timeout", "0", str(a), "--", "true"]
    assert cli("run", b, a, "--", *inner).code == 75
    assert is_free(a)
    assert is_free(b)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run",), 2, "Missing argument 'STORE...'."),
        (("run", "a.json"), 2, "give a command after --: storewriter run STORE -- COMMAND."),
        (("run", "a.json", "--"), 2, "give a command after --: storewriter run STORE -- COMMAND."),
        (("run", "", "--", "true"), 2, "'' names no store (an empty variable of a script?)."),
        (("run", "/", "--", "true"), 2, "a store's path must name a file, got '/'."),
        (
            ("run", ".a.json.lock", "--", "true"),
            3,
            "cannot be a store: a file of this name is the lock file of the store",
        ),
        (
            ("run", "a.json", "--", "no-such-command"),
            127,
            "'no-such-command' cannot be started: there is no such command.",
        ),
        (("run", "a.json", "--", "/"), 126, "'/' cannot be started: Permission denied."),
        (("run", "--inherit", "a.json", "--", "no-such-command"), 127, "'no-such-command' cannot be started"),
        (("run", "--inherit", "a.json", "--", "/"), 126, "'/' cannot be started: Permission denied."),
        (("run", "--inherit", "--lock", "lease", "a.json", "--", "true"), 2, "--inherit goes with --lock flock only"),
        (("run", "--inherit", "--also", "openclaw", "a.json", "--", "true"), 2, "and without --also."),
        (("run", "--lock", "no", "a.json", "--", "true"), 2, "'no' is not one of 'flock', 'marker', 'lease', 'none'."),
    ],
)
def test_errors_are_one_line_and_leave_the_store_free(
    cli: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = cli(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert is_free(tmp_path / "a.json")


def test_the_command_does_not_inherit_the_lock(cli: Here, path: Path) -> None:
    pid = path.parent / "pid"
    assert cli("run", path, "--", "sh", "-c", f"sleep 1000 >&- 2>&- & echo $! > {pid}").code == 0
    try:
        assert is_free(path)
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_with_inherit_the_lock_is_held_as_long_as_a_process_has_it(path: Path) -> None:
    pid = path.parent / "pid"
    line: list[str | Path] = [
        *COMMAND,
        "run",
        "--inherit",
        path,
        "--",
        "sh",
        "-c",
        f"sleep 1000 >&- 2>&- & echo $! > {pid}; exit 5",
    ]
    assert subprocess.run(line, check=False).returncode == 5
    sleeper = int(pid.read_text())
    try:
        assert not is_free(path)
    finally:
        os.kill(sleeper, signal.SIGKILL)
    until(lambda: is_free(path), "a free store")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_signals_are_passed_on_to_the_command(path: Path, name: str) -> None:
    ready, got = path.parent / "ready", path.parent / "got"
    script = (
        f"trap 'echo {name} > {got}; exit 42' {name.removeprefix('SIG')}; touch {ready}; while :; do sleep 0.02; done"
    )
    with started("run", path, "--", "sh", "-c", script) as process:
        until(ready.exists, "the command")
        process.send_signal(getattr(signal, name))
        assert process.wait(PATIENCE) == 42
    assert got.read_text() == f"{name}\n"
    assert is_free(path)


def test_stopping_it_stops_the_command_too_until_it_goes_on(path: Path) -> None:
    pid = path.with_name("pid")
    script = f"echo $$ > {pid}.new; mv {pid}.new {pid}; while :; do sleep 0.02; done"
    # A group of its own in this session: what is sent to an orphaned group does not stop it.
    process = subprocess.Popen([*COMMAND, "run", path, "--", "sh", "-c", script], process_group=0)
    try:
        until(pid.exists, "the command")
        command = psutil.Process(int(pid.read_text()))
        process.send_signal(signal.SIGTSTP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        until(lambda: command.status() == psutil.STATUS_STOPPED, "the command stops")
        process.send_signal(signal.SIGCONT)
        until(lambda: command.status() != psutil.STATUS_STOPPED, "the command goes on")
        process.terminate()
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_a_command_that_is_ended_by_a_signal_gives_128_and_its_number(path: Path) -> None:
    said = path.parent / "pid"
    with started("run", path, "--", sys.executable, "-c", SAYS_AND_SLEEPS, said) as process:
        until(said.exists, "the command")
        process.terminate()
        assert process.wait(PATIENCE) == 143


STUBBORN = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def test_three_interrupts_kill_a_command_that_goes_on(path: Path) -> None:
    said = path.parent / "pid"
    with started("run", path, "--", sys.executable, "-c", STUBBORN + SAYS_AND_SLEEPS, said) as process:
        until(said.exists, "the command")
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            try:  # signals of one kind that come together count as one
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        assert process.wait(PATIENCE) == 137
    assert is_free(path)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is of Linux")
def test_a_command_does_not_go_on_without_the_lock_if_storewriter_is_killed(path: Path) -> None:
    said = path.parent / "pid"
    with started("run", path, "--", sys.executable, "-c", SAYS_AND_SLEEPS, said) as process:
        until(said.exists, "the command")
        process.kill()
        process.wait(PATIENCE)
        until(lambda: not psutil.pid_exists(int(said.read_text())), "the end of the command")
    assert is_free(path)


COUNTS = """
import os, signal, sys, time
count = 0
def interrupted(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, interrupted)
open(sys.argv[1], "w").write("ready")
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
open(sys.argv[3], "w").write(str(count))
"""


def test_ctrl_c_on_a_terminal_reaches_the_command_once(path: Path) -> None:
    """The terminal sends it to both: it must not be passed on as well."""
    ready, end, count = (path.parent / name for name in ("ready", "end", "count"))
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - another process
        os.execv(
            sys.executable,
            [*COMMAND, "run", str(path), "--", sys.executable, "-c", COUNTS, *map(str, (ready, end, count))],
        )
    try:
        until(lambda: ready.exists() and ready.read_text(), "the command")
        os.write(terminal, b"\x03")
        threading_pause(terminal)
        end.touch()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(terminal)
    assert count.read_text() == "1"


def threading_pause(terminal: int) -> None:
    """Until the terminal has echoed Ctrl-C: the signal was sent by then."""
    seen = b""
    while b"^C" not in seen:
        seen += os.read(terminal, 1024)


def test_a_lease_that_was_lost_meanwhile_is_told(path: Path) -> None:
    marker = path.parent / f".{path.name}.marker"
    code = f"import os; os.unlink({str(marker)!r})"
    done = subprocess.run(
        [*COMMAND, "run", "--lock", "lease", path, "--", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "ended with exit code 0, and did not have the lock until its end: the turn on" in done.stderr


def test_the_label_is_shown_to_status(path: Path) -> None:
    said = path.parent / "pid"
    with started("run", "--label", "backup", path, "--", sys.executable, "-c", SAYS_AND_SLEEPS, said):
        until(said.exists, "the command")
        shown = subprocess.run([*COMMAND, "status", "--json", path], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["holder"]["label"] == "backup"
