"""The file format: what is accepted, what is refused, and that a write changes nothing but what it means to change."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import pytest
from commitments_support import FIXTURES, ITEM_A, NOW, candidate, record
from hypothesis import given
from hypothesis import strategies as st

from commitments import Commitment, changes, queries
from commitments.document import Document, DocumentCodec
from commitments.json_text import edit_object, encode_value, laid_out
from commitments.record import InvalidEntry, changed
from storewriter.codecs import DecodeError

CODEC = DocumentCodec()


def file_of(*entries: str, head: str = '{"version":1,"commitments":[', tail: str = "]}") -> bytes:
    return (head + ",".join(entries) + tail).encode()


def decoded(*entries: Any) -> Document:
    return CODEC.decode(file_of(*map(json.dumps, entries)))


def with_field(name: str, value_text: str) -> str:
    """A record's JSON text in which the value of one field is exactly `value_text`."""
    return edit_object(json.dumps(record("a")), {name: value_text})


def attempt(data: bytes, id_: str = "a") -> bytes:
    """The file after an attempt on one record."""
    document = CODEC.decode(data)
    assert changes.mark_attempted(document, [id_], NOW, every_copy=False).changed == (id_,)
    return CODEC.encode(document)


class TestAccepted:
    @pytest.mark.parametrize("name", ["valid", "mixed-invalid"])
    def test_a_fixture_is_written_back_byte_for_byte(self, name: str) -> None:
        data = (FIXTURES / f"commitments-{name}.json").read_bytes()
        assert CODEC.encode(CODEC.decode(data)) == data

    def test_a_new_store_is_laid_out_as_the_programs_that_share_it_do(self) -> None:
        document = Document()
        changes.upsert(document, ITEM_A, [candidate("é✈"), candidate("z")], ["a", "b"], NOW)
        data = CODEC.encode(document)
        assert data == (json.dumps(json.loads(data), indent=2, ensure_ascii=False) + "\n").encode()
        assert "é✈".encode() in data

    def test_an_empty_store_is_laid_out_so_too(self) -> None:
        assert CODEC.encode(Document()) == b'{\n  "version": 1,\n  "commitments": []\n}\n'

    @pytest.mark.parametrize(
        "data",
        [
            b'{"version":1,"commitments":[]}',
            b' {\t"commitments" :\r\n[ ] , "version" : 1.0 }\n\n',
            b'{"version":1e0,"commitments":[\n],"more":{"commitments":[1]}}',
            b'{"x":[{"version":2}],"version":1,"commitments":[ null ,[] ,"a]},{" , 1e999 ]}',
        ],
    )
    def test_any_layout_is_read_and_written_back_as_it_was(self, data: bytes) -> None:
        assert CODEC.encode(CODEC.decode(data)) == data

    @pytest.mark.parametrize("data", [b'{"version":1,"commitments":[ ]}', b'{"version":1,"commitments":[\n\n]\n}'])
    def test_the_first_record_of_any_empty_store_is_well_placed(self, data: bytes) -> None:
        document = CODEC.decode(data)
        changes.upsert(document, ITEM_A, [candidate()], ["a"], NOW)
        assert [entry["id"] for entry in json.loads(CODEC.encode(document))["commitments"]] == ["a"]
        assert CODEC.decode(CODEC.encode(document)) == document

    def test_a_final_newline_may_be_there_or_not(self) -> None:
        data = (FIXTURES / "commitments-valid.json").read_bytes()
        for each in (data, data.rstrip()):
            assert len(CODEC.decode(each).entries) == 8
            assert CODEC.encode(CODEC.decode(each)) == each

    def test_a_byte_order_mark_is_accepted_and_dropped_by_the_first_change(self) -> None:
        data = file_of(json.dumps(record("a")))
        marked = b"\xef\xbb\xbf" + data
        assert CODEC.encode(CODEC.decode(marked)) == marked
        assert attempt(marked) == attempt(data)

    def test_optional_fields_may_be_null(self) -> None:
        document = decoded(record("a", to=None, snoozedUntilMs=None, status="snoozed"))
        assert document.record(0).to is None
        assert queries.everything(document).problems == ()

    def test_an_empty_timezone_is_accepted_and_reported(self) -> None:
        document = decoded(record("a", dueWindow={"timezone": ""}))
        assert isinstance(document.entries[0], Commitment)
        assert [str(each) for each in queries.everything(document).problems] == [
            "entry 0 (a): dueWindow.timezone is blank"
        ]


