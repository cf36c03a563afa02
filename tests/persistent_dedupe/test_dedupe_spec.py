"""The given / when / then lines of the original's tests, by their numbers, on all three faces."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from persistent_dedupe import ClaimReleased, ClaimStatus, DedupeOptions
from storewriter import StoreCorrupt


def test_p1_a_recorded_key_is_a_duplicate_in_its_namespace_for_a_second_object_too(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        first = face.make(tmp_path, ttl=86400)
        assert await first.check_and_record("m1", namespace="a")
        assert not await first.check_and_record("m1", namespace="a")
        second = face.make(tmp_path, ttl=86400)
        assert await second.has_recent("m1", namespace="a")
        assert await second.warmup("a") == 1
        assert not await second.check_and_record("m1", namespace="a")
        assert await second.check_and_record("m2", namespace="a")
        assert await second.check_and_record("m1", namespace="b")

    face.run(main)


def test_p2_of_two_checks_at_the_same_time_exactly_the_first_is_new(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=86400)
        results = await face.together(*[lambda: dedupe.check_and_record("race")] * 2)
        assert sorted(map(bool, results)) == [False, True]
        if face.name == "asyncio":  # which starts its tasks in order, as trio and threads do not
            assert results[0]

    face.run(main)


def test_p3_where_nothing_can_be_written_a_key_is_new_once_and_then_known_to_memory(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        errors: list[Exception] = []
        dedupe = face.make(Path("/dev/null/dedupe"), ttl=86400, on_disk_error=errors.append)
        first = await dedupe.check_and_record("m1")
        assert (first.is_new, first.recorded) == (True, False)
        assert not await dedupe.check_and_record("m1")
        assert errors == [first.error]
        assert isinstance(first.error, OSError)

    face.run(main)


def test_p4_warmup_loads_both_keys_and_a_third_is_new(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        before = face.make(tmp_path, ttl=86400)
        await before.check_and_record("k1")
        await before.check_and_record("k2")
        dedupe = face.make(tmp_path, ttl=86400)
        assert await dedupe.warmup() == 2
        assert dedupe.memory_size == 2
        assert not await dedupe.check_and_record("k1")
        assert not await dedupe.check_and_record("k2")
        assert dedupe.counters.from_memory == 2
        assert await dedupe.check_and_record("k3")

    face.run(main)


def test_p5_warmup_without_a_file_is_0(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        assert await face.make(tmp_path, ttl=86400).warmup("nothing-here") == 0
        assert os.listdir(tmp_path) == []

    face.run(main)


def test_p6_warmup_skips_what_has_expired_and_that_key_is_new_again(face: Any, tmp_path: Path) -> None:
    (tmp_path / "global.json").write_text('{"old": 1000000, "fresh": 1002000}')

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=1.0, clock=lambda: 1002.0)
        assert await dedupe.warmup() == 1
        assert await dedupe.check_and_record("old")
        assert not await dedupe.check_and_record("fresh")

    face.run(main)


@pytest.mark.parametrize("name", ["ttl", "memory_max_size", "file_max_entries"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_p7_a_number_that_is_not_finite_is_refused(name: str, number: float) -> None:
    """The original carries NaN through, and then forgets what it has recorded."""
    with pytest.raises(ValueError, match=f"DedupeOptions.{name} must be a finite number"):
        DedupeOptions(**{"ttl": 60, name: number})  # type: ignore[arg-type]


def test_p7_without_memory_a_recorded_key_is_recent_and_not_new_again(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=0, memory_max_size=0, file_max_entries=0)
        assert await dedupe.check_and_record("m1")
        assert await dedupe.has_recent("m1")
        assert not await dedupe.check_and_record("m1")
        assert dedupe.memory_size == 0

    face.run(main)


def test_p8_of_a_malformed_file_nothing_is_imported_and_it_is_not_removed(face: Any, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text('{"evt-1": 18992808')

    async def main() -> None:
        dedupe = face.make(tmp_path / "store", ttl=86400)
        with pytest.raises(StoreCorrupt, match=r"old\.json cannot be read"):
            await dedupe.import_file(old, remove=True)
        assert await dedupe.entries() == []

    face.run(main)
    assert old.read_text() == '{"evt-1": 18992808'


def test_p8_warmup_reads_no_file_but_that_of_its_namespace(face: Any, tmp_path: Path) -> None:
    (tmp_path / "retired.json").write_text('{"evt-1": 1899280800000}')

    async def main() -> None:
        assert await face.make(tmp_path, ttl=0).warmup() == 0

    face.run(main)


@pytest.fixture(params=["file", "memory only"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """The claimable variant works with a file or without."""
    return tmp_path if request.param == "file" else None


def test_k1_claimed_then_in_flight_then_committed_then_a_duplicate(face: Any, location: Path | None) -> None:
    async def main() -> None:
        dedupe = face.make(location, ttl=10)
        assert (await dedupe.claim("m1")).status is ClaimStatus.CLAIMED
        second = await dedupe.claim("m1")
        assert second.status is ClaimStatus.IN_FLIGHT
        assert await dedupe.commit("m1")
        assert await dedupe.wait(second)
        assert (await dedupe.claim("m1")).status is ClaimStatus.DUPLICATE

    face.run(main)


def test_k2_of_two_claims_together_one_is_claimed_and_the_other_told_of_the_commit(
    face: Any, location: Path | None
) -> None:
    async def main() -> None:
        dedupe = face.make(location, ttl=10)
        claims = await face.together(*[lambda: dedupe.claim("m1")] * 2)
        assert sorted(claim.status.value for claim in claims) == ["claimed", "inflight"]
        waiting = next(claim for claim in claims if not claim)

        async def commit() -> bool:
            return bool(await dedupe.commit("m1"))

        assert await face.together(lambda: dedupe.wait(waiting), commit) == [True, True]

    face.run(main)


def test_k3_a_released_claim_gives_its_waiter_the_error_and_can_be_claimed_again(
    face: Any, location: Path | None
) -> None:
    async def main() -> None:
        dedupe = face.make(location, ttl=10)
        assert await dedupe.claim("m1")
        waiting = await dedupe.claim("m1")
        await dedupe.release("m1", error=RuntimeError("the handler failed"))
        with pytest.raises(RuntimeError, match="the handler failed"):
            await dedupe.wait(waiting)
        assert await dedupe.claim("m1")

    face.run(main)


def test_k4_a_committed_claim_is_seen_by_another_object(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        first = face.make(tmp_path, ttl=10)
        assert await first.claim("m1", namespace="acct")
        assert await first.commit("m1", namespace="acct")
        second = face.make(tmp_path, ttl=10)
        assert await second.has_recent("m1", namespace="acct")
        assert await second.warmup("acct") == 1
        assert (await second.claim("m1", namespace="acct")).status is ClaimStatus.DUPLICATE

    face.run(main)


def test_k5_with_neither_memory_nor_file_a_committed_key_can_be_claimed_again(face: Any) -> None:
    async def main() -> None:
        dedupe = face.make(None, ttl=0, memory_max_size=0)
        assert await dedupe.claim("m1")
        assert await dedupe.commit("m1")
        assert await dedupe.claim("m1")

    face.run(main)


# -- section 9, "not tested there and worth adding"; what needs processes is in test_dedupe_processes.py


def test_two_objects_in_one_process_lose_nothing_and_agree(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        objects = [face.make(tmp_path, ttl=3600, memory_max_size=0) for _ in range(2)]
        results = await face.together(
            *[
                lambda dedupe=dedupe, key=f"k{number}": dedupe.check_and_record(key)
                for number in range(10)
                for dedupe in objects
            ]
        )
        pairs = [sorted(map(bool, pair)) for pair in zip(results[::2], results[1::2], strict=True)]
        assert pairs == [[False, True]] * 10
        assert len(await objects[0].entries()) == 10

    face.run(main)


def test_commit_without_a_claim_records(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        assert (await dedupe.commit("m1")).recorded
        assert not await dedupe.commit("m1")

    face.run(main)


def test_release_without_a_claim_does_nothing(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        await dedupe.release("m1")
        await dedupe.release("  ")
        assert os.listdir(tmp_path) == []

    face.run(main)


def test_forget_while_a_claim_is_open_rejects_its_waiters(face: Any, location: Path | None) -> None:
    async def main() -> None:
        dedupe = face.make(location, ttl=10)
        assert await dedupe.claim("m1")
        waiting = await dedupe.claim("m1")
        assert await dedupe.forget("m1") is (location is None)
        with pytest.raises(ClaimReleased, match="the key was forgotten") as caught:
            await dedupe.wait(waiting)
        assert (caught.value.namespace, caught.value.key) == ("global", "m1")
        assert await dedupe.claim("m1")

    face.run(main)


def test_forget_tells_whether_the_file_had_the_key(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        assert not await dedupe.forget("m1")
        assert os.listdir(tmp_path) == [] or not (tmp_path / "global.json").exists()
        await dedupe.check_and_record("m1")
        assert await dedupe.forget("m1")
        assert not await dedupe.forget(" ")
        assert await dedupe.check_and_record("m1")

    face.run(main)


def test_a_new_file_is_for_its_owner_only(face: Any, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "for-it"

    async def main() -> None:
        dedupe = face.make(folder, ttl=10)
        await dedupe.claim("m1")
        await dedupe.commit("m1")

    face.run(main)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_an_existing_folder_keeps_its_mode(face: Any, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    async def main() -> None:
        await face.make(tmp_path, ttl=10).check_and_record("k")

    face.run(main)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_without_files_memory_alone_remembers(face: Any) -> None:
    async def main() -> None:
        dedupe = face.make(None, ttl=10)
        result = await dedupe.check_and_record("k")
        assert (result.is_new, result.recorded) == (True, True)
        assert not await dedupe.check_and_record("k")
        assert await dedupe.has_recent("k")
        assert await dedupe.warmup() == 0
        assert await dedupe.entries() == []
        assert await dedupe.open_claims() == []
        assert dedupe.path() is None
        assert await dedupe.forget("k")
        assert not await dedupe.has_recent("k")
        with pytest.raises(ValueError, match="without files"):
            await dedupe.import_file("old.json")

    face.run(main)
