"""Where the original loses data or fails without a word, and what this store does instead: one group a row.

Rows 20 (a nested call), 22 (leftovers of a crash) and 14 (a live holder is robbed) rest on the core; here they are
looked at from a commitments store.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commitments_support import (
    DAY,
    ENABLED,
    FIXTURES,
    GRACE,
    ITEM_A,
    NOW,
    SCOPE_A,
    SESSION_A,
    Child,
    Face,
    candidate,
    ids_of,
    record,
    run_cli,
    stored,
)

from commitments import CandidateRefused, CommitmentsStore, Marked, Upserted
from storewriter import LockTimeout, NotARegularFile, RecoveryRefused, ReentrantTurn, StoreCorrupt

Place = Callable[[str], Path]
Write = Callable[..., Path]
Start = Callable[[Path], Child]

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "load": lambda store: store.load(),
    "list": lambda store: store.list(),
    "pending": lambda store: store.pending_for_scope(SCOPE_A),
    "due": lambda store: store.due_for_session(ENABLED, "main", SESSION_A),
    "keys": lambda store: store.due_session_keys(ENABLED, "main"),
    "upsert": lambda store: store.upsert(ITEM_A, [candidate()]),
    "attempted": lambda store: store.mark_attempted(["cm_o8k4c0w0_865ab0d317"]),
    "dismissed": lambda store: store.mark_status(["cm_o8k4c0w0_865ab0d317"], "dismissed"),
    "snoozed": lambda store: store.snooze(["cm_o8k4c0w0_865ab0d317"], NOW),
}

COMMANDS = [
    ["list", "--all"],
    ["list", "--json"],
    ["dismiss", "cm_o8k4c0w0_865ab0d317"],
    ["sent", "cm_o8k4c0w0_865ab0d317"],
    ["attempt", "cm_o8k4c0w0_865ab0d317"],
    ["snooze", "cm_o8k4c0w0_865ab0d317", "--for", "1h"],
    ["add", "--agent", "a", "--session", "s", "--channel", "c", "--text", "t", "--reason", "r", "--due", "+1h"],
]


class Untouched:
    """The file as it is now: its bytes, and that no other one was put in its place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = path.read_bytes()
        self.fd = os.open(path, os.O_RDONLY)  # keeps its inode from being used again
        self.found = os.fstat(self.fd)

    def check(self) -> None:
        now = os.stat(self.path)
        os.close(self.fd)
        assert self.path.read_bytes() == self.bytes
        assert (now.st_ino, now.st_mtime_ns, now.st_mode) == (
            self.found.st_ino,
            self.found.st_mtime_ns,
            self.found.st_mode,
        )
        leftovers = {each.name for each in self.path.parent.iterdir()} - {self.path.name, f".{self.path.name}.lock"}
        assert not leftovers


REFUSED = {
    "row 1, version 2": (FIXTURES / "commitments-future-version.json").read_bytes(),
    "row 1, no version": b'{"commitments": []}',
    "row 2, no object": b"[]",
    "row 2, null": b"null",
    "row 2, no array": b'{"version": 1, "commitments": {}}',
    "row 10, truncated": (FIXTURES / "commitments-truncated.json").read_bytes(),
    "row 10, empty": b"",
    "row 11, not UTF-8": (FIXTURES / "commitments-not-utf8.json").read_bytes(),
}