class TestRefused:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "empty"),
            (b" \n", "empty"),
            (b"\xef\xbb\xbf", "empty"),
            (b"null", "top level must be an object, is null"),
            (b"[]", "top level must be an object, is an array"),
            (b'"version"', "top level must be an object, is a string"),
            (b"true", "top level must be an object, is a boolean"),
            (b"1", "top level must be an object, is a number"),
            (b"{}", "'version' is missing"),
            (b'{"commitments":[]}', "'version' is missing"),
            (b'{"version":1}', "'commitments' is missing"),
            (b'{"version":2,"commitments":[]}', "found 2, supported 1"),
            (b'{"version":0,"commitments":[]}', "found 0, supported 1"),
            (b'{"version":1.5,"commitments":[]}', "found 1.5, supported 1"),
            (b'{"version":true,"commitments":[]}', "found True, supported 1"),
            (b'{"version":"1","commitments":[]}', "found '1', supported 1"),
            (b'{"version":null,"commitments":[]}', "found null, supported 1"),
            (b'{"version":[1],"commitments":[]}', "found an array, supported 1"),
            (b'{"version":1e999,"commitments":[]}', "found inf, supported 1"),
            (b'{"version":1,"commitments":{}}', "'commitments' must be an array, is an object"),
            (b'{"version":1,"commitments":null}', "'commitments' must be an array, is null"),
            (b'{"version":1,"version":1,"commitments":[]}', "two fields 'version'"),
            (b'{"version":1,"commitments":[],"commitments":[]}', "two fields 'commitments'"),
            (b'{"version":1,"commitments":null,"commitments":[]}', "two fields 'commitments'"),
        ],
    )
    def test_what_is_no_version_1_store(self, data: bytes, reason: str) -> None:
        with pytest.raises(DecodeError) as caught:
            CODEC.decode(data)
        assert reason in caught.value.reason

    @pytest.mark.parametrize(
        ("data", "line", "column"),
        [
            (b"{", 1, 2),
            (b'{"version":1,"commitments":[{}', 1, 31),
            (b'{"version":1,\n"commitments":[{"a":}]}', 2, 21),
            (b'{"version":1,"commitments":[],}', 1, 31),
            (b'{"version":1,"commitments":[{},]}', 1, 32),
            (b'{"version":1 "commitments":[]}', 1, 14),
            (b'{"version" 1}', 1, 12),
            (b"{version:1}", 1, 2),
            (b'{"version":1,"commitments":[]}\n{}', 2, 1),
            (b'{"version":01,"commitments":[]}', 1, 13),
            (b'{"version":1,"commitments":["\t"]}', 1, 30),
            (b'{"version":1,"x":"NaN",\n "y":[NaN],"commitments":[]}', 2, 7),
            (b'{"version":1,"commitments":[-Infinity]}', 1, 29),
            (b'{"version":1,"commitments":[{"Infinity":"\\"Infinity",\n"a":Infinity}]}', 2, 5),
        ],
    )
    def test_malformed_json_with_its_place(self, data: bytes, line: int, column: int) -> None:
        with pytest.raises(DecodeError) as caught:
            CODEC.decode(data)
        assert (caught.value.line, caught.value.column) == (line, column)
        assert caught.value.reason.startswith("not JSON")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b'{"version":1,"commitments":[],}', "not JSON: a comma before `}`; JSON allows none there"),
            (b'{"version":1, // mine\n"commitments":[]}', "a comment"),
            (b'{"version":1,"commitments":[{"a":NaN}]}', "NaN is not JSON"),
            (b"{'version': 1}", "written by `str()`"),
            ('{"version":1}'.encode("utf-16"), "UTF-16"),
            (gzip.compress(b"{}", mtime=0), "gzip-compressed"),
            (b'{"version":1,"x":' + b"[" * 2000 + b"]" * 2000 + b"}", "nested too deeply"),
        ],
    )
    def test_what_may_be_intact_is_named_and_said_to_be(self, data: bytes, reason: str) -> None:
        with pytest.raises(DecodeError) as caught:
            CODEC.decode(data)
        assert reason in caught.value.reason
        assert caught.value.may_be_intact

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"\0" * 9, "9 bytes, all NUL: usually left by a power cut"),
            (b'{"version":1,"commitments":[{"a":', "the document is cut off"),
            (b'{"version":1,"commitments":[]}}', "a whole document, then more"),
            (b'{"version":1,"x":{"a":1,"a":2},,}', "a property name in double quotes is expected"),
        ],
    )
    def test_damage_is_named_and_not_said_to_be_intact(self, data: bytes, reason: str) -> None:
        with pytest.raises(DecodeError) as caught:
            CODEC.decode(data)
        assert reason in caught.value.reason
        assert not caught.value.may_be_intact

    def test_the_truncated_fixture_where_its_last_string_begins(self) -> None:
        data = (FIXTURES / "commitments-truncated.json").read_bytes()
        with pytest.raises(DecodeError) as caught:
            CODEC.decode(data)
        assert data[: caught.value.position or 0].count(b"\n") + 1 == caught.value.line
        assert caught.value.position == data.rindex(b'"')

    def test_bytes_that_are_not_utf_8_with_the_offset_of_the_first(self) -> None:
        data = (FIXTURES / "commitments-not-utf8.json").read_bytes()
        with pytest.raises(DecodeError) as caught:
            CODEC.decode(data)
        assert caught.value.position == data.index(b"\xe9")
        assert caught.value.reason.startswith(f"not UTF-8: byte 0xe9 at offset {caught.value.position}")

    @pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
    def test_encodings_that_look_like_utf_8(self, bad: bytes) -> None:
        with pytest.raises(DecodeError, match="not UTF-8"):
            CODEC.decode(b'{"version":1,"commitments":["' + bad + b'"]}')

    def test_nesting_without_end(self) -> None:
        with pytest.raises(DecodeError, match="nested too deeply"):
            CODEC.decode(file_of("[" * 200_000))

    def test_an_integer_that_python_cannot_hold(self) -> None:
        with pytest.raises(DecodeError, match="digits"):
            CODEC.decode(file_of("9" * 5000))


