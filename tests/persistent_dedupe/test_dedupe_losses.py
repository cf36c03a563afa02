"""Where the original loses data or fails in silence, and we do not: section 8 of its description, case by case."""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from persistent_dedupe import AsyncPersistentDedupe, Counters, DedupeOptions, PersistentDedupe
from storewriter import LockTimeout, PerStoreWriterQueue, ReentrantTurn, StoreCorrupt
from storewriter.locks import Flock

NOW = 1899374400.0
DAY = 86_400.0

BAD = {
    "truncated": b'{"evt-1": 18992808',
    "empty": b"",
    "an array": b"[1899280800000]",
    "a string": b'"evt-1"',
    "a number": b"5",
    "not UTF-8": b'{"caf\xe9": 1899280800000}',
}


@pytest.fixture(params=sorted(BAD))
def bad(request: pytest.FixtureRequest) -> bytes:
    return BAD[request.param]


def write(folder: Path, data: bytes) -> Path:
    path = folder / "global.json"
    path.write_bytes(data)
    return path


def aside(folder: Path) -> list[Path]:
    return sorted(folder.glob("global.json.corrupt-*"))


# -- 1, 2, 4: what cannot be understood


def test_a_bad_file_is_moved_aside_whole_and_reported_before_anything_is_recorded(
    face: Any, tmp_path: Path, bad: bytes
) -> None:
    path = write(tmp_path, bad)
    errors: list[Exception] = []

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, on_disk_error=errors.append)
        result = await dedupe.check_and_record("evt-2")
        assert (result.is_new, result.recorded, result.error) == (True, True, None)
        assert dedupe.counters == Counters(new=1, disk_errors=1, bad_files=1, moved_aside=1)

    face.run(main)
    [moved] = aside(tmp_path)
    assert moved.read_bytes() == bad
    [error] = errors
    assert isinstance(error, StoreCorrupt)
    assert error.__notes__ == [f"The file is now {moved}"]
    assert b"evt-2" in path.read_bytes()


def test_bad_files_never_take_each_others_names(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        for number in range(3):
            write(tmp_path, b"bad %d" % number)
            await face.make(tmp_path, ttl=DAY).check_and_record("evt")

    face.run(main)
    assert sorted(path.read_bytes() for path in aside(tmp_path)) == [b"bad 0", b"bad 1", b"bad 2"]


def test_failing_closed_a_bad_file_stays_as_it_is_and_every_check_raises(face: Any, tmp_path: Path, bad: bytes) -> None:
    path = write(tmp_path, bad)
    errors: list[Exception] = []

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, failure="closed", on_disk_error=errors.append)
        for _ in range(2):
            with pytest.raises(StoreCorrupt, match=r"global\.json cannot be read"):
                await dedupe.check_and_record("evt-2")
        with pytest.raises(StoreCorrupt):
            await dedupe.has_recent("evt-2")
        with pytest.raises(StoreCorrupt):
            await dedupe.forget("evt-2")

    face.run(main)
    assert path.read_bytes() == bad
    assert aside(tmp_path) == []
    assert len(errors) == 4


def test_by_option_a_bad_file_is_moved_aside_and_that_one_call_raises(face: Any, tmp_path: Path) -> None:
    write(tmp_path, BAD["truncated"])
    errors: list[Exception] = []

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, bad_file="raise", on_disk_error=errors.append)
        with pytest.raises(StoreCorrupt):
            await dedupe.check_and_record("evt-2")
        assert len(aside(tmp_path)) == 1
        assert len(errors) == dedupe.counters.disk_errors == 1
        assert (await dedupe.check_and_record("evt-2")).recorded

    face.run(main)


def test_by_option_a_bad_file_is_left_and_checks_fail_open(face: Any, tmp_path: Path) -> None:
    path = write(tmp_path, BAD["truncated"])

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, bad_file="leave")
        result = await dedupe.check_and_record("evt-2")
        assert (result.is_new, result.recorded) == (True, False)
        assert isinstance(result.error, StoreCorrupt)

    face.run(main)
    assert path.read_bytes() == BAD["truncated"]