@pytest.fixture(params=list(REFUSED))
def refused(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "commitments.json"
    path.write_bytes(REFUSED[request.param])
    return path


class TestRows1And2And10And11:
    """A file that is no version 1 store, or cannot be read whole."""

    def test_every_operation_names_the_file_and_leaves_it_byte_for_byte(self, face: Face, refused: Path) -> None:
        before = Untouched(refused)
        store = face.open(refused)

        async def main() -> None:
            for name, operation in OPERATIONS.items():
                with pytest.raises(StoreCorrupt) as caught:
                    await operation(store)
                assert caught.value.path == str(refused), name
                assert str(refused) in str(caught.value), name

        face.run(main)
        before.check()

    def test_every_command_says_so_in_one_line_with_exit_code_3(self, refused: Path) -> None:
        before = Untouched(refused)
        for arguments in COMMANDS:
            done = run_cli(*arguments, "--store", str(refused))
            assert (done.returncode, done.stdout) == (3, ""), arguments
            assert done.stderr.startswith(f"commitments: {refused} cannot be read: "), arguments
            assert done.stderr.count("\n") == 1, arguments
        before.check()

    def test_row_1_the_versions_found_and_supported_are_named(self, place: Place) -> None:
        with pytest.raises(StoreCorrupt, match="found 2, supported 1"):
            CommitmentsStore(place("future-version")).load()

    def test_row_10_the_place_of_the_fault_is_named(self, place: Place) -> None:
        with pytest.raises(StoreCorrupt, match=r"line 67, column 24") as caught:
            CommitmentsStore(place("truncated")).load()
        assert (caught.value.line, caught.value.column) == (67, 24)

    def test_row_11_the_offset_of_the_byte_is_named(self, place: Place) -> None:
        with pytest.raises(StoreCorrupt, match="byte 0xe9 at offset 396"):
            CommitmentsStore(place("not-utf8")).load()

    def test_once_repaired_the_very_same_store_object_works_again(self, face: Face, place: Place) -> None:
        path = place("truncated")
        store = face.open(path)

        async def main() -> None:
            with pytest.raises(StoreCorrupt):
                await store.mark_attempted(["a"])
            path.write_text(json.dumps({"version": 1, "commitments": [record("a")]}))
            assert (await store.mark_attempted(["a"])).changed == ("a",)

        face.run(main)

    def test_recovery_is_explicit_and_keeps_what_was_there(self, face: Face, place: Place) -> None:
        path = place("truncated")
        before = path.read_bytes()
        store = face.open(path)

        async def main() -> None:
            recovery = await store.recover()
            assert recovery.outcome == "reset"
            assert Path(recovery.moved_to).read_bytes() == before
            assert (await store.load()).commitments == ()

        face.run(main)

    @pytest.mark.parametrize("name", ["row 2, no object", "row 2, no array"])
    def test_recovery_leaves_a_file_of_another_program_where_it_is(self, face: Face, tmp_path: Path, name: str) -> None:
        path = tmp_path / "commitments.json"
        path.write_bytes(REFUSED[name])
        before = Untouched(path)
        store = face.open(path)

        async def main() -> None:
            with pytest.raises(RecoveryRefused, match="not a commitments store"):
                await store.recover()
            before.check()
            assert (await store.recover(force=True)).outcome == "reset"

        face.run(main)
        assert Path(f"{path}.corrupt-1").read_bytes() == REFUSED[name]

    def test_recovery_leaves_a_file_of_another_version_where_it_is(self, face: Face, place: Place) -> None:
        path = place("future-version")
        before = Untouched(path)
        store = face.open(path)

        async def main() -> None:
            with pytest.raises(StoreCorrupt, match="found 2, supported 1"):
                await store.recover()

        face.run(main)
        before.check()


class TestRow3:
    """Invalid entries."""

    def test_each_stays_in_its_place_through_every_kind_of_write(self, face: Face, place: Place) -> None:
        path = place("mixed-invalid")
        before = json.loads(path.read_bytes())
        store = face.open(path, NOW + 10 * DAY)

        async def main() -> None:
            await store.list()
            await store.upsert(ITEM_A, [candidate("new"), candidate("mixed:0")])
            await store.mark_attempted(["cm_o8jiwf40_ca0df2c95a"])

        face.run(main)
        after = json.loads(path.read_bytes())
        assert len(after["commitments"]) == len(before["commitments"]) + 2
        for place_ in (2, 3, 4, 5, 6, 7, 8, 13, 14, 16):
            assert after["commitments"][place_] == before["commitments"][place_]
        assert [each["id"] for each in after["commitments"][9:13]] == [
            each["id"] for each in before["commitments"][9:13]
        ]

    def test_each_is_reported_with_index_id_field_and_reason(self, place: Place) -> None:
        listing = CommitmentsStore(place("mixed-invalid"), now_ms=lambda: NOW).list()
        found = {each.index: (each.id, each.field, each.reason) for each in listing.problems if each.left_out}
        assert found == {
            2: (None, "id", "is missing"),
            3: ("cm_o8jem3k0_153812ae5f", "reason", "must not be blank"),
            4: ("cm_o8jcgxs0_2396a1256a", "createdAtMs", "must be a number, is a string"),
            5: ("cm_o8jabs00_b5f2031eb6", "dueWindow", "is missing"),
            6: (None, None, "must be an object, is null"),
            7: (None, None, "must be an object, is a string"),
            8: (None, None, "must be an object, is an array"),
            13: ("cm_o8it6hs0_eff39ccb22", "confidence", "must be a number, is a boolean"),
            14: ("cm_o8ir1c00_ac3d1a916c", "to", "must be a string, is a number"),
            16: ("cm_o8imr0g0_dfa9bda3f5", "snoozedUntilMs", "must be a number, is a string"),
        }

    def test_none_is_ever_listed_delivered_or_matched(self, face: Face, write: Write) -> None:
        path = write(record("bad", dedupeKey="k", createdAtMs=None))
        store = face.open(path)

        async def main() -> None:
            assert (await store.list()).commitments == ()
            assert await store.due_for_session(ENABLED, "main", SESSION_A) == ()
            assert await store.due_session_keys(ENABLED, "main") == ()
            assert await store.pending_for_scope(SCOPE_A) == ()
            assert len((await store.upsert(ITEM_A, [candidate("k")])).created) == 1

        face.run(main)

    def test_dismissing_the_id_of_one_is_an_error(self, place: Place) -> None:
        path = place("mixed-invalid")
        before = Untouched(path)
        done = run_cli("dismiss", "cm_o8jem3k0_153812ae5f", "--store", str(path))
        assert done.returncode == 1
        assert "cm_o8jem3k0_153812ae5f: unusable, entry 3: reason must not be blank" in done.stderr
        before.check()

    def test_a_listing_warns_and_its_json_has_a_field(self, write: Write) -> None:
        path = write(record("a"), record("bad", createdAtMs="x"))
        warned = run_cli("list", "--store", str(path))
        assert warned.returncode == 0
        assert "warning: entry 1 (bad): createdAtMs must be a number, is a string; left out" in warned.stderr
        printed = json.loads(run_cli("list", "--json", "--store", str(path)).stdout)
        assert printed["problems"] == [
            {
                "index": 1,
                "id": "bad",
                "field": "createdAtMs",
                "reason": "must be a number, is a string",
                "leftOut": True,
            }
        ]


class TestRow4:
    """Legacy text."""

    def test_only_the_two_fields_go_and_all_else_stays(self, face: Face, place: Place) -> None:
        path = place("legacy-source-text")
        text = path.read_text()
        store = face.open(path)

        async def main() -> None:
            await store.list()

        face.run(main)
        expected = [
            line for line in text.splitlines() if "sourceUserText" not in line and "sourceAssistantText" not in line
        ]
        found = path.read_text().splitlines()
        assert [line.rstrip(",") for line in found] == [line.rstrip(",") for line in expected]
        json.loads(path.read_text())

    def test_even_in_an_invalid_entry_and_only_at_its_top(self, write: Write) -> None:
        bad = {"id": "bad", "sourceUserText": "CANARY", "x": {"sourceUserText": "kept"}}
        path = write(bad, None, 3)
        CommitmentsStore(path, now_ms=lambda: NOW).list()
        assert json.loads(path.read_bytes())["commitments"] == [{"id": "bad", "x": {"sourceUserText": "kept"}}, None, 3]

    def test_loading_alone_writes_nothing_and_shows_none(self, place: Place) -> None:
        path = place("legacy-source-text")
        before = Untouched(path)
        for found in CommitmentsStore(path).load().commitments:
            assert b"sourceUserText" not in found.raw
        before.check()

    def test_a_mark_that_changes_no_record_writes_nothing(self, face: Face, place: Place) -> None:
        path = place("legacy-source-text")
        before = Untouched(path)
        store = face.open(path)

        async def main() -> None:
            await store.mark_attempted(["nobody"])
            await store.mark_status(["nobody"], "sent")

        face.run(main)
        before.check()

    def test_a_mark_that_changes_one_removes_it_everywhere(self, face: Face, write: Write) -> None:
        path = write(record("a"), {"id": "bad", "sourceUserText": "CANARY"})
        store = face.open(path)

        async def main() -> None:
            await store.mark_attempted(["a"])

        face.run(main)
        assert b"CANARY" not in path.read_bytes()

    def test_once_gone_a_listing_writes_nothing_more(self, face: Face, place: Place) -> None:
        path = place("legacy-source-text")
        store = face.open(path)

        async def main() -> None:
            await store.list()
            before = Untouched(path)
            await store.list()
            before.check()

        face.run(main)


class TestRows5And6:
    """Unknown fields."""

    def test_they_survive_every_operation(self, face: Face, place: Place) -> None:
        path = place("mixed-invalid")
        store = face.open(path)
        id_ = "cm_o8jiwf40_ca0df2c95a"

        async def main() -> None:
            await store.upsert(ITEM_A, [candidate("mixed:1"), candidate("another")])
            await store.mark_attempted([id_])
            await store.snooze([id_], NOW + DAY)
            await store.mark_status([id_], "dismissed")

        face.run(main)
        after = json.loads(path.read_bytes())
        assert after["writtenBy"] == "imaginary-tool 0.0.1"
        found = stored(path)[id_]
        assert (found["status"], found["attempts"]) == ("dismissed", 1)
        assert (found["priority"], found["tags"], found["vendor"]) == ("low", ["made-up", "demo"], {"x": 1})
        assert found["dueWindow"]["flexMinutes"] == 15

    def test_they_survive_an_expiry(self, write: Write) -> None:
        past = {"earliestMs": 1, "latestMs": NOW - GRACE - 1, "flexMinutes": 15}
        path = write(record("a", dueWindow=past, vendor=1), record("b", tags=["x"]), writtenBy="x")
        CommitmentsStore(path, now_ms=lambda: NOW).list()
        after = json.loads(path.read_bytes())
        assert after["writtenBy"] == "x"
        assert (stored(path)["a"]["status"], stored(path)["a"]["vendor"]) == ("expired", 1)
        assert stored(path)["a"]["dueWindow"]["flexMinutes"] == 15
        assert stored(path)["b"]["tags"] == ["x"]


class TestRow7:
    """Unknown values of an enumeration."""

    def test_they_are_reported_listed_and_kept_as_they_are(self, place: Place) -> None:
        path = place("mixed-invalid")
        before = Untouched(path)
        listing = CommitmentsStore(path, now_ms=lambda: NOW).list()
        reported = {each.index: each.reason for each in listing.problems if "unsupported" in each.reason}
        assert reported[9].startswith("has the unsupported value 'paused' (supported: pending, sent,")
        assert reported[10].startswith("has the unsupported value 'birthday_check' (supported: event_check_in,")
        assert {"cm_o8j1r4w0_b3af560ffa", "cm_o8izlz40_133e572155"} <= set(ids_of(listing.commitments))
        before.check()

    def test_a_record_of_unknown_status_is_never_delivered_or_changed(self, write: Write) -> None:
        store = CommitmentsStore(write(record("a", status="paused")), now_ms=lambda: NOW)
        assert store.due_for_session(ENABLED, "main", SESSION_A) == ()
        assert store.mark_status(["a"], "sent").terminal == {"a": "paused"}

    def test_odd_values_that_the_original_accepts_are_used_and_reported(self, place: Place) -> None:
        listing = CommitmentsStore(place("mixed-invalid"), now_ms=lambda: NOW).list("pending")
        odd = {each.index: f"{each.field} {each.reason}" for each in listing.problems if not each.left_out}
        assert odd[11] == "dueWindow.latestMs is before earliestMs"
        assert odd[12] == "attempts should not be negative, is -1"
        assert odd[15] == "dueWindow.timezone is blank"
        assert odd[18] == "attempts should be a whole number, is 1.5"


class TestRow8:
    """An optional field of the wrong type."""

    def test_it_spoils_its_own_entry_and_no_other(self, face: Face, write: Write) -> None:
        path = write(record("bad", to=5550101), record("hidden", snoozedUntilMs="x", status="snoozed"), record("a"))
        store = face.open(path)

        async def main() -> None:
            assert ids_of(await store.pending_for_scope(SCOPE_A)) == ["a"]
            assert ids_of(await store.due_for_session(ENABLED, "main", SESSION_A)) == ["a"]
            assert len((await store.upsert(ITEM_A, [candidate()])).created) == 1
            assert [each.id for each in (await store.list()).problems] == ["bad", "hidden"]

        face.run(main)


class TestRow9:
    """Blank texts and impossible times given to an upsert."""

    def test_the_whole_call_is_refused_and_nothing_is_written(self, face: Face, write: Write) -> None:
        path = write(record("a"))
        before = Untouched(path)
        store = face.open(path)

        async def main() -> None:
            with pytest.raises(CandidateRefused, match="reason"):
                await store.upsert(ITEM_A, [candidate("fine"), candidate("bad", reason=" ")])

        face.run(main)
        before.check()

    def test_a_neighbour_that_waits_in_the_same_line_is_not_harmed(self, face: Face, write: Write) -> None:
        path = write()
        store = face.open(path)

        async def refused() -> None:
            with pytest.raises(CandidateRefused):
                await store.upsert(ITEM_A, [candidate("x"), candidate("bad", reason=" ")])

        async def main() -> None:
            good = [lambda key=key: store.upsert(ITEM_A, [candidate(f"key-{key}")]) for key in range(8)]
            await face.together(*good[:4], refused, *good[4:])

        face.run(main)
        assert {each["dedupeKey"] for each in stored(path).values()} == {f"key-{key}" for key in range(8)}


def test_row_12_a_byte_order_mark_never_resets_the_store(face: Face, write: Write) -> None:
    path = write(record("a"))
    plain = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + plain)
    store = face.open(path)

    async def main() -> None:
        assert ids_of((await store.load()).commitments) == ["a"]
        await store.mark_attempted(["a"])

    face.run(main)
    assert stored(path)["a"]["attempts"] == 1
    assert path.read_bytes().startswith(b"{")


