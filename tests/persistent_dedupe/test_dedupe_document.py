from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistent_dedupe.document import Document, Pruned, decode, encode
from persistent_dedupe.options import Window, moment, whole_milliseconds
from storewriter.codecs import DecodeError

NOW = 1899374400000
DAY = Window(ttl_ms=86_400_000, tolerance_ms=300_000)
FOR_EVER = Window(ttl_ms=0, tolerance_ms=300_000)
ROOMY = 10_000


# -- the window


def test_a_key_is_recent_until_exactly_one_ttl_later() -> None:
    assert DAY.is_recent(NOW, NOW + 86_399_999)
    assert not DAY.is_recent(NOW, NOW + 86_400_000)
    assert FOR_EVER.is_recent(1, NOW)


def test_a_time_too_far_ahead_counts_as_now_and_one_within_the_tolerance_as_it_is() -> None:
    assert DAY.believed(NOW + 300_000, NOW) == NOW + 300_000
    assert DAY.believed(NOW + 300_001, NOW) == NOW


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(1.001, 1001), (0.0019, 1), (0, 0), (-5, 0), (86400, 86_400_000), (1e-7, 0)],
)
def test_a_duration_is_rounded_down_to_milliseconds(seconds: float, milliseconds: int) -> None:
    assert whole_milliseconds(seconds) == milliseconds


@pytest.mark.parametrize("now", [0, -1, -1899374400.0, math.nan, math.inf])
def test_an_impossible_time_is_refused(now: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        moment(now)


def test_a_time_is_kept_in_whole_milliseconds() -> None:
    assert moment(1899374400.0015) in (1899374400001, 1899374400002)
    assert moment(0.0001) == 1


# -- recording and pruning


def test_recording_sets_the_key_and_drops_what_has_expired() -> None:
    document = Document({"old": NOW - 86_400_000, "young": NOW - 86_399_999})
    assert document.record("new", NOW, DAY, ROOMY) == Pruned(expired=1)
    assert document.times == {"young": NOW - 86_399_999, "new": NOW}


def test_with_a_ttl_of_0_nothing_expires() -> None:
    document = Document({"old": 1})
    assert document.record("new", NOW, FOR_EVER, ROOMY) == Pruned()
    assert set(document.times) == {"old", "new"}


@pytest.mark.parametrize(("limit", "kept"), [(1, ["new"]), (2, ["c", "new"]), (3, ["b", "c", "new"]), (4, None)])
def test_beyond_the_limit_the_smallest_times_go_first(limit: int, kept: list[str] | None) -> None:
    document = Document({"c": NOW - 1, "a": NOW - 3, "b": NOW - 2})
    evicted = document.record("new", NOW, DAY, limit).evicted
    assert evicted == (max(0, 4 - limit))
    assert sorted(document.times) == sorted(kept or ["a", "b", "c", "new"])


def test_of_equal_times_the_first_in_the_file_goes_first() -> None:
    document = Document({"z": NOW - 1, "a": NOW - 1, "m": NOW - 1})
    document.record("new", NOW, DAY, 3)
    assert list(document.times) == ["a", "m", "new"]


def test_the_key_just_recorded_stays_even_if_others_are_newer() -> None:
    document = Document({"ahead": NOW + 1000})
    assert document.record("new", NOW, DAY, 1).evicted == 1
    assert document.times == {"new": NOW}


def test_times_too_far_ahead_are_set_to_now_when_the_file_is_written_anyway() -> None:
    document = Document({"odd": NOW + 400 * 86_400_000, "tolerated": NOW + 300_000})
    document.record("new", NOW, DAY, ROOMY)
    assert document.anomalies == (("time ahead", "odd"),)
    assert document.times == {"odd": NOW, "tolerated": NOW + 300_000, "new": NOW}
    assert document.record("later", NOW + 86_400_000, DAY, ROOMY).expired == 2


def test_a_forgotten_key_is_not_pruned_again() -> None:
    document = Document({"a": NOW - 5})
    document.record("b", NOW, DAY, ROOMY)
    assert document.forget("a")
    assert not document.forget("a")
    assert document.record("c", NOW + 86_400_000, DAY, ROOMY) == Pruned(expired=1)
    assert document.times == {"c": NOW + 86_400_000}


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 40), st.booleans()), max_size=40),
    st.integers(0, 20),
    st.integers(1, 5),
)
def test_pruning_agrees_with_the_plain_rule(steps: list[tuple[str, int, bool]], ttl: int, limit: int) -> None:
    """The order of the document and the rule of the specification give the same document at every step."""
    window = Window(ttl_ms=ttl, tolerance_ms=10**9)
    document, model = Document(), dict[str, float]()
    for key, offset, forgotten in steps:
        now = 1000 + offset
        if forgotten:
            assert document.forget(key) == (model.pop(key, None) is not None)
            continue
        model.pop(key, None)
        model = {name: at for name, at in model.items() if ttl == 0 or now - at < ttl}
        excess = max(0, len(model) + 1 - limit)
        for name in sorted(model, key=lambda name: model[name])[:excess]:
            del model[name]
        model[key] = now
        document.record(key, now, window, limit)
        assert sorted(document.times.values()) == sorted(model.values())
        assert document.times[key] == now
        document.times = dict(model)  # equal times may be resolved either way
        document._is_ordered = False


