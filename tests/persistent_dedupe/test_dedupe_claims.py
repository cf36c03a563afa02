"""Claims: in one object, between objects, between processes."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from persistent_dedupe import (
    AsyncPersistentDedupe,
    Claim,
    ClaimReleased,
    ClaimStatus,
    DedupeOptions,
    OpenClaim,
    PersistentDedupe,
    claims_document,
)
from storewriter import Owner, PerStoreWriterQueue, StoreCorrupt, this_process
from storewriter.codecs import DecodeError

PATIENCE = 20.0
NOW = 1899374400.0


def claims_file(folder: Path) -> Path:
    return folder / "global~claims.json"


def written_claims(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(claims_file(folder).read_text())
    return content["claims"]  # type: ignore[no-any-return]


# -- in one object


def test_a_claim_is_written_with_its_owner_and_removed_at_its_end(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        claim = await dedupe.claim("m1")
        assert claim.recorded
        record = written_claims(tmp_path)["m1"]
        assert record["owner"]["pid"] == os.getpid()
        assert record["owner"]["start_ticks"] == this_process().start_ticks
        await dedupe.release("m1")
        assert written_claims(tmp_path) == {}
        await dedupe.claim("m2")
        await dedupe.commit("m2")
        assert written_claims(tmp_path) == {}

    face.run(main)


def test_the_file_of_the_keys_keeps_its_format_while_claims_are_open(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        await dedupe.check_and_record("k", now=NOW)
        await dedupe.claim("m1")

    face.run(main)
    assert json.loads((tmp_path / "global.json").read_text()) == {"k": NOW * 1000}


def test_a_duplicate_is_told_without_writing_anything(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=3600)
        await dedupe.check_and_record("k")
        assert (await dedupe.claim("k")).status is ClaimStatus.DUPLICATE
        assert not await dedupe.wait(await dedupe.claim("k"))
        assert not claims_file(tmp_path).exists()

    face.run(main)


def test_waiting_for_ones_own_claim_is_refused(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        with pytest.raises(ValueError, match="your own"):
            await dedupe.wait(await dedupe.claim("k"))

    face.run(main)


def test_a_waiter_gives_up_when_its_time_is_over(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe, other = face.make(tmp_path, ttl=10), face.make(tmp_path, ttl=10)
        await dedupe.claim("k")
        with pytest.raises(TimeoutError):
            await dedupe.wait(await dedupe.claim("k"), timeout=0.01)
        with pytest.raises(TimeoutError, match=f"of pid {os.getpid()} .* is still open"):
            await other.wait(await other.claim("k"), timeout=0.01)

    face.run(main)


def test_an_error_of_the_commit_reaches_the_waiters_and_ends_the_claim(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=3600, failure="closed")
        await dedupe.claim("k")
        waiting = await dedupe.claim("k")
        (tmp_path / "global.json").write_text("[]")
        with pytest.raises(StoreCorrupt):
            await dedupe.commit("k")
        with pytest.raises(StoreCorrupt):
            await dedupe.wait(waiting)
        (tmp_path / "global.json").unlink()
        assert await dedupe.claim("k")

    face.run(main)


def test_a_commit_of_what_somebody_else_has_recorded_is_false_for_the_waiters_too(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe, other = face.make(tmp_path, ttl=10), face.make(tmp_path, ttl=10)
        await dedupe.claim("k")
        waiting = await dedupe.claim("k")
        assert await other.commit("k")
        assert not await dedupe.commit("k")
        assert not await dedupe.wait(waiting)

    face.run(main)


def test_an_error_while_claiming_leaves_nothing_claimed(face: Any, tmp_path: Path) -> None:
    """The caller never learns that the key is its own, so it must not be."""

    def refuse(error: Exception) -> None:
        raise RuntimeError("the callback failed")

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=3600, bad_file="leave")
        (tmp_path / "global.json").write_text("[]")
        with pytest.raises(RuntimeError, match="the callback failed"):
            await dedupe.claim("k", on_disk_error=refuse)
        assert written_claims(tmp_path) == {}
        (tmp_path / "global.json").unlink()
        assert await dedupe.claim("k")

    face.run(main)


def test_failing_open_a_claim_that_cannot_be_written_is_granted_and_says_so(face: Any) -> None:
    async def main() -> None:
        dedupe = face.make(Path("/dev/null/dedupe"), ttl=10)
        claim = await dedupe.claim("k")
        assert (claim.status, claim.recorded) == (ClaimStatus.CLAIMED, False)
        assert isinstance(claim.error, OSError)
        assert (await dedupe.claim("k")).status is ClaimStatus.IN_FLIGHT
        result = await dedupe.commit("k")
        assert (result.is_new, result.recorded) == (True, False)
        # Reading the keys, writing the claim, recording the key; there is no claim to remove.
        assert dedupe.counters.disk_errors == 3
        assert (await dedupe.claim("k")).status is ClaimStatus.DUPLICATE
        closed = face.make(Path("/dev/null/dedupe"), ttl=10, failure="closed")
        for _ in range(2):
            with pytest.raises(OSError, match="dev/null"):
                await closed.claim("k")

    face.run(main)


def test_a_block_that_ends_well_commits(face: Any, tmp_path: Path) -> None:
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=10))
    with dedupe.handling("k") as claim:
        assert claim
        assert not dedupe.has_recent("k")
        with dedupe.handling("k") as inner:
            assert inner.status is ClaimStatus.IN_FLIGHT
    assert dedupe.has_recent("k")
    with dedupe.handling("k") as claim:
        assert claim.status is ClaimStatus.DUPLICATE


def test_a_block_that_fails_releases_with_its_error(tmp_path: Path) -> None:
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=10))
    waiting: list[Claim] = []

    def handle() -> None:
        with dedupe.handling("k"):
            waiting.append(dedupe.claim("k"))
            raise RuntimeError("handler")

    with pytest.raises(RuntimeError, match="handler"):
        handle()
    with pytest.raises(RuntimeError, match="handler"):
        dedupe.wait(waiting[0])
    assert dedupe.claim("k")


def test_a_block_that_is_interrupted_releases_and_its_waiters_are_not_interrupted(tmp_path: Path) -> None:
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=10))
    waiting: list[Claim] = []

    def handle() -> None:
        with dedupe.handling("k"):
            waiting.append(dedupe.claim("k"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        handle()
    with pytest.raises(ClaimReleased, match="released before it was committed"):
        dedupe.wait(waiting[0])


def test_a_claim_that_cannot_be_removed_is_ended_all_the_same(tmp_path: Path, gate: Any) -> None:
    gate.open.set()
    options = DedupeOptions(ttl=10, failure="closed", queue=PerStoreWriterQueue(lock=gate))
    dedupe, other = PersistentDedupe(tmp_path, options), PersistentDedupe(tmp_path, options)
    claim = dedupe.claim("k")
    gate.before.append(OSError(28, "No space left on device"))
    dedupe.release("k")
    assert dedupe.counters.disk_errors == 1
    assert list(written_claims(tmp_path)) == ["k"]
    assert other.claim("k")
    assert claim.status is ClaimStatus.CLAIMED  # still referred to, and held by no process


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_block_that_is_cancelled_releases_and_its_waiters_are_not_cancelled(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = AsyncPersistentDedupe(tmp_path, DedupeOptions(ttl=10))
        inside = anyio.Event()
        scope = anyio.CancelScope()

        async def handle() -> None:
            with scope:
                async with dedupe.handling("k"):
                    inside.set()
                    await anyio.sleep_forever()

        async def wait() -> None:
            with pytest.raises(ClaimReleased, match="released before it was committed"):
                await dedupe.wait(waiting)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handle)
            await inside.wait()
            waiting = await dedupe.claim("k")
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
        assert written_claims(tmp_path) == {}
        assert await dedupe.claim("k")

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_claim_that_is_cancelled_while_it_is_written_leaves_nothing_behind(
    backend: str, tmp_path: Path, gate: Any
) -> None:
    async def main() -> None:
        options = DedupeOptions(ttl=10, queue=PerStoreWriterQueue(lock=gate))
        dedupe = AsyncPersistentDedupe(tmp_path, options)
        claims: list[Claim] = []
        scope = anyio.CancelScope()

        async def claim() -> None:
            with scope:
                claims.append(await dedupe.claim("k"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(claim)
            await gate.saving.wait_async(PATIENCE)
            waiting = await dedupe.claim("k")
            scope.cancel()
            gate.open.set()
        if claims:  # trio gives the answer and cancels at the next checkpoint: the claim is its caller's
            assert backend == "trio"
            assert list(written_claims(tmp_path)) == ["k"]
            await dedupe.release("k")
        assert written_claims(tmp_path) == {}
        with pytest.raises(ClaimReleased, match=r"its claimer was interrupted|it was released"):
            await dedupe.wait(waiting)
        assert await dedupe.claim("k")

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_key_that_is_recorded_while_its_claim_is_written_is_a_duplicate(
    backend: str, tmp_path: Path, gate: Any
) -> None:
    """The claimer has already looked, and found nothing: only a second look, under its claim, can tell."""

    async def main() -> None:
        options = DedupeOptions(ttl=10, queue=PerStoreWriterQueue(lock=gate))
        dedupe = AsyncPersistentDedupe(tmp_path, options)
        claims: list[Claim] = []

        async def claim() -> None:
            claims.append(await dedupe.claim("k"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(claim)
            await gate.saving.wait_async(PATIENCE)
            assert await AsyncPersistentDedupe(tmp_path, DedupeOptions(ttl=10)).commit("k")
            gate.open.set()
        assert [claim.status for claim in claims] == [ClaimStatus.DUPLICATE]
        assert written_claims(tmp_path) == {}

    anyio.run(main, backend=backend)


def test_nobody_need_wait_and_an_unobserved_release_makes_no_noise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
        dedupe = AsyncPersistentDedupe(tmp_path, DedupeOptions(ttl=10))
        await dedupe.claim("k")
        await dedupe.claim("k")
        await dedupe.release("k", error=RuntimeError("nobody looks"))
        del dedupe
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main(), debug=True)
    gc.collect()
    assert noise == []
    assert [record for record in caplog.records if record.name != "asyncio" or record.levelname == "ERROR"] == []


# -- between objects of one process


def test_between_objects_of_one_process_a_claim_excludes_too(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        one, other = face.make(tmp_path, ttl=10), face.make(tmp_path, ttl=10)
        assert await one.claim("k")
        claim = await other.claim("k")
        assert claim.status is ClaimStatus.IN_FLIGHT
        assert claim.holder.owner == this_process()

        async def commit() -> bool:
            return bool(await one.commit("k"))

        assert await face.together(lambda: other.wait(claim), commit) == [True, True]
        assert (await other.claim("k")).status is ClaimStatus.DUPLICATE

    face.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_who_waits_for_a_claimer_that_finds_another_owner_waits_for_that_owner(backend: str, tmp_path: Path) -> None:
    """One object claims twice: the second waits for the first, which then finds the key claimed elsewhere."""

    async def main() -> None:
        owner = AsyncPersistentDedupe(tmp_path, DedupeOptions(ttl=10))
        await owner.claim("k")
        dedupe = AsyncPersistentDedupe(tmp_path, DedupeOptions(ttl=10))
        claims: list[Claim] = []

        async def claim() -> None:
            claims.append(await dedupe.claim("k"))

        turn = PerStoreWriterQueue().turn(claims_file(tmp_path))
        async with anyio.create_task_group() as tasks, turn:
            tasks.start_soon(claim)
            await anyio.wait_all_tasks_blocked()
            await claim()
            assert claims[0].holder is None
        assert claims[1].holder is not None
        await owner.commit("k")
        assert [await dedupe.wait(claim) for claim in claims] == [True, True]

    anyio.run(main, backend=backend)


def test_the_claims_of_an_object_that_is_gone_are_nobodys(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        one = face.make(tmp_path, ttl=10)
        await one.claim("k")
        other = face.make(tmp_path, ttl=10)
        assert not await other.claim("k")
        del one
        gc.collect()
        assert await other.claim("k")
        assert other.counters.reclaimed == 1

    face.run(main)


def test_a_claim_over_its_limit_can_be_taken_over_and_its_late_owner_cannot_end_the_successors(
    face: Any, tmp_path: Path
) -> None:
    time = [NOW]

    async def main() -> None:
        options = {"ttl": 3600, "claim_limit": 60.0, "clock": lambda: time[0]}
        one, other = face.make(tmp_path, **options), face.make(tmp_path, **options)
        assert await one.claim("k")
        time[0] = NOW + 59.9
        waiting = await other.claim("k")
        assert waiting.status is ClaimStatus.IN_FLIGHT
        time[0] = NOW + 60
        [claim] = await other.open_claims()
        assert claim.gone
        with pytest.raises(ClaimReleased, match="has passed its time limit"):
            await other.wait(waiting)
        assert await other.claim("k")
        await one.release("k")
        assert list(written_claims(tmp_path)) == ["k"]
        assert await other.commit("k")
        assert not await one.commit("k")

    face.run(main)


def test_without_a_limit_a_living_owner_keeps_its_claim(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        one = face.make(tmp_path, ttl=10, clock=lambda: NOW)
        other = face.make(tmp_path, ttl=10, clock=lambda: NOW + 1e6)
        assert await one.claim("k")
        assert not await other.claim("k")

    face.run(main)


def test_open_claims_are_listed_oldest_first_with_their_owners(face: Any, tmp_path: Path) -> None:
    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        assert await dedupe.open_claims() == []
        await dedupe.claim("b", now=NOW)
        await dedupe.claim("a", now=NOW + 1)
        claims: list[OpenClaim] = await dedupe.open_claims()
        assert [(claim.key, claim.since, claim.gone) for claim in claims] == [
            ("b", NOW, False),
            ("a", NOW + 1, False),
        ]
        assert all(claim.owner is not None and claim.owner.pid == os.getpid() for claim in claims)
        await dedupe.release("a")
        assert [claim.key for claim in await dedupe.open_claims()] == ["b"]

    face.run(main)


# -- the file of the claims


def test_an_odd_record_counts_as_a_claim_of_nobody_known_until_it_is_forgotten(face: Any, tmp_path: Path) -> None:
    claims_file(tmp_path).write_text('{"version": 1, "claims": {"odd": [1], "b": {"token": "t", "more": true}}}')

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        for key in ("odd", "b"):
            claim = await dedupe.claim(key)
            assert (claim.status, claim.holder.owner) == (ClaimStatus.IN_FLIGHT, None)
        await dedupe.claim("mine")
        assert written_claims(tmp_path)["odd"] == [1]
        assert written_claims(tmp_path)["b"] == {"token": "t", "more": True}
        await dedupe.forget("odd")
        assert await dedupe.claim("odd")

    face.run(main)


def test_claims_of_a_later_version_are_neither_read_nor_changed(face: Any, tmp_path: Path) -> None:
    later = '{"claims":["something else"],"version":2}'
    claims_file(tmp_path).write_text(later)

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        claim = await dedupe.claim("k")
        assert (bool(claim), claim.recorded) == (True, False)
        assert "version 2" in str(claim.error)
        await dedupe.commit("k")
        await dedupe.forget("k")

    face.run(main)
    assert claims_file(tmp_path).read_text() == later
    assert not list(tmp_path.glob("*.corrupt-*"))


@pytest.mark.parametrize("content", ['{"version": 1, "claims": ', "[]", '{"version": 1, "claims": {}} // so far'])
def test_a_claims_file_that_cannot_be_understood_is_moved_aside(face: Any, tmp_path: Path, content: str) -> None:
    """Also one that may be intact: whatever it is, it keeps no claims, and is kept itself."""
    claims_file(tmp_path).write_text(content)

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=10)
        assert (await dedupe.claim("k")).recorded
        assert dedupe.counters.moved_aside == 1

    face.run(main)
    [moved] = tmp_path.glob("global~claims.json.corrupt-*")
    assert moved.read_text() == content


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"version": true, "claims": {}}', b'{"version": 0, "claims": {}}'])
def test_what_is_no_file_of_claims_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        claims_document.CODEC.decode(data)


def test_claims_survive_their_file() -> None:
    book = claims_document.empty()
    claim = OpenClaim(key="\udcff", token="t", since=NOW, owner=this_process())
    claims_document.add(book, claim)
    again = claims_document.CODEC.decode(claims_document.CODEC.encode(book))
    assert claims_document.holder(again, "\udcff") == claim
    assert not claims_document.remove(again, "\udcff", "another")
    assert claims_document.remove(again, "\udcff", "t")
    assert not claims_document.remove(again, "\udcff", "t")


# -- who is gone


@pytest.fixture
def ended() -> Owner:
    """A process of this machine that has ended and been collected."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return attrs.evolve(this_process(), pid=process.pid)