class TestRow13:
    """A lock that is not obtained."""

    def test_the_error_names_the_holder_and_the_caller_can_tell_that_nothing_was_written(
        self, write: Write, start_child: Start
    ) -> None:
        path = write(record("a"))
        before = Untouched(path)
        child = start_child(path)
        assert child.ask("hold") == "held"
        with pytest.raises(LockTimeout, match=str(child.process.pid)) as caught:
            CommitmentsStore(path, timeout=0.05).mark_status(["a"], "sent")
        assert caught.value.owner is not None
        assert (caught.value.owner.pid, caught.value.owner.label) == (child.process.pid, "a long job")
        before.check()
        assert child.ask("") == "released"
        assert CommitmentsStore(path).mark_status(["a"], "sent").changed == ("a",)

    def test_the_default_wait_is_ten_seconds(self) -> None:
        assert CommitmentsStore.__init__.__kwdefaults__["timeout"] == 10.0  # type: ignore[index]

    def test_reading_waits_for_nobody(self, write: Write, start_child: Start) -> None:
        path = write(record("a"))
        child = start_child(path)
        child.ask("hold")
        store = CommitmentsStore(path, now_ms=lambda: NOW, timeout=0.0)
        assert ids_of(store.list().commitments) == ["a"]
        assert ids_of(store.due_for_session(ENABLED, "main", SESSION_A)) == ["a"]
        child.ask("")

    def test_looking_waits_only_to_save_what_has_expired_and_says_if_it_could_not(
        self, write: Write, start_child: Start
    ) -> None:
        path = write(record("old", dueWindow={"earliestMs": 1, "latestMs": 2}))
        child = start_child(path)
        child.ask("hold")
        with pytest.raises(LockTimeout, match=str(child.process.pid)):
            CommitmentsStore(path, now_ms=lambda: NOW, timeout=0.05).list()
        child.ask("")