class TestUnchangedEntries:
    """A write leaves every character of the entries that it does not mean, whatever they are."""

    STRANGERS = (
        "null",
        '"text"',
        "[1,2]",
        "1.50",
        "1e999",
        '{"id":"x","a":1,"a":2}',
        '{"id" : "x", "big": 123456789012345678901234567890 }',
        '{"id":"y","reason":"\\ud800 \\u00e9 \\/ é"}',
    )

    def test_strangers_keep_their_text_while_a_record_changes(self) -> None:
        texts = [*self.STRANGERS, json.dumps(record("a")), *self.STRANGERS]
        data = file_of(*texts, head='{"x":1.0,"version":1,"x":2,"commitments":[', tail='],"y":"\\u0041" }')
        after = attempt(data)
        changed_text = json.dumps(record("a")).replace('"attempts": 0', '"attempts": 1')
        changed_text = changed_text.replace(f'"updatedAtMs": {record("a")["updatedAtMs"]}', f'"updatedAtMs": {NOW}')
        changed_text = changed_text[:-1] + f', "lastAttemptAtMs": {NOW}}}'
        assert after == data.replace(json.dumps(record("a")).encode(), changed_text.encode())

    def test_they_keep_it_while_a_record_is_added(self) -> None:
        data = file_of(*self.STRANGERS)
        document = CODEC.decode(data)
        changes.upsert(document, ITEM_A, [candidate()], ["new"], NOW)
        assert CODEC.encode(document).startswith(data.removesuffix(b"]}") + b",\n    {\n")
        assert CODEC.encode(document).endswith(b"]}")