# -- between processes


def test_another_process_finds_the_claim_in_flight_and_is_told_of_the_commit(
    face: Any, tmp_path: Path, start_child: Callable[..., Any]
) -> None:
    child = start_child()
    assert child.ask("claim", "k") == "claimed"

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=3600)
        claim = await dedupe.claim("k")
        assert claim.status is ClaimStatus.IN_FLIGHT
        assert claim.holder.owner.pid == child.process.pid

        async def commit() -> Any:
            child.tell("commit", "k")

        assert (await face.together(lambda: dedupe.wait(claim), commit))[0] is True
        assert child.answer() is True
        assert (await dedupe.claim("k")).status is ClaimStatus.DUPLICATE

    face.run(main)


def test_another_process_is_told_of_the_release_and_can_claim(
    face: Any, tmp_path: Path, start_child: Callable[..., Any]
) -> None:
    child = start_child()
    assert child.ask("claim", "k") == "claimed"

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=3600)
        claim = await dedupe.claim("k")
        assert child.ask("release", "k")
        with pytest.raises(ClaimReleased, match="ended without a record"):
            await dedupe.wait(claim)
        assert await dedupe.claim("k")

    face.run(main)


def test_a_killed_owner_is_succeeded_and_who_waits_is_told(
    face: Any, tmp_path: Path, start_child: Callable[..., Any]
) -> None:
    child = start_child()
    assert child.ask("claim", "k") == "claimed"

    async def main() -> None:
        dedupe = face.make(tmp_path, ttl=3600)
        claim = await dedupe.claim("k")
        child.kill()
        with pytest.raises(ClaimReleased, match="its owner is gone"):
            await dedupe.wait(claim)
        assert await dedupe.claim("k")
        assert dedupe.counters.reclaimed == 1
        assert await dedupe.commit("k")

    face.run(main)