def test_calls_that_only_read_report_a_bad_file_and_move_nothing(face: Any, tmp_path: Path, bad: bytes) -> None:
    path = write(tmp_path, bad)
    errors: list[Exception] = []

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        assert not await dedupe.has_recent("evt-1", on_disk_error=errors.append)
        assert await dedupe.warmup(on_disk_error=errors.append) == 0
        with pytest.raises(StoreCorrupt):
            await dedupe.entries()
        assert dedupe.counters.bad_files == 2

    face.run(main)
    assert len(errors) == 2
    assert path.read_bytes() == bad
    assert aside(tmp_path) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_file_that_was_repaired_meanwhile_is_not_moved(backend: str, tmp_path: Path) -> None:
    """A checker finds a bad file; before it can move it, another process puts a good one in its place."""
    path = write(tmp_path, BAD["truncated"])

    @attrs.frozen
    class RepairedBeforeTheSecondTurn(Flock):
        turns: list[str] = attrs.field(factory=list)

        def attempt(self, path: str, label: str | None) -> Any:
            self.turns.append(path)
            if len(self.turns) == 2:
                Path(path).write_text('{"evt-1": 1899280800000}')
            return super().attempt(path, label)

    async def main() -> None:
        lock = RepairedBeforeTheSecondTurn()
        options = DedupeOptions(ttl=0, queue=PerStoreWriterQueue(lock=lock))
        assert not await AsyncPersistentDedupe(tmp_path, options).check_and_record("evt-1")
        assert len(lock.turns) >= 2

    anyio.run(main, backend=backend)
    assert aside(tmp_path) == []
    assert path.read_text() == '{"evt-1": 1899280800000}'


def test_behind_a_link_it_is_the_bad_file_that_moves_and_the_link_stays(face: Any, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    write(real, BAD["truncated"])
    store = tmp_path / "store"
    store.mkdir()
    (store / "global.json").symlink_to(real / "global.json")

    async def main() -> None:
        assert (await face.make(store, ttl=DAY).check_and_record("evt")).recorded

    face.run(main)
    assert (store / "global.json").is_symlink()
    assert aside(real)[0].read_bytes() == BAD["truncated"]
    assert b"evt" in (real / "global.json").read_bytes()


# -- 3, 14, 22: odd entries


def test_odd_entries_are_never_matched_kept_and_reported_once(
    face: Any, tmp_path: Path, fixtures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(fixtures / "dedupe-mixed-invalid.json", tmp_path / "global.json")

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, clock=lambda: NOW)
        assert not await dedupe.has_recent("bad-object")
        for number in range(3):
            assert await dedupe.check_and_record(f"new-{number}")
        assert dedupe.counters.invalid_entries == 11
        assert dedupe.counters.duplicate_keys == 1

    face.run(main)
    text = (tmp_path / "global.json").read_text()
    assert '"bad-overflow": 1e999' in text
    assert '" odd-padded ": 1899374160000' in text
    invalid = [record for record in caplog.records if "invalid entries" in record.getMessage()]
    assert len(invalid) == 1
    assert "kept, never matched" in invalid[0].getMessage()


def test_a_duplicate_leaves_the_file_untouched_whatever_is_in_it(face: Any, tmp_path: Path, fixtures: Path) -> None:
    path = tmp_path / "global.json"
    shutil.copy(fixtures / "dedupe-mixed-invalid.json", path)
    before = path.stat()

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, clock=lambda: NOW)
        for key in ("ok-recent", "odd-twice", "__proto__", "toString"):
            assert not await dedupe.check_and_record(key)

    face.run(main)
    assert path.read_bytes() == (fixtures / "dedupe-mixed-invalid.json").read_bytes()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_valid_fixture_warms_up_with_seven_keys(face: Any, tmp_path: Path, fixtures: Path) -> None:
    shutil.copy(fixtures / "dedupe-valid.json", tmp_path / "global.json")

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        assert await dedupe.warmup(now=NOW) == 7
        assert dedupe.memory_size == 7
        assert not await dedupe.check_and_record("größe/ünïcode-✓", now=NOW)
        assert await dedupe.check_and_record("evt-demo-001", now=NOW)

    face.run(main)


# -- 5, 6: errors and waiting


def test_an_error_is_counted_and_logged_once_per_kind_without_any_callback(
    face: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "global.json").mkdir()
    caplog.set_level(logging.DEBUG, "persistent_dedupe")

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        for number in range(3):
            assert not (await dedupe.check_and_record(f"k{number}")).recorded
        assert dedupe.counters == Counters(new=3, unrecorded=3, disk_errors=3)

    face.run(main)
    records = [record for record in caplog.records if record.name == "persistent_dedupe"]
    assert [record.levelname for record in records] == ["ERROR", "DEBUG", "DEBUG"]
    assert "global.json" in records[0].getMessage()