class TestChangedRecords:
    """A change leaves every other field of its record as it was written."""

    @pytest.mark.parametrize(
        "text",
        [
            "1.50",
            "1e999",
            "-0",
            "123456789012345678901234567890",
            '{"deep":[1.0,{"a":"\\ud800"}]}',
            '"\\ud800\\u00e9\\/"',
            "[ ]",
        ],
    )
    def test_an_unknown_field_keeps_its_text(self, text: str) -> None:
        after = attempt(file_of(with_field("vendor", text)))
        assert f'"vendor": {text}'.encode() in after
        assert json.loads(after)["commitments"][0]["attempts"] == 1

    def test_fields_keep_their_order_and_new_ones_come_last(self) -> None:
        before = {"zeta": 1, **record("a"), "alpha": 2}
        after = json.loads(attempt(file_of(json.dumps(before))))["commitments"][0]
        assert list(after) == [*before, "lastAttemptAtMs"]

    def test_an_unknown_field_of_the_window_survives_a_merge(self) -> None:
        document = decoded(record("a", dedupeKey="k", dueWindow={"flexMinutes": 15, "timezone": "UTC"}))
        changes.upsert(document, ITEM_A, [candidate("k", timezone="Asia/Tokyo")], ["unused"], NOW)
        window = json.loads(CODEC.encode(document))["commitments"][0]["dueWindow"]
        assert window == {
            "earliestMs": NOW - 3_600_000,
            "latestMs": NOW + 3_600_000,
            "timezone": "Asia/Tokyo",
            "flexMinutes": 15,
        }

    def test_a_new_text_is_not_escaped(self) -> None:
        document = decoded(record("a", dedupeKey="k"))
        changes.upsert(document, ITEM_A, [candidate("k", reason="é ✈ 漢")], ["unused"], NOW)
        assert '"reason": "é ✈ 漢"'.encode() in CODEC.encode(document)

    def test_of_a_repeated_field_the_last_one_counts_and_is_the_one_changed(self) -> None:
        text = json.dumps(record("a", attempts=7))[:-1] + ', "attempts": 3}'
        after = attempt(file_of(text)).decode()
        assert '"attempts": 7' in after
        assert json.loads(after)["commitments"][0]["attempts"] == 4

    def test_the_layout_is_kept(self) -> None:
        compact = json.dumps(record("a"), separators=(",", ":"))
        assert b'"attempts":1,"lastAttemptAtMs":1899374400000}' in attempt(file_of(compact))
        spread = json.dumps({"version": 1, "commitments": [record("a")]}, indent=2)
        assert b'      "attempts": 1,\n      "lastAttemptAtMs": 1899374400000\n    }' in attempt(spread.encode())

    def test_a_lone_surrogate_is_written_as_an_escape(self) -> None:
        document = Document()
        changes.upsert(document, ITEM_A, [candidate(reason="half \ud83d pair")], ["a"], NOW)
        data = CODEC.encode(document)
        assert b"half \\ud83d pair" in data
        assert CODEC.decode(data).record(0).reason == "half \ud83d pair"
        assert CODEC.decode(data) == document

    def test_attempts_that_are_no_whole_number_still_count(self) -> None:
        assert b'"attempts": 2.5' in attempt(file_of(with_field("attempts", "1.5")))

    def test_a_change_that_would_make_a_record_unusable_is_refused(self) -> None:
        with pytest.raises(ValueError, match="reason"):
            changed(decoded(record("a")).record(0), reason=" ")


REQUIRED = (
    *("id", "agentId", "sessionKey", "channel", "kind", "sensitivity"),
    *("source", "status", "reason", "suggestedText", "dedupeKey"),
)
NUMBERS = ("confidence", "createdAtMs", "updatedAtMs", "attempts")
OPTIONAL_TEXTS = ("accountId", "to", "threadId", "senderId", "sourceMessageId", "sourceRunId")
OPTIONAL_NUMBERS = ("lastAttemptAtMs", "sentAtMs", "dismissedAtMs", "snoozedUntilMs", "expiredAtMs")


