"""Where events come from, and what is left where there are none."""

from __future__ import annotations

import errno
import os
import select
import struct
from pathlib import Path
from typing import Any

import pytest
from watching import OFTEN, put

from helpers.waiting import PATIENCE
from storewriter import Store
from storewriter._files import folder_events
from storewriter._files.folder_events import FolderEvents, open_events


def readable(one: FolderEvents, seconds: float = PATIENCE) -> bool:
    return bool(select.select([one], [], [], seconds)[0])


@pytest.fixture
def inotify() -> Any:
    found = open_events()
    assert isinstance(found, FolderEvents)
    yield found
    found.close()


def test_what_happens_to_another_name_is_not_heard(inotify: FolderEvents, path: Path) -> None:
    inotify.aim(str(path))
    put(path.with_name("other"), "x")
    assert readable(inotify)
    assert not inotify.heard()
    put(path, "x")
    assert inotify.heard()
    assert not inotify.heard()


def test_a_writer_is_heard_when_it_has_done(inotify: FolderEvents, path: Path) -> None:
    path.write_text("")
    inotify.aim(str(path))
    with path.open("w") as document:
        document.write("x")
        document.flush()
        assert not inotify.heard()
    assert inotify.heard()


def test_a_folder_that_comes_while_we_aim_is_listened_to(
    inotify: FolderEvents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "b" / "state.json"
    missing = [tmp_path / "a", tmp_path / "a" / "b"]
    watch_folder = FolderEvents._watch_folder

    def watch_when_the_next_is_there(self: FolderEvents, folder: str, mask: int) -> bool:
        if missing:
            missing.pop(0).mkdir()
        return watch_folder(self, folder, mask)

    monkeypatch.setattr(FolderEvents, "_watch_folder", watch_when_the_next_is_there)
    inotify.aim(str(path))
    put(path, "x")
    assert inotify.heard()


def test_a_folder_that_goes_while_we_aim_is_waited_for(
    inotify: FolderEvents, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path.parent / "a" / "state.json"
    path.parent.mkdir()
    watch_folder = FolderEvents._watch_folder

    def watch_what_has_gone(self: FolderEvents, folder: str, mask: int) -> bool:
        monkeypatch.setattr(FolderEvents, "_watch_folder", watch_folder)
        path.parent.rmdir()
        return watch_folder(self, folder, mask)

    monkeypatch.setattr(FolderEvents, "_watch_folder", watch_what_has_gone)
    inotify.aim(str(path))
    assert not inotify.heard()
    path.parent.mkdir()
    assert inotify.heard()


def test_names_that_are_not_ascii_are_heard(inotify: FolderEvents, tmp_path: Path) -> None:
    path = tmp_path / "zustände-☕.json"
    inotify.aim(str(path))
    put(path, "x")
    assert inotify.heard()


def test_aiming_elsewhere_forgets_the_first_aim(inotify: FolderEvents, tmp_path: Path) -> None:
    first, second = tmp_path / "one" / "s", tmp_path / "two" / "s"
    first.parent.mkdir()
    second.parent.mkdir()
    inotify.aim(str(first))
    inotify.aim(str(second))
    put(first, "x")
    assert not inotify.heard()
    put(second, "x")
    assert inotify.heard()
    kept = Path(f"/proc/self/fdinfo/{inotify.fileno()}").read_text()
    assert kept.count("inotify wd:") == 1, "a user has so many watches, and not more"


def test_when_the_kernel_has_lost_events_everything_may_have_happened(path: Path, inotify: FolderEvents) -> None:
    inotify.aim(str(path))
    hears, says = os.pipe()
    os.set_blocking(hears, False)
    real, inotify._fd = inotify._fd, hears
    try:
        os.write(says, struct.pack("iIII", -1, folder_events._Q_OVERFLOW, 0, 0))
        assert inotify.heard()
    finally:
        inotify._fd = real
        os.close(hears)
        os.close(says)


@pytest.mark.parametrize("when", ["open", "aim"])
def test_without_watches_to_be_had_looking_is_enough(
    path: Path, when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "no more watches")

    if when == "open":
        monkeypatch.setattr("storewriter._backends.file_news.open_events", refuse)
    else:
        monkeypatch.setattr(FolderEvents, "aim", refuse)
    store: Store[dict[str, Any]] = Store(path)
    with caplog.at_level("INFO", "storewriter"), store.watch(poll=OFTEN) as states:
        assert next(states) == {}
        store.update(lambda state: state.update(n=1))
        assert next(states) == {"n": 1}
    assert [record.message for record in caplog.records if "without events" in record.message] == [
        f"{path} is watched without events: [Errno {errno.ENOSPC}] no more watches"
    ]


def test_a_system_without_events_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storewriter._backends.file_news.open_events", lambda: None)
    store: Store[dict[str, Any]] = Store(path)
    with store.watch(poll=OFTEN) as states:
        next(states)
        store.update(lambda state: state.update(n=1))
        assert next(states) == {"n": 1}


def test_elsewhere_than_on_linux_there_are_no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storewriter._files.folder_events.c_library", lambda: None)
    assert open_events() is None