def test_a_document_stays_in_order_of_time_so_that_pruning_looks_at_its_beginning_only() -> None:
    document = Document({"c": NOW - 1, "a": NOW - 3, "b": NOW - 2})
    document.record("d", NOW, DAY, ROOMY)
    assert list(document.times) == ["a", "b", "c", "d"]
    document.record("late", NOW - 2, DAY, ROOMY)
    document.record("e", NOW + 1, DAY, ROOMY)
    assert list(document.times) == ["a", "b", "late", "c", "d", "e"]
    document.record("a", NOW + 1, DAY, ROOMY)
    assert list(document.times) == ["b", "late", "c", "d", "e", "a"]


# -- bytes


def test_a_document_is_written_as_the_original_writes_it(fixtures: Path) -> None:
    document = Document({"evt-demo-001": 1899280800000, "größe/ünïcode-✓": 1899373680000.5})
    expected = '{\n  "evt-demo-001": 1899280800000,\n  "größe/ünïcode-✓": 1899373680000.5\n}\n'
    assert encode(document) == expected.encode()
    valid = (fixtures / "dedupe-valid.json").read_bytes()
    assert encode(Document(decode(valid).times)) == valid


def test_the_valid_fixture_has_eight_keys_of_which_seven_are_recent(fixtures: Path) -> None:
    document = decode((fixtures / "dedupe-valid.json").read_bytes())
    assert len(document.times) == 8
    assert document.anomalies == ()
    assert [key for key, at in document.times.items() if not DAY.is_recent(at, NOW)] == ["evt-demo-001"]


def test_the_mixed_fixture_gives_the_times_of_plain_keys_and_keeps_the_rest(fixtures: Path) -> None:
    document = decode((fixtures / "dedupe-mixed-invalid.json").read_bytes())
    assert document.times == {
        "ok-recent": 1899373800000,
        "ok-expired-24h": 1899266400000,
        "ok-fractional": 1899373200000.5,
        "odd-future": 1933934400000,
        "odd-twice": 1899374220000,
        "__proto__": 1899374040000,
        "toString": 1899373980000,
    }
    assert [entry.key for entry in document.kept] == [
        *("bad-string", "bad-iso", "bad-null", "bad-bool", "bad-zero", "bad-negative", "bad-overflow"),
        *("bad-object", "bad-array", " odd-padded ", ""),
    ]
    assert ("duplicate key", "odd-twice") in document.anomalies
    assert len(document.anomalies) == 12


def test_an_unchanged_document_keeps_its_bytes_whatever_its_layout(fixtures: Path) -> None:
    for data in ((fixtures / "dedupe-mixed-invalid.json").read_bytes(), b'{"a":1}', b" null ", b"{ }"):
        assert encode(decode(data)) == data


def test_invalid_entries_are_written_back_exactly_as_they_were(fixtures: Path) -> None:
    document = decode((fixtures / "dedupe-mixed-invalid.json").read_bytes())
    document.record("new", NOW, FOR_EVER, ROOMY)
    written = encode(document).decode()
    for line in (
        '"bad-string": "1899374340000"',
        '"bad-iso": "2030-03-10T11:00:00Z"',
        '"bad-null": null',
        '"bad-bool": true',
        '"bad-zero": 0',
        '"bad-negative": -5',
        '"bad-overflow": 1e999',
        '"bad-object": { "seenAt": 1899374100000 }',
        '"bad-array": [1899374100000]',
        '" odd-padded ": 1899374160000',
        '"": 1899374160000',
    ):
        assert f"  {line}," in written.splitlines()
    assert written.count('"odd-twice"') == 1
    assert decode(written.encode()).times == document.times
    assert decode(written.encode()).kept == document.kept
    json.loads(written)


def test_an_invalid_entry_goes_when_its_key_is_recorded() -> None:
    document = decode(b'{"a": null, "b": null}')
    document.record("a", NOW, DAY, ROOMY)
    assert encode(document) == b'{\n  "b": null,\n  "a": 1899374400000\n}\n'