class TestRecordCheck:
    def fault(self, text: str) -> tuple[str | None, str]:
        entry = CODEC.decode(file_of(text)).entries[0]
        assert isinstance(entry, InvalidEntry)
        assert entry.raw == text.encode()
        return entry.field, entry.reason

    def test_a_required_field_must_be_there(self) -> None:
        for field in (*REQUIRED, *NUMBERS, "dueWindow"):
            entry = record("a")
            del entry[field]
            assert self.fault(json.dumps(entry)) == (field, "is missing")

    @pytest.mark.parametrize(("text", "type_"), [("1", "a number"), ("true", "a boolean"), ("[]", "an array")])
    def test_a_text_must_be_a_string(self, text: str, type_: str) -> None:
        for field in (*REQUIRED, *OPTIONAL_TEXTS):
            assert self.fault(with_field(field, text)) == (field, f"must be a string, is {type_}")

    @pytest.mark.parametrize("text", ['""', '" "', '"\\ufeff\\n"'])
    def test_a_required_text_must_not_be_blank(self, text: str) -> None:
        for field in REQUIRED:
            assert self.fault(with_field(field, text)) == (field, "must not be blank")

    @pytest.mark.parametrize(("text", "type_"), [('"1"', "a string"), ("true", "a boolean"), ("{}", "an object")])
    def test_a_number_must_be_a_number(self, text: str, type_: str) -> None:
        for field in (*NUMBERS, *OPTIONAL_NUMBERS):
            assert self.fault(with_field(field, text)) == (field, f"must be a number, is {type_}")

    @pytest.mark.parametrize("text", ["1e999", "-1e999"])
    def test_a_number_must_be_finite(self, text: str) -> None:
        for field in (*NUMBERS, *OPTIONAL_NUMBERS):
            assert self.fault(with_field(field, text)) == (field, "must be a finite number")

    @pytest.mark.parametrize(
        ("window", "field", "reason"),
        [
            ("3", "dueWindow", "must be an object, is a number"),
            ("null", "dueWindow", "is missing"),
            ('{"latestMs":1,"timezone":"UTC"}', "dueWindow.earliestMs", "is missing"),
            (
                '{"earliestMs":1,"latestMs":false,"timezone":"UTC"}',
                "dueWindow.latestMs",
                "must be a number, is a boolean",
            ),
            ('{"earliestMs":1,"latestMs":1e999,"timezone":"UTC"}', "dueWindow.latestMs", "must be a finite number"),
            ('{"earliestMs":1,"latestMs":1}', "dueWindow.timezone", "is missing"),
            ('{"earliestMs":1,"latestMs":1,"timezone":1}', "dueWindow.timezone", "must be a string, is a number"),
        ],
    )
    def test_the_window_must_be_whole(self, window: str, field: str, reason: str) -> None:
        assert self.fault(with_field("dueWindow", window)) == (field, reason)

    def test_an_optional_field_may_be_absent(self) -> None:
        for field in (*OPTIONAL_TEXTS, *OPTIONAL_NUMBERS):
            entry = record("a")
            entry.pop(field, None)
            assert isinstance(decoded(entry).entries[0], Commitment), field

    def test_every_field_comes_back_as_it_stands(self) -> None:
        fields = {name: f"text of {name}" for name in [*REQUIRED, *OPTIONAL_TEXTS]}
        fields |= {name: 1000 + place for place, name in enumerate([*NUMBERS, *OPTIONAL_NUMBERS])}
        found = decoded(fields | {"dueWindow": {"earliestMs": 1, "latestMs": 2.5, "timezone": "UTC"}}).record(0)
        for name, value in fields.items():
            attribute = "".join(f"_{each.lower()}" if each.isupper() else each for each in name)
            assert getattr(found, attribute) == value
        assert (found.due_window.earliest_ms, found.due_window.latest_ms, found.due_window.timezone) == (1, 2.5, "UTC")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