class TestRows15To17:
    """Ids that are unknown, or records that are terminal."""

    def test_row_15_a_dismissal_reports_each_and_exits_with_1(self, place: Place) -> None:
        path = place("valid")
        done = run_cli("dismiss", "nobody", "cm_o8fw5mo0_ee8616502d", "cm_o8ivbnk0_0270da4daa", "--store", str(path))
        assert done.returncode == 1
        assert done.stdout == "Dismissed commitments: cm_o8ivbnk0_0270da4daa\n"
        assert done.stderr.splitlines() == [
            "commitments: not dismissed: nobody: unknown",
            "commitments: not dismissed: cm_o8fw5mo0_ee8616502d: already dismissed",
        ]

    def test_row_16_attempts_on_unknown_and_terminal_ids_are_told_apart(self, face: Face, write: Write) -> None:
        path = write(record("a"), record("b", status="dismissed"))
        store = face.open(path)

        async def main() -> None:
            marked = await store.mark_attempted(["a", "b", "x"])
            assert (marked.changed, marked.terminal, marked.unknown) == (("a", "b"), {"b": "dismissed"}, ("x",))

        face.run(main)

    def test_row_17_whoever_comes_second_learns_that_the_record_was_terminal(self, face: Face, write: Write) -> None:
        path = write(record("a"))
        store = face.open(path)

        async def main() -> None:
            sent, dismissed = await face.together(
                lambda: store.mark_status(["a"], "sent"), lambda: store.mark_status(["a"], "dismissed")
            )
            first, second = (sent, dismissed) if sent.changed else (dismissed, sent)
            assert first.changed == ("a",)
            assert second.changed == ()
            assert second.terminal == {"a": stored(path)["a"]["status"]}

        face.run(main)

    def test_nothing_changed_nothing_written(self, face: Face, write: Write) -> None:
        path = write(record("a", status="sent"))
        before = Untouched(path)
        store = face.open(path)

        async def main() -> None:
            await store.mark_status(["a", "x"], "dismissed")
            await store.snooze(["a"], NOW)
            await store.mark_attempted(["x"])
            await store.mark_attempted([])
            await store.upsert(ITEM_A, [])
            await store.list()

        face.run(main)
        before.check()

    def test_given_nothing_to_do_nothing_is_touched(self, face: Face, write: Write) -> None:
        path = write(record("old", dueWindow={"earliestMs": 1, "latestMs": 2}, sourceUserText="CANARY"))
        before = Untouched(path)
        store = face.open(path)

        async def main() -> None:
            assert await store.upsert(ITEM_A, []) == Upserted()
            for marked in (
                await store.mark_attempted([]),
                await store.mark_status([], "sent"),
                await store.snooze([], NOW),
            ):
                assert marked == Marked()

        face.run(main)
        before.check()
        assert [each.name for each in path.parent.iterdir()] == [path.name]


