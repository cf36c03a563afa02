"""`storewriter pipe`: a document through a filter, in a turn; what is no document is never written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from helpers.commands import COMMAND, Here, started
from helpers.waiting import PATIENCE, until

DOCUMENT = '{\n    "rate": 1.50,\n    "n": 1\n}\n'


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, json; document = sys.stdin.read(); {code}"]


ADD = python("state = json.loads(document); state['n'] += 1; print(json.dumps(state))")


@pytest.mark.skipif(shutil.which("jq") is None, reason="no jq(1) on this machine")
def test_a_document_goes_through_jq_and_keeps_its_layout(cli: Here, path: Path) -> None:
    path.write_text(DOCUMENT)
    assert cli("pipe", path, "--", "jq", ".n += 1") == (0, "", "")
    assert path.read_text() == DOCUMENT.replace('"n": 1', '"n": 2')


def test_the_filter_gets_the_document_as_it_is(cli: Here, path: Path) -> None:
    path.write_text(DOCUMENT)
    assert cli("pipe", path, "--", "sed", "s/1.50/2.50/").code == 0
    assert path.read_text() == DOCUMENT.replace("1.50", "2.5")


def test_as_is_writes_the_output_with_its_own_layout(cli: Here, path: Path) -> None:
    path.write_text(DOCUMENT)
    assert cli("pipe", "--as-is", path, "--", *ADD).code == 0
    assert path.read_text() == '{"rate": 1.5, "n": 2}\n'


def test_the_filter_of_an_absent_document_gets_an_empty_object(cli: Here, path: Path) -> None:
    assert cli("pipe", path, "--", *python("print(json.dumps({'was': document}))")).code == 0
    assert json.loads(path.read_text())["was"].strip() == "{}"


REFUSED = [
    (["false"], 1, "'false' ended with exit code 1. Nothing was written."),
    (["sh", "-c", "echo '{}'; exit 3"], 1, "'sh' ended with exit code 3. Nothing was written."),
    (["sh", "-c", "echo '{}'; kill -KILL $$"], 1, "'sh' ended with exit code 137. Nothing was written."),
    (["true"], 1, "the output of 'true' cannot be read: line 1, column 1: "),
    (["echo", "hi"], 1, "the output of 'echo' cannot be read: line 1, column 1: "),
    (["echo", '{"a":1}{"a":2}'], 1, "the output of 'echo' cannot be read: "),
    (["no-such-filter"], 127, "'no-such-filter' cannot be started: there is no such command."),
    (["/"], 126, "'/' cannot be started: Permission denied."),
    (["a\0b"], 126, "cannot be started: embedded null byte."),
]


@pytest.mark.parametrize(("command", "code", "message"), REFUSED)
@pytest.mark.parametrize("options", [(), ("--as-is",), ("--dry-run",)])
def test_a_filter_that_fails_changes_nothing(
    cli: Here, path: Path, command: list[str], code: int, message: str, options: tuple[str, ...]
) -> None:
    path.write_text(DOCUMENT)
    found, out, err = cli("pipe", *options, path, "--", *command)
    assert (found, out) == (code, "")
    assert message in err
    assert path.read_text() == DOCUMENT


@pytest.mark.parametrize("end", [(), ("--",)])
def test_a_missing_filter_is_wrong_usage(cli: Here, path: Path, end: tuple[str, ...]) -> None:
    code, _, err = cli("pipe", path, *end)
    assert code == 2
    assert err.startswith("storewriter: give a command after --: storewriter pipe STORE -- COMMAND.")


def test_a_filter_that_does_not_read_its_input_is_fine(cli: Here, path: Path) -> None:
    path.write_text(json.dumps({"much": "x" * 1_000_000}))
    assert cli("pipe", path, "--", "echo", "{}") == (0, "", "")
    assert path.read_text().strip() == "{}"


def test_a_large_document_goes_through(cli: Here, path: Path) -> None:
    path.write_text(json.dumps({"n": 1, "much": "x" * 1_000_000}))
    assert cli("pipe", path, "--", *ADD).code == 0
    assert json.loads(path.read_text())["n"] == 2


def test_a_dry_run_prints_a_diff(cli: Here, path: Path) -> None:
    path.write_text(DOCUMENT)
    code, out, _ = cli("pipe", "--dry-run", path, "--", *ADD)
    assert code == 0
    assert '-    "n": 1\n+    "n": 2\n' in out
    assert path.read_text() == DOCUMENT


def test_another_version_runs_no_filter(cli: Here, path: Path) -> None:
    path.write_text(DOCUMENT)
    ran = path.parent / "ran"
    code, _, err = cli("pipe", "--version-is", "absent", path, "--", "touch", ran)
    assert code == 1
    assert ", not absent. Nothing was written." in err
    assert not ran.exists()


def test_filters_of_several_processes_lose_nothing(path: Path) -> None:
    path.write_text('{"n": 0}')
    running = [subprocess.Popen([*COMMAND, "pipe", path, "--", *ADD]) for _ in range(6)]
    assert [each.wait(60) for each in running] == [0] * 6
    assert json.loads(path.read_text()) == {"n": 6}


STUBBORN = "import os, signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(1000)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_filter_that_hangs_does_not_survive_the_command(path: Path, number: int) -> None:
    path.write_text(DOCUMENT)
    said = path.parent / "pid"
    with started("pipe", path, "--", sys.executable, "-c", STUBBORN, said) as process:
        until(lambda: said.exists() and said.read_text(), "the filter")
        os.kill(process.pid, number)
        process.wait(PATIENCE)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    until(lambda: not psutil.pid_exists(int(said.read_text())), "the end of the filter")
    assert path.read_text() == DOCUMENT
