"""Documents that evolve: migrated step by step, never reset, never read as what they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from library import AttrsBook, AttrsLibrary, Kind

from storewriter import Store, StoreCorrupt
from storewriter.codecs import DecodeError, EncodeError, FunctionCodec, JsonCodec, UnknownVersion, Versioned
from storewriter.codecs.attrs import AttrsCodec


def rename_title(document: dict[str, Any]) -> dict[str, Any]:
    document["name"] = document.pop("title")
    return document


def add_tags(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "tags": ["v3"]}


MIGRATIONS = {1: rename_title, 2: add_tags}
CODEC: Versioned[Any] = Versioned(JsonCodec(shape=dict), version=3, migrations=MIGRATIONS)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
STATES = st.dictionaries(st.text() | st.just("version"), VALUES, max_size=4)


@pytest.mark.parametrize("indent", [None, 2])
@given(state=STATES)
def test_a_state_comes_back_without_the_version_and_the_document_has_it_first(
    indent: int | None, state: dict[str, Any]
) -> None:
    codec: Versioned[Any] = Versioned(JsonCodec(shape=dict, indent=indent), version=7)
    if "version" in state:
        with pytest.raises(EncodeError, match="'version'"):
            codec.encode(state)
        return
    data = codec.encode(state)
    assert codec.decode(data) == state
    assert next(iter(json.loads(data).items())) == ("version", 7)
    assert codec.encode(codec.decode(data)) == data


@given(
    state=STATES.filter(lambda state: "version" not in state), separators=st.sampled_from([(",", ":"), (", ", " : ")])
)
def test_the_version_is_found_wherever_it_stands(state: dict[str, Any], separators: tuple[str, str]) -> None:
    last = json.dumps({**state, "version": 3}, separators=separators).encode()
    assert CODEC.decode(last) == state


def test_a_field_of_the_same_name_deeper_down_belongs_to_the_state() -> None:
    state = {"packages": [{"version": 9}, {"version": 3}]}
    assert CODEC.decode(CODEC.encode(state)) == state


def test_older_documents_are_migrated_step_by_step() -> None:
    assert CODEC.decode(b'{"version": 1, "title": "Emma"}') == {"name": "Emma", "tags": ["v3"]}
    assert CODEC.decode(b'{"version": 2, "name": "Emma"}') == {"name": "Emma", "tags": ["v3"]}
    assert CODEC.decode(b'{"version": 3, "name": "Emma"}') == {"name": "Emma"}


def test_reading_leaves_an_older_document_as_it_is_until_an_update(path: Path) -> None:
    old = b'{"version": 1, "title": "Emma"}'
    path.write_bytes(old)
    store: Store[dict[str, Any]] = Store(path, codec=CODEC)
    assert store.read() == {"name": "Emma", "tags": ["v3"]}
    assert path.read_bytes() == old
    store.update(lambda state: state.update(pages=474))
    assert json.loads(path.read_bytes()) == {"version": 3, "name": "Emma", "tags": ["v3"], "pages": 474}


def test_a_newer_document_is_refused_naming_both_versions_and_left_alone(path: Path) -> None:
    newer = b'{"version": 4, "name": "Emma"}\n'
    path.write_bytes(newer)
    store: Store[dict[str, Any]] = Store(path, codec=CODEC)
    with pytest.raises(StoreCorrupt, match=r"line 1, column 13, in version: .*version 4.*up to 3"):
        store.read()
    with pytest.raises(StoreCorrupt, match=r"version 4.*up to 3"):
        store.update(lambda state: state.clear())
    assert path.read_bytes() == newer


def test_a_document_older_than_the_oldest_migration_is_refused() -> None:
    codec: Versioned[Any] = Versioned(JsonCodec(shape=dict), version=3, migrations={2: add_tags})
    with pytest.raises(UnknownVersion, match=r"version 1.*versions 2 to 3"):
        codec.decode(b'{"version": 1}')


def test_a_newer_document_is_told_apart_from_a_corrupt_one() -> None:
    with pytest.raises(UnknownVersion) as caught:
        CODEC.decode(b'{"version": 4}')
    assert (caught.value.line, caught.value.column, caught.value.path) == (1, 13, ("version",))
    with pytest.raises(DecodeError) as corrupt:
        CODEC.decode(b'{"version": 4')
    assert not isinstance(corrupt.value, UnknownVersion)


@pytest.mark.parametrize("version", ["3", 3.0, True, None, -1, [3]])
def test_a_version_that_is_no_whole_number_is_refused(version: object) -> None:
    with pytest.raises(UnknownVersion, match="whole number"):
        CODEC.decode(json.dumps({"version": version}).encode())


def test_a_version_given_twice_is_refused() -> None:
    with pytest.raises(DecodeError, match="twice"):
        CODEC.decode(b'{"version":3,"version":3}')


def test_a_version_given_twice_is_refused_however_it_is_spelled() -> None:
    for again in (rb"\u0076ersion", rb"versio\u006e", rb"\u0076\u0065\u0072\u0073\u0069\u006f\u006e"):
        with pytest.raises(DecodeError, match="twice"):
            CODEC.decode(b'{"version":3,"' + again + b'":4}')
    slashed: Versioned[Any] = Versioned(JsonCodec(shape=dict), version=3, field="a/v")
    with pytest.raises(DecodeError, match="twice"):
        slashed.decode(rb'{"a/v":3,"a\/v":4}')


@pytest.mark.parametrize(
    "document", ['{"version":3,}', '{"version":3,  }', '{"version":3,\n}', '{"version":3,,"a":1}', '{"version":3,1}']
)
def test_what_is_no_json_is_no_document(document: str) -> None:
    with pytest.raises(DecodeError) as caught:
        CODEC.decode(document.encode())
    assert caught.value.line is not None


def test_a_field_that_a_codec_writes_with_escapes_is_noticed() -> None:
    inner: FunctionCodec[Any] = FunctionCodec(encode=lambda state: json.dumps(state).encode(), decode=json.loads)
    with pytest.raises(EncodeError, match="of its own"):
        Versioned(inner, version=1, field="größe").encode({"größe": 7})


def test_escapes_in_a_document_of_this_version_are_read() -> None:
    state = {"a": "\x1b[0m\u0007", "b": ["\\u0076ersion", "\ud800"]}
    assert CODEC.decode(CODEC.encode(state)) == state


def test_a_document_that_the_codec_inside_will_not_have_set_aside_is_not_set_aside() -> None:
    inner: Versioned[Any] = Versioned(JsonCodec(shape=dict), version=1, field="inner")
    for data in (b'{"version":3,"inner":2}', b'{"inner":2,"version":3}'):
        with pytest.raises(UnknownVersion, match="version 2"):
            Versioned(inner, version=3).decode(data)


def test_a_document_without_a_version_is_refused_unless_said_otherwise() -> None:
    with pytest.raises(UnknownVersion, match="no field 'version'"):
        CODEC.decode(b'{"title": "Emma"}')
    lenient: Versioned[Any] = Versioned(JsonCodec(shape=dict), version=3, migrations=MIGRATIONS, missing=1)
    assert lenient.decode(b'{"title": "Emma"}') == {"name": "Emma", "tags": ["v3"]}


def test_a_migration_that_fails_is_named_and_nothing_is_reset(path: Path) -> None:
    untitled = b'{"version": 1}'
    path.write_bytes(untitled)
    store: Store[dict[str, Any]] = Store(path, codec=CODEC)
    with pytest.raises(StoreCorrupt, match="migration from version 1 to 2 failed: KeyError: 'title'"):
        store.update(lambda state: state.update(lost=True))
    assert path.read_bytes() == untitled


@pytest.mark.parametrize("returned", [None, [], {"version": 2}])
def test_a_migration_that_returns_no_document_is_an_error(returned: Any) -> None:
    codec: Versioned[Any] = Versioned(JsonCodec(), version=2, migrations={1: lambda document: returned})
    with pytest.raises(UnknownVersion, match="migration from version 1 to 2"):
        codec.decode(b'{"version": 1}')


@pytest.mark.parametrize(
    "settings",
    [
        {"version": 0},
        {"version": True},
        {"version": 3, "migrations": {1: add_tags}},
        {"version": 4, "migrations": {1: add_tags, 3: add_tags}},
        {"version": 2, "migrations": {2: add_tags}},
        {"version": 2, "missing": -1},
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"version|missing|migrations"):
        Versioned(JsonCodec(), **settings)


def test_what_is_no_object_cannot_have_a_version() -> None:
    with pytest.raises(EncodeError, match="object"):
        Versioned(JsonCodec(), version=1).encode([1])


def test_typed_states_do_not_see_the_version(kind: Kind, path: Path) -> None:
    def fill(document: dict[str, Any]) -> dict[str, Any]:
        return {"books": [{"title": title} for title in document["titles"]]}

    codec: Versioned[Any] = Versioned(kind.codec(kind.library), version=2, migrations={1: fill})
    path.write_bytes(b'{"version": 1, "titles": ["Emma"]}')
    store: Store[Any] = Store(path, default=kind.library, codec=codec)
    store.update(lambda library: library.tags.add("x"))
    assert store.read() == kind.library(books=[kind.book(title="Emma")], tags={"x"})
    assert path.read_bytes().startswith(b'{"version": 2, "books": [{"title": "Emma"')  # in the layout that it had


@pytest.mark.parametrize(
    "document",
    [
        '{"version":2,"books":[\n{"title":5}]}\n',  # as the codec itself begins
        '{"books":[\n{"title":5}],"version":2}',  # laid out otherwise
    ],
)
def test_a_fault_inside_is_placed_in_the_file_as_it_is(document: str) -> None:
    codec = Versioned(AttrsCodec(AttrsLibrary), version=2)
    with pytest.raises(DecodeError) as caught:
        codec.decode(document.encode())
    assert caught.value.path == ("books", 0, "title")
    assert (caught.value.line, caught.value.column) == (2, 10)


def test_a_fault_after_a_migration_has_a_path_and_no_false_place() -> None:
    codec = Versioned(AttrsCodec(AttrsLibrary), version=2, migrations={1: lambda document: {"books": [{"title": 5}]}})
    with pytest.raises(UnknownVersion, match="migrated from version 1 to 2") as caught:
        codec.decode(b'{"version": 1}')
    assert caught.value.path == ("books", 0, "title")
    assert caught.value.line is None


def test_equal_settings_are_equal_codecs() -> None:
    again: Versioned[Any] = Versioned(JsonCodec(shape=dict), version=3, migrations=MIGRATIONS)
    assert again == CODEC
    assert hash(again) == hash(CODEC)
    assert again != attrs.evolve(CODEC, version=3, field="v")


def test_a_codec_of_two_functions_can_be_versioned() -> None:
    inner: FunctionCodec[AttrsBook] = FunctionCodec(
        encode=lambda book: json.dumps({"title": book.title}).encode(),
        decode=lambda data: AttrsBook(json.loads(data)["title"]),
    )
    codec = Versioned(inner, version=1)
    assert codec.encode(AttrsBook("Emma")) == b'{"version":1,"title": "Emma"}'
    assert codec.decode(b'{"version":1,"title": "Emma"}') == AttrsBook("Emma")
