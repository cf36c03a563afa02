"""What every typed codec promises, for attrs, msgspec and pydantic alike."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from library import KINDS, Kind, Shelf

from storewriter import Store, StoreCorrupt
from storewriter.codecs import DecodeError, EncodeError

TITLES = st.text(st.characters(codec="utf-8"), max_size=12)
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
BOOKS = st.fixed_dictionaries(
    {
        "title": TITLES,
        "pages": st.integers(-(2**80), 2**80),
        "shelf": st.sampled_from(Shelf),
        "due": st.none() | st.datetimes(timezones=ZONES) | st.datetimes(),
        "rating": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    }
)
LIBRARIES = st.fixed_dictionaries(
    {
        "books": st.lists(BOOKS, max_size=4),
        "lent": st.dictionaries(TITLES, BOOKS, max_size=3),
        "tags": st.sets(TITLES, max_size=4),
        "place": st.tuples(st.integers(-5, 5), TITLES),
    }
)


def library_of(kind: Kind, fields: dict[str, Any]) -> Any:
    books = [kind.book(**book) for book in fields["books"]]
    lent = {name: kind.book(**book) for name, book in fields["lent"].items()}
    return kind.library(books=books, lent=lent, tags=fields["tags"], place=fields["place"])


@pytest.mark.parametrize("indent", [None, 2])
@given(fields=LIBRARIES)
def test_what_is_written_is_read_back_equal_and_written_the_same_again(
    kind: Kind, indent: int | None, fields: dict[str, Any]
) -> None:
    codec = kind.codec(kind.library, indent=indent)
    state = library_of(kind, fields)
    data = codec.encode(state)
    again = codec.decode(data)
    assert again == state
    assert again is not state
    assert codec.encode(again) == data
    assert data.endswith(b"\n")


@given(fields=LIBRARIES)
def test_the_careful_way_and_the_quick_way_read_the_same(kind: Kind, fields: dict[str, Any]) -> None:
    codec = kind.codec(kind.library)
    state = library_of(kind, fields)
    document = json.loads(codec.encode(state))
    laid_out_otherwise = json.dumps(document, indent=1, ensure_ascii=True).encode()
    assert codec.decode(laid_out_otherwise) == state


def test_every_process_writes_a_set_in_the_same_order(kind: Kind) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from library import KINDS\n"
        f"kind = next(kind for kind in KINDS if kind.name == {kind.name!r})\n"
        "library = kind.library(tags={str(number) for number in range(50)})\n"
        "sys.stdout.buffer.write(kind.codec(kind.library).encode(library))"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(written) == 1


@pytest.mark.parametrize(
    ("document", "path", "line", "column"),
    [
        ('{"books": [{"title": "a"},\n  {"title": "b", "pages": "5"}]}', ("books", 1, "pages"), 2, 27),
        ('{"books": [{"title": "a", "colour": "red"}]}', ("books", 0, "colour"), 1, 27),
        ('{"colour": "red"}', ("colour",), 1, 2),
        ('{"books": [{"pages": 3}]}', ("books", 0), 1, 12),
        ('{"books": "abc"}', ("books",), 1, 11),
        ('{"books": [7]}', ("books", 0), 1, 12),
        ('{"books": [{"title": "a", "pages": true}]}', ("books", 0, "pages"), 1, 36),
        ('{"books": [{"title": "a", "pages": 1.5}]}', ("books", 0, "pages"), 1, 36),
        ('{"books": [{"title": "a", "shelf": "attic"}]}', ("books", 0, "shelf"), 1, 36),
        ('{"books": [{"title": "a", "due": "soon"}]}', ("books", 0, "due"), 1, 34),
        ('{"tags": ["a", "a"]}', ("tags",), 1, 10),
    ],
)
def test_a_document_of_another_shape_is_refused_with_its_place(
    kind: Kind, document: str, path: tuple[str | int, ...], line: int, column: int
) -> None:
    with pytest.raises(DecodeError) as caught:
        kind.codec(kind.library).decode(document.encode())
    error = caught.value
    assert (error.path, error.line, error.column) == (path, line, column)
    assert kind.library.__name__ in error.reason


@pytest.mark.parametrize(
    "document", [b"", b"{", b"\xff", b'{"tags": [], "tags": []}', b'{"books": [{"title": "a", "rating": NaN}]}', b"[]"]
)
def test_what_is_no_document_at_all_is_refused_with_line_and_column(kind: Kind, document: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        kind.codec(kind.library).decode(document)
    assert caught.value.line == 1
    assert caught.value.column is not None


def test_without_exactness_what_the_type_does_not_know_is_dropped(kind: Kind) -> None:
    codec = kind.codec(kind.library, exact=False)
    assert codec.decode(b'{"colour": "red", "tags": ["a"]}') == kind.library(tags={"a"})


def test_missing_fields_get_their_defaults(kind: Kind) -> None:
    codec = kind.codec(kind.library)
    assert codec.decode(b'{"books": [{"title": "a"}]}') == kind.library(books=[kind.book(title="a")])


def test_the_same_list_in_another_order_is_the_same_set(kind: Kind) -> None:
    assert kind.codec(kind.library).decode(b'{"tags": ["b", "a"]}').tags == {"a", "b"}


def test_the_same_moment_spelled_otherwise_is_accepted(kind: Kind) -> None:
    spelled = b'{"books": [{"title": "a", "due": "2026-01-02T03:04:05+00:00"}]}'
    with_z = spelled.replace(b"+00:00", b"Z")
    codec = kind.codec(kind.library)
    assert codec.decode(spelled) == codec.decode(with_z)
    assert codec.decode(with_z).books[0].due == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize("wrong", ["five", 1.5, None, [1]])
def test_a_state_that_could_not_be_read_back_is_not_written(kind: Kind, wrong: object) -> None:
    book = kind.book(title="a")
    book.pages = wrong
    with pytest.raises(EncodeError):
        kind.codec(kind.library).encode(kind.library(books=[book]))


@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("verify", [True, False])
def test_nan_and_infinity_are_not_written_as_null(kind: Kind, strange: float, verify: bool) -> None:
    book = kind.book(title="a", rating=strange)
    with pytest.raises(EncodeError, match=r"nan|inf"):
        kind.codec(kind.library, verify=verify).encode(kind.library(books=[book]))


def test_a_state_of_another_class_is_not_written(kind: Kind) -> None:
    for other in KINDS:
        if other is not kind:
            with pytest.raises(EncodeError):
                kind.codec(kind.library).encode(other.library())


def test_two_codecs_of_one_type_are_equal_and_of_two_are_not(kind: Kind) -> None:
    assert kind.codec(kind.library) == kind.codec(kind.library)
    assert kind.codec(kind.library) != kind.codec(kind.library, indent=2)
    assert kind.codec(kind.library) != kind.codec(kind.book)
    assert hash(kind.codec(kind.library)) == hash(kind.codec(kind.library))


def test_a_wrong_value_fails_its_own_update_and_the_document_stays(kind: Kind, path: Path) -> None:
    store = Store(path, default=kind.library, codec=kind.codec(kind.library))
    store.update(lambda library: library.books.append(kind.book(title="a")))
    before = path.read_bytes()

    def spoil(library: Any) -> None:
        library.books[0].pages = "many"

    with pytest.raises(EncodeError):
        store.update(spoil)
    assert path.read_bytes() == before
    store.update(lambda library: library.tags.add("kept"))
    assert store.read() == kind.library(books=[kind.book(title="a")], tags={"kept"})


def test_a_foreign_document_is_left_alone_and_named(kind: Kind, path: Path) -> None:
    foreign = b'{"books": [], "colour": "red"}'
    path.write_bytes(foreign)
    store = Store(path, default=kind.library, codec=kind.codec(kind.library))
    with pytest.raises(StoreCorrupt, match=r"line 1, column 15.*colour") as caught:
        store.update(lambda library: library.tags.add("lost"))
    assert caught.value.path == str(path)
    assert path.read_bytes() == foreign
