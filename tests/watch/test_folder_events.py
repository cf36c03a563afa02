"""Where events come from, and what is left where there are none."""

from __future__ import annotations

import errno
import os
import select
import struct
from pathlib import Path
from typing import Any

import pytest
from watching import NEVER, OFTEN, put

from helpers.lines import Worker
from helpers.waiting import PATIENCE, until
from storewriter import AsyncStore, Store, _folder_events
from storewriter._folder_events import Bell, FolderEvents, Inotify, Watchfiles, open_events


def readable(one: FolderEvents | Bell, seconds: float = PATIENCE) -> bool:
    return bool(select.select([one], [], [], seconds)[0])


@pytest.fixture
def inotify() -> Any:
    found = open_events()
    assert isinstance(found, Inotify)
    yield found
    found.close()


def test_what_happens_to_another_name_is_not_heard(inotify: Inotify, path: Path) -> None:
    inotify.aim(str(path))
    put(path.with_name("other"), "x")
    assert readable(inotify)
    assert not inotify.heard()
    put(path, "x")
    assert inotify.heard()
    assert not inotify.heard()


def test_a_writer_is_heard_when_it_has_done(inotify: Inotify, path: Path) -> None:
    path.write_text("")
    inotify.aim(str(path))
    with path.open("w") as document:
        document.write("x")
        document.flush()
        assert not inotify.heard()
    assert inotify.heard()


def test_a_folder_that_comes_while_we_aim_is_listened_to(
    inotify: Inotify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "b" / "state.json"
    missing = [tmp_path / "a", tmp_path / "a" / "b"]
    watch_folder = Inotify._watch_folder

    def watch_when_the_next_is_there(self: Inotify, folder: str, mask: int) -> bool:
        if missing:
            missing.pop(0).mkdir()
        return watch_folder(self, folder, mask)

    monkeypatch.setattr(Inotify, "_watch_folder", watch_when_the_next_is_there)
    inotify.aim(str(path))
    put(path, "x")
    assert inotify.heard()


def test_names_that_are_not_ascii_are_heard(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "zustände-☕.json"
    inotify.aim(str(path))
    put(path, "x")
    assert inotify.heard()


def test_aiming_elsewhere_forgets_the_first_aim(inotify: Inotify, tmp_path: Path) -> None:
    first, second = tmp_path / "one" / "s", tmp_path / "two" / "s"
    first.parent.mkdir()
    second.parent.mkdir()
    inotify.aim(str(first))
    inotify.aim(str(second))
    put(first, "x")
    assert not inotify.heard()
    put(second, "x")
    assert inotify.heard()


def test_when_the_kernel_has_lost_events_everything_may_have_happened(path: Path, inotify: Inotify) -> None:
    inotify.aim(str(path))
    hears, says = os.pipe()
    os.set_blocking(hears, False)
    real, inotify._fd = inotify._fd, hears
    try:
        os.write(says, struct.pack("iIII", -1, _folder_events._Q_OVERFLOW, 0, 0))
        assert inotify.heard()
        assert inotify._aimed is None
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
        monkeypatch.setattr("storewriter.watch.open_events", refuse)
    else:
        monkeypatch.setattr(Inotify, "aim", refuse)
    store: Store[dict[str, Any]] = Store(path)
    with caplog.at_level("INFO", "storewriter"), store.watch(poll=OFTEN) as states:
        assert next(states) == {}
        store.update(lambda state: state.update(n=1))
        assert next(states) == {"n": 1}
    assert [record.message for record in caplog.records if "without events" in record.message] == [
        f"{path} is watched without events: [Errno {errno.ENOSPC}] no more watches"
    ]


def test_a_system_without_events_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storewriter.watch.open_events", lambda: None)
    store: Store[dict[str, Any]] = Store(path)
    with store.watch(poll=OFTEN) as states:
        next(states)
        store.update(lambda state: state.update(n=1))
        assert next(states) == {"n": 1}


@pytest.fixture
def other_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system without inotify."""
    monkeypatch.setattr("storewriter._folder_events._load_inotify", lambda: None)


@pytest.mark.usefixtures("other_system")
def test_watchfiles_hears_where_there_is_no_inotify(path: Path) -> None:
    events = open_events()
    assert isinstance(events, Watchfiles)
    try:
        events.aim(str(path))

        def heard() -> bool:
            put(path, "x")
            return events.heard()

        until(heard)
    finally:
        events.close()
        events.close()


@pytest.mark.usefixtures("other_system")
def test_without_watchfiles_either_there_are_no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    assert open_events() is None


@pytest.mark.usefixtures("other_system")
def test_a_watch_by_watchfiles_tells_the_last_state(path: Path) -> None:
    store: Store[dict[str, Any]] = Store(path)
    with store.watch() as states:
        next(states)
        for number in range(3):
            worker = Worker(lambda: next(states))
            store.update(lambda state, number=number: state.update(n=number))
            assert worker.result() == {"n": number}


@pytest.mark.usefixtures("other_system")
def test_a_watch_by_watchfiles_follows_a_folder_that_is_made_again(tmp_path: Path) -> None:
    store: Store[dict[str, Any]] = Store(tmp_path / "a" / "state.json")
    with store.watch(poll=OFTEN) as states:
        assert next(states) == {}
        store.update(lambda state: state.update(n=1))
        assert next(states) == {"n": 1}
        (tmp_path / "a").rename(tmp_path / "b")
        assert next(states) == {}
        store.update(lambda state: state.update(n=2))
        assert next(states) == {"n": 2}


@pytest.mark.usefixtures("other_system")
def test_tasks_end_a_watch_by_watchfiles_cleanly(path: Path, run: Any) -> None:
    store: AsyncStore[dict[str, Any]] = AsyncStore(path)

    async def main() -> None:
        async with store.watch() as states:
            assert await anext(states) == {}
            await store.update(lambda state: state.update(n=1))
            assert await anext(states) == {"n": 1}

    run(main)


def test_a_bell_rung_many_times_is_heard_once_and_a_closed_one_bothers_nobody() -> None:
    bell = Bell()
    for _ in range(100_000):
        bell.ring()
    assert readable(bell)
    while bell.heard():
        pass
    assert not readable(bell, 0)
    bell.close()
    bell.ring()
    assert NEVER.minimum > OFTEN.minimum
