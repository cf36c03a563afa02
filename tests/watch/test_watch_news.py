"""A watch yields the current state, then each new one, of any process and for any kind of change of the file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from watching import NEVER, OFTEN, ask, put, watch

from helpers.children import child
from storewriter import Store, StoreCorrupt
from storewriter._backends.files import FileBackend
from storewriter._backends.protocol import Loaded
from storewriter.codecs import DecodeError, FunctionCodec, JsonCodec
from storewriter.watch import PACE


@pytest.fixture
def store(path: Path) -> Store[dict[str, Any]]:
    return Store(path)


def test_the_current_state_comes_first_and_at_once(store: Store[dict[str, Any]], way: str) -> None:
    with watch(store, way) as states:
        assert next(states) == {}
    store.update(lambda state: state.update(n=1))
    with watch(store, way) as states:
        assert next(states) == {"n": 1}


def test_every_new_state_is_told_once(store: Store[dict[str, Any]], way: str) -> None:
    with watch(store, way) as states:
        for number in range(20):
            store.update(lambda state, number=number: state.update(n=number))
            assert next(states) == {"n": number}


def test_states_that_were_replaced_before_anybody_asked_are_skipped(store: Store[dict[str, Any]], way: str) -> None:
    with watch(store, way) as states:
        next(states)
        for number in range(5):
            store.update(lambda state, number=number: state.update(n=number))
        assert next(states) == {"n": 4}


def test_a_state_that_is_what_was_told_last_is_no_news(store: Store[dict[str, Any]], way: str, path: Path) -> None:
    with watch(store, way) as states:
        next(states)
        put(path, '{"n":1}')
        assert next(states) == {"n": 1}
        put(path, '{"n":2}')
        put(path, '{"n":1}')
        worker = ask(states)
        put(path, '{"n":3}')
        assert worker.result() == {"n": 3}


def test_what_is_told_belongs_to_the_caller(store: Store[dict[str, Any]], way: str) -> None:
    with watch(store, way) as states:
        next(states)["mine"] = True
        store.update(lambda state: state.update(n=1))
        assert next(states) == {"n": 1}


def test_a_waiting_watch_is_woken_by_another_thread(store: Store[dict[str, Any]], way: str) -> None:
    with watch(store, way) as states:
        next(states)
        for number in range(10):
            worker = ask(states)
            store.update(lambda state, number=number: state.update(n=number))
            assert worker.result() == {"n": number}


@pytest.mark.parametrize("durability", ["power", "process"])
def test_the_commits_of_another_process_are_told_and_the_last_one_always(
    store: Store[dict[str, Any]], way: str, path: Path, durability: str
) -> None:
    code = """
store = Store(path, durability=args[0])
hear()
for number in range(300):
    store.update(lambda state: state.update(n=number))