class TestRow18:
    """One id on several entries."""

    def test_none_of_them_changes_and_the_outcome_says_which_they_are(self, face: Face, place: Place) -> None:
        path = place("mixed-invalid")
        before = Untouched(path)
        store = face.open(path)

        async def main() -> None:
            marked = await store.mark_status(["cm_o8jl1kw0_e4223ed20d"], "dismissed")
            assert marked.changed == ()
            assert marked.unchanged[0].reason == "the id of several entries: 0, 17"

        face.run(main)
        before.check()

    def test_an_explicit_choice_changes_them_all(self, place: Place) -> None:
        path = place("mixed-invalid")
        done = run_cli("dismiss", "cm_o8jl1kw0_e4223ed20d", "--every-copy", "--store", str(path))
        assert done.returncode == 0
        entries = json.loads(path.read_bytes())["commitments"]
        assert [entries[place_]["status"] for place_ in (0, 17)] == ["dismissed", "dismissed"]

    def test_with_that_choice_one_changed_copy_is_a_change(self, write: Write) -> None:
        path = write(record("a", status="sent"), record("a"), record("a", to=1))
        marked = CommitmentsStore(path).mark_status(["a"], "dismissed", every_copy=True)
        assert marked.changed == ("a",)
        assert [each["status"] for each in json.loads(path.read_bytes())["commitments"]] == [
            "sent",
            "dismissed",
            "pending",
        ]

    def test_both_are_reported(self, place: Place) -> None:
        problems = CommitmentsStore(place("mixed-invalid")).load().problems
        found = [(each.index, each.reason) for each in problems if each.field == "id" and not each.left_out]
        assert found == [(0, "is also the id of entry 17"), (17, "is also the id of entry 0")]