def test_a_stopped_owner_keeps_its_claim(tmp_path: Path, start_child: Callable[..., Any]) -> None:
    child = start_child()
    assert child.ask("claim", "k") == "claimed"
    os.kill(child.process.pid, signal.SIGSTOP)
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=3600))
    assert dedupe.claim("k").status is ClaimStatus.IN_FLIGHT
    os.kill(child.process.pid, signal.SIGCONT)
    assert child.ask("commit", "k") is True
    assert dedupe.claim("k").status is ClaimStatus.DUPLICATE


def test_of_several_processes_that_claim_a_key_at_once_one_owns_it(start_child: Callable[..., Any]) -> None:
    children = [start_child() for _ in range(4)]
    for child in children:
        assert child.ask("claim", "warm up " + str(child.process.pid)) == "claimed"
    for number in range(20):
        for child in children:
            child.tell("claim", f"k{number}")
        answers = [child.answer() for child in children]
        assert sorted(answers) == ["claimed", "inflight", "inflight", "inflight"]
        assert children[answers.index("claimed")].ask("commit", f"k{number}") is True
        assert [child.ask("claim", f"k{number}") for child in children] == ["duplicate"] * 4


def test_the_claims_of_several_dead_processes_are_all_removed_by_the_next_claim(
    tmp_path: Path, start_child: Callable[..., Any]
) -> None:
    children = [start_child() for _ in range(3)]
    for number, child in enumerate(children):
        assert child.ask("claim", f"k{number}") == "claimed"
    for child in children:
        child.kill()
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=3600))
    assert dedupe.claim("another")
    assert list(written_claims(tmp_path)) == ["another"]
    assert dedupe.counters.reclaimed == 3


def test_a_forked_child_owns_no_claim_and_no_memory_of_its_parent(start_child: Callable[..., Any]) -> None:
    child = start_child()
    assert child.ask("check", "a", "b") == [True, True]
    assert child.ask("claim", "k") == "claimed"
    assert child.ask("fork", "k") == ["inflight", "0", "True"]
    assert child.ask("commit", "k") is True


def test_threads_that_claim_one_key_share_one_owner(tmp_path: Path) -> None:
    dedupe = PersistentDedupe(tmp_path, DedupeOptions(ttl=3600, durability="process"))
    handled: list[int] = []
    start = threading.Barrier(8)

    def handle(number: int) -> None:
        start.wait(PATIENCE)
        with dedupe.handling("k") as claim:
            if claim:
                handled.append(number)

    threads = [threading.Thread(target=handle, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(handled) == 1
