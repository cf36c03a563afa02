"""`storewriter demo`: it shows losses where there are some, none where there are none, and cannot be talked round."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commitments import CommitmentsStore
from storewriter.__main__ import run
from storewriter.cli.demo import settings, subject

COMMAND = [sys.executable, "-m", "storewriter", "demo"]
SETTINGS = ["tasks", "threads", "processes"]

OK_LINE = re.compile(r"trial \d+: OK \{ A: [\w ]+, B: dismissed \}")
LOSS_LINE = re.compile(r"trial \d+: LOSS \{ A: [\w ]+, B: \w+ \} -> \d+ of \d+ acknowledged updates lost")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the demo prints into a pipe."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [*COMMAND, "--trials", "4", "--folder", str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(folder.iterdir()) == [], "the demo cleans up after itself"
    return done.stdout


@pytest.fixture(scope="module")
def document() -> dict[str, list[dict[str, object]]]:
    """What the demo prints for scripts."""
    done = subprocess.run([*COMMAND, "--trials", "4", "--json"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_nothing_that_storewriter_acknowledged_is_lost(document: dict[str, list[dict[str, object]]]) -> None:
    after = [run for run in document["runs"] if run["side"] == "after"]

    assert [run["setting"] for run in after] == SETTINGS
    assert [run["updatesLost"] for run in after] == [0, 0, 0]
    assert [run["verdict"] for run in after] == ["0/4 trials lost a write (4/4 clean)"] * 3


def test_the_harness_detects_losses_and_plain_code_has_some(document: dict[str, list[dict[str, object]]]) -> None:
    before = [run for run in document["runs"] if run["side"] == "before"]

    assert [run["setting"] for run in before] == SETTINGS
    assert sum(int(str(run["updatesLost"])) for run in before) > 0


def test_each_trial_is_one_line_and_each_run_has_a_verdict(printed: str) -> None:
    trials = [line for line in printed.splitlines() if line.startswith("trial ")]

    assert len(trials) == 4 * len(SETTINGS) * 2
    assert [line for line in trials if not OK_LINE.fullmatch(line) and not LOSS_LINE.fullmatch(line)] == []
    assert len(re.findall(r"^Result: \d/4 trials lost a write \(\d/4 clean\)$", printed, re.MULTILINE)) == 6


def test_the_heading_says_where_the_store_is_and_what_was_tried(printed: str) -> None:
    assert re.match(r"Store path: /\S+/commitments/commitments\.json\nHEAD: storewriter \S+ on Python \S+\n", printed)
    assert printed.count("Running 4 concurrent-dismiss trials...") == 6


def test_a_pipe_gets_no_colours(printed: str) -> None:
    assert "\x1b" not in printed


def test_a_terminal_gets_colours() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [*COMMAND, "--trials", "1"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as demo:
        os.close(theirs)
        shown = _everything_from(ours)

    assert demo.returncode == 0
    assert b"\x1b[32mOK\x1b[0m" in shown


def _everything_from(terminal: int) -> bytes:
    shown = b""
    try:
        while part := os.read(terminal, 1 << 16):
            shown += part
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(terminal)
    return shown


def test_a_loss_in_an_after_trial_is_shown_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "_dismiss_after", settings._dismiss_before)

    code = run(["demo", "--trials", "5"])

    printed = capsys.readouterr().out
    assert code == 1
    assert "This must not happen" in printed
    assert re.search(r"two threads +\| after +\| +[1-5] of 5", printed)


def test_a_writer_that_fails_ends_the_demo_with_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('the disk is on fire')")
    monkeypatch.setattr(settings.before, "__file__", str(broken))

    code = run(["demo", "--trials", "1"])

    assert code == 1
    assert "the disk is on fire" in capsys.readouterr().err


def test_an_interrupt_ends_with_130_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--trials", "500", "--folder", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        while not demo.stdout.readline().startswith("trial 3:"):
            pass
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate()

    assert demo.returncode == 130
    assert errors.strip() == ""
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_seen_enough_is_neither_a_loss_nor_a_traceback() -> None:
    with subprocess.Popen(
        [*COMMAND, "--trials", "30"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        demo.stdout.readline()
        demo.stdout.close()
        errors = demo.stderr.read()

    assert (demo.returncode, errors) == (141, "")


def test_the_shipped_store_is_a_store_without_problems(tmp_path: Path) -> None:
    shipped = subject.in_folder(str(tmp_path))
    shipped.restore()

    found = CommitmentsStore(shipped.path).load()

    assert found.problems == ()
    assert len(found.commitments) == 8
    assert {record.status for record in found.commitments if record.id in (shipped.first, shipped.second)} == {
        "pending"
    }
