"""What can be the name of a document and of a table. No server is asked."""

from __future__ import annotations

import re

import pytest

from storewriter.postgres._location import Table, location_of, require_name


@pytest.mark.parametrize("text", ["storewriter", "a.b.c", "a-b.documents", "a.b c", '"a".b', ""])
def test_a_table_is_a_schema_and_a_plain_name(text: str) -> None:
    with pytest.raises(ValueError, match="table must be schema.table"):
        Table.parse(text)


def test_the_tables_beside_it_need_room_for_their_names() -> None:
    longest = "d" * 55
    assert str(Table.parse(f"app.{longest}")) == f"app.{longest}"
    assert len(Table.parse(f"app.{longest}").version) == len('"app".""') + 63
    with pytest.raises(ValueError, match="too long"):
        Table.parse(f"app.{longest}d")


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_is_some_text_without_nul(name: str) -> None:
    with pytest.raises(ValueError, match="not empty and has no NUL"):
        require_name(name)


def test_a_name_is_valid_unicode() -> None:
    with pytest.raises(ValueError, match="valid Unicode"):
        require_name("\udc80")


def test_a_name_has_a_longest_length_in_bytes() -> None:
    longest = next(n for n in range(1, 10_000) if _is_too_long("n" * (n + 1)))
    assert require_name("n" * longest) == "n" * longest
    assert _is_too_long("\u00e9" * longest)


def _is_too_long(name: str) -> bool:
    try:
        require_name(name)
    except ValueError as error:
        return "bytes" in str(error)
    return False


def test_a_url_without_a_name_says_what_to_add() -> None:
    with pytest.raises(ValueError, match=re.escape("names no document: add its name behind a #")):
        location_of("postgresql://host/app")