LOOK = """
import json, os, sys
from commitments import CommitmentsConfig, CommitmentsStore
if os.geteuid() == 0:  # root may write anywhere; nobody may not
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
store = CommitmentsStore(sys.argv[1], now_ms=lambda: int(sys.argv[2]))
listing = store.list()
due = store.due_for_session(CommitmentsConfig(enabled=True), "main", sys.argv[3])
print(json.dumps([[[each.id, each.status] for each in listing.commitments], [each.id for each in due]]))
"""


def look_without_write_access(path: Path) -> Any:
    """What a user without the right to write sees."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path), str(NOW), SESSION_A], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def read_only(write: Write) -> Iterator[Path]:
    """A store in a directory in which only root can write, with a record that has to expire."""
    past = {"earliestMs": 1, "latestMs": NOW - GRACE - 1}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "commitments.json")
        path.write_bytes(write(record("old", dueWindow=past), record("a")).read_bytes())
        path.chmod(0o644)
        path.parent.chmod(0o555)
        yield path
        path.parent.chmod(0o700)


class TestRow19:
    """Looking without the right to write."""

    def test_a_read_only_directory_shows_what_has_expired_as_expired(self, read_only: Path) -> None:
        before = Untouched(read_only)
        assert look_without_write_access(read_only) == [[["old", "expired"], ["a", "pending"]], ["a"]]
        before.check()
        assert sorted(each.name for each in read_only.parent.iterdir()) == ["commitments.json"]

    def test_a_read_only_file_does_so_too(self, face: Face, write: Write) -> None:
        path = write(record("old", dueWindow={"earliestMs": 1, "latestMs": NOW - GRACE - 1}))
        path.chmod(0o400)
        before = Untouched(path)
        store = face.open(path)

        async def main() -> None:
            (found,) = (await store.list()).commitments
            assert (found.status, found.expired_at_ms) == ("expired", NOW)

        face.run(main)
        before.check()

    def test_a_missing_directory_is_an_empty_store_and_stays_missing(self, face: Face, tmp_path: Path) -> None:
        store = face.open(tmp_path / "nowhere" / "commitments.json")

        async def main() -> None:
            assert (await store.list()).commitments == ()
            assert await store.due_session_keys(ENABLED, "main") == ()

        face.run(main)
        assert list(tmp_path.iterdir()) == []

    def test_a_listing_never_changes_bytes_or_takes_the_lock_when_nothing_expired(
        self, face: Face, place: Place
    ) -> None:
        path = place("valid")
        before = Untouched(path)
        store = face.open(path)

        async def main() -> None:
            await store.list()
            await store.pending_for_scope(SCOPE_A)
            await store.due_for_session(ENABLED, "main", SESSION_A)
            await store.due_session_keys(ENABLED, "main")

        face.run(main)
        before.check()
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    def test_what_has_expired_is_decided_anew_inside_the_lock(self, write: Write, start_child: Start) -> None:
        past = {"earliestMs": 1, "latestMs": NOW - GRACE - 1}
        path = write(record("old", dueWindow=past))
        changed = CommitmentsStore(path, now_ms=lambda: NOW)
        turns: list[str] = []

        def clock() -> int:
            # Called once, before anything is read. Behind the reader's back the record is dismissed right after that.
            turns.append("asked")
            return NOW

        store = CommitmentsStore(path, now_ms=clock)
        read = store._store.read

        def read_then_lose_the_race() -> Any:
            document = read()
            assert changed.mark_status(["old"], "dismissed").changed == ("old",)
            return document

        store._store.read = read_then_lose_the_race  # type: ignore[method-assign]
        (found,) = store.list().commitments
        assert found.status == "dismissed"
        assert stored(path)["old"]["status"] == "dismissed"
        assert turns == ["asked"]


def test_row_20_a_nested_call_is_told_so_at_once(write: Write) -> None:
    path = write(record("a"))
    store = CommitmentsStore(path, now_ms=lambda: NOW)

    def nested(document: Any) -> None:
        store.mark_attempted(["a"])

    with pytest.raises(ReentrantTurn):
        store._store.update(nested)
    assert stored(path)["a"]["attempts"] == 0


class TestRow21:
    """The directory."""

    @pytest.fixture(autouse=True)
    def state_dir(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path / "state"))
        return tmp_path / "state"

    def test_it_is_created_private_and_so_is_the_file(self, face: Face, state_dir: Path) -> None:
        store = face.open(None)

        async def main() -> None:
            await store.upsert(ITEM_A, [candidate()])

        old = os.umask(0o022)
        try:
            face.run(main)
        finally:
            os.umask(old)
        directory = state_dir / "commitments"
        assert [each.stat().st_mode & 0o777 for each in (state_dir, directory)] == [0o700, 0o700]
        assert [each.stat().st_mode & 0o777 for each in sorted(directory.iterdir())] == [0o600, 0o600]

    def test_a_wider_one_is_tightened_before_anything_is_written(self, face: Face, state_dir: Path) -> None:
        directory = state_dir / "commitments"
        directory.mkdir(parents=True)
        directory.chmod(0o755)
        store = face.open(None)

        async def main() -> None:
            await store.upsert(ITEM_A, [candidate()])

        face.run(main)
        assert directory.stat().st_mode & 0o777 == 0o700

    def test_a_link_and_somebody_elses_directory_are_left_alone(self, tmp_path: Path, state_dir: Path) -> None:
        target = tmp_path / "shared"
        target.mkdir()
        target.chmod(0o775)
        state_dir.mkdir()
        (state_dir / "commitments").symlink_to(target)
        CommitmentsStore().upsert(ITEM_A, [candidate()])
        assert target.stat().st_mode & 0o777 == 0o775

    def test_the_directory_of_a_path_of_ones_own_is_left_alone(self, face: Face, tmp_path: Path) -> None:
        assert self._mode_after_an_update(face, tmp_path / "mine") == 0o755

    def test_openclaws_own_path_is_tightened_however_it_is_given(self, face: Face, state_dir: Path) -> None:
        assert self._mode_after_an_update(face, state_dir / "commitments") == 0o700

    def _mode_after_an_update(self, face: Face, directory: Path) -> int:
        directory.mkdir(parents=True)
        directory.chmod(0o755)
        store = face.open(directory / "commitments.json")

        async def main() -> None:
            await store.upsert(ITEM_A, [candidate()])

        face.run(main)
        return directory.stat().st_mode & 0o777

    def test_looking_does_not_tighten_it(self, state_dir: Path) -> None:
        directory = state_dir / "commitments"
        directory.mkdir(parents=True)
        directory.chmod(0o755)
        CommitmentsStore().list()
        assert directory.stat().st_mode & 0o777 == 0o755


def test_row_22_the_leftover_of_a_crashed_writer_is_used_up(write: Write) -> None:
    path = write(record("a"))
    leftover = path.with_name(f".{path.name}.tmp")
    leftover.write_bytes(b'{"version": 1, "comm')
    CommitmentsStore(path).mark_attempted(["a"])
    assert stored(path)["a"]["attempts"] == 1
    assert not leftover.exists()


def test_row_23_there_is_no_blind_save(face: Face, write: Write) -> None:
    store = face.open(write(record("a")))
    assert not hasattr(store, "save")


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_something_else_in_the_files_place_is_refused_at_once(face: Face, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "commitments.json"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    store = face.open(path)

    async def main() -> None:
        for operation in OPERATIONS.values():
            with pytest.raises(NotARegularFile, match=str(path)):
                await operation(store)

    face.run(main)
    done = run_cli("--store", str(path))
    assert done.returncode == 3
    assert str(path) in done.stderr
