"""`storewriter status --watch`: on a terminal a screen that is drawn anew, elsewhere the same lines again and again."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from helpers.commands import COMMAND, started
from helpers.waiting import PATIENCE
from storewriter import PerStoreWriterQueue, Store

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SCREEN_ON, SCREEN_OFF = "\x1b[?1049h", "\x1b[?1049l"


@attrs.define
class Terminal:
    """A process on a terminal of its own, and what it has written there."""

    process: subprocess.Popen[bytes]
    fd: int
    text: str = ""

    def until(self, seen: Callable[[str], bool]) -> str:
        """Read until the newest part is as wanted; return everything that was written since the call."""
        start = len(self.text)
        while not seen(self.text[start:]):
            ready, _, _ = select.select([self.fd], [], [], PATIENCE)
            assert ready, f"nothing more came after {self.text[start:]!r}"
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # EIO: the process has closed its side
                data = b""
            assert data, f"it ended after {self.text[start:]!r}"
            self.text += data.decode()
        return self.text[start:]

    def rest(self) -> str:
        """What comes until the process ends."""
        with contextlib.suppress(AssertionError):
            self.until(lambda _: False)
        return self.text


@contextlib.contextmanager
def on_a_terminal(*arguments: object) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES"}}
    environment["TERM"] = "xterm"
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        terminal = Terminal(process, ours)
        try:
            yield terminal
        finally:
            process.kill()
            os.close(terminal.fd)


def _says(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.search(pattern, ESCAPES.sub("", text), re.DOTALL) is not None


def test_the_screen_shows_a_holder_that_comes_and_goes_and_ctrl_c_gives_the_terminal_back(path: Path) -> None:
    Store(path, dict).update(lambda state: state.update(n=1))
    with on_a_terminal("status", "--watch", "--every", "50ms", path) as terminal:
        terminal.until(_says(r"holder +none"))
        with PerStoreWriterQueue().turn(path, label="nightly digest"):
            terminal.until(_says(rf"holder +pid {os.getpid()}\b.{{,300}}nightly digest"))
        terminal.until(_says(r"holder +none"))
        Store(path, dict).update(lambda state: state.update(n=12345))
        terminal.until(_says(r"document +12 bytes"))

        os.killpg(terminal.process.pid, signal.SIGINT)
        text = terminal.rest()

        assert terminal.process.wait(PATIENCE) == 130
    assert SCREEN_ON in text
    assert text.rindex(SCREEN_OFF) > text.rindex(SCREEN_ON)
    assert "Traceback" not in text


def test_it_ends_when_its_terminal_is_closed(path: Path) -> None:
    """The terminal does not control its session, so that no SIGHUP comes."""
    with on_a_terminal("status", "--watch", "--every", "50ms", path) as terminal:
        terminal.until(_says(r"holder +none"))
        os.close(terminal.fd)
        try:
            terminal.process.wait(PATIENCE)  # with whatever code: there is no place left to write to
        finally:
            terminal.fd = os.open(os.devnull, os.O_RDONLY)


def test_a_store_that_breaks_meanwhile_is_shown_and_watching_goes_on(path: Path) -> None:
    Store(path, dict).update(lambda state: state.update(n=1))
    with on_a_terminal("status", "--watch", "--every", "50ms", path) as terminal:
        terminal.until(_says(r"document +8 bytes, can be read"))
        path.write_text('{"n": ')
        terminal.until(_says(r"document +6 bytes, cannot be read: line 1"))
        path.unlink()
        path.mkdir()
        terminal.until(_says(r"a directory|not a regular file|is a folder"))
        path.rmdir()
        terminal.until(_says(r"document +none yet"))


def test_into_a_pipe_each_look_is_an_object_a_line(path: Path) -> None:
    with started("status", "--watch", "--every", "50ms", "--json", path) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline())]
        with PerStoreWriterQueue().turn(path, label="nightly digest"):
            while looks[-1]["holder"] is None:
                looks.append(json.loads(process.stdout.readline()))
        while looks[-1]["holder"] is not None:
            looks.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130

    assert looks[0]["holder"] is None
    held = [look["holder"] for look in looks if look["holder"] is not None]
    assert {(holder["pid"], holder["label"]) for holder in held} == {(os.getpid(), "nightly digest")}


def test_into_a_pipe_without_json_the_lines_come_again(path: Path) -> None:
    with started("status", "--watch", "--every", "50ms", path) as process:
        assert process.stdout is not None
        seen = 0
        while seen < 3:
            seen += process.stdout.readline().startswith("holder")


@pytest.mark.parametrize("every", ["-1s", "-1", "soon"])
def test_a_pace_that_is_no_pace_is_wrong_usage(every: str, path: Path) -> None:
    with started("status", "--watch", f"--every={every}", path) as process:
        _, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 2
    assert "--every" in err
