"""One file, one line: however it is spelled, and wherever it comes to be."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from helpers.children import HOLDER, child
from helpers.lines import held, lined_up
from storewriter import LockTimeout, PerStoreWriterQueue, ReentrantTurn, Store
from storewriter._files import keys


def test_spellings_and_links_lead_to_one_line(queue: PerStoreWriterQueue, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "alias.json").symlink_to("state.json")
    monkeypatch.chdir(tmp_path)
    with held(queue, tmp_path / "real" / "state.json"):
        for spelling in (
            "real/state.json",
            "./link/state.json",
            b"link/alias.json",
            tmp_path / "real/../link/alias.json",
        ):
            with pytest.raises(LockTimeout), queue.turn(spelling, timeout=0):
                pass
            with pytest.raises(LockTimeout):
                Store(spelling).update(lambda state: None, timeout=0)


def test_another_process_with_another_spelling_waits_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with child(HOLDER, tmp_path / "link" / "state.json") as holder:
        holder.expect("holding")
        with pytest.raises(LockTimeout), PerStoreWriterQueue().turn(tmp_path / "real" / "state.json", timeout=0):
            pass


def test_a_relative_path_of_a_turn_means_the_folder_of_the_moment(
    queue: PerStoreWriterQueue, tmp_path: Path, monkeypatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    with queue.turn("state.json") as first:
        monkeypatch.chdir(tmp_path / "two")
        with queue.turn("state.json", timeout=0) as second:
            assert first.path == str(tmp_path / "one" / "state.json")
            assert second.path == str(tmp_path / "two" / "state.json")


# Looked up while the folder is there: until 3.13.2 every AttributeError of a module becomes a SystemError without one, if
# `sys.path` begins with the working folder (CPython, gh-130932), and a codec's first look-up runs into that.
_WITHOUT_A_FOLDER = """
import codecs; codecs.lookup("ascii")
gone = os.path.join(os.path.dirname(path), "gone")
os.mkdir(gone)
os.chdir(gone)
os.rmdir(gone)
"""


@pytest.mark.parametrize("lock", ["flock", "marker", "lease", "none"])
def test_a_turn_on_an_absolute_path_needs_no_working_folder(path: Path, lock: str) -> None:
    code = f"""
with PerStoreWriterQueue({lock!r}).turn(path) as turn:
    say(turn.path)
"""
    with child(_WITHOUT_A_FOLDER + code, path) as process:
        process.expect(str(path))
        process.finish()


def test_a_store_with_an_absolute_path_needs_no_working_folder(path: Path) -> None:
    code = """
Store(path).update(lambda state: state.update(n=1))
say(Store(path).read())
"""
    with child(_WITHOUT_A_FOLDER + code, path) as process:
        process.expect("{'n': 1}")
        process.finish()


def test_a_relative_path_in_a_working_folder_that_was_removed_says_so(path: Path) -> None:
    code = """
try:
    PerStoreWriterQueue().turn("state.json").__enter__()
except FileNotFoundError as error:
    say(error)