def test_a_lock_that_does_not_come_is_told_to_the_callback_with_the_time_it_took(
    face: Any, tmp_path: Path, start_child: Any
) -> None:
    holder = start_child()
    assert holder.ask("hold") == "held"
    general: list[Exception] = []
    own: list[Exception] = []

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, timeout=0.05, on_disk_error=general.append)
        result = await dedupe.check_and_record("k1", on_disk_error=own.append)
        assert (result.is_new, result.recorded) == (True, False)
        assert result.took >= 0.05
        [error] = own
        assert isinstance(error, LockTimeout)
        assert error.owner is not None
        assert error.owner.pid == holder.process.pid
        assert general == []
        assert (dedupe.counters.disk_errors, dedupe.counters.lock_timeouts) == (1, 1)
        assert not await dedupe.check_and_record("k1")
        closed = face.make(tmp_path, ttl=DAY, timeout=0.05, failure="closed")
        with pytest.raises(LockTimeout):
            await closed.check_and_record("k1")
        holder.tell("let go")
        assert holder.answer() == "released"
        assert (await face.make(tmp_path, ttl=DAY).check_and_record("k1")).recorded

    face.run(main)


def test_a_callers_own_mistake_is_not_taken_for_a_broken_disk(tmp_path: Path) -> None:
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=DAY))
    path = dedupe.path()
    assert path is not None
    with PerStoreWriterQueue().turn(path), pytest.raises(ReentrantTurn):
        dedupe.check_and_record("k1")


# -- 9, 10, 11, 12: times and limits


def test_keys_that_had_not_expired_are_evicted_counted_and_reported(
    face: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, file_max_entries=2, memory_max_size=0)
        for number, key in enumerate(("a", "b", "c")):
            await dedupe.check_and_record(key, now=NOW + number)
        assert [entry.key for entry in await dedupe.entries(now=NOW)] == ["c", "b"]
        assert dedupe.counters.evicted == 1
        assert await dedupe.check_and_record("a", now=NOW + 3)

    face.run(main)
    assert any("pushed out" in record.getMessage() for record in caplog.records)


def test_what_has_expired_is_no_eviction(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=1.0, file_max_entries=1)
        await dedupe.check_and_record("a", now=NOW)
        await dedupe.check_and_record("b", now=NOW + 1)
        assert dedupe.counters.evicted == 0

    face.run(main)


def test_a_key_is_new_again_exactly_one_ttl_later(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        assert await dedupe.check_and_record("k", now=NOW)
        assert not await dedupe.check_and_record("k", now=NOW + DAY - 0.001)
        assert await dedupe.check_and_record("k", now=NOW + DAY)

    face.run(main)


@pytest.mark.parametrize("memory", [0, 10])
def test_the_window_is_fixed_in_memory_as_on_disk(face: Any, tmp_path: Path, memory: int) -> None:
    """The original's memory slides with every duplicate and can suppress a key for ever."""

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=100.0, memory_max_size=memory)
        assert await dedupe.check_and_record("k", now=NOW)
        for later in (40, 80, 99):
            assert not await dedupe.check_and_record("k", now=NOW + later)
            assert await dedupe.has_recent("k", now=NOW + later)
        assert not await dedupe.has_recent("k", now=NOW + 100)
        assert await dedupe.check_and_record("k", now=NOW + 100)

    face.run(main)


def test_what_is_odd_in_a_file_is_reported_by_whatever_reads_it_and_once(
    face: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = b'{"odd": %d, "twice": 5, "twice": 7, "bad": null}' % int((NOW + 400 * DAY) * 1000)
    write(tmp_path, odd)
    (tmp_path / "old.json").write_bytes(odd)

    async def main() -> None:
        async def check(dedupe: Any) -> Any:
            return await dedupe.check_and_record("odd", now=NOW)

        async def look(dedupe: Any) -> Any:
            return await dedupe.has_recent("odd", now=NOW)

        async def bring(dedupe: Any) -> Any:
            return await dedupe.import_file(tmp_path / "old.json", "other", now=NOW)

        for ask in (check, look, bring, lambda dedupe: dedupe.warmup(now=NOW), lambda dedupe: dedupe.entries(now=NOW)):
            caplog.clear()
            dedupe = face.make(tmp_path, ttl=DAY, memory_max_size=0)
            for _ in range(2):
                await ask(dedupe)
            counters = dedupe.counters
            assert (counters.ahead, counters.duplicate_keys, counters.invalid_entries) == (1, 1, 1)
            assert len([record for record in caplog.records if record.name == "persistent_dedupe"]) == 3

    face.run(main)


def test_a_time_too_far_ahead_blocks_for_one_ttl_and_is_reported(face: Any, tmp_path: Path) -> None:
    write(tmp_path, b'{"odd": %d}' % int((NOW + 400 * DAY) * 1000))

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        odd = await dedupe.check_and_record("odd", now=NOW)
        assert (odd.is_new, odd.seen_at) == (False, NOW)
        assert await dedupe.check_and_record("other", now=NOW)
        assert dedupe.counters.ahead == 1
        fresh = face.make(tmp_path, ttl=DAY)
        assert not await fresh.check_and_record("odd", now=NOW + DAY - 1)
        assert await fresh.check_and_record("odd", now=NOW + DAY)

    face.run(main)


@pytest.mark.parametrize("now", [0, -5.0])
def test_an_impossible_now_is_refused_and_nothing_is_recorded(face: Any, tmp_path: Path, now: float) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        with pytest.raises(ValueError, match="above 0"):
            await dedupe.check_and_record("k", now=now)
        assert os.listdir(tmp_path) == []

    face.run(main)


@pytest.mark.parametrize("key", ["__proto__", "toString", "constructor", "hasOwnProperty"])
def test_names_of_built_in_members_are_ordinary_keys(face: Any, tmp_path: Path, key: str) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=0, memory_max_size=0)
        assert not await dedupe.has_recent(key)
        assert await dedupe.check_and_record(key)
        assert not await dedupe.check_and_record(key)
        assert await face.make(tmp_path, ttl=0).has_recent(key)

    face.run(main)


