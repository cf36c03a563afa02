"""The tests that the reference and its pull requests name, line by line: plain code in threads, asyncio and trio."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commitments_support import (
    DAY,
    ENABLED,
    HOUR,
    ITEM_A,
    NOW,
    SESSION_A,
    Face,
    candidate,
    ids_of,
    record,
    stored,
)

from commitments import CommitmentsConfig, default_path

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def write_default() -> Write:
    """Write the store of this user, each record with the legacy text that the reference's tests have."""

    def store_of(*records: dict[str, Any]) -> Path:
        path = Path(default_path())
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = [{**fields, "sourceUserText": "CANARY, what the user said"} for fields in records]
        path.write_text(json.dumps({"version": 1, "commitments": texts}, indent=2))
        return path

    return store_of


def test_s1_given_two_pending_records_when_two_dismissals_for_different_ids_run_at_once_then_both_end_dismissed(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("a"), record("b"))
    store = face.open(None)

    async def main() -> None:
        await face.together(
            lambda: store.mark_status(["a"], "dismissed"), lambda: store.mark_status(["b"], "dismissed")
        )

    face.run(main)
    assert {id_: each["status"] for id_, each in stored(path).items()} == {"a": "dismissed", "b": "dismissed"}


def test_s2_given_one_record_when_five_mark_attempted_calls_run_at_once_then_attempts_has_grown_by_5(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("a", attempts=2))
    store = face.open(None)

    async def main() -> None:
        await face.together(*[lambda: store.mark_attempted(["a"])] * 5)

    face.run(main)
    assert stored(path)["a"]["attempts"] == 7


def test_s3_given_two_records_when_dismissing_one_races_with_attempting_the_other_then_both_changes_are_in_the_file(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("a"), record("b"))
    store = face.open(None)

    async def main() -> None:
        await face.together(lambda: store.mark_status(["a"], "dismissed"), lambda: store.mark_attempted(["b"]))

    face.run(main)
    assert stored(path)["a"]["status"] == "dismissed"
    assert stored(path)["b"]["attempts"] == 1


def test_j1_given_a_due_record_and_a_configuration_without_enabled_when_due_is_listed_then_nothing(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("a"))
    before = path.read_bytes()
    store, config = face.open(None), CommitmentsConfig.from_mapping({"commitments": {"maxPerDay": 5}})

    async def main() -> None:
        assert await store.due_for_session(config, "main", SESSION_A) == ()
        assert await store.due_session_keys(config, "main") == ()

    face.run(main)
    assert path.read_bytes() == before


def test_j2_given_one_sent_a_minute_ago_and_one_pending_and_one_a_day_when_due_is_listed_then_none_and_two_are_stored(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("a", status="sent", sentAtMs=NOW - 60_000), record("b"))
    store, config = face.open(None), CommitmentsConfig(enabled=True, max_per_day=1)

    async def main() -> None:
        assert await store.due_for_session(config, "main", SESSION_A) == ()

    face.run(main)
    assert list(stored(path)) == ["a", "b"]


def test_j3_given_a_pending_record_whose_window_ended_four_days_ago_when_due_is_listed_then_none_and_it_has_expired_now(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("a", dueWindow={"earliestMs": NOW - 5 * DAY, "latestMs": NOW - 4 * DAY}))
    store = face.open(None)

    async def main() -> None:
        assert await store.due_for_session(ENABLED, "main", SESSION_A) == ()

    face.run(main)
    found = stored(path)["a"]
    assert (found["status"], found["expiredAtMs"], found["updatedAtMs"]) == ("expired", NOW, NOW)


def test_j4_given_a_file_with_legacy_source_text_when_due_is_listed_then_the_record_comes_and_the_text_is_gone(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("a", sourceAssistantText="CANARY, what the agent said"))
    assert path.read_bytes().count(b"CANARY") == 2
    store = face.open(None)

    async def main() -> None:
        assert ids_of(await store.due_for_session(ENABLED, "main", SESSION_A)) == ["a"]

    face.run(main)
    for trace in (b"CANARY", b"sourceUserText", b"sourceAssistantText"):
        assert trace not in path.read_bytes()


def test_j5_given_an_expired_record_when_listing_expired_then_it_comes(face: Face, write_default: Write) -> None:
    write_default(record("a", dueWindow={"earliestMs": NOW - 5 * DAY, "latestMs": NOW - 4 * DAY}))
    store = face.open(None)

    async def main() -> None:
        await store.due_for_session(ENABLED, "main", SESSION_A)
        assert ids_of((await store.list("expired")).commitments) == ["a"]

    face.run(main)


def test_j6_given_two_records_when_two_dismissals_with_different_times_race_then_each_has_its_own_time(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("a"), record("b"))
    store = face.open(None)

    async def main() -> None:
        await face.together(
            lambda: store.mark_status(["a"], "dismissed", now_ms=NOW + 1),
            lambda: store.mark_status(["b"], "dismissed", now_ms=NOW + 2),
        )

    face.run(main)
    found = {id_: (each["status"], each["dismissedAtMs"], each["updatedAtMs"]) for id_, each in stored(path).items()}
    assert found == {"a": ("dismissed", NOW + 1, NOW + 1), "b": ("dismissed", NOW + 2, NOW + 2)}


def test_j7_given_two_records_when_attempting_one_races_with_sending_the_other_then_each_has_its_mark_and_time(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("a"), record("b"))
    store = face.open(None)

    async def main() -> None:
        await face.together(
            lambda: store.mark_attempted(["a"], now_ms=NOW + 1),
            lambda: store.mark_status(["b"], "sent", now_ms=NOW + 2),
        )

    face.run(main)
    assert (stored(path)["a"]["attempts"], stored(path)["a"]["lastAttemptAtMs"]) == (1, NOW + 1)
    assert (stored(path)["b"]["status"], stored(path)["b"]["sentAtMs"]) == ("sent", NOW + 2)


def test_j8_given_one_record_when_an_upsert_races_with_dismissing_it_then_one_was_created_and_the_old_is_dismissed(
    face: Face, write_default: Write
) -> None:
    path = write_default(record("old"))
    store = face.open(None)

    async def main() -> None:
        upserted, _ = await face.together(
            lambda: store.upsert(ITEM_A, [candidate("new")]), lambda: store.mark_status(["old"], "dismissed")
        )
        assert len(upserted.created) == 1
        assert stored(path)[upserted.created[0].id]["status"] == "pending"

    face.run(main)
    assert stored(path)["old"]["status"] == "dismissed"
    assert len(stored(path)) == 2


def test_e5_given_a_stored_candidate_when_its_key_comes_again_then_nothing_is_created_and_reason_and_confidence_are_new(
    face: Face, write: Write
) -> None:
    path = write()
    store = face.open(path)

    async def main() -> None:
        first = await store.upsert(ITEM_A, [candidate("exam", reason="An exam.", confidence=0.75)])
        again = await store.upsert(
            ITEM_A, [candidate("exam", reason="A hard exam.", confidence=0.95)], now_ms=NOW + HOUR
        )
        assert ids_of(again.merged) == ids_of(first.created)
        assert again.created == ()

    face.run(main)
    (found,) = stored(path).values()
    assert (found["status"], found["reason"], found["confidence"]) == ("pending", "A hard exam.", 0.95)
