"""The last documents are kept without a second write; a corrupt one is moved aside only on request."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from storewriter import (
    AsyncStore,
    CommitUncertain,
    PerStoreWriterQueue,
    ReadOnlyStore,
    ReentrantTurn,
    Store,
    StoreCorrupt,
)
from storewriter.codecs import JsonCodec, Versioned
from storewriter.testing import Call, Fault, Recorder, intercepted

IN_PLACE = pytest.mark.parametrize("in_place", [False, True], ids=["replaced", "in place"])


def write(store: Store[Any], *numbers: int) -> None:
    for number in numbers:
        store.transform(lambda _, number=number: {"n": number})


def backup(path: Path, number: int) -> Path:
    return path.parent / f".{path.name}.backup-{number}"


def document(number: int) -> bytes:
    return b'{"n":%d}\n' % number


def kept(path: Path) -> list[bytes]:
    names = sorted(path.parent.glob(f".{path.name}.backup-*"))
    assert names == [backup(path, number + 1) for number in range(len(names))]
    return [name.read_bytes() for name in names]


@IN_PLACE
@pytest.mark.parametrize("durability", ["power", "process"])
def test_the_last_documents_are_kept_newest_first(tmp_path: Path, durability: Any, in_place: bool) -> None:
    path = tmp_path / "state.json"
    store = Store[Any](path, backups=3, durability=durability, in_place=in_place)
    write(store, 1)
    assert kept(path) == []
    write(store, 2)
    assert kept(path) == [document(1)]
    write(store, 3, 4, 5, 6)
    assert kept(path) == [document(5), document(4), document(3)]
    assert store.read() == {"n": 6}


def test_a_backup_is_the_replaced_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    recorder = Recorder()
    store = Store[Any](path, backups=2, system=intercepted(recorder))
    write(store, 1, 2)
    inode = path.stat().st_ino
    recorder.forget()
    write(store, 3)
    assert backup(path, 1).stat().st_ino == inode
    assert recorder.names().count("write") == 1


def test_one_backup_is_the_document_before_this_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write(Store[Any](path, backups=1), 1, 2, 3)
    assert kept(path) == [document(2)]


def test_an_update_that_changes_nothing_makes_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write(Store[Any](path, backups=2), 1, 2, 2, 2)
    assert kept(path) == [document(1)]


def files(path: Path) -> dict[str, tuple[bytes, bool]]:
    """Every backup beside a store, by name: its content, and whether it is the document itself."""
    document = path.stat()
    found = sorted(path.parent.glob(f".{path.name}.backup-*"))
    return {file.name: (file.read_bytes(), os.path.samestat(file.stat(), document)) for file in found}


def fails_at(number: int, code: int) -> Callable[[Call, Callable[[], Any]], Any]:
    """Lets `number` calls pass, and then no more."""
    left = iter(range(number))

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name in ("close", "unlink"):
            return proceed()  # on a full disk these still work
        if next(left, None) is None:
            raise OSError(code, os.strerror(code))
        return proceed()

    return around


@IN_PLACE
@pytest.mark.parametrize("count", [1, 3])
def test_commits_that_fail_leave_every_backup_as_it_was(tmp_path: Path, count: int, in_place: bool) -> None:
    path = tmp_path / "state.json"
    write(Store[Any](path, backups=count, in_place=in_place), 1, 2, 3, 4, 5)
    before = files(path)
    assert len(before) == count
    for number in range(1000):
        system = intercepted(fails_at(number, errno.ENOSPC))
        try:
            write(Store[Any](path, backups=count, in_place=in_place, system=system), 6)
        except OSError:
            assert files(path) == before, number
        except CommitUncertain:
            pass
        if Store[Any](path, in_place=in_place).read() == {"n": 6}:
            break
    assert number > 5
    write(Store[Any](path, backups=count, in_place=in_place), 7)
    assert kept(path) == [document(6 - number) for number in range(count)]


@IN_PLACE
def test_a_commit_stands_although_its_backup_could_not_be_moved_up_and_the_next_one_does_it(
    tmp_path: Path, in_place: bool
) -> None:
    path = tmp_path / "state.json"
    for number in range(3):
        left = iter(range(number))

        def around(call: Call, proceed: Callable[[], Any], left: Any = left) -> Any:
            moves_up = call.name == "rename" and "backup-" in call.arguments[0] and ".tmp" not in call.arguments[0]
            if moves_up and next(left, None) is None:
                raise OSError(errno.EIO, "I/O error")
            return proceed()

        store = Store[Any](path, backups=3, in_place=in_place)
        write(store, 1, 2, 3, 4)
        write(Store[Any](path, backups=3, in_place=in_place, system=intercepted(around)), 5)
        contents = {content for content, is_document in files(path).values() if not is_document}
        assert {document(4), document(3), document(2)} <= contents
        write(store, 6)
        assert kept(path) == [document(5), document(4), document(3)]


def test_after_a_rename_that_failed_no_backup_is_the_document_itself(tmp_path: Path) -> None:
    """Or a program that damages the document in place would damage its newest backup with it."""
    path = tmp_path / "state.json"
    write(Store[Any](path, backups=1), 1, 2)
    fault = Fault(OSError(errno.EIO, "I/O error"), name="rename")
    with pytest.raises(OSError, match="I/O error"):
        write(Store[Any](path, backups=1, system=intercepted(fault)), 9)
    assert path.stat().st_nlink == 1
    with path.open("r+b") as file:
        file.write(b"{damaged")
    assert Store[Any](path, backups=1).recover().outcome == "restored"
    assert Store[Any](path).read() == {"n": 1}


class Died(BaseException):
    """Nothing is put in order after it."""


@pytest.mark.parametrize("links", [True, False], ids=["second names", "copies"])
def test_a_backup_of_a_commit_that_never_came_is_no_backup_and_one_of_a_commit_that_did_is_the_newest(
    tmp_path: Path, links: bool
) -> None:
    def dies(before: bool) -> Callable[[Call, Callable[[], Any]], Any]:
        def around(call: Call, proceed: Callable[[], Any]) -> Any:
            if call.name == "link" and not links:
                raise OSError(errno.EPERM, "no second names")
            if call.name == "rename" and call.arguments[1] == str(path):
                if not before:
                    proceed()
                raise Died
            return proceed()

        return around

    path = tmp_path / "state.json"
    store = Store[Any](path, backups=2)
    write(store, 1, 2, 3)
    with pytest.raises(Died):
        write(Store[Any](path, backups=2, system=intercepted(dies(before=True))), 8)
    write(store, 4)
    assert kept(path) == [document(3), document(2)]
    with pytest.raises(Died):
        write(Store[Any](path, backups=2, system=intercepted(dies(before=False))), 5)
    path.write_bytes(b"{")
    assert store.recover().restored_from == f"{tmp_path}/.state.json.backup-new"
    assert store.read() == {"n": 4}
    write(store, 6)
    assert kept(path) == [document(4), document(3)]


def test_a_document_that_somebody_made_one_file_with_its_newest_backup_is_parted_from_it(tmp_path: Path) -> None:
    for in_place in (False, True):
        path = tmp_path / f"{in_place}.json"
        store = Store[Any](path, backups=2, in_place=in_place)
        write(store, 1, 2)
        path.unlink()
        os.link(backup(path, 1), path)
        write(store, 3)
        assert files(path) == {f".{path.name}.backup-1": (document(1), False)}


@pytest.mark.parametrize("code", ["EPERM", "EXDEV", "EMLINK", "EOPNOTSUPP"])
def test_where_a_file_cannot_have_two_names_the_backup_is_a_copy(tmp_path: Path, code: str) -> None:
    number = getattr(errno, code)

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "link":
            raise OSError(number, os.strerror(number))
        return proceed()

    path = tmp_path / "state.json"
    store = Store[Any](path, backups=2, mode=0o640, system=intercepted(around))
    write(store, 1, 2, 3)
    assert kept(path) == [document(2), document(1)]
    assert backup(path, 1).stat().st_mode & 0o777 == 0o640
    path.write_bytes(b"{")
    assert store.recover().restored_from == str(backup(path, 1))
    assert Path(f"{path}.corrupt-1").read_bytes() == b"{"


def test_a_healthy_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store = Store[Any](path, backups=2)
    write(store, 1, 2)
    before = path.stat()
    report = store.recover()
    assert report.outcome == "healthy"
    assert report.moved_to is report.restored_from is report.reason is None
    assert "nothing was done" in str(report)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert kept(path) == [document(1)]


@IN_PLACE
def test_a_corrupt_document_is_moved_aside_and_the_newest_good_backup_restored(tmp_path: Path, in_place: bool) -> None:
    path = tmp_path / "state.json"
    store = Store[Any](path, backups=3, in_place=in_place)
    write(store, 1, 2, 3, 4)
    path.chmod(0o640)
    path.write_bytes(b'{"n":')
    backup(path, 1).write_bytes(b"[1")
    with pytest.raises(StoreCorrupt, match=r"store\.recover\(\)"):
        store.update(lambda state: state.update(n=9))
    report = store.recover()
    assert report.outcome == "restored"
    assert report.restored_from == str(backup(path, 2))
    assert report.rejected == (str(backup(path, 1)),)
    assert report.moved_to == f"{path}.corrupt-1"
    assert Path(report.moved_to).read_bytes() == b'{"n":'
    assert report.reason
    for fact in (report.path, report.reason, report.moved_to, report.restored_from, *report.rejected):
        assert fact in str(report)
    assert store.read() == {"n": 2}
    assert path.stat().st_mode & 0o777 == 0o640
    assert backup(path, 2).read_bytes() == document(2), "the backup itself stays"
    assert backup(path, 1).read_bytes() == b"[1", "the corrupt document is no backup, and nothing was rotated"
    write(store, 5)
    assert store.read() == {"n": 5}


@IN_PLACE
def test_without_a_good_backup_the_default_is_restored(tmp_path: Path, in_place: bool) -> None:
    path = tmp_path / "state.json"
    store = Store[Any](path, default=lambda: {"fresh": True}, in_place=in_place)
    path.write_bytes(b"\0\xfe")
    report = store.recover()
    assert report.outcome == "reset"
    assert report.restored_from is None
    assert store.read() == {"fresh": True}
    assert Path(f"{path}.corrupt-1").read_bytes() == b"\0\xfe"


def test_every_corrupt_document_gets_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store = Store[Any](path)
    (tmp_path / "state.json.corrupt-2").write_bytes(b"somebody's")
    for content in (b"one", b"two", b"three"):
        path.write_bytes(content)
        store.recover()
    assert [Path(f"{path}.corrupt-{n}").read_bytes() for n in (1, 2, 3, 4)] == [
        b"one",
        b"somebody's",
        b"two",
        b"three",
    ]


def test_a_missing_document_is_restored_from_its_backup_and_without_one_it_is_nothing_to_recover(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.json"
    store = Store[Any](path, backups=1)
    report = store.recover()
    assert report.outcome == "absent"
    assert "does not exist" in str(report)
    assert "healthy" not in str(report)
    assert not path.exists()
    write(store, 1, 2)
    path.unlink()
    report = store.recover()
    assert (report.outcome, report.moved_to, report.reason) == ("restored", None, None)
    assert "missing" in str(report)
    assert store.read() == {"n": 1}


def test_of_a_missing_document_without_a_good_backup_it_is_told_that_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    backup(path, 1).write_bytes(b"{")
    report = Store[Any](path, backups=1).recover()
    assert (report.outcome, report.rejected) == ("absent", (str(backup(path, 1)),))
    assert str(report) == (
        f"{path} does not exist and has no good backup; nothing was done; not good either: {backup(path, 1)}"
    )
    assert not path.exists()


@pytest.mark.parametrize("content", [b'{"version":1', None], ids=["corrupt", "missing"])
def test_a_backup_of_a_newer_program_is_never_passed_over(tmp_path: Path, content: bytes | None) -> None:
    """Two commits after a recovery that did so it would be gone."""
    path = tmp_path / "state.json"
    store = Store[Any](path, codec=Versioned(JsonCodec(shape=dict), version=1), backups=2)
    newer = b'{"version":2,"precious":true}'
    if content is not None:
        path.write_bytes(content)
    backup(path, 1).write_bytes(newer)
    backup(path, 2).write_bytes(b'{"version":1,"old":true}')
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(StoreCorrupt, match="version 2") as caught:
        store.recover()
    assert str(path) in str(caught.value)
    assert str(backup(path, 1)) in str(caught.value)
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith(".lock")}
    assert after == before
    backup(path, 1).rename(tmp_path / "elsewhere")
    assert store.recover().restored_from == str(backup(path, 2))
    assert store.read() == {"old": True}


def test_a_good_backup_that_is_newer_than_one_of_another_program_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"{")
    backup(path, 1).write_bytes(b'{"version":1,"new":true}')
    backup(path, 2).write_bytes(b'{"version":2}')
    store = Store[Any](path, codec=Versioned(JsonCodec(shape=dict), version=1), backups=2)
    assert store.recover().restored_from == str(backup(path, 1))


@pytest.mark.parametrize("code", ["EMFILE", "EIO", "EACCES", "ELOOP", "ESTALE"])
@pytest.mark.parametrize("name", ["open", "read"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_backup_that_cannot_be_read_at_this_moment_is_not_taken_for_a_bad_one(
    tmp_path: Path, name: str, number: int, code: str
) -> None:
    path = tmp_path / "state.json"
    write(Store[Any](path, backups=2), 1, 2, 3)
    path.write_bytes(b"{damaged")
    if number == 2:
        backup(path, 1).write_bytes(b"{damaged")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith(".lock")}
    fd: int | None = None

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        nonlocal fd
        is_open = call.name == "open" and call.arguments[0] == str(backup(path, number))
        if (is_open and name == "open") or (call.name == name == "read" and call.arguments[0] == fd):
            raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))
        result = proceed()
        if call.name == "open":
            fd = result if is_open else None
        return result

    with pytest.raises(OSError, match="backup") as caught:
        Store[Any](path, backups=2, system=intercepted(around)).recover()
    assert caught.value.errno == getattr(errno, code)
    assert str(path) in str(caught.value)
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith(".lock")}
    assert after == before
    assert Store[Any](path, backups=2).recover().restored_from == str(backup(path, number))


def test_a_backup_that_is_no_file_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store = Store[Any](path, backups=2)
    write(store, 1, 2, 3)
    backup(path, 1).unlink()
    os.mkfifo(backup(path, 1))
    (tmp_path / ".state.json.backup-x").write_bytes(b"{}")
    path.write_bytes(b"{")
    report = store.recover()
    assert report.rejected == (str(backup(path, 1)),)
    assert store.read() == {"n": 1}


def test_a_recovery_never_leaves_the_path_without_a_document(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write(Store[Any](path, backups=1), 1, 2)
    path.write_bytes(b"{")
    seen: set[bytes] = set()

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        seen.add(path.read_bytes())
        return proceed()

    Store[Any](path, backups=1, system=intercepted(around)).recover()
    assert seen == {b"{", document(1)}


@IN_PLACE
def test_a_recovery_that_fails_leaves_the_corrupt_document_where_it_is(tmp_path: Path, in_place: bool) -> None:
    skip = 0
    while True:
        path = tmp_path / f"{skip}.json"
        write(Store[Any](path, backups=1), 1, 2)
        path.write_bytes(b"{")
        fault = Fault(OSError(errno.EIO, "I/O error"), skip=skip)
        try:
            Store[Any](path, backups=1, in_place=in_place, system=intercepted(fault)).recover()
        except OSError:
            assert path.read_bytes() == b"{", fault.struck
            assert fault.struck is not None
            if fault.struck.name != "unlink":
                assert not list(tmp_path.glob(f"{skip}.json.corrupt-*")), fault.struck
        except Exception:  # noqa: BLE001
            assert fault.struck is not None
            assert fault.struck.name == "flush_folder"
        if fault.struck is None:
            break
        store = Store[Any](path, in_place=in_place)
        assert store.recover().outcome in ("healthy", "restored", "reset")
        assert store.read() in ({"n": 1}, {}), fault.struck
        skip += 1
    assert skip > 10


def test_a_read_only_corrupt_document_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"{")
    path.chmod(0o444)
    with pytest.raises(ReadOnlyStore):
        Store[Any](path).recover()
    assert [file.name for file in tmp_path.iterdir() if "corrupt" in file.name] == []


def test_a_recovery_takes_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"{")
    with PerStoreWriterQueue().turn(path), pytest.raises(ReentrantTurn):
        Store[Any](path).recover()
    assert path.read_bytes() == b"{"


def test_a_state_kept_from_before_is_not_written_over_a_recovered_document(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store = Store[Any](path, backups=1)
    write(store, 1, 2)
    path.write_bytes(b"{")
    store.recover()
    store.update(lambda state: state.update(more=True))
    assert store.read() == {"n": 1, "more": True}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_recovers_a_store_too(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "state.json"
    write(Store[Any](path, backups=1), 1, 2)
    path.write_bytes(b"{")

    async def main() -> None:
        store = AsyncStore[Any](path, backups=1)
        report = await store.recover()
        assert report.outcome == "restored"
        assert await store.read() == {"n": 1}

    anyio.run(main, backend=backend)


def test_a_name_that_is_too_long_for_backups_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 245)
    store = Store(path, backups=1)
    store.update(lambda state: state.update(n=1))
    with pytest.raises(OSError, match="12 bytes more than the store's. Choose a shorter name, or backups=0"):
        store.update(lambda state: state.update(n=2))
    assert Store(path).read() == {"n": 1}


@pytest.mark.parametrize(
    ("length", "settings", "advice"),
    [
        (240, {"lock": "lease"}, "choose a shorter name: that of a file beside it has 38 bytes more"),
        (245, {"in_place": True}, "choose a shorter name: that of a file beside it has"),
        (256, {"read": True}, r"\(reading; the document is untouched; choose a shorter name\)"),
    ],
)
def test_a_name_that_is_too_long_is_refused_with_advice(
    length: int, settings: dict[str, Any], advice: str, tmp_path: Path
) -> None:
    path = tmp_path / ("n" * length)
    reads = settings.pop("read", False)
    store = Store[dict[str, Any]](path, **settings)
    if not reads:
        Store[dict[str, Any]](path).update(lambda state: state.update(n=1))
    with pytest.raises(OSError, match=advice) as caught:
        store.read() if reads else store.update(lambda state: state.update(n=2))
    assert caught.value.errno == errno.ENAMETOOLONG
    if not reads:
        assert Store(path).read() == {"n": 1}


def test_a_journal_that_cannot_be_made_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{}")

    def refuse(call: Call, go: Callable[[], object]) -> object:
        if call.name == "open" and ".journal.tmp" in str(call.arguments[0]):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return go()

    store = Store(path, in_place=True, system=intercepted(refuse))
    with pytest.raises(PermissionError, match="a journal is kept beside the document, so its folder must be writable"):
        store.update(lambda state: state.update(n=2))


def test_a_document_that_is_gone_before_it_is_copied_costs_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write(Store[Any](path, backups=2), 1, 2, 3)

    def no_links_and_another_program_removes_it(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "link":
            path.unlink()
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return proceed()

    write(Store[Any](path, backups=2, system=intercepted(no_links_and_another_program_removes_it)), 4)
    assert path.read_bytes() == document(4)
    assert kept(path) == [document(2), document(1)]
