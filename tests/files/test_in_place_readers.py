"""Readers of a document that is written in place."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storewriter import ForeignFile, Store
from storewriter._files import in_place
from storewriter._platform.system import SYSTEM, System
from storewriter.testing import Call, Fault, intercepted

OLD = {"text": "old " * 50}
NEW = {"text": "new " * 70}


def put(path: Path, state: dict[str, Any]) -> None:
    Store[Any](path, in_place=True).transform(lambda _: state)


class WritesMeanwhile:
    """Reads in small pieces, and lets another writer write in the middle of the document."""

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


def test_a_reader_reads_once_where_no_write_comes_in_between(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for state in (NEW, OLD):
        put(path, state)
    read: list[str] = []

    def note(name: str) -> bytes | None:
        assert len(read) < 10, "it reads again and again"
        read.append(name)
        return Path(name).read_bytes()

    document = in_place.load(str(path), note, SYSTEM)
    assert document is not None
    assert json.loads(document) == OLD
    assert read == [in_place.journal(str(path)), str(path), in_place.journal(str(path))]


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


def cut_short(path: Path) -> None:
    """A writer dies in the middle of the document."""

    class Died(BaseException):
        pass

    def dies(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "truncate":
            raise Died
        return proceed()

    put(path, OLD)
    with pytest.raises(Died):
        Store[Any](path, in_place=True, system=intercepted(dies)).transform(lambda _: NEW)
    assert Store[Any](path, in_place=True).read() == OLD


def test_a_journal_says_nothing_about_another_file_that_got_the_inode_number_too(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    if SYSTEM.born(str(tmp_path)) is None:
        pytest.skip("this file system does not know when a file was made")
    for _ in range(50):  # ext4 gives the number of a removed file to the next one, as a rule
        cut_short(path)
        inode, born = path.stat().st_ino, SYSTEM.born(str(path))
        path.unlink()
        path.write_bytes(b'{"theirs":true}')
        if path.stat().st_ino == inode and SYSTEM.born(str(path)) != born:  # the clock goes in steps
            break
        path.unlink()
    else:
        pytest.skip("this file system does not use inode numbers again")
    assert Store[Any](path, in_place=True).read() == {"theirs": True}
    Store[Any](path, in_place=True).update(lambda state: state.update(ours=True))
    assert json.loads(path.read_bytes()) == {"theirs": True, "ours": True}


@pytest.mark.parametrize("then", [None, 5, 6])
@pytest.mark.parametrize("now", [None, 5, 6])
def test_a_journal_is_its_files_by_inode_number_and_by_birth_where_that_is_known(
    tmp_path: Path, then: int | None, now: int | None
) -> None:
    def born(at: int | None) -> System:
        return intercepted(lambda call, proceed: at if call.name == "born" else proceed())

    path = tmp_path / "state.json"
    put(path, OLD)

    def dies(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "truncate":
            raise KeyboardInterrupt
        return proceed()

    with pytest.raises(KeyboardInterrupt):
        Store[Any](path, in_place=True, system=intercepted(dies, real=born(then))).transform(lambda _: NEW)
    path.write_bytes(b'{"theirs":true}')
    found = Store[Any](path, in_place=True, system=born(now)).read()
    assert found == ({"theirs": True} if {then, now} == {5, 6} else OLD)


def test_a_file_keeps_its_birth_whatever_is_done_to_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1")
    born = SYSTEM.born(str(path))
    if born is None:
        pytest.skip("this file system does not know when a file was made")
    assert abs(born - path.stat().st_ctime_ns) < 10**9
    os.utime(path, (1, 1))
    path.chmod(0o600)
    path.write_bytes(b"22")
    path = path.rename(tmp_path / "name")
    assert SYSTEM.born(str(path)) == born
    (tmp_path / "link").symlink_to("nothing")
    assert SYSTEM.born(str(tmp_path / "link")) is not None, "a link is not followed"
    with pytest.raises(FileNotFoundError):
        SYSTEM.born(str(tmp_path / "nothing"))


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
        b"storewriter journal 1 unfinished 12:x 5 0000\nhello",
        b"storewriter journal 1 unfinished x y z\n",
        b"storewriter journal 2 unfinished %d 0 x\n" % inode,
        b"\xff" * 100,
    ):
        (tmp_path / ".state.json.journal").write_bytes(content)
        assert Store[Any](path, in_place=True).read() == OLD
    (tmp_path / ".state.json.journal").write_bytes(b"storewriter journal 1 unfinished x y z\n")
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


def test_a_file_of_the_journals_name_that_is_no_journal_is_left_as_it_is(tmp_path: Path) -> None:
    path, other = tmp_path / "state.json", tmp_path / ".state.json.journal"
    path.write_text('{"n":1}')
    other.write_text("dear diary")
    store = Store[Any](path, in_place=True)
    with pytest.raises(ForeignFile, match="another program") as caught:
        store.update(lambda state: state.update(n=2))
    assert caught.value.file == str(other)
    assert other.read_text() == "dear diary"
    assert path.read_text() == '{"n":1}'
    for left in ("", "\0" * 100, "storewriter", "storewriter" + "\0" * 100, "\0" * 30 + "the rest of one"):
        other.write_text(left)
        store.update(lambda state, left=left: state.update(n=len(left)))
    assert store.read() == {"n": 45}


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda other: other.symlink_to("elsewhere"), "a symbolic link"),
        (lambda other: os.mkfifo(other), "a FIFO"),
        (lambda other: other.mkdir(), "a folder"),
    ],
)
def test_what_is_no_file_in_the_place_of_the_journal_is_named_and_left_as_it_is(
    make: Any, kind: str, tmp_path: Path
) -> None:
    path, other = tmp_path / "state.json", tmp_path / ".state.json.journal"
    path.write_text('{"n":1}')
    make(other)
    before = other.lstat()
    store = Store[Any](path, in_place=True)
    for call in (store.read, lambda: store.update(lambda state: state.update(n=2))):
        with pytest.raises(ForeignFile, match=f"where the journal of {path} belongs .*, is {kind}") as caught:
            call()
        assert (caught.value.path, caught.value.file) == (str(path), str(other))
    assert os.path.samestat(other.lstat(), before)
    assert path.read_text() == '{"n":1}'