# -- 13, 17 and the colon


def test_a_blank_key_is_new_every_time_and_never_recorded(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        for key in ("", "  ", "\n"):
            assert (await dedupe.check_and_record(key)).is_new
            assert not (await dedupe.check_and_record(key)).recorded
            assert not await dedupe.has_recent(key)
            assert await dedupe.claim(key)
            assert await dedupe.commit(key)
        assert dedupe.counters.blank == 9
        assert os.listdir(tmp_path) == []

    face.run(main)


def test_by_option_a_blank_key_is_an_error(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, blank_key="error")
        for call in (dedupe.check_and_record, dedupe.claim, dedupe.commit):
            with pytest.raises(ValueError, match="a blank key names no event"):
                await call(" ")

    face.run(main)


def test_a_colon_does_not_make_one_key_of_two(face: Any) -> None:
    async def main() -> None:
        dedupe = face.make(None, ttl=DAY)
        assert await dedupe.check_and_record("b:c", namespace="a")
        assert await dedupe.check_and_record("c", namespace="a:b")
        assert await dedupe.claim("y:z", namespace="x")
        assert await dedupe.claim("z", namespace="x:y")

    face.run(main)


def test_keys_and_namespaces_are_trimmed_and_a_blank_namespace_is_global(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        assert await dedupe.check_and_record(" k ", namespace="  ")
        assert not await dedupe.check_and_record("k")
        assert await dedupe.warmup(" global ") == 1
        assert dedupe.path("x") == tmp_path / "x.json"

    face.run(main)


def test_no_namespace_leaves_the_folder(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path / "store", ttl=DAY)
        for namespace in ("../outside", "/etc/x", "..", "a/b", "a\0b"):
            assert (await dedupe.check_and_record("k", namespace=namespace)).recorded

    face.run(main)
    assert os.listdir(tmp_path) == ["store"]
    assert len(list((tmp_path / "store").glob("*.json"))) == 5


# -- 18, 20: warmup and leftovers


def test_warmup_with_a_small_memory_keeps_the_newest(face: Any, tmp_path: Path) -> None:
    write(tmp_path, b'{"newest": 1899374399000, "3": 1899374397000, "newer": 1899374398000, "1": 1899374390000}')

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, memory_max_size=2)
        assert await dedupe.warmup(now=NOW) == 4
        assert dedupe.memory_size == 2
        await dedupe.check_and_record("newest", now=NOW)
        await dedupe.check_and_record("newer", now=NOW)
        assert dedupe.counters.from_memory == 2

    face.run(main)


def test_warmup_tells_its_errors_to_its_own_callback_only(face: Any, tmp_path: Path) -> None:
    (tmp_path / "global.json").mkdir()
    general: list[Exception] = []
    own: list[Exception] = []

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY, on_disk_error=general.append)
        assert await dedupe.warmup() == 0
        assert await dedupe.warmup(on_disk_error=own.append) == 0
        assert dedupe.counters.disk_errors == 2

    face.run(main)
    assert (len(general), len(own)) == (0, 1)


