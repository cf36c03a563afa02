"""Terms and operations, rule by rule, on documents in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from commitments_support import (
    DAY,
    ENABLED,
    FIXTURES,
    GRACE,
    HOUR,
    ITEM_A,
    NOW,
    SCOPE_A,
    SESSION_A,
    SESSION_B,
    SESSION_C,
    candidate,
    ids_of,
    record,
)

from commitments import CandidateRefused, Commitment, CommitmentsConfig, Item, Scope, changes, queries
from commitments.changes import Marked, new_id
from commitments.document import Document, DocumentCodec
from commitments.record import is_blank, trim


def document_of(*entries: Any) -> Document:
    return DocumentCodec().decode(json.dumps({"version": 1, "commitments": entries}).encode())


def fixture() -> Document:
    return DocumentCodec().decode((FIXTURES / "commitments-valid.json").read_bytes())


def at(document: Document, place: int) -> Commitment:
    return document.record(place)


def places(document: Document, records: tuple[Commitment, ...]) -> list[int]:
    return [document.places_of(each.id)[0] for each in records]


def upsert(document: Document, *candidates: Any, now_ms: int = NOW, item: Item = ITEM_A) -> Any:
    ids = [f"new-{place}" for place in range(len(candidates))]
    return changes.upsert(document, item, candidates, ids, now_ms)


def due(document: Document, session: str = SESSION_A, limit: int | None = None, now_ms: int = NOW, per_day: int = 3):
    changes.expire(document, now_ms)
    config = CommitmentsConfig(enabled=True, max_per_day=per_day)
    return queries.due_for_session(document, now_ms, config, "main", session, limit)


class TestFixture:
    """The valid fixture, with what its description expects."""

    def test_due_per_session(self) -> None:
        document = fixture()
        for agent, session, expected in (
            ("main", SESSION_A, [0]),
            ("main", SESSION_B, [2]),
            ("helper", SESSION_C, [7]),
        ):
            found = queries.due_for_session(document, NOW, ENABLED, agent, session, None)
            assert places(document, found) == expected

    def test_due_with_one_a_day_is_empty_because_one_was_sent_two_hours_ago(self) -> None:
        assert due(fixture(), per_day=1) == ()

    def test_session_keys_of_main_come_sorted(self) -> None:
        assert queries.due_session_keys(fixture(), NOW, ENABLED, "main", None) == (SESSION_B, SESSION_A)

    def test_pending_in_order(self) -> None:
        document = fixture()
        assert places(document, queries.listing(document, "pending", None).commitments) == [2, 0, 1]

    def test_all_in_order(self) -> None:
        document = fixture()
        assert places(document, queries.listing(document, None, None).commitments) == [6, 2, 5, 4, 3, 7, 0, 1]

    def test_record_2_expires_one_millisecond_after_now_plus_an_hour(self) -> None:
        document = fixture()
        assert document.expired(NOW) == []
        assert document.expired(NOW + HOUR) == []
        assert document.expired(NOW + HOUR + 1) == [2]

    def test_the_snoozed_record_is_due_when_its_snooze_ends(self) -> None:
        document = fixture()
        assert places(document, due(document, now_ms=NOW + 6 * HOUR - 1)) == [0]
        assert places(document, due(document, now_ms=NOW + 6 * HOUR)) == [3, 0]

    def test_a_listing_can_be_narrowed_to_one_agent(self) -> None:
        document = fixture()
        assert places(document, queries.listing(document, None, "helper").commitments) == [6, 7]

    def test_there_is_nothing_odd_about_it(self) -> None:
        assert queries.everything(fixture()).problems == ()


class TestExpiry:
    def test_at_exactly_72_hours_a_record_is_alive_and_due(self) -> None:
        document = document_of(record("a", dueWindow={"latestMs": NOW - GRACE, "earliestMs": NOW - GRACE}))
        assert ids_of(due(document)) == ["a"]
        assert at(document, 0).status == "pending"

    def test_one_millisecond_later_it_has_expired(self) -> None:
        document = document_of(record("a", dueWindow={"latestMs": NOW - GRACE - 1, "earliestMs": NOW - GRACE - 1}))
        assert due(document) == ()
        found = at(document, 0)
        assert (found.status, found.expired_at_ms, found.updated_at_ms) == ("expired", NOW, NOW)

    def test_a_snooze_that_has_not_ended_does_not_save_a_record(self) -> None:
        past = {"latestMs": NOW - GRACE - 1, "earliestMs": NOW - GRACE - 1}
        document = document_of(record("a", status="snoozed", snoozedUntilMs=NOW + DAY, dueWindow=past))
        changes.expire(document, NOW)
        assert at(document, 0).status == "expired"

    @pytest.mark.parametrize("status", ["sent", "dismissed", "expired", "paused"])
    def test_what_is_not_active_does_not_expire(self, status: str) -> None:
        document = document_of(record("a", status=status, dueWindow={"latestMs": 1, "earliestMs": 1}))
        assert document.expired(NOW) == []

    def test_records_added_and_merged_after_a_look_expire_in_their_turn(self) -> None:
        document = document_of(record("a", dedupeKey="a", dueWindow={"latestMs": NOW}))
        assert document.expired(NOW) == []
        upsert(
            document, candidate("b", earliest_ms=NOW - DAY, latest_ms=NOW - HOUR), candidate("a", latest_ms=NOW + DAY)
        )
        assert document.expired(NOW - HOUR + GRACE + 1) == [1]
        changes.expire(document, NOW - HOUR + GRACE + 1)
        assert document.expired(NOW + GRACE + 1) == []
        assert document.expired(NOW + DAY + GRACE + 1) == [0]


class TestRollingDay:
    def test_sent_exactly_24_hours_ago_still_counts(self) -> None:
        document = document_of(record("a", status="sent", sentAtMs=NOW - DAY), record("b"))
        assert due(document, per_day=1) == ()

    def test_one_millisecond_longer_ago_does_not(self) -> None:
        document = document_of(record("a", status="sent", sentAtMs=NOW - DAY - 1), record("b"))
        assert ids_of(due(document, per_day=1)) == ["b"]

    def test_a_sent_record_without_a_time_does_not_count(self) -> None:
        document = document_of(record("a", status="sent"), record("b"))
        assert ids_of(due(document, per_day=1)) == ["b"]

    def test_another_session_and_another_agent_do_not_count(self) -> None:
        document = document_of(
            record("a", status="sent", sentAtMs=NOW, sessionKey=SESSION_B),
            record("b", status="sent", sentAtMs=NOW, agentId="helper"),
            record("c"),
        )
        assert ids_of(due(document, per_day=1)) == ["c"]

    def test_what_remains_of_the_day_limits_the_answer(self) -> None:
        document = document_of(record("s", status="sent", sentAtMs=NOW), *[record(id_) for id_ in "abcd"])
        assert len(due(document, per_day=3)) == 2

    def test_more_sent_than_allowed_leaves_nothing(self) -> None:
        sent = [record(f"s{number}", status="sent", sentAtMs=NOW) for number in range(3)]
        document = document_of(*sent, *[record(id_) for id_ in "abcdef"])
        assert due(document, per_day=1) == ()

    def test_a_session_that_used_up_its_day_has_no_key(self) -> None:
        document = document_of(record("s", status="sent", sentAtMs=NOW), record("a"))
        config = CommitmentsConfig(enabled=True, max_per_day=1)
        assert queries.due_session_keys(document, NOW, config, "main", None) == ()


class TestDue:
    def test_at_most_three_at_a_time_whatever_the_limit(self) -> None:
        document = document_of(*[record(id_) for id_ in "abcdef"])
        assert len(due(document, per_day=9)) == 3
        assert len(due(document, per_day=9, limit=5)) == 3
        assert len(due(document, per_day=9, limit=2)) == 2

    def test_a_limit_of_0_is_none_at_all(self) -> None:
        document = document_of(record("a"))
        assert due(document, limit=0) == ()
        assert queries.pending_for_scope(document, NOW, SCOPE_A, 0) == ()

    def test_a_negative_limit_is_refused(self) -> None:
        document = document_of(record("a"))
        with pytest.raises(ValueError, match="negative"):
            due(document, limit=-1)
        with pytest.raises(ValueError, match="negative"):
            queries.pending_for_scope(document, NOW, SCOPE_A, -1)
        with pytest.raises(ValueError, match="negative"):
            queries.due_session_keys(document, NOW, ENABLED, "main", -1)

    def test_not_before_earliest(self) -> None:
        document = document_of(
            record("a", dueWindow={"earliestMs": NOW}), record("b", dueWindow={"earliestMs": NOW + 1})
        )
        assert ids_of(due(document)) == ["a"]

    def test_by_earliest_then_by_creation_then_by_file_order(self) -> None:
        document = document_of(
            record("d", createdAtMs=5, dueWindow={"earliestMs": 20}),
            record("b", createdAtMs=7, dueWindow={"earliestMs": 10}),
            record("c", createdAtMs=7, dueWindow={"earliestMs": 10}),
            record("a", createdAtMs=6, dueWindow={"earliestMs": 10}),
        )
        assert ids_of(queries.listing(document, None, None).commitments) == ["a", "b", "c", "d"]

    def test_a_snooze_without_an_end_hides_nothing(self) -> None:
        assert ids_of(due(document_of(record("a", status="snoozed")))) == ["a"]

    def test_the_limit_of_session_keys_picks_by_file_order_and_0_means_none(self) -> None:
        document = document_of(*[record(f"r{key}", sessionKey=key) for key in "cab"])
        assert queries.due_session_keys(document, NOW, ENABLED, "main", 2) == ("a", "c")
        assert queries.due_session_keys(document, NOW, ENABLED, "main", 0) == ("a", "b", "c")

    def test_session_keys_are_sorted_by_utf_16_units(self) -> None:
        document = document_of(
            *[record(f"r{place}", sessionKey=key) for place, key in enumerate(["\uffff", "\U00010000"])]
        )
        assert queries.due_session_keys(document, NOW, ENABLED, "main", None) == ("\U00010000", "\uffff")

    def test_a_session_key_with_half_a_surrogate_pair_can_be_sorted(self) -> None:
        document = document_of(record("a", sessionKey="\ud800"), record("b", sessionKey="a"))
        assert queries.due_session_keys(document, NOW, ENABLED, "main", None) == ("a", "\ud800")


class TestPendingForScope:
    def test_due_or_not_but_not_hidden(self) -> None:
        document = document_of(
            record("later", dueWindow={"earliestMs": NOW + HOUR, "latestMs": NOW + DAY}),
            record("hidden", status="snoozed", snoozedUntilMs=NOW + 1),
            record("back", status="snoozed", snoozedUntilMs=NOW),
            record("done", status="sent"),
            record("elsewhere", to="somebody else"),
        )
        assert ids_of(queries.pending_for_scope(document, NOW, SCOPE_A, 20)) == ["back", "later"]

    def test_the_first_of_the_order_within_the_limit(self) -> None:
        document = document_of(record("b", dueWindow={"earliestMs": 2}), record("a", dueWindow={"earliestMs": 1}))
        assert ids_of(queries.pending_for_scope(document, NOW, SCOPE_A, 1)) == ["a"]

    def test_fields_are_compared_after_trimming_and_absent_equals_empty(self) -> None:
        document = document_of(record("a", to=" 5550101\ufeff", accountId="", threadId=None))
        assert ids_of(queries.pending_for_scope(document, NOW, SCOPE_A, 20)) == ["a"]

    def test_fields_do_not_run_into_each_other(self) -> None:
        scope = Scope("main", SESSION_A, "telegram", account_id="a\x1fb")
        other = Scope("main", SESSION_A, "telegram", account_id="a", to="b")
        assert scope.key != other.key


class TestUpsert:
    def test_a_created_record_has_its_fields_in_the_order_of_the_format(self) -> None:
        document = Document()
        scope = Scope("main", SESSION_A, "telegram", "acc", "to", "thread", "sender")
        upsert(document, candidate(), item=Item(scope, "msg", "run"))
        assert list(json.loads(document.data())["commitments"][0]) == [
            "id",
            "agentId",
            "sessionKey",
            "channel",
            "accountId",
            "to",
            "threadId",
            "senderId",
            "kind",
            "sensitivity",
            "source",
            "status",
            "reason",
            "suggestedText",
            "dedupeKey",
            "confidence",
            "dueWindow",
            "sourceMessageId",
            "sourceRunId",
            "createdAtMs",
            "updatedAtMs",
            "attempts",
        ]

    def test_empty_optional_fields_are_left_out(self) -> None:
        document = Document()
        upsert(document, candidate(), item=Item(Scope("main", SESSION_A, "telegram")))
        assert not {"accountId", "to", "threadId", "senderId", "sourceMessageId", "sourceRunId"} & set(
            json.loads(document.data())["commitments"][0]
        )

    def test_texts_and_key_are_trimmed(self) -> None:
        document = Document()
        upsert(document, candidate(" key\n", reason="\ufeffwhy ", suggested_text="\ttext"))
        found = at(document, 0)
        assert (found.dedupe_key, found.reason, found.suggested_text) == ("key", "why", "text")

    def test_a_merge_follows_the_rule_for_each_field(self) -> None:
        document = document_of(
            record(
                "old",
                dedupeKey="k",
                status="snoozed",
                snoozedUntilMs=NOW + DAY,
                attempts=2,
                confidence=0.95,
                dueWindow={"earliestMs": 100, "latestMs": NOW + HOUR, "timezone": "UTC"},
                sourceMessageId="first",
            )
        )
        fields = {"kind": "open_loop", "sensitivity": "care", "source": "agent_promise", "confidence": 0.8}
        upsert(
            document,
            candidate(
                "k",
                reason=" new why ",
                suggested_text=" new text ",
                earliest_ms=200,
                latest_ms=NOW + DAY,
                timezone="Asia/Tokyo",
                **fields,
            ),
        )
        assert len(document.entries) == 1
        found = at(document, 0)
        window = found.due_window
        assert (found.reason, found.suggested_text, found.confidence) == ("new why", "new text", 0.95)
        assert (window.earliest_ms, window.latest_ms, window.timezone) == (100, NOW + DAY, "Asia/Tokyo")
        assert found.updated_at_ms == NOW
        assert (found.id, found.kind, found.sensitivity, found.source) == (
            "old",
            "event_check_in",
            "routine",
            "inferred_user_context",
        )
        assert (found.status, found.snoozed_until_ms, found.attempts) == ("snoozed", NOW + DAY, 2)
        assert (found.source_message_id, found.created_at_ms) == ("first", NOW - DAY)

    def test_a_merge_takes_the_earlier_start_and_the_higher_confidence(self) -> None:
        document = document_of(record("old", dedupeKey="k", confidence=0.5))
        upsert(document, candidate("k", confidence=0.7, earliest_ms=5, latest_ms=6))
        found = at(document, 0)
        assert found.confidence == 0.7
        assert (found.due_window.earliest_ms, found.due_window.latest_ms) == (5, NOW + HOUR)

    def test_blank_texts_keep_the_old_ones(self) -> None:
        document = document_of(record("old", dedupeKey="k"))
        upsert(document, candidate("k", reason=" ", suggested_text="\u3000"))
        found = at(document, 0)
        assert (found.reason, found.suggested_text) == ("Reason of old.", "Text of old?")

    @pytest.mark.parametrize("status", ["sent", "dismissed", "expired", "paused"])
    def test_a_terminal_record_never_blocks_a_new_one(self, status: str) -> None:
        document = document_of(record("old", dedupeKey="k", status=status))
        assert ids_of(upsert(document, candidate("k")).created) == ["new-0"]

    def test_a_record_that_expires_by_this_very_call_does_not_block_either(self) -> None:
        past = {"earliestMs": 1, "latestMs": NOW - GRACE - 1}
        document = document_of(record("old", dedupeKey="k", dueWindow=past))
        assert ids_of(upsert(document, candidate("k")).created) == ["new-0"]
        assert at(document, 0).status == "expired"

    def test_the_first_match_in_file_order_wins(self) -> None:
        document = document_of(*[record(id_, dedupeKey="k") for id_ in "ab"])
        assert ids_of(upsert(document, candidate("k")).merged) == ["a"]

    def test_another_scope_is_no_match(self) -> None:
        document = document_of(record("old", dedupeKey="k", threadId="t"))
        assert ids_of(upsert(document, candidate("k")).created) == ["new-0"]

    def test_the_stored_key_is_compared_as_it_stands(self) -> None:
        document = document_of(record("old", dedupeKey=" k "))
        assert ids_of(upsert(document, candidate("k")).created) == ["new-0"]

    def test_the_candidates_key_is_trimmed(self) -> None:
        document = document_of(record("old", dedupeKey="k"))
        assert ids_of(upsert(document, candidate("\ufeff k\n")).merged) == ["old"]

    def test_two_candidates_with_one_key_create_one_record_and_the_stored_state_comes_back(self) -> None:
        document = Document()
        upserted = upsert(document, candidate("k", reason="first"), candidate("k", reason="second"))
        assert upserted.created == (at(document, 0),)
        assert upserted.merged == ()
        assert upserted.created[0].reason == "second"

    def test_two_candidates_merged_into_one_record_report_it_once_as_stored(self) -> None:
        document = document_of(record("old", dedupeKey="k"))
        upserted = upsert(document, candidate("k", reason="first"), candidate("k", reason="second"))
        assert upserted.merged == (at(document, 0),)
        assert upserted.merged[0].reason == "second"

    def test_new_records_are_appended_in_order(self) -> None:
        document = document_of(record("old"))
        upsert(document, candidate("x"), candidate("y"))
        assert [entry.id for entry in document.entries] == ["old", "new-0", "new-1"]

    @pytest.mark.parametrize("field", ["reason", "suggested_text"])
    def test_a_blank_text_without_a_record_to_keep_it_of_is_refused(self, field: str) -> None:
        with pytest.raises(CandidateRefused, match=field):
            upsert(Document(), candidate(**{field: " \n"}))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("dedupe_key", " "),
            ("timezone", ""),
            ("kind", "birthday_check"),
            ("sensitivity", "secret"),
            ("source", "rumour"),
            ("confidence", float("nan")),
            ("confidence", -0.1),
            ("confidence", True),
            ("earliest_ms", float("inf")),
            ("earliest_ms", float("-inf")),
            ("latest_ms", float("nan")),
            ("latest_ms", NOW - 1),
        ],
    )
    def test_what_could_not_be_read_back_is_refused_when_the_candidate_is_made(self, field: str, value: Any) -> None:
        with pytest.raises(CandidateRefused, match=field):
            candidate(**({"key": value} if field == "dedupe_key" else {field: value}))

    @pytest.mark.parametrize("field", ["agent_id", "session_key", "channel"])
    def test_a_scope_without_its_first_three_fields_is_refused(self, field: str) -> None:
        fields = {"agent_id": "main", "session_key": SESSION_A, "channel": "telegram", field: "\ufeff "}
        with pytest.raises(CandidateRefused, match=field):
            Item(Scope(**fields))


class TestMarks:
    def test_an_attempt_counts_on_every_status_and_says_which_were_terminal(self) -> None:
        document = document_of(record("a"), record("b", status="sent", attempts=1), record("c", status="snoozed"))
        marked = changes.mark_attempted(document, ["a", "b", "c", "x"], NOW, every_copy=False)
        assert [at(document, place).attempts for place in range(3)] == [1, 2, 1]
        assert {at(document, place).last_attempt_at_ms for place in range(3)} == {NOW}
        assert {at(document, place).updated_at_ms for place in range(3)} == {NOW}
        assert marked.changed == ("a", "b", "c")
        assert marked.terminal == {"b": "sent"}
        assert marked.unknown == ("x",)

    @pytest.mark.parametrize(
        ("status", "field"), [("sent", "sentAtMs"), ("dismissed", "dismissedAtMs"), ("expired", "expiredAtMs")]
    )
    def test_a_final_status_has_its_own_time(self, status: Any, field: str) -> None:
        document = document_of(record("a"), record("b", status="snoozed"))
        marked = changes.mark_status(document, ["a", "b"], NOW, every_copy=False, status=status)
        assert marked.changed == ("a", "b")
        for place in range(2):
            fields = json.loads(at(document, place).raw)
            assert (fields["status"], fields[field], fields["updatedAtMs"]) == (status, NOW, NOW)

    def test_a_terminal_record_is_passed_over_and_named(self) -> None:
        document = document_of(record("a", status="dismissed"))
        before = document.data()
        marked = changes.mark_status(document, ["a"], NOW, every_copy=False, status="sent")
        assert document.data() == before
        assert [(each.id, each.verdict, each.reason) for each in marked.outcomes] == [
            ("a", "terminal", "already dismissed")
        ]

    def test_another_status_cannot_be_set(self) -> None:
        with pytest.raises(ValueError, match="pending"):
            changes.mark_status(document_of(record("a")), ["a"], NOW, every_copy=False, status="pending")  # type: ignore[arg-type]

    def test_a_snooze_hides_until_its_end_and_leaves_the_rest(self) -> None:
        document = document_of(record("a"), record("b", status="sent"))
        marked = changes.snooze(document, ["a", "b"], NOW, every_copy=False, until_ms=NOW + HOUR)
        assert marked.changed == ("a",)
        assert marked.terminal == {"b": "sent"}
        found = at(document, 0)
        assert (found.status, found.snoozed_until_ms, found.updated_at_ms) == ("snoozed", NOW + HOUR, NOW)
        assert due(document) == ()
        assert ids_of(due(document, now_ms=NOW + HOUR)) == ["a"]

    def test_ids_are_answered_once_in_first_seen_order(self) -> None:
        document = document_of(record("a"), record("b"))
        marked = changes.mark_attempted(document, ["b", "a", "b"], NOW, every_copy=False)
        assert marked.changed == ("b", "a")
        assert at(document, 1).attempts == 1

    def test_marks_do_not_expire_anything(self) -> None:
        past = {"earliestMs": 1, "latestMs": 2}
        document = document_of(record("a"), record("old", dueWindow=past))
        changes.mark_attempted(document, ["a"], NOW, every_copy=False)
        changes.mark_status(document, ["a"], NOW, every_copy=False, status="sent")
        assert at(document, 1).status == "pending"

    def test_nothing_marked_is_nothing_said(self) -> None:
        assert Marked().changed == Marked().unchanged == Marked().unknown == ()
        assert Marked().terminal == {}


class TestTerms:
    def test_an_id_has_its_time_and_ten_random_digits(self) -> None:
        assert new_id(1899295200000, lambda count: bytes.fromhex("0270da4daa")[:count]) == "cm_o8ivbnk0_0270da4daa"
        assert len(new_id(NOW)) == 22

    @pytest.mark.parametrize(("now_ms", "text"), [(0, "0"), (35, "z"), (36, "10"), (1295, "zz")])
    def test_the_time_is_in_base_36(self, now_ms: int, text: str) -> None:
        assert new_id(now_ms, bytes) == f"cm_{text}_0000000000"

    def test_two_ids_of_one_moment_differ(self) -> None:
        assert new_id(NOW) != new_id(NOW)

    def test_a_negative_time_makes_no_id(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            new_id(-1)

    @pytest.mark.parametrize("character", ["\ufeff", "\u00a0", "\u2003", "\u3000", "\u2028", "\v"])
    def test_javascripts_white_space_is_trimmed(self, character: str) -> None:
        assert trim(f"{character}a{character}") == "a"
        assert is_blank(character)

    @pytest.mark.parametrize("character", ["\u0085", "\u001c", "\u001f", "\u200b", "\u180e"])
    def test_what_javascript_keeps_is_kept(self, character: str) -> None:
        assert trim(f"{character}a") == f"{character}a"
        assert not is_blank(character)


class TestConfig:
    @pytest.mark.parametrize("value", [False, None, 1, "true", "yes", [True]])
    def test_only_true_enables(self, value: object) -> None:
        assert not CommitmentsConfig.from_mapping({"commitments": {"enabled": value}}).enabled

    def test_true_does(self) -> None:
        assert CommitmentsConfig.from_mapping({"commitments": {"enabled": True}}) == ENABLED

    @pytest.mark.parametrize("config", [{}, {"commitments": None}, {"commitments": []}, {"commitments": {}}])
    def test_without_a_section_the_defaults_count(self, config: dict[str, Any]) -> None:
        assert CommitmentsConfig.from_mapping(config) == CommitmentsConfig(enabled=False, max_per_day=3)

    @pytest.mark.parametrize(
        ("value", "expected"), [(1, 1), (2.9, 2), (0.5, 1), (10**400, 10**400), (7, 7), (1e3, 1000)]
    )
    def test_max_per_day_is_rounded_down_to_at_least_1(self, value: float, expected: int) -> None:
        config = CommitmentsConfig.from_mapping({"commitments": {"maxPerDay": value}})
        assert config.max_per_day == expected

    @pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "3", True, None, [2]])
    def test_other_values_mean_the_default(self, value: object) -> None:
        assert CommitmentsConfig.from_mapping({"commitments": {"maxPerDay": value}}).max_per_day == 3

    def test_a_config_of_our_own_is_checked(self) -> None:
        with pytest.raises(ValueError, match="max_per_day"):
            CommitmentsConfig(max_per_day=0)
