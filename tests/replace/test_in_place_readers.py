"""Readers of a document that is written in place."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storewriter import Store
from storewriter.testing import Call, Fault, intercepted

OLD = {"text": "old " * 50}
NEW = {"text": "new " * 70}


def put(path: Path, state: dict[str, Any]) -> None:
    Store[Any](path, in_place=True).transform(lambda _: state)


class WritesMeanwhile:
    """Reads in small pieces, and lets somebody else write in the middle of the document."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._fd = -1
        self._pieces = 0
        self.wrote = False

    def __call__(self, call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "open":
            fd: int = proceed()
            if call.arguments[0] == self._path:
                self._fd = fd
            return fd
        if call.name != "read" or call.arguments[0] != self._fd:
            return proceed()
        self._pieces += 1
        if self._pieces == 3:
            put(Path(self._path), NEW)
            self.wrote = True
        return os.read(self._fd, 20)


def test_a_reader_who_was_overtaken_by_a_whole_write_reads_again(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for state in (OLD, NEW, OLD):
        put(path, state)
    meanwhile = WritesMeanwhile(path)
    found = Store[Any](path, in_place=True, system=intercepted(meanwhile)).read()
    assert meanwhile.wrote
    assert found == NEW


def test_a_reader_sees_the_old_document_at_every_instant_before_the_commit_and_the_new_one_after(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.json"
    put(path, OLD)
    seen: list[Any] = []
    torn: set[bytes] = set()

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "write":
            fd, data = call.arguments
            result = os.write(fd, bytes(data)[:32])  # torn as often as can be
        else:
            result = proceed()
        seen.append(Store[Any](path, in_place=True).read())
        torn.add(path.read_bytes())
        return result

    Store[Any](path, in_place=True, system=intercepted(around)).transform(lambda _: NEW)
    commit = seen.index(NEW)
    assert seen == [OLD] * commit + [NEW] * (len(seen) - commit)
    assert len(torn) > 2, "the file itself was a mixture meanwhile"


def test_a_journal_says_nothing_about_another_file_that_took_the_name(tmp_path: Path) -> None:
    """As when the file was replaced on the host, outside of the container."""
    path = tmp_path / "state.json"
    put(path, OLD)

    class Died(BaseException):
        pass

    def dies(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "truncate":
            raise Died
        return proceed()

    try:
        Store[Any](path, in_place=True, system=intercepted(dies)).transform(lambda _: NEW)
    except Died:
        pass
    assert Store[Any](path, in_place=True).read() == OLD
    theirs = tmp_path / "theirs.json"
    theirs.write_bytes(b'{"theirs":true}')
    theirs.rename(path)
    assert Store[Any](path, in_place=True).read() == {"theirs": True}


def test_who_may_read_the_document_may_read_its_journal_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    put(path, NEW)
    journal = tmp_path / ".state.json.journal"
    for mode in (0o644, 0o600, 0o640):
        path.chmod(mode)
        put(path, OLD)
        put(path, NEW)
        assert journal.stat().st_mode & 0o777 == mode


def test_a_file_that_is_no_journal_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    put(path, OLD)
    inode = path.stat().st_ino
    for content in (
        b"",
        b"storewriter journal 1 ",
        b"storewriter journal 1 unfinished %d 5 0000\nhello" % inode,
        b"storewriter journal 1 unfinished x y z\n",
        b"storewriter journal 2 unfinished %d 0 x\n" % inode,
        b"\xff" * 100,
    ):
        (tmp_path / ".state.json.journal").write_bytes(content)
        assert Store[Any](path, in_place=True).read() == OLD
    put(path, NEW)
    assert Store[Any](path, in_place=True).read() == NEW


@pytest.mark.parametrize(("name", "skip"), [("write", 1), ("truncate", 0), ("flush", 1), ("flush_folder", 0)])
def test_after_a_write_that_failed_and_was_undone_the_file_itself_counts_again(
    tmp_path: Path, name: str, skip: int
) -> None:
    """Or what another program then writes into the file would be lost."""
    path = tmp_path / "state.json"
    put(path, OLD)
    fault = Fault(OSError(errno.EIO, "I/O error"), name=name, skip=skip)
    with pytest.raises(OSError, match=r"was put back|is untouched"):
        Store[Any](path, in_place=True, system=intercepted(fault)).transform(lambda _: NEW)
    assert fault.struck is not None
    with path.open("r+b") as file:
        file.write(b'{"theirs":true}')
        file.truncate()
    assert Store[Any](path, in_place=True).read() == {"theirs": True}