def test_two_invalid_entries_of_one_key_are_both_kept() -> None:
    document = decode(b'{"a": null, "a": [ ]}')
    document.record("b", NOW, DAY, ROOMY)
    assert encode(document) == b'{\n  "a": null,\n  "a": [ ],\n  "b": 1899374400000\n}\n'
    document.forget("b")
    assert encode(document) == b'{\n  "a": null,\n  "a": [ ]\n}\n'


def test_of_duplicate_keys_the_larger_time_counts_in_either_order() -> None:
    assert decode(b'{"a": 5, "a": 7}').times == decode(b'{"a": 7, "a": 5}').times == {"a": 7}
    assert decode(b'{"a": 7, "a": null}').times == {"a": 7}


def test_a_layout_of_ours_with_a_duplicate_key_is_not_mistaken_for_a_clean_one() -> None:
    assert decode(b'{\n  "a": 7,\n  "a": 5\n}\n').times == {"a": 7}


@pytest.mark.parametrize(
    "key", ["__proto__", "toString", "constructor", "\udcff", 'quote"', "a\nb", "a\u2028b", "\x7f", "😀"]
)
def test_every_text_is_an_ordinary_key(key: str) -> None:
    document = Document()
    document.record(key, NOW, DAY, ROOMY)
    assert decode(encode(document)).times == {key: NOW}


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ('{"a": 1.5}', {"a": 1.5}),
        ('{"a": 1e3}', {"a": 1000.0}),
        ('{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        ('{"a": ' + "9" * 400 + "}", {}),
        ('{"a": ' + "9" * 5000 + "}", {}),
        ('{"a": -1e999}', {}),
        ('{"a": 0.0}', {}),
    ],
)
def test_a_time_is_a_finite_number_above_0(text: str, times: dict[str, float]) -> None:
    assert decode(text.encode()).times == times
    document = decode(text.encode())
    document.record("b", NOW, FOR_EVER, ROOMY)
    again = decode(encode(document))
    assert (again.times, again.kept) == (document.times, document.kept)


@pytest.mark.parametrize(
    ("data", "reason", "position"),
    [
        (b"", "expected a JSON object, found the end of the file", 0),
        (b"[1, 2]", "expected a JSON object, found '['", 0),
        (b'"text"', "expected a JSON object", 0),
        (b"5", "expected a JSON object", 0),
        (b"nul", "the document is cut off", 0),
        (b"null 1", "Extra data, found '1'", 5),
        (b'{"a": 1', "the document is cut off: it ends in the middle", 7),
        (b'{"a": 1}}', "a whole document, then more", 8),
        (b'{"a": 1,}', "a comma before `}`; JSON allows none there", 8),
        (b'{"a" 1}', "Expecting ':' delimiter, found '1'", 5),
        (b'{"a": }', "Expecting value, found '}'", 6),
        (b'{"a": NaN}', "NaN is not JSON", 6),
        (b'{"a": -Infinity}', "-Infinity is not JSON", 6),
        (b"{'a': 1}", "written by `str()`", 1),
        (b'{"a": 1 "b": 2}', "Expecting ',' delimiter, found '\"'", 8),
        (b'{"a\n": 1}', "a raw line break in a text", 3),
        (b'\xef\xbb\xbf{"a": 1}', "expected a JSON object", 0),
        (b'{"caf\xe9": 1}', "not UTF-8", 5),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply", None),
        (b"\x00" * 64, "64 bytes, all NUL: usually left by a power cut", 0),
    ],
)
def test_what_is_no_document_is_refused_with_its_position(data: bytes, reason: str, position: int | None) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert reason in caught.value.reason
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1,}', "a comma before `}`"),
        (b"// keys\n{}", "a comment"),
        (b'{"a": [NaN]}', "NaN is not JSON"),
        (b"[1]", "expected a JSON object"),
        (b'\xef\xbb\xbf{"a": 1}', "expected a JSON object"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (b'{"a": ' + b"[" * 1000 + b"]" * 1000 + b"}", "nested too deeply"),
    ],
)
def test_what_may_be_intact_is_said_to_be(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert reason in caught.value.reason
    assert caught.value.may_be_intact


@pytest.mark.parametrize("data", [b"\0" * 9, b"", b'{"a": 1', b'{"a": 1}{}', b'{"a": {"b": 1, "b": 2},,}'])
def test_damage_is_not_said_to_be_intact(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert not caught.value.may_be_intact


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.floats(0, 1e300), max_size=8)
)
def test_any_json_object_survives_being_read_and_written(content: dict[str, object]) -> None:
    document = decode(json.dumps(content, allow_nan=False).encode())
    document.source = None
    again = decode(encode(document))
    assert again.times == document.times
    assert [(entry.key, entry.raw_value) for entry in again.kept] == [
        (entry.key, entry.raw_value) for entry in document.kept
    ]
    assert len(again.times) + len(again.kept) == len(content)
