"""`storewriter recover`: it says what it will do, asks, and keeps what was there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.commands import Here
from storewriter import Store

CUT = '{"n": 2, "te'


@pytest.fixture
def store(path: Path) -> Store[dict[str, int]]:
    """One with a backup, `{"n": 1}`."""
    store = Store[dict[str, int]](path, dict, backups=2)
    for n in (1, 2):
        store.update(lambda state, n=n: state.update(n=n))
    return store


def test_without_a_terminal_it_says_what_it_would_do_and_does_nothing(cli: Here, path: Path, store: object) -> None:
    path.write_text(CUT)
    code, out, err = cli("recover", path)
    assert (code, out) == (1, "")
    assert (
        f"would move it to {path}.corrupt-1 and restore the newest good backup, {path.parent}/.{path.name}.backup-1"
        in err
    )
    assert err.endswith("storewriter: nothing was done; --yes does it without asking\n")
    assert path.read_text() == CUT


def test_yes_restores_the_newest_good_backup_and_keeps_the_corrupt_document(
    cli: Here, path: Path, store: object
) -> None:
    path.write_text(CUT)
    code, out, _ = cli("recover", "--yes", path)
    assert code == 0
    assert out.startswith(f"{path} was restored from {path.parent}/.{path.name}.backup-1 (it was corrupt: ")
    assert json.loads(path.read_text()) == {"n": 1}
    assert Path(f"{path}.corrupt-1").read_text() == CUT


def test_without_a_backup_the_default_is_put_there(cli: Here, path: Path) -> None:
    path.write_text("[1, 2")
    code, out, err = cli("recover", "--yes", "--default", "[]", "--json", path)
    assert code == 0
    assert "put [] there (--default)" in err
    assert json.loads(out)["outcome"] == "reset"
    assert json.loads(path.read_text()) == []
    assert Path(f"{path}.corrupt-1").read_text() == "[1, 2"


def test_a_document_that_can_be_read_is_left_alone(cli: Here, path: Path) -> None:
    path.write_text("{}")
    assert cli("recover", path) == (0, f"{path} is healthy; nothing was done\n", "")


def test_a_missing_document_is_restored(cli: Here, path: Path, store: object) -> None:
    path.unlink()
    code, out, err = cli("recover", "--yes", path)
    assert code == 0
    assert err == f"storewriter: {path} has no document; the newest good backup, if there is one, will take its place\n"
    assert out.startswith(f"{path} was restored from ")


def test_what_may_be_intact_needs_force(cli: Here, path: Path) -> None:
    path.write_text("// mine\n{}")
    code, _, err = cli("recover", "--yes", path)
    assert code == 1
    assert "was not recovered, because it may be intact" in err
    assert path.read_text() == "// mine\n{}"
    assert cli("recover", "--yes", "--force", path).code == 0
    assert Path(f"{path}.corrupt-1").read_text() == "// mine\n{}"


def test_a_default_that_is_no_document_is_refused(cli: Here, path: Path) -> None:
    path.write_text(CUT)
    code, _, err = cli("recover", "--yes", "--default", "{", path)
    assert code == 2
    assert err.startswith("storewriter: --default cannot be read: line 1, column 2: ")
    assert path.read_text() == CUT


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_on_a_terminal_it_asks(
    cli: Here, path: Path, store: object, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    path.write_text(CUT)
    terminal = _Terminal(answer)
    monkeypatch.setattr("sys.stdin", terminal)
    found, _, err = cli("recover", path)
    assert found == code
    assert "Do it? [y/N]: " in err
    assert (path.read_text() == CUT) == bool(code)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("Yes\n", 0), ("n\n", 1), ("other.json\n", 1), ("", 1)])
def test_a_line_of_a_pipe_is_an_answer(
    cli: Here, path: Path, store: object, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    path.write_text(CUT)
    monkeypatch.setattr("sys.stdin", _Terminal(answer, is_terminal=False))
    found, _, err = cli("recover", path)
    assert found == code
    assert err.endswith("nothing was done; --yes does it without asking\n") == bool(code)
    assert (path.read_text() == CUT) == bool(code)


class _Terminal:
    """A standard input that is a terminal (or a pipe), with one line in it."""

    def __init__(self, line: str, *, is_terminal: bool = True) -> None:
        self._lines = [line]
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def readline(self, *_: object) -> str:
        return self._lines.pop(0) if self._lines else ""

    def fileno(self) -> int:
        raise OSError