def test_left_over_temporary_files_of_the_original_are_removed_when_they_are_old(face: Any, tmp_path: Path) -> None:
    def leftover(name: str, age: float) -> Path:
        path = tmp_path / name
        path.write_text("{")
        os.utime(path, (time.time() - age, time.time() - age))
        return path

    old = leftover(f"global.json.{uuid.uuid4()}.tmp", 7200)
    others = [
        leftover(f"global.json.{uuid.uuid4()}.tmp", 60),
        leftover(f"other.json.{uuid.uuid4()}.tmp", 7200),
        leftover("global.json.mine.tmp", 7200),
        leftover(f"global-json.{uuid.uuid4()}.tmp", 7200),
    ]

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        await dedupe.check_and_record("k")
        assert dedupe.counters.leftovers == 1

    face.run(main)
    assert not old.exists()
    assert all(path.exists() for path in others)


# -- the rest of what a caller can rely on


def test_has_recent_records_nothing_and_loads_the_time_of_the_file(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        assert await face.make(tmp_path, ttl=100.0).check_and_record("k", now=NOW)
        dedupe = face.make(tmp_path, ttl=100.0)
        assert not await dedupe.has_recent("other", now=NOW)
        assert await dedupe.check_and_record("other", now=NOW)
        assert await dedupe.has_recent("k", now=NOW + 99)
        assert dedupe.memory_size == 2
        assert not await dedupe.has_recent("k", now=NOW + 100)

    face.run(main)


def test_clear_memory_leaves_the_file_and_the_claims(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        await dedupe.check_and_record("k")
        await dedupe.claim("c")
        dedupe.clear_memory()
        assert dedupe.memory_size == 0
        assert not await dedupe.check_and_record("k")
        assert (await dedupe.claim("c")).status.value == "inflight"

    face.run(main)


def test_memory_drops_the_oldest_positioned_and_answers_for_the_rest(face: Any) -> None:
    async def main() -> None:
        dedupe = face.make(None, ttl=DAY, memory_max_size=2)
        for key in ("a", "b", "c"):
            assert await dedupe.check_and_record(key, now=NOW)
        assert dedupe.memory_size == 2
        assert await dedupe.check_and_record("a", now=NOW)
        assert not await dedupe.check_and_record("c", now=NOW)

    face.run(main)


def test_memory_drops_what_has_expired_wherever_it_stands(face: Any) -> None:
    async def main() -> None:
        dedupe = face.make(None, ttl=100.0)
        for key, now in (("late", NOW + 50), ("early", NOW), ("last", NOW + 100)):
            await dedupe.check_and_record(key, now=now)
        assert dedupe.memory_size == 2

    face.run(main)


def test_import_counts_what_it_takes_and_what_it_leaves_out(face: Any, tmp_path: Path, fixtures: Path) -> None:
    old = tmp_path / "old.json"
    shutil.copy(fixtures / "dedupe-mixed-invalid.json", old)

    async def main() -> None:
        dedupe = face.make(tmp_path / "store", ttl=DAY)
        await dedupe.check_and_record("toString", now=NOW)
        report = await dedupe.import_file(old, now=NOW)
        assert (report.imported, report.expired, report.invalid, report.already_present) == (5, 1, 11, 1)
        assert old.exists()
        again = await dedupe.import_file(old, now=NOW, remove=True)
        assert (again.imported, again.already_present) == (0, 6)
        assert not old.exists()
        assert not await dedupe.check_and_record("odd-future", now=NOW)

    face.run(main)


def test_a_namespaces_own_file_is_not_imported_and_removed(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=DAY)
        await dedupe.check_and_record("k", now=NOW)
        (tmp_path / "link.json").symlink_to(tmp_path / "global.json")
        for source in ("global.json", "link.json"):
            with pytest.raises(ValueError, match="the file of the namespace itself"):
                await dedupe.import_file(tmp_path / source, now=NOW, remove=True)
        assert [entry.key for entry in await dedupe.entries(now=NOW)] == ["k"]

    face.run(main)


def test_an_import_that_brings_nothing_leaves_the_file_untouched(face: Any, tmp_path: Path) -> None:
    path, old = write(tmp_path, b'{"k": 1899374400000}'), tmp_path / "old.json"
    old.write_bytes(b'{"k": 1899374390000, "odd": null}')

    async def main() -> None:
        report = await face.make(tmp_path, ttl=DAY).import_file(old, now=NOW)
        assert (report.imported, report.already_present, report.invalid) == (0, 1, 1)

    face.run(main)
    assert path.read_bytes() == b'{"k": 1899374400000}'


def test_failing_closed_nothing_is_remembered_of_what_could_not_be_recorded(face: Any) -> None:
    async def main() -> None:
        dedupe = face.make(Path("/dev/null/dedupe"), ttl=DAY, failure="closed")
        for _ in range(2):
            with pytest.raises(OSError, match="dev/null"):
                await dedupe.check_and_record("k")
        assert dedupe.memory_size == 0

    face.run(main)
