"""System calls that Python does not have: what they do, and what comes of it where they do not exist."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storewriter._platform import journals, linux_calls

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="system calls of Linux")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two, with different contents."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    other.write_text("2")
    return one, other


def answering(code: int) -> Callable[..., int]:
    """A call that fails like this: 0 stands for success."""

    def call(*_: Any) -> int:
        ctypes.set_errno(code)
        return -1 if code else 0

    return call


def test_two_names_are_exchanged(files: tuple[Path, Path]) -> None:
    one, other = files
    if not linux_calls.exchange(str(one), str(other)):
        pytest.skip("this file system exchanges no names")
    assert (one.read_text(), other.read_text()) == ("2", "1")


@pytest.mark.parametrize("there_is_none", [lambda _: None, lambda _: answering(errno.ENOSYS)])
def test_without_the_call_nothing_is_exchanged(
    there_is_none: Any, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux_calls, "find", there_is_none)
    one, other = files
    assert linux_calls.exchange(str(one), str(other)) is False
    assert (one.read_text(), other.read_text()) == ("1", "2")


def test_an_exchange_that_fails_says_why_and_of_which_files(files: tuple[Path, Path]) -> None:
    one, other = files
    with pytest.raises(NotADirectoryError) as caught:
        linux_calls.exchange(str(one), str(other / "inside"))
    assert (caught.value.filename, caught.value.filename2) == (str(one), str(other / "inside"))


def test_when_a_file_was_made_is_known_or_not_told(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = files
    now = os.stat(one).st_mtime_ns
    born = linux_calls.born(str(one))
    assert born is None or abs(now - born) < 10**9 * 60
    with pytest.raises(FileNotFoundError):
        linux_calls.born(f"{one} is not here")
    monkeypatch.setattr(linux_calls, "find", lambda _: answering(errno.EPERM))  # an old sandbox
    assert linux_calls.born(str(one)) is None
    monkeypatch.setattr(linux_calls, "find", lambda _: None)
    assert linux_calls.born(str(one)) is None


def test_what_cannot_be_asked_forbids_nothing(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = files
    assert linux_calls.forbidden(str(one)) is None
    assert linux_calls.forbidden(str(one / "inside")) is None
    monkeypatch.setattr(linux_calls, "find", lambda _: answering(errno.ENOSYS))
    assert linux_calls.forbidden(str(one)) is None


def test_a_file_is_written_out(files: tuple[Path, Path]) -> None:
    fd = os.open(files[0], os.O_RDWR)
    try:
        os.write(fd, b"new")
        assert journals.write_out(fd) is True
    finally:
        os.close(fd)


def test_what_cannot_be_written_out_is_told_from_an_error() -> None:
    reading, writing = os.pipe()
    try:
        assert journals.write_out(writing) is False
    finally:
        os.close(reading)
        os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        journals.write_out(writing)


def test_without_the_call_nothing_is_written_out(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "sync_file_range", lambda: (None, None))
    with open(files[0], "rb") as file:
        assert journals.write_out(file.fileno()) is False


def test_a_library_without_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    assert linux_calls.find("no_such_function") is None
    monkeypatch.setattr(linux_calls, "find", lambda _: None)
    assert linux_calls.sync_file_range.__wrapped__() == (None, None)
    monkeypatch.setitem(sys.modules, "ctypes", None)  # no descriptor left to import it with
    assert linux_calls.c_library.__wrapped__() is None