"""
    with child(_WITHOUT_A_FOLDER + code, path) as process:
        process.expect("[Errno 2] the working folder has been removed, and a relative path begins in it: 'state.json'")
        process.finish()


def test_a_path_from_the_root_is_left_as_it_is_and_another_begins_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("real")
    assert keys.absolute("/x/../y") == "/x/../y"
    for spelling in ("link", b"link", Path("link")):
        assert keys.absolute(spelling) == str(tmp_path / "link")
    for spelling in ("", b""):
        with pytest.raises(ValueError, match="a store needs a path"):
            keys.absolute(spelling)
    with pytest.raises(ValueError, match="NUL"):
        keys.absolute("/x\0")
    with pytest.raises(TypeError):
        keys.absolute(3)  # type: ignore[arg-type]


def test_a_store_keeps_the_folder_in_which_it_was_made(tmp_path: Path, monkeypatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    store = Store("state.json")
    monkeypatch.chdir(tmp_path / "two")
    store.update(lambda state: state.update(x=1))
    assert store.path == str(tmp_path / "one" / "state.json")
    assert (tmp_path / "one" / "state.json").exists()
    assert not (tmp_path / "two" / "state.json").exists()


def test_a_store_that_becomes_a_link_between_two_updates_is_followed(tmp_path: Path) -> None:
    """At once: also within the moment for which a resolved path is believed."""
    store = Store(tmp_path / "state.json")
    for place in range(20):
        store.update(lambda state, place=place: state.update(place=place))
        target = tmp_path / f"target-{place}.json"
        target.write_text('{"other":true}')
        (tmp_path / "new").symlink_to(target)
        os.replace(tmp_path / "new", tmp_path / "state.json")
        assert store.read() == {"other": True}
        with store.transaction() as tx:
            tx.state["seen"] = place
        assert (tmp_path / "state.json").is_symlink()
        assert Store(target).read() == {"other": True, "seen": place}
        os.unlink(tmp_path / "state.json")


def _moved(tmp_path: Path) -> tuple[Path, Path]:
    """A folder that is known by its old name, was renamed, and has a link where it was."""
    (tmp_path / "old").mkdir()
    with PerStoreWriterQueue().turn(tmp_path / "old" / "state.json"):
        pass
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "old").symlink_to("new")
    return tmp_path / "old" / "state.json", tmp_path / "new" / "state.json"


@pytest.mark.parametrize("lock", ["flock", "marker", "lease"])
@pytest.mark.parametrize("first", ["old", "new"])
def test_a_folder_that_becomes_a_link_does_not_part_its_stores_line(
    tmp_path: Path, run, monkeypatch, lock: str, first: str
) -> None:
    """At once: also within the moment for which the folders of a path are believed."""
    queue = PerStoreWriterQueue(lock, timeout=5)  # type: ignore[arg-type]
    monkeypatch.setattr(keys, "FOLDER_CACHE_SECONDS", 60.0)
    old, new = _moved(tmp_path)
    one, other = (old, new) if first == "old" else (new, old)
    with queue.turn(one), pytest.raises(ReentrantTurn), queue.turn(other):
        pass

    async def main() -> None:
        async with queue.turn(one):
            with pytest.raises(ReentrantTurn):
                async with queue.turn(other):
                    pass

    run(main)
    with held(queue, one) as holding:
        (worker,) = lined_up(queue, one, lambda: Store(other, queue=queue).update(lambda state: state.update(a=1)))
        holding.release()
        worker.result()
    assert Store(new).read() == {"a": 1}


def test_a_folder_that_has_become_a_link_is_followed_when_its_path_has_settled(tmp_path: Path, monkeypatch) -> None:
    """Without a lock file to tell two names of one store apart, only the look at every folder does."""
    queue = PerStoreWriterQueue("none", timeout=5)
    old, new = _moved(tmp_path)
    now = time.monotonic()
    monkeypatch.setattr(keys.time, "monotonic", lambda: now + keys.FOLDER_CACHE_SECONDS)
    with queue.turn(old) as turn:
        assert turn.path == str(new)
        with pytest.raises(ReentrantTurn), queue.turn(new):
            pass


def test_stores_of_the_same_name_in_other_folders_are_other_stores(queue: PerStoreWriterQueue, tmp_path: Path) -> None:
    with held(queue, tmp_path / "a" / "state.json"), child(HOLDER, tmp_path / "b" / "state.json") as holder:
        holder.expect("holding")
        with (
            pytest.raises(LockTimeout, match=f"pid {holder.pid}"),
            queue.turn(tmp_path / "b" / "state.json", timeout=0.05),
        ):
            pass


def test_folders_are_created_and_every_one_of_them_is_private(queue: PerStoreWriterQueue, tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with queue.turn(tmp_path / "a" / "b" / "c" / "state.json"):
            pass
        Store(tmp_path / "x" / "y" / "state.json").update(lambda state: state.update(a=1))
    finally:
        os.umask(umask)
    for folder in ("a", "a/b", "a/b/c", "x", "x/y"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700, folder
    for file in ("a/b/c/.state.json.lock", "x/y/.state.json.lock", "x/y/state.json"):
        assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600, file


def test_reading_creates_nothing(tmp_path: Path) -> None:
    assert Store(tmp_path / "a" / "state.json").read() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_sidecar_that_is_a_link_a_folder_or_a_fifo_is_refused(queue: PerStoreWriterQueue, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    sidecar = tmp_path / ".state.json.lock"

    def refused() -> None:
        with pytest.raises(OSError, match="state.json"), queue.turn(tmp_path / "state.json", timeout=1):
            pass

    sidecar.symlink_to(victim)
    refused()
    assert victim.read_text() == "precious"
    sidecar.unlink()
    sidecar.mkdir()
    refused()
    sidecar.rmdir()
    os.mkfifo(sidecar)
    refused()
    sidecar.unlink()
    with queue.turn(tmp_path / "state.json", timeout=0):
        pass
