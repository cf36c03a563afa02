"""Every state in which a power cut may leave a commit is checked; and the check is shown to see what it must see."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from helpers.documents import load, save
from storewriter import PerStoreWriterQueue, Store
from storewriter.testing import Around, Call, Recorder, System, intercepted
from storewriter.testing.power import ACKNOWLEDGED, PowerCut, Recorded, disk_of, final_state, power_cuts

DOCUMENTS = [
    {"n": 0},
    {"n": 1, "text": "longer than what was there before it, by some blocks"},
    {"n": 2, "text": "shorter again"},
    {"n": 3, "text": "and as long, or nearly so, as the first of the long ones"},
]


@attrs.frozen
class Setting:
    """How the store is set up, and whether it has a document at the start."""

    name: str
    options: dict[str, Any] = attrs.field(factory=dict)
    starts_empty: bool = False


SETTINGS = [
    Setting("a document is replaced"),
    Setting("the first document", starts_empty=True),
    Setting("with three backups", {"backups": 3}),
    Setting("with one backup", {"backups": 1}),
    Setting("in place", {"in_place": True}),
    Setting("in place with a backup", {"in_place": True, "backups": 1}),
]


@attrs.frozen
class Trial:
    """Some updates, and every state in which a power cut may leave them."""

    path: Path
    setting: Setting
    cuts: Iterator[PowerCut]


def store_of(path: Path, setting: Setting, system: System | None = None) -> Store[Any]:
    return Store[Any](path, system=system or System(), **setting.options)


def cut_power_during(folder: Path, setting: Setting, mutant: Around | None = None) -> Trial:
    """Record some updates of a store, and work out all states."""
    path = folder / "state.json"
    if not setting.starts_empty:
        Store[Any](path).transform(lambda _: DOCUMENTS[0])
    start = disk_of(folder)
    recorder = Recorder()
    system = intercepted(recorder)
    if mutant is not None:
        system = intercepted(mutant, real=system)
    store = store_of(path, setting, system)
    for document in DOCUMENTS[1:]:
        store.transform(lambda _, document=document: document)
        recorder.done.append((ACKNOWLEDGED, None))
    assert_model_is_faithful(folder, start, recorder.done)
    return Trial(path, setting, power_cuts(start, recorder.done))


def assert_model_is_faithful(folder: Path, start: Any, recorded: Recorded) -> None:
    real = disk_of(folder)
    believed = final_state(start, recorded)
    assert {name: believed.files[n] for name, n in believed.reachable().items() if not name.endswith(".lock")} == {
        name: real.files[n] for name, n in real.names.items() if not name.endswith(".lock")
    }


def violations(trial: Trial, into: Path) -> Iterator[str]:
    """The states in which the store is not what it was promised to be."""
    for number, cut in enumerate(trial.cuts):
        root = into / str(number)
        cut.disk.write_out(root)
        path = root / str(trial.path).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        first = {} if trial.setting.starts_empty else DOCUMENTS[0]
        history = [first, *DOCUMENTS[1:]]
        allowed = history[cut.acknowledged : cut.acknowledged + 2]
        # Without flushes of its own: hundreds of states, and the power of this machine stays on.
        store = store_of(path, attrs.evolve(trial.setting, options={**trial.setting.options, "durability": "process"}))
        try:
            found = store.read()
        except Exception as error:  # noqa: BLE001
            yield f"after {cut.after} calls: {error}"
            continue
        if found not in allowed:
            yield f"after {cut.after} calls, {cut.acknowledged} acknowledged: {found}"
            continue
        store.update(lambda state: state.update(next=True))
        if store.read() != found | {"next": True} or Store[Any](path).read() != store.read():
            yield f"after {cut.after} calls: the next update was not there"
        if list(path.parent.glob(".*.tmp")):
            yield f"after {cut.after} calls: the next update left a temporary file"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_power_cut_leaves_the_old_or_the_new_document_and_all_that_was_acknowledged(
    tmp_path: Path, setting: Setting
) -> None:
    trial = cut_power_during(made(tmp_path / "real"), setting)
    assert list(violations(trial, tmp_path / "cuts")) == []


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def skipping(name: str) -> Callable[[], Around]:
    """A commit that leaves out a flush."""

    def make() -> Around:
        def around(call: Call, proceed: Callable[[], Any]) -> Any:
            return None if call.name == name else proceed()

        return around

    return make


class FlushesTooLate:
    """A commit that flushes a file, and closes it, only after the next rename."""

    def __init__(self) -> None:
        self._unflushed: set[int] = set()
        self._late: list[Callable[[], Any]] = []

    def __call__(self, call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "flush":
            self._unflushed.add(call.arguments[0])
            self._late.append(proceed)
            return None
        if call.name == "close" and call.arguments[0] in self._unflushed:
            self._unflushed.remove(call.arguments[0])
            self._late.append(proceed)
            return None
        result = proceed()
        if call.name == "rename":
            for step in self._late:
                step()
            self._late.clear()
        return result


class FlushesTheFolderTooEarly:
    """A commit that flushes the folder before the rename."""

    def __init__(self) -> None:
        self._held: list[Callable[[], Any]] = []

    def __call__(self, call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "rename" and call.arguments[0].endswith(".tmp"):
            self._held.append(proceed)
            return None
        result = proceed()
        if call.name == "flush_folder":
            while self._held:
                self._held.pop()()
        return result


MUTANTS: dict[str, Callable[[], Around]] = {
    "no flush of the file": skipping("flush"),
    "no flush of the folder": skipping("flush_folder"),
    "the file is flushed after the rename": FlushesTooLate,
    "the folder is flushed before the rename": FlushesTheFolderTooEarly,
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_commit_with_a_flush_left_out_or_out_of_order_is_seen(
    tmp_path: Path, setting: Setting, mutant: Callable[[], Around]
) -> None:
    trial = cut_power_during(made(tmp_path / "real"), setting, mutant())
    assert next(violations(trial, tmp_path / "cuts"), None) is not None


def test_a_plain_overwrite_is_seen_to_be_torn(tmp_path: Path) -> None:
    """Without its journal, a write in place is nothing but this."""
    path = made(tmp_path / "real") / "state.json"
    Store[Any](path).transform(lambda _: DOCUMENTS[0])
    start = disk_of(path.parent)
    recorder = Recorder()
    system = intercepted(recorder)
    fd = system.open(str(path), os.O_WRONLY)
    data = load(path) or b""
    system.write(fd, data.replace(b"0", b"1" * 2 * len(data)))
    system.flush(fd)
    system.close(fd)
    trial = Trial(path, SETTINGS[0], power_cuts(start, recorder.done))
    assert any("cannot be read" in violation for violation in violations(trial, tmp_path / "cuts"))


def test_new_folders_are_durable_before_anything_in_them_is_acknowledged(tmp_path: Path) -> None:
    base = made(tmp_path / "real")
    path = base / "a" / "b" / "state.json"
    start = disk_of(base)
    recorder = Recorder()
    save(path, b"{}", system=intercepted(recorder))
    recorder.done.append((ACKNOWLEDGED, None))
    after = [cut for cut in power_cuts(start, recorder.done) if cut.acknowledged]
    assert after
    for cut in after:
        assert str(path) in cut.disk.reachable()


def test_a_folder_that_a_dead_writer_made_and_never_flushed_is_durable_before_anything_in_it_is_acknowledged(
    tmp_path: Path,
) -> None:
    base = made(tmp_path / "real")
    path = base / "a" / "b" / "state.json"
    start = disk_of(base)
    recorder = Recorder()
    system = intercepted(recorder)
    for folder in (base / "a", base / "a" / "b"):
        system.mkdir(str(folder), 0o700)
    Store[Any](path, system=system).update(lambda state: state.update(n=1))
    recorder.done.append((ACKNOWLEDGED, None))
    after = [cut for cut in power_cuts(start, recorder.done) if cut.acknowledged]
    assert after
    for cut in after:
        assert str(path) in cut.disk.reachable()


def flushed_folders(path: Path, **options: Any) -> list[str]:
    """The folders that a first commit flushes."""
    opened: dict[int, str] = {}
    flushed: list[str] = []

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        result = proceed()
        if call.name == "open":
            opened[result] = call.arguments[0]
        if call.name == "flush_folder":
            flushed.append(opened[call.arguments[0]])
        return result

    Store[Any](path, system=intercepted(around), **options).update(lambda state: state.update(n=1))
    return flushed


def test_only_private_folders_have_their_names_flushed_and_only_by_the_first_commit(tmp_path: Path) -> None:
    base = made(tmp_path / "real")
    base.chmod(0o755)
    path = base / "a" / "b" / "state.json"
    assert sorted(flushed_folders(path)) == [str(base), str(base / "a"), str(base / "a" / "b")]
    path.unlink()
    (base / "a" / "b").chmod(0o750)
    assert flushed_folders(path) == [str(base / "a" / "b")]
    path.write_text("{}")
    (base / "a" / "b").chmod(0o700)
    assert flushed_folders(path) == [str(base / "a" / "b")]
    path.unlink()
    assert flushed_folders(path, durability="process") == []


def test_a_lock_that_makes_folders_leaves_their_flush_to_the_commit(tmp_path: Path, monkeypatch: Any) -> None:
    """Only the store knows whether anything is to survive a power cut."""
    flushed: list[int] = []
    monkeypatch.setattr(System, "flush", staticmethod(flushed.append))
    monkeypatch.setattr(System, "flush_folder", staticmethod(flushed.append))
    with PerStoreWriterQueue().turn(tmp_path / "a" / "b" / "state.json"):
        pass
    Store[Any](tmp_path / "c" / "d" / "state.json", durability="process").update(lambda state: state.update(n=1))
    assert flushed == []
    Store[Any](tmp_path / "e" / "state.json").update(lambda state: state.update(n=1))
    assert flushed


def test_in_a_folder_whose_name_could_not_be_flushed_nothing_is_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "state.json"

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "flush_folder":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return proceed()

    with pytest.raises(OSError, match=r"saving") as caught:
        save(path, b"{}", system=intercepted(around))
    assert str(path) in str(caught.value)
    assert os.listdir(path.parent) == []
    assert str(tmp_path / "a") in flushed_folders(path)


def test_the_recorded_order_is_write_flush_rename_flush_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save(path, b"1")
    recorder = Recorder()
    save(path, b"2", system=intercepted(recorder))
    steps = [name for name in recorder.names() if name in ("write", "flush", "rename", "flush_folder")]
    assert steps == ["write", "flush", "rename", "flush_folder"]


@pytest.mark.parametrize("suffix", ["before", "after"])
def test_a_process_durable_commit_is_whole_at_every_instant(tmp_path: Path, suffix: str) -> None:
    """No flush, so no promise about power; but what programs see is the old or the new document at every call."""
    path = tmp_path / "state.json"
    save(path, b"old")
    seen: list[bytes] = []

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        with contextlib.ExitStack() as stack:
            if suffix == "before":
                seen.append(path.read_bytes())
            else:
                stack.callback(lambda: seen.append(path.read_bytes()))
            return proceed()

    save(path, b"new", durability="process", system=intercepted(around))
    assert set(seen) <= {b"old", b"new"}
    assert path.read_bytes() == b"new"


def test_a_durable_commit_has_the_kernel_flush_the_new_file_and_then_its_folder(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """What the other tests record are calls of ours; this is what they come down to."""
    path = tmp_path / "state.json"
    path.write_text("{}")
    flushed: list[str] = []
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{fd}"))
        real_fsync(fd)

    monkeypatch.setattr(System, "flush", staticmethod(fsync))
    monkeypatch.setattr(System, "flush_folder", staticmethod(fsync))
    Store[Any](path, durability="process").update(lambda state: state.update(n=1))
    assert flushed == []
    Store[Any](path).update(lambda state: state.update(n=2))
    assert flushed == [str(tmp_path / ".state.json.tmp"), str(tmp_path)]
