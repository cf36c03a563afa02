"""Every system call of a commit fails once, in every way that disks fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from helpers.documents import load
from storewriter import AsyncStore, CommitUncertain, Store
from storewriter.locks import Flock
from storewriter.testing import Call, Fault, Recorder, System, intercepted

ERRORS = ["ENOSPC", "EIO", "EROFS", "EACCES", "EMFILE", "EDQUOT", "EINTR"]

SETTINGS: dict[str, dict[str, Any]] = {
    "power": {},
    "process": {"durability": "process"},
    "backups": {"backups": 2},
    "in place": {"in_place": True},
    "in place, with backups": {"in_place": True, "backups": 2},
}

Update = Callable[[Path, dict[str, Any], System, str], None]
"""Add a key to a store through the given system calls."""


def update_plainly(path: Path, options: dict[str, Any], system: System, key: str) -> None:
    Store[Any](path, system=system, **options).update(lambda state: state.update({key: True}))


def update_in(backend: str) -> Update:
    def update(path: Path, options: dict[str, Any], system: System, key: str) -> None:
        async def main() -> None:
            store = AsyncStore[Any](path, system=system, **options)
            await store.update(lambda state: state.update({key: True}))

        anyio.run(main, backend=backend)

    return update


FACES: dict[str, Update] = {
    "Store": update_plainly,
    "AsyncStore on asyncio": update_in("asyncio"),
    "AsyncStore on trio": update_in("trio"),
}


@attrs.frozen
class Outcome:
    """What one failing call did."""

    struck: Call
    error: BaseException | None
    is_new: bool


def outcomes(
    folder: Path, options: dict[str, Any], update: Update, error: Callable[[], OSError], *, late: bool = False
) -> Iterator[Outcome]:
    """Fail each call in turn; what must hold after any failure is asserted here."""
    skip = 0
    while True:
        path = folder / f"{skip}.json"
        update(path, options, System(), "first")
        update(path, options, System(), "old")
        fault = Fault(error(), skip=skip, late=late)
        caught: BaseException | None = None
        try:
            update(path, options, intercepted(fault), "new")
        except (OSError, CommitUncertain) as raised:
            caught = raised
        if fault.struck is None:
            assert caught is None
            return
        where = f"call {skip}, {fault.struck}"
        found = load(path, **options)
        assert found in (b'{"first":true,"old":true}\n', b'{"first":true,"old":true,"new":true}\n'), where
        assert path.read_bytes() == found, where
        is_new = b"new" in found
        assert Flock().owner(str(path)) is None, where
        if fault.struck.name != "unlink":
            assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp")), where
        update(path, options, System(), "next")
        expected = {"first": True, "old": True, **({"new": True} if is_new else {}), "next": True}
        assert Store[Any](path).read() == expected, where
        assert not list(folder.glob(".*.tmp")), where
        yield Outcome(fault.struck, caught, is_new)
        skip += 1


@pytest.fixture(scope="module", autouse=True)
def warmed_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    for update in FACES.values():
        update(tmp_path_factory.mktemp("warm") / "state.json", {}, System(), "x")


ALL = [("Store", code) for code in ERRORS] + [
    # The faces differ in where a step runs, not in what an error number means.
    (face, code)
    for face in FACES
    if face != "Store"
    for code in ("EIO", "EMFILE")
]


@pytest.mark.parametrize(("face", "code"), ALL)
@pytest.mark.parametrize("setting", SETTINGS)
def test_after_any_failing_call_the_old_document_stands_or_the_commit_is_called_uncertain(
    tmp_path: Path, face: str, setting: str, code: str
) -> None:
    number = getattr(errno, code)
    seen: list[str] = []
    for outcome in outcomes(tmp_path, SETTINGS[setting], FACES[face], lambda: OSError(number, os.strerror(number))):
        seen.append(outcome.struck.name)
        match outcome.error:
            case None:
                # A descriptor that was only read from, a leftover, the look whether a document is large, or a backup
                # that the next commit moves up.
                is_moving_up = outcome.struck.name == "rename" and "backup-" in outcome.struck.arguments[0]
                harmless = outcome.struck.name in ("close", "unlink", "lstat", "set_attribute", "fstat")
                assert harmless or is_moving_up, outcome
                assert outcome.is_new, outcome
            case CommitUncertain() as error:
                assert outcome.struck.name == "flush_folder", outcome
                assert outcome.is_new, outcome
                assert str(tmp_path) in str(error)
            case OSError() as error:
                assert error.errno == number, outcome
                assert str(tmp_path) in str(error), outcome
                assert not outcome.is_new, outcome
    assert {"open", "write", "rename" if setting != "process" else "exchange"} <= set(seen)
    assert ("flush_folder" in seen) == ("flush" in seen) == (setting != "process")


def test_a_folder_that_cannot_be_flushed_makes_the_commit_uncertain_and_the_update_visible(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    update_plainly(path, {}, System(), "old")
    fault = Fault(OSError(errno.EIO, "I/O error"), name="flush_folder")
    with pytest.raises(CommitUncertain, match="whether it survives a power cut is unknown"):
        update_plainly(path, {}, intercepted(fault), "new")
    assert Store[Any](path).read() == {"old": True, "new": True}


def test_a_flush_that_failed_is_not_tried_again_on_the_same_file(tmp_path: Path) -> None:
    """The kernel reports a failed write-back once: the next fsync of that file would succeed and prove nothing."""
    path = tmp_path / "state.json"
    update_plainly(path, {}, System(), "old")
    recorder = Recorder()
    fault = Fault(OSError(errno.EIO, "I/O error"), name="flush")
    with pytest.raises(OSError, match="I/O error"):
        update_plainly(path, {}, intercepted(recorder, real=intercepted(fault)), "new")
    assert recorder.names().count("flush") == 1
    recorder.forget()
    update_plainly(path, {}, intercepted(recorder), "next")
    names = recorder.names()
    assert names.index("write") < names.index("flush") < names.index("rename")
    assert Store[Any](path).read() == {"old": True, "next": True}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_rename_whose_answer_was_lost_is_not_taken_for_one_that_failed(tmp_path: Path, setting: str) -> None:
    """As on a network file system: the new document has the name, and the call says that it failed."""
    seen = 0
    for outcome in outcomes(
        tmp_path, SETTINGS[setting], update_plainly, lambda: OSError(errno.EIO, "I/O error"), late=True
    ):
        if outcome.struck.name in ("rename", "exchange") and outcome.struck.arguments[1].endswith("json"):
            assert isinstance(outcome.error, CommitUncertain)
            assert outcome.is_new
            seen += 1
    assert seen == (1 if "in_place" not in SETTINGS[setting] else 0)


def in_small_pieces(call: Call, proceed: Callable[[], Any]) -> Any:
    if call.name == "write":
        fd, data = call.arguments
        return os.write(fd, bytes(data)[:3])
    if call.name == "read":
        fd, _ = call.arguments
        return os.read(fd, 3)
    return proceed()


@pytest.mark.parametrize("setting", SETTINGS)
def test_short_writes_and_short_reads_are_continued(tmp_path: Path, setting: str) -> None:
    path = tmp_path / "state.json"
    for key in ("first", "second", "third"):
        update_plainly(path, SETTINGS[setting], intercepted(in_small_pieces), key)
    assert path.read_bytes() == b'{"first":true,"second":true,"third":true}\n'


def test_a_file_system_that_accepts_nothing_more_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    update_plainly(path, {}, System(), "old")

    def full(call: Call, proceed: Callable[[], Any]) -> Any:
        return 0 if call.name == "write" else proceed()

    with pytest.raises(OSError, match="accepted no more bytes"):
        update_plainly(path, {}, intercepted(full), "new")
    assert Store[Any](path).read() == {"old": True}


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_failing_call_leaves_a_descriptor_open(tmp_path: Path, setting: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for outcome in outcomes(tmp_path, SETTINGS[setting], update_plainly, lambda: OSError(errno.EIO, "I/O error")):
        assert len(os.listdir("/proc/self/fd")) == before, outcome


def test_a_document_that_a_file_server_drops_while_it_is_read_is_read_again_once(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"a": 1}')
    stale = OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    fault = Fault(stale, name="read")
    assert Store[Any](path, system=intercepted(fault)).read() == {"a": 1}
    assert fault.struck is not None

    def always_stale(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "read":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return proceed()

    with pytest.raises(OSError, match="the document is untouched") as raised:
        Store[Any](path, system=intercepted(always_stale)).read()
    assert raised.value.errno == errno.ESTALE


def test_a_document_that_grows_while_it_is_read_is_read_whole(path: Path) -> None:
    """By a program that takes no lock, between the look at its size and its content."""

    def growing(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "read":
            path.write_text('{"a": 1, "b": 2}')
        return proceed()

    path.write_text("{}")
    assert Store[Any](path, system=intercepted(growing)).read() == {"a": 1, "b": 2}