say("done")
hear()
"""
    with child(code, path, durability) as process, watch(store, way) as states:
        assert next(states) == {}
        process.tell()
        seen = []
        for state in states:
            seen.append(state["n"])
            if state["n"] == 299:
                break
        process.expect("done")
        process.tell()
        process.finish()
    assert seen == sorted(set(seen))


def test_a_program_that_renames_a_file_into_place_is_noticed(
    store: Store[dict[str, Any]], way: str, path: Path
) -> None:
    with watch(store, way) as states:
        next(states)
        worker = ask(states)
        put(path, '{"by": "another"}')
        assert worker.result() == {"by": "another"}


def test_a_program_that_writes_into_the_file_is_noticed(store: Store[dict[str, Any]], way: str, path: Path) -> None:
    store.update(lambda state: state.update(n=1))
    with watch(store, way) as states:
        next(states)
        worker = ask(states)
        with path.open("r+") as document:
            document.write('{"n":2}')
        assert worker.result() == {"n": 2}


def test_a_document_that_is_removed_and_comes_back(store: Store[dict[str, Any]], way: str, path: Path) -> None:
    store.update(lambda state: state.update(n=1))
    with watch(store, way) as states:
        next(states)
        worker = ask(states)
        path.unlink()
        assert worker.result() == {}
        worker = ask(states)
        put(path, '{"n":2}')
        assert worker.result() == {"n": 2}


def test_a_store_whose_folders_do_not_exist_yet(way: str, tmp_path: Path) -> None:
    store: Store[dict[str, Any]] = Store(tmp_path / "a" / "b" / "c" / "state.json")
    with watch(store, way) as states:
        assert next(states) == {}
        worker = ask(states)
        store.update(lambda state: state.update(n=1))
        assert worker.result() == {"n": 1}


def test_folders_that_come_one_by_one(way: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    store: Store[dict[str, Any]] = Store(folder / "state.json")
    with watch(store, way) as states:
        assert next(states) == {}
        worker = ask(states)
        folder.parent.mkdir()
        folder.mkdir()
        put(folder / "state.json", '{"n":1}')
        assert worker.result() == {"n": 1}


def test_a_folder_that_is_removed_and_made_again(way: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    store: Store[dict[str, Any]] = Store(folder / "state.json")
    with watch(store, way) as states:
        next(states)
        for number in range(5):
            worker = ask(states)
            store.update(lambda state, number=number: state.update(n=number))
            assert worker.result() == {"n": number}
            worker = ask(states)
            shutil.rmtree(folder.parent)
            assert worker.result() == {}


def test_an_empty_folder_that_is_exchanged_while_nobody_looks(way: str, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    store: Store[dict[str, Any]] = Store(folder / "state.json")
    with watch(store, way) as states:
        assert next(states) == {}
        worker = ask(states)
        folder.rmdir()
        folder.mkdir()
        put(folder / "state.json", '{"n":1}')
        assert worker.result() == {"n": 1}


def test_a_folder_that_is_moved_away(way: str, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    store: Store[dict[str, Any]] = Store(folder / "state.json")
    store.update(lambda state: state.update(n=1))
    with watch(store, way) as states:
        next(states)
        worker = ask(states)
        folder.rename(tmp_path / "elsewhere")
        assert worker.result() == {}
        worker = ask(states)
        store.update(lambda state: state.update(n=2))
        assert worker.result() == {"n": 2}


@pytest.mark.parametrize("events", [True, False])
def test_a_folder_far_above_that_is_exchanged_is_noticed_by_looking(events: bool, tmp_path: Path) -> None:
    top = tmp_path / "top"
    store: Store[dict[str, Any]] = Store(top / "a" / "state.json")
    store.update(lambda state: state.update(n=1))
    other = tmp_path / "other"
    shutil.copytree(top, other)
    (other / "a" / "state.json").write_text('{"n":2}')
    with store.watch(poll=OFTEN, events=events) as states:
        next(states)
        top.rename(tmp_path / "old")
        other.rename(top)
        assert next(state for state in states if state) == {"n": 2}
        # It listens in the new folder now.
        store.update(lambda state: state.update(n=3))
        assert next(states) == {"n": 3}


def test_a_link_that_is_pointed_elsewhere_is_followed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"in": name}))
    link = tmp_path / "state.json"
    link.symlink_to("one.json")
    store: Store[dict[str, Any]] = Store(link)
    with watch(store, "looking") as states:
        assert next(states) == {"in": "one"}
        (tmp_path / "new").symlink_to("two.json")
        os.replace(tmp_path / "new", link)
        assert next(states) == {"in": "two"}


def test_a_commit_between_the_look_and_the_wait_is_not_missed(
    store: Store[dict[str, Any]], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loads = FileBackend.look, []

    def load_and_be_overtaken(backend: FileBackend) -> Loaded:
        found = load(backend)
        loads.append(found.data)
        if loads[-2:] == [found.data, found.data]:  # no news in this look
            put(path, f'{{"n":{len(loads)}}}')
        return found

    monkeypatch.setattr(FileBackend, "look", load_and_be_overtaken)
    with watch(store, "events") as states:  # nothing but the event of that commit can bring it up again
        told = [next(states) for _ in range(10)]
    assert told == [{}, *({"n": number} for number in range(2, 20, 2))]


def test_a_change_that_the_file_systems_clock_hides_is_noticed(
    store: Store[dict[str, Any]], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same inode, size and times for ever.
    monkeypatch.setattr("storewriter._backends.file_news._identity", lambda found: (1, 2, 3))
    with watch(store, "looking") as states:
        next(states)
        for number in range(5):
            put(path, f'{{"n":{number}}}')
            assert next(states) == {"n": number}


def test_a_document_that_has_settled_is_not_read_again(
    store: Store[dict[str, Any]], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storewriter._backends.file_news._COARSE_CLOCK_SECONDS", -1.0)
    load, loads, looks = FileBackend.look, [], []

    def count_load(backend: FileBackend) -> Loaded:
        loads.append(backend.path)
        return load(backend)

    def count_look(found: os.stat_result) -> tuple[int, ...]:
        looks.append(found)
        if len(looks) == 50:
            put(path, '{"n":2}')
            found = os.lstat(path)
        return (found.st_ino, found.st_mtime_ns)

    put(path, '{"n":1}')
    monkeypatch.setattr(FileBackend, "look", count_load)
    monkeypatch.setattr("storewriter._backends.file_news._identity", count_look)
    with watch(store, "looking") as states:
        assert [next(states), next(states)] == [{"n": 1}, {"n": 2}]
    assert len(looks) == 50
    assert len(loads) == 2


def test_a_document_that_cannot_be_read_is_an_error_and_the_watch_goes_on(
    store: Store[dict[str, Any]], way: str, path: Path
) -> None:
    with watch(store, way) as states:
        next(states)
        put(path, '{"n":x}')
        with pytest.raises(StoreCorrupt, match=r"line 1, column 6") as caught:
            next(states)
        assert caught.value.path == str(path)
        worker = ask(states)
        put(path, '{"n":2}')
        assert worker.result() == {"n": 2}
    assert path.read_text() == '{"n":2}'


def test_a_document_that_is_being_written_is_given_a_moment(path: Path, way: str) -> None:
    plain = JsonCodec(shape=dict)

    def decode(data: bytes) -> dict[str, Any]:
        try:
            state: dict[str, Any] = plain.decode(data)
        except DecodeError:
            path.write_text('{"n":1}')  # the writer goes on
            raise
        return state

    store: Store[dict[str, Any]] = Store(path, codec=FunctionCodec(plain.encode, decode))
    with watch(store, way) as states:
        next(states)
        path.write_text('{"n"')
        assert next(states) == {"n": 1}


def test_what_is_no_file_is_an_error_at_every_asking_until_it_is_over(way: str, path: Path) -> None:
    store: Store[dict[str, Any]] = Store(path)
    path.mkdir()
    with watch(store, way) as states:
        for _ in range(2):
            with pytest.raises(OSError, match="folder"):
                next(states)
        path.rmdir()
        put(path, '{"n":1}')
        assert next(states) == {"n": 1}


def test_neighbours_in_the_folder_cause_no_reading(
    store: Store[dict[str, Any]], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storewriter._backends.file_news._COARSE_CLOCK_SECONDS", -1.0)
    neighbour: Store[dict[str, Any]] = Store(path.with_name("neighbour.json"))
    load, loads = FileBackend.look, []

    def count_load(backend: FileBackend) -> Loaded:
        loads.append(backend.path)
        return load(backend)

    with watch(store, "events") as states:
        next(states)
        monkeypatch.setattr(FileBackend, "look", count_load)
        worker = ask(states)
        for number in range(20):
            neighbour.update(lambda state, number=number: state.update(n=number))
        put(path, '{"n":1}')
        assert worker.result() == {"n": 1}
    assert loads.count(str(path)) == 1


def test_the_pace_without_settings_suits_both_ways() -> None:
    delays = list(zip(PACE.delays(), range(20), strict=False))
    assert delays[0][0] <= 0.02
    assert delays[-1][0] == PACE.maximum == 1.0
    assert NEVER.minimum > PACE.maximum
