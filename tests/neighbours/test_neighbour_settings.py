"""How neighbours' locks are configured, what is refused, and programs of ours that are configured differently."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from helpers.children import child
from storewriter import AsyncStore, PerStoreWriterQueue, Store, StrategyMismatch, events, locks
from storewriter.locks import Flock, OpenClawLock, ProperLockfile
from storewriter.locks.neighbours import _detection, _pace


@pytest.mark.parametrize("kind", [Flock, OpenClawLock, ProperLockfile])
@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("locks/{name}.lock", ValueError),
        ("lock", ValueError),
        ("{name}", ValueError),
        ("{other}.lock", ValueError),
        ("{name}.{other}", ValueError),
        (".{name}.tmp", ValueError),
        (".{name}.backup-1", ValueError),
        ("{name}\0", ValueError),
        (7, TypeError),
    ],
)
def test_what_cannot_be_a_lock_file_of_a_neighbour_is_refused(kind: Any, file: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="file"):
        kind(file=file)


def test_the_own_lock_file_is_the_default(path: Path) -> None:
    assert Flock(file=".{name}.lock") == Flock()
    assert PerStoreWriterQueue(Flock(file=".{name}.lock")).lock == Flock()


@pytest.mark.parametrize("stale", [0, -1, float("nan"), float("inf"), True, "10"])
@pytest.mark.parametrize("kind", [OpenClawLock, ProperLockfile])
def test_impossible_terms_are_refused(kind: Any, stale: Any) -> None:
    with pytest.raises(ValueError, match="stale"):
        kind(stale=stale)


def test_what_is_no_neighbour_is_refused() -> None:
    with pytest.raises(TypeError, match="also"):
        PerStoreWriterQueue(also=(Flock(),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lock", "also"),
    [
        ("flock", (ProperLockfile(), OpenClawLock())),
        (Flock(file="{name}.lock"), (ProperLockfile(),)),
        ("flock", (OpenClawLock(), OpenClawLock(stale=30.0))),
    ],
)
def test_two_neighbours_with_one_lock_file_are_refused(lock: Any, also: Any) -> None:
    with pytest.raises(ValueError, match="use one name for their locks"):
        PerStoreWriterQueue(lock, also=also)


def test_an_impossible_file_of_flock_is_called_that() -> None:
    with pytest.raises(ValueError, match=r"^Flock\.file must contain"):
        Flock(file="x")


def test_a_queue_keeps_its_neighbours_when_it_is_changed() -> None:
    queue = PerStoreWriterQueue(Flock(file="{name}.lock"), also=OpenClawLock(file="{name}.oc"))
    changed = attrs.evolve(queue, timeout=1.0)
    assert changed.lock == queue.lock
    assert changed.also == queue.also == (OpenClawLock(file="{name}.oc"),)


def test_several_neighbours_and_several_stores_at_once(tmp_path: Path) -> None:
    also = (OpenClawLock(), ProperLockfile(file="{name}.dir"))
    queue = PerStoreWriterQueue(Flock(file="{name}.flk"), also=also)
    with queue.turn(tmp_path / "a", tmp_path / "b"):
        found = set(os.listdir(tmp_path))
        assert {f"{name}.{kind}" for name in "ab" for kind in ("lock", "dir", "flk")} <= found
    assert {name for name in os.listdir(tmp_path) if name.endswith((".lock", ".dir"))} == {".a.lock", ".b.lock"}


@pytest.mark.parametrize("also", [OpenClawLock(), ProperLockfile()], ids=lambda also: also.name)
def test_writing_in_place_is_refused_with_locks_that_can_be_taken_away(path: Path, also: Any) -> None:
    with pytest.raises(ValueError, match="in_place=True does not go with also="):
        Store(path, in_place=True, queue=PerStoreWriterQueue(also=also))


def test_writing_in_place_under_a_locked_file(path: Path) -> None:
    store: Store[Any] = Store(path, in_place=True, queue=PerStoreWriterQueue(Flock(file="{name}.lock")))
    store.update(lambda state: state.update(n=1))
    store.update(lambda state: state.update(n=2))
    assert store.read() == {"n": 2}


def test_two_settings_in_one_process_are_refused(path: Path) -> None:
    with PerStoreWriterQueue(also=OpenClawLock()).turn(path):
        for other in (PerStoreWriterQueue(), PerStoreWriterQueue(Flock(file="{name}.lock"))):
            with pytest.raises(StrategyMismatch, match="OpenClawLock"):
                with other.turn(path, timeout=0):
                    pass


USING = """
from storewriter import locks
queues = {
    "openclaw": lambda: PerStoreWriterQueue(also=locks.OpenClawLock()),
    "file": lambda: PerStoreWriterQueue(locks.Flock(file="{name}.lock")),
    "plain": lambda: PerStoreWriterQueue(),
}
with queues[args[0]]().turn(path):
    pass
