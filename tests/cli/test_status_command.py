"""`storewriter status` of what cannot be looked at: a message that names the store, and the documented exit code."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.users import COMMAND_AS
from storewriter.__main__ import run

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        yield Path(made)


def as_another_user(*paths: Path) -> tuple[int, str, str]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    command = [sys.executable, "-c", COMMAND_AS, str(NOBODY), "status", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_an_empty_path_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", ""]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "'' names no store" in captured.err


@pytest.mark.parametrize("path", ["/", "a\0b"])
def test_what_is_no_path_of_a_file_is_wrong_usage(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", path]) == 2
    assert ("names no store" if "\0" in path else "a store's path") in capsys.readouterr().err


@pytest.mark.untraced  # another user may not write the figures
def test_a_file_that_cannot_be_read_ends_with_3(folder: Path) -> None:
    secret = folder / "state.json"
    secret.write_text("{}")
    secret.chmod(0)
    code, out, error = as_another_user(secret)
    assert (code, out) == (3, "")
    assert error == f"storewriter: [Errno 13] Permission denied: '{secret}'\n"


@pytest.mark.untraced  # another user may not write the figures
def test_a_folder_that_cannot_be_read_names_the_store_and_not_the_marker(folder: Path) -> None:
    (folder / "private").mkdir(mode=0o700)
    store = folder / "private" / "state.json"
    code, out, error = as_another_user(store)
    assert (code, out) == (3, "")
    assert error == f"storewriter: [Errno 13] Permission denied: '{store}'\n"


@pytest.mark.parametrize("kind", ["folder", "FIFO", "socket", "device"])
def test_what_is_no_file_ends_with_3(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "state.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path = Path("/dev/null")
    assert run(["status", str(path)]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"storewriter: {path} is a ")
    assert kind.lower() in captured.err.lower()


def test_the_others_are_shown_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "state.json"
    good.write_text("{}")
    assert run(["status", "--json", "/dev/null", str(good)]) == 3
    captured = capsys.readouterr()
    assert str(good) in captured.out
    assert "/dev/null is a character device" in captured.err
