from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistent_dedupe.keys import ScopedKey, file_name, namespace_of, place_of, scope, trimmed


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("global", "global.json"),
        ("chat_room-7", "chat_room-7.json"),
        ("Team", "%54eam.json"),
        ("a.b", "a%2eb.json"),
        ("größe", "gr%c3%b6%c3%9fe.json"),
        ("../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd.json"),
        ("..", "%2e%2e.json"),
        (".hidden", "%2ehidden.json"),
        ("a\0b", "a%00b.json"),
        ("con", "%63on.json"),
        ("lpt1", "%6cpt1.json"),
        ("console", "console.json"),
        ("50%", "50%25.json"),
        ("\udcff", "%ed%b3%bf.json"),
    ],
)
def test_a_namespace_becomes_a_readable_and_safe_file_name(namespace: str, name: str) -> None:
    assert file_name(namespace) == name
    assert namespace_of(name) == namespace


@given(st.text(st.characters(), max_size=300))
def test_a_file_name_stays_in_its_folder_and_leaves_room_for_sidecars(namespace: str) -> None:
    name = file_name(namespace)
    assert name.isascii()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-%~.")
    assert name.removesuffix(".json").count(".") == 0
    assert os.path.dirname(name) == ""
    assert len(name) <= 160


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_namespaces_never_share_a_file_whatever_the_file_system_folds(one: str, other: str) -> None:
    def folded(namespace: str) -> str:
        return unicodedata.normalize("NFC", file_name(namespace)).casefold()

    assert (folded(one) == folded(other)) == (one == other)


def test_names_that_differ_in_case_form_or_length_only_have_files_of_their_own() -> None:
    names = ["team", "Team", "é", "e\u0301", "x" * 150, "x" * 151, "x" * 151 + "y", "%63on", "con"]
    assert len({file_name(name).casefold() for name in names}) == len(names)


def test_a_shortened_name_does_not_pretend_to_tell_its_namespace() -> None:
    assert namespace_of(file_name("x" * 500)) is None
    assert namespace_of("Global.json") is None
    assert namespace_of("global~claims.json") is None
    assert namespace_of("global.json.bak") is None
    assert namespace_of("%ff.json") is None


def test_a_function_may_choose_the_path_itself(tmp_path: Path) -> None:
    assert place_of(lambda namespace: tmp_path / f"{namespace}.txt", "a") == tmp_path / "a.txt"


def test_keys_are_trimmed_as_the_original_trims_them() -> None:
    assert scope("\ufeff key\u00a0\n", " \u3000") == ScopedKey("global", "key")
    assert scope("k", None) == ScopedKey("global", "k")
    assert trimmed("\x1ckey\x85") == "\x1ckey\x85"


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="a key is text, got int"):
        scope(5, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a namespace is text, got bytes"):
        scope("k", b"n")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a namespace is text, got int"):
        scope("k", 0)  # type: ignore[arg-type]