say("used")
hear()
with queues[args[0]]().turn(path):
    pass
say("used again")
hear()
"""


@pytest.mark.parametrize(("theirs", "ours"), [("openclaw", "plain"), ("file", "plain"), ("openclaw", "file")])
def test_two_programs_with_different_settings_find_out(theirs: str, ours: str, path: Path) -> None:
    code = USING.replace("say", "print", 0)
    with child(code, path, theirs) as other:
        other.expect("used")
        queue = PerStoreWriterQueue(Flock(file="{name}.lock")) if ours == "file" else PerStoreWriterQueue()
        for _ in range(2):
            with pytest.raises(StrategyMismatch, match=f"pid {other.pid}") as caught, queue.turn(path):
                pass
            assert "Configure the same lock= and also= in every program" in str(caught.value)
        other.kill()
        with queue.turn(path):
            pass


def test_another_convention_at_the_configured_path_is_refused_with_what_to_do(path: Path) -> None:
    lock = Path(f"{path}.lock")
    lock.mkdir()
    for queue in (PerStoreWriterQueue(also=OpenClawLock()), PerStoreWriterQueue(Flock(file="{name}.lock"))):
        with pytest.raises(StrategyMismatch, match=r"also=ProperLockfile\(\)"), queue.turn(path):
            pass
    lock.rmdir()
    lock.write_text('{"pid": 1, "createdAt": "2026-01-01T00:00:00.000Z"}')
    with pytest.raises(StrategyMismatch, match=r"also=OpenClawLock\(\)"):
        with PerStoreWriterQueue(also=ProperLockfile()).turn(path):
            pass


def test_an_update_now_and_then_waits_for_no_gap(path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = PerStoreWriterQueue(also=OpenClawLock())
    Store[Any](path, queue=queue).update(lambda state: state.update(n=0))
    pace = _pace.pace_of(str(path))

    async def main() -> None:
        store: AsyncStore[Any] = AsyncStore(path, queue=queue)
        for number in range(3):
            pace.last_end = pace.last_gap = time.monotonic() - 60.0
            await store.update(lambda state, number=number: state.update(n=number))

    monkeypatch.setattr(_pace.time, "sleep", lambda _: pytest.fail("it paused"))
    run(main)
    pace.last_end = pace.last_gap = time.monotonic() - 60.0
    Store[Any](path, queue=queue).update(lambda state: state.update(n=9))


def test_after_a_while_without_a_gap_one_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[tuple[float, bool]] = []
    monkeypatch.setattr(_pace.time, "sleep", lambda seconds: pauses.append((seconds, os.path.exists(f"{path}.lock"))))
    store: Store[Any] = Store(path, queue=PerStoreWriterQueue(also=OpenClawLock()))
    store.update(lambda state: state.update(n=0))
    pace = _pace.pace_of(str(path))
    pace.since, pace.last_gap = time.monotonic() - _pace.HOLD, 0.0
    pace.last_end = time.monotonic()
    store.update(lambda state: state.update(n=1))
    assert pauses == [(_pace.GAP, False)]


# -- what is told of those that are not configured ---------------------------------------------------------------------


def test_a_document_that_another_program_has_locked_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = "import fcntl\nfile = open(path, 'r+')\nfcntl.lockf(file, 2) if args else fcntl.flock(file, 2)\nsay('ok')\nhear()"
    for number, words in enumerate(([], ["posix"])):
        own = path.with_name(f"{number}.json")
        own.write_text("{}")
        with child(code, own, *words) as other, caplog.at_level(logging.WARNING, "storewriter"):
            other.expect("ok")
            caplog.clear()
            Store[Any](own).update(lambda state: state.update(n=1))
            (told,) = caplog.messages
            assert f"{own} is locked itself" in told
            assert f"pid {other.pid}" in told
            assert 'Flock(file="{name}.lock")' in told


@pytest.mark.parametrize("queue", [PerStoreWriterQueue(), PerStoreWriterQueue(lock=Flock(file="{name}.lock"))])
def test_a_lock_file_that_is_locked_with_fcntl_is_told_as_one_that_no_lock_excludes(
    path: Path, queue: PerStoreWriterQueue, caplog: pytest.LogCaptureFixture
) -> None:
    # fasteners and lockf(3); what takes flock(2) on that file passes it by.
    code = "import fcntl\nfile = open(f'{path}.lock', 'w')\nfcntl.lockf(file, fcntl.LOCK_EX)\nsay('ok')\nhear()"
    with child(code, path) as other, caplog.at_level(logging.WARNING, "storewriter"):
        other.expect("ok")
        Store[Any](path, queue=queue).update(lambda state: state.update(n=1))
    (told,) = caplog.messages
    assert f"{path}.lock is a file on which an fcntl(2) lock is held, as by fasteners or lockf(3)" in told
    assert f"pid {other.pid}" in told
    assert "no lock of storewriter excludes an fcntl(2) lock: let it take flock(2) on that file" in told


def test_it_is_told_once_and_as_an_event(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[events.NeighbourFound] = []
    end = events.subscribe(lambda event: seen.append(event) if isinstance(event, events.NeighbourFound) else None)
    os.mkdir(f"{path}.lock")
    try:
        with caplog.at_level(logging.WARNING, "storewriter"):
            for _ in range(3):
                _detection.next_look.pop(str(path), None)
                Store[Any](path).update(lambda state: state.update(n=1))
    finally:
        end()
    assert len(caplog.messages) == 1
    (found,) = seen
    assert (found.path, found.lock, found.kind) == (str(path), f"{path}.lock", "proper-lockfile")
    assert "also=ProperLockfile()" in found.advice


def test_a_configured_lock_and_a_sidecar_of_another_store_are_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "storewriter"):
        for name in ("state.json", ".state.json"):  # the sidecar of the first is where a lock of the second would be
            Store[Any](tmp_path / name).update(lambda state: state.update(n=1))
        queue = PerStoreWriterQueue(Flock(file="{name}.lock"))
        for _ in range(2):
            Store[Any](tmp_path / "b", queue=queue).update(lambda state: state.update(n=1))
            _detection.next_look.clear()
    assert caplog.messages == []


def test_a_new_empty_file_is_told_at_once_with_what_it_may_become(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = Path(f"{path}.lock")
    lock.touch()
    with caplog.at_level(logging.WARNING, "storewriter"):
        Store[Any](path).update(lambda state: state.update(n=1))
    (told,) = caplog.messages
    assert f"{path}.lock is an empty file" in told
    assert 'Flock(file="{name}.lock")' in told
    assert "also=OpenClawLock()" in told


def test_an_old_empty_file_is_told_for_what_it_is(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = Path(f"{path}.lock")
    lock.touch()
    os.utime(lock, (0, 0))
    with caplog.at_level(logging.WARNING, "storewriter"):
        Store[Any](path).update(lambda state: state.update(n=1))
    (told,) = caplog.messages
    assert told.endswith(
        'take its lock as well: PerStoreWriterQueue(Flock(file="{name}.lock")) (said once per process)'
    )


def test_a_lock_that_appears_later_is_told_within_seconds(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store: Store[Any] = Store(path)
    store.update(lambda state: state.update(n=1))
    os.mkdir(f"{path}.lock")
    with caplog.at_level(logging.WARNING, "storewriter"):
        assert _detection.next_look[str(path)] <= time.monotonic() + 1.0
        _detection.next_look[str(path)] = 0.0  # that second is over
        store.update(lambda state: state.update(n=2))
    (told,) = caplog.messages
    assert f"{path}.lock is a folder" in told


def test_between_two_looks_no_system_call_is_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Store[Any] = Store(path)
    store.update(lambda state: state.update(n=1))
    monkeypatch.setattr(_detection, "findings", lambda *_: pytest.fail("it looked again"))
    store.update(lambda state: state.update(n=2))


def test_a_lock_file_of_another_user_that_may_only_be_read_will_do(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    lock = Path(f"{path}.lock")
    lock.touch(0o444)
    with PerStoreWriterQueue(Flock(file="{name}.lock")).turn(path), open(lock) as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_public_names_are_there() -> None:
    assert {"OpenClawLock", "ProperLockfile", "Neighbour"} <= set(locks.__all__)


def test_status_shows_the_locks_of_other_programs(path: Path) -> None:
    Store[Any](path).update(lambda state: state.update(n=1))
    lock = Path(f"{path}.lock")
    lock.write_text(json.dumps({"pid": os.getppid(), "createdAt": "2026-01-01T00:00:00.000Z"}))
    words = [sys.executable, "-m", "storewriter", "status", str(path)]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert f"{lock} is a file with the record of its owner" in shown
    assert f"pid {os.getppid()}" in shown
    assert "PerStoreWriterQueue(also=OpenClawLock())" in shown
    told = json.loads(subprocess.run([*words, "--json"], capture_output=True, text=True, check=True).stdout)
    (found,) = told["neighbours"]
    assert (found["kind"], found["lock"], found["owner"]["pid"]) == ("openclaw", str(lock), os.getppid())