layouts = st.sampled_from([{"indent": 2}, {"indent": 1}, {"separators": (",", ":")}, {"separators": (" ,  ", " : ")}])


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A store of records, strangers and unknown top-level fields, in some layout, escaped or not."""
    entries: list[Any] = draw(st.lists(json_values, max_size=4))
    for place in range(draw(st.integers(1, 4))):
        fields = draw(st.dictionaries(st.text(min_size=1, max_size=3), json_values, max_size=3))
        entries.insert(
            draw(st.integers(0, len(entries))), record(f"id-{place}") | {f"x{k}": v for k, v in fields.items()}
        )
    top = draw(st.dictionaries(st.text(max_size=3).map(lambda key: f"_{key}"), json_values, max_size=3))
    document = top | {"version": 1, "commitments": entries}
    order = draw(st.permutations(list(document)))
    text = json.dumps({key: document[key] for key in order}, ensure_ascii=draw(st.booleans()), **draw(layouts))  # type: ignore[arg-type]
    return text.encode("utf-8", "backslashreplace") + draw(st.sampled_from([b"", b"\n"]))


@given(files())
def test_whatever_the_file_it_is_written_back_byte_for_byte(data: bytes) -> None:
    assert CODEC.encode(CODEC.decode(data)) == data


@given(files(), st.integers(0, 3))
def test_whatever_the_file_an_attempt_changes_three_fields_of_one_record(data: bytes, place: int) -> None:
    before = json.loads(data)
    changed_id = f"id-{place}"
    document = CODEC.decode(data)
    marked = changes.mark_attempted(document, [changed_id], NOW, every_copy=False)
    after = json.loads(CODEC.encode(document))
    for entry in before["commitments"]:
        if isinstance(entry, dict) and entry.get("id") == changed_id:
            entry |= {"attempts": 1, "updatedAtMs": NOW, "lastAttemptAtMs": NOW}
    assert after == before
    assert list(after) == list(before)
    assert bool(marked.changed) == (place < sum(isinstance(each, Commitment) for each in document.entries))


@given(files())
def test_whatever_the_file_what_was_written_reads_as_it_was_in_memory(data: bytes) -> None:
    document = CODEC.decode(data)
    changes.upsert(document, ITEM_A, [candidate("k"), candidate("k"), candidate("l")], ["n0", "n1", "n2"], NOW)
    changes.mark_status(document, ["id-0"], NOW, every_copy=False, status="sent")
    again = CODEC.decode(CODEC.encode(document))
    assert again == document
    assert again.entries == document.entries


@given(st.dictionaries(st.text(max_size=4), json_values, min_size=1, max_size=6), layouts, st.data())
def test_editing_an_object_is_editing_its_value(
    members: dict[str, Any], layout: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(members, **layout).encode("utf-8", "backslashreplace").decode()
    members = json.loads(text)
    keys = data.draw(st.lists(st.sampled_from(list(members)) | st.text(max_size=4), unique=True, max_size=4))
    edits = {key: data.draw(st.none() | json_values) for key in keys}
    edited = edit_object(text, {key: None if value is None else encode_value(value) for key, value in edits.items()})
    expected = {
        key: value for key, value in (members | edits).items() if edits.get(key, value) is not None or key not in edits
    }
    # A float is written in JavaScript's spelling, which may be that of an integer that is not exactly it.
    assert json.loads(edited, parse_int=float) == json.loads(json.dumps(expected), parse_int=float)
    assert list(json.loads(edited)) == list(json.loads(json.dumps(expected)))


def test_a_removed_field_takes_its_comma_with_it_wherever_it_stands() -> None:
    text = '{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}'
    assert edit_object(text, {"a": None}) == '{\n  "b": 2,\n  "c": 3\n}'
    assert edit_object(text, {"b": None}) == '{\n  "a": 1,\n  "c": 3\n}'
    assert edit_object(text, {"c": None}) == '{\n  "a": 1,\n  "b": 2\n}'
    assert edit_object(text, {"a": None, "b": None, "c": None}) == "{\n}"
    assert edit_object('{ "a" : 1 }', {"b": "2"}) == '{ "a" : 1, "b" : 2 }'
    assert edit_object('{"a":1,"b":0,"a":2}', {"a": None}) == '{"b":0}'
    assert edit_object('{"a":{"b":1}}', {"a": {"b": "2", "c": "3"}}) == '{"a":{"b":2,"c":3}}'


@given(json_values, layouts)
def test_laying_out_changes_white_space_only(value: Any, layout: dict[str, Any]) -> None:
    assert laid_out(json.dumps(value, **layout)) == json.dumps(value, indent=2)


def test_laid_out_text_keeps_its_spelling_and_is_indented_from_where_it_stands() -> None:
    text = '{"a":1.50,"a":"\\u00e9 [x, {y}: \\"z\\"]","b":[ ],"c":[[{}],-1e+9]}'
    lines = [
        "{",
        '  "a": 1.50,',
        '  "a": "\\u00e9 [x, {y}: \\"z\\"]",',
        '  "b": [],',
        '  "c": [',
        "    [",
        "      {}",
        "    ],",
    ]
    assert laid_out(text, "    ") == "\n    ".join([*lines, "    -1e+9", "  ]", "}"])


def test_a_number_that_is_not_finite_is_never_written() -> None:
    with pytest.raises(ValueError, match=r"[Oo]ut of range"):
        encode_value(math.nan)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.91, "0.91"),
        (1e-5, "0.00001"),
        (1e-7, "1e-7"),
        (1e16, "10000000000000000"),
        (12345678901234567000.0, "12345678901234567000"),
        (1e21, "1e+21"),
        (2**63, "9223372036854775808"),
    ],
)
def test_a_number_is_written_as_javascript_writes_it(number: float, text: str) -> None:
    assert encode_value(number) == text
    assert (
        laid_out(encode_value({"a": {"b": [number]}})) == '{\n  "a": {\n    "b": [\n      ' + text + "\n    ]\n  }\n}"
    )
    assert float(text) == float(number)
