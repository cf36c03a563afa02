"""`storewriter watch`: a line, or a run of a command, for each committed document."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from helpers.commands import Here, started
from helpers.waiting import PATIENCE, until
from storewriter import Store


def test_the_document_that_is_there_comes_first(cli: Here, path: Path) -> None:
    path.write_text('{"a": 1.50}')
    version = Store(path, dict).read_versioned()[1]
    code, out, err = cli("watch", "--count", "1", path)
    assert (code, err) == (0, "")
    assert out.split("  ")[1:] == [version, "11 bytes", f"{path}\n"]
    line = json.loads(cli("watch", "--count", "1", "--json", path).out)
    assert (line["version"], line["state"], line["path"]) == (version, {"a": 1.5}, str(path))


def test_a_store_without_a_document_is_one_too(cli: Here, path: Path) -> None:
    assert "  absent  no document  " in cli("watch", "--count", "1", path).out
    assert json.loads(cli("watch", "--count", "1", "--json", path).out)["state"] is None


def test_each_committed_document_is_a_line(path: Path) -> None:
    store = Store(path, dict)
    with started("watch", "--json", "--count", "3", path) as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline())["state"]]
        for n in range(2):
            store.update(lambda state, n=n: state.update(n=n))
            seen.append(json.loads(process.stdout.readline())["state"])
        assert process.wait(PATIENCE) == 0
    assert seen == [None, {"n": 0}, {"n": 1}]


def test_changes_only_leaves_the_first_one_out(cli: Here, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "watch", lambda store: nullcontext(iter([b"{}", b'{"n": 1}'])))
    out = cli("watch", "--json", "--changes-only", "--count", "1", path).out
    assert json.loads(out)["state"] == {"n": 1}


def test_a_command_gets_the_document_and_its_version(cli: Here, path: Path) -> None:
    path.write_text('{"a": 1}')
    version = Store(path, dict).read_versioned()[1]
    script = 'cat; echo " $STOREWRITER_PATH $STOREWRITER_VERSION"'
    assert cli("watch", "--count", "1", path, "--", "sh", "-c", script) == (0, f'{{"a": 1}} {path} {version}\n', "")


def test_a_command_that_fails_is_told_and_watching_goes_on(cli: Here, path: Path) -> None:
    code, out, err = cli("watch", "--count", "1", path, "--", "sh", "-c", "exit 3")
    assert (code, out, err) == (1, "", "storewriter: 'sh' ended with exit code 3 for version absent\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--", "no-such-command"), 127, "'no-such-command' cannot be started: there is no such command."),
        (("--",), 2, "give a command after --: storewriter watch STORE -- COMMAND."),
        (("--count", "0"), 2, "0 is not in the range x>=1."),
    ],
)
def test_wrong_usage(cli: Here, path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    found, _, err = cli("watch", "--count", "1", path, *arguments)
    assert found == code
    assert message in err


def test_a_folder_is_refused(cli: Here, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    code, _, err = cli("watch", "--count", "1", tmp_path / "d")
    assert code == 3
    assert err.startswith(f"storewriter: {tmp_path / 'd'} is a folder, so it cannot be a store.")


def test_a_document_that_cannot_be_read_is_told_and_watching_goes_on(path: Path) -> None:
    path.write_text('{"n": ')
    with started("watch", "--json", "--count", "1", path) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline().startswith(f"storewriter: {path} cannot be read: ")
        path.write_text("{}")
        assert json.loads(process.stdout.readline())["state"] == {}
        assert process.wait(PATIENCE) == 0


HANGS = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(1000)"


def test_ctrl_c_ends_it_and_the_command_that_runs(path: Path) -> None:
    said = path.parent / "pid"
    with started("watch", path, "--", sys.executable, "-c", HANGS, said) as process:
        until(lambda: said.exists() and said.read_text(), "the command")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    until(lambda: not psutil.pid_exists(int(said.read_text())), "the end of the command")
