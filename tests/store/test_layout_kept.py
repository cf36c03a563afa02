"""The file stays what it was: one field changed is one line changed, and nothing changed is nothing written."""

from __future__ import annotations

import codecs
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from storewriter import AsyncStore, Store
from storewriter.codecs import FunctionCodec, JsonCodec, Versioned

STATE: dict[str, Any] = {
    "name": "demo/app",
    "count": 1,
    "title": "grün",
    "empty": {},
    "none": [],
    "nested": {"list": [1, 2, {"deep": None}], "on": True, "inner": {"x": 1.5, "big": 2**70}},
    "last": "z",
}
PRETTIER = """{
  "name": "demo",
  "count": 1,

  "tags": ["a", "b", "c"],
  "matrix": [
    [1, 2], [3, 4],
    [5, 6]
  ],
  "point": { "x": 1.50, "y": 1e2 },
  "empty": { },
  "none": [
  ],
  "last": "z"
}
"""


def _dumped(mark: bytes = b"", newline: str = "\n", end: str = "\n", slash: bool = False, **style: Any) -> bytes:
    text = json.dumps(STATE, **{"ensure_ascii": False, **style}).replace("\n", newline)
    return mark + (text.replace("/", "\\/") if slash else text).encode() + end.replace("\n", newline).encode()


LAYOUTS: dict[str, bytes] = {
    **{f"{spaces} spaces": _dumped(indent=spaces) for spaces in range(1, 9)},
    "no indentation": _dumped(indent=0),
    "tabs": _dumped(indent="\t"),
    "compact": _dumped(separators=(",", ":")),
    "json.dumps": _dumped(ensure_ascii=True, end=""),
    "four spaces, escapes": _dumped(ensure_ascii=True, indent=4),
    "php": _dumped(ensure_ascii=True, indent=4, slash=True, end=""),
    "CRLF": _dumped(indent=2, newline="\r\n"),
    "byte order mark": _dumped(mark=b"\xef\xbb\xbf", indent=2),
    "byte order mark, CRLF, tabs": _dumped(mark=b"\xef\xbb\xbf", indent="\t", newline="\r\n"),
    "no final newline": _dumped(indent=2, end=""),
    "two final newlines": _dumped(indent=3, end="\n\n"),
    "space before colons": _dumped(indent=2, separators=(",", " : ")),
    "no space after colons": _dumped(indent=2, separators=(",", ":")),
    "separators of one kind": _dumped(separators=(", ", ":")),
    "by hand": PRETTIER.encode(),
    "by hand, CRLF": PRETTIER.replace("\n", "\r\n").encode(),
    "comma first": b'{\n  "count": 1\n, "last": "z"\n}\n',
    "minus zero": b'{\n    "zero": -0,\n    "count": 1,\n    "last": 1E5\n}\n',
}
layouts = pytest.mark.parametrize("found", LAYOUTS.values(), ids=LAYOUTS.keys())


def _increment(state: dict[str, Any]) -> None:
    state["count"] += 1


def _changed_lines(before: bytes, path: Path) -> tuple[int, int]:
    """What git says: lines added, lines removed."""
    old = path.with_name("before")
    old.write_bytes(before)
    git = ["git", "diff", "--no-index", "--numstat", str(old), str(path)]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    added, removed, _ = done.stdout.split("\t")
    return int(added), int(removed)


def _identity(path: Path) -> tuple[int, int, bytes]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, path.read_bytes()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@layouts
def test_one_field_changed_is_one_line_changed(path: Path, found: bytes) -> None:
    path.write_bytes(found)
    Store(path).update(_increment)
    assert _changed_lines(found, path) == (1, 1)
    assert path.read_bytes() == found.replace(b"1,", b"2,", 1).replace(b"1\n,", b"2\n,", 1)


@layouts
def test_nothing_changed_is_nothing_written(path: Path, found: bytes) -> None:
    path.write_bytes(found)
    before = _identity(path)
    store = Store(path)
    store.update(lambda state: None)
    store.transform(lambda state: json.loads(json.dumps(state)))
    with store.transaction():
        pass
    assert _identity(path) == before


@layouts
def test_what_is_undone_in_a_batch_comes_back_byte_for_byte(path: Path, found: bytes) -> None:
    """Each function decodes what the one before it left: the layout survives them all."""
    path.write_bytes(found)
    store = Store(path)
    with store.transaction() as tx:
        tx.state["count"] += 1
        tx.state["new"] = {"list": [1, "ü"]}
    store.update(_increment)
    store.update(lambda state: state.update(count=1))
    store.update(lambda state: state.pop("new"))
    if b"-0" not in found:
        assert path.read_bytes() == found


@layouts
def test_a_batch_of_tasks_keeps_it(path: Path, found: bytes, run: Callable[..., Any]) -> None:
    path.write_bytes(found)
    store = AsyncStore[dict[str, Any]](path)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(7):
                group.start_soon(store.update, _increment)

    run(main)
    assert path.read_bytes() == found.replace(b"1,", b"8,", 1).replace(b"1\n,", b"8\n,", 1)


@layouts
def test_states_that_are_shared_keep_it(path: Path, found: bytes) -> None:
    path.write_bytes(found)
    Store(path, isolation="shared").update(_increment)
    assert path.read_bytes() == found.replace(b"1,", b"2,", 1).replace(b"1\n,", b"2\n,", 1)


EDITS: dict[str, tuple[Callable[[Any], object], str, str]] = {
    "a short array stays on its line": (lambda s: s["tags"].append("d"), '"b", "c"]', '"b", "c", "d"]'),
    "the first of a line goes": (lambda s: s["matrix"].pop(1), "[1, 2], [3, 4],", "[1, 2],"),
    "a row is inserted": (lambda s: s["matrix"].insert(3, [7, 8]), "[5, 6]\n", "[5, 6],\n    [7, 8]\n"),
    "padding is kept": (lambda s: s["point"].update(z=3), '"y": 1e2 }', '"y": 1e2, "z": 3 }'),
    "a number keeps its spelling": (lambda s: s["point"].update(y=7), '"x": 1.50, "y": 1e2', '"x": 1.50, "y": 7'),
    "an empty object is filled": (lambda s: s["empty"].update(a=1), '"empty": { }', '"empty": { "a": 1 }'),
    "the last member goes": (lambda s: s.pop("last"), '  ],\n  "last": "z"\n', "  ]\n"),
    "a member is added": (lambda s: s.update(more=[1]), '"last": "z"\n', '"last": "z",\n  "more": [1]\n'),
    "an object like the one beside it": (
        lambda s: s.update(other={"x": 3, "y": 4}),
        '"last": "z"\n',
        '"last": "z",\n  "other": { "x": 3, "y": 4 }\n',
    ),
}


@pytest.mark.parametrize(("edit", "old", "new"), EDITS.values(), ids=EDITS.keys())
def test_a_change_looks_like_what_stands_beside_it(
    path: Path, edit: Callable[[Any], object], old: str, new: str
) -> None:
    path.write_text(PRETTIER)
    Store(path).update(edit)
    assert PRETTIER.count(old) == 1
    assert path.read_text() == PRETTIER.replace(old, new)


@attrs.define
class Point:
    x: float
    y: float


@attrs.define
class Book:
    name: str
    count: int
    point: Point
    tags: set[str] = attrs.field(factory=set)


TYPED = '{\n    "count": 1,\n    "tags": ["z", "a"],\n    "name": "é",\n    "point": {"y": 2.0, "x": 1.0}\n}\n'


def _typed_codecs() -> dict[str, Any]:
    pytest.importorskip("cattrs")
    from storewriter.codecs.attrs import AttrsCodec

    return {"attrs": AttrsCodec(Book), "versioned": Versioned(AttrsCodec(Book), version=3)}


@pytest.mark.parametrize("name", ["attrs", "versioned"])
def test_typed_states_keep_the_layout_and_the_order_of_fields(path: Path, name: str) -> None:
    codec = _typed_codecs()[name]
    version = '    "version": 3,\n' if name == "versioned" else ""
    text = TYPED.replace("{\n", "{\n" + version, 1)
    path.write_text(text)
    before = _identity(path)
    store: Store[Book] = Store(path, default=lambda: Book("", 0, Point(0, 0)), codec=codec)
    store.update(lambda book: None)
    assert _identity(path) == before
    store.update(lambda book: setattr(book, "count", 2))
    assert path.read_text() == text.replace('"count": 1', '"count": 2')
    store.update(lambda book: book.tags.add("m"))
    assert path.read_text() == text.replace('"count": 1', '"count": 2').replace('"z", "a"', '"z", "a", "m"')


@pytest.mark.parametrize(
    "text", ['{\n\t"a": 1,\n\t"version": 2,\n\t"b": [1, 2]\n}', '{"version": 2, "a": 1, "b": [1, 2]}\n']
)
def test_a_version_stays_where_it_is(path: Path, text: str) -> None:
    path.write_text(text)
    store = Store[dict[str, Any]](path, codec=Versioned(JsonCodec(shape=dict), version=2))
    before = _identity(path)
    store.update(lambda state: None)
    assert _identity(path) == before
    store.update(lambda state: state.update(a=5))
    assert path.read_text() == text.replace('"a": 1', '"a": 5')


@pytest.mark.parametrize("blank", [b" ", b"\n\n", b"\t", b"\r\n", codecs.BOM_UTF8 + b"\n"])
@pytest.mark.parametrize("text", [b'{"version":2,"a":%d}', b'{\n "a": %d,\n "version": 2\n}\n'])
def test_blanks_before_a_document_with_a_version_stay(path: Path, blank: bytes, text: bytes) -> None:
    path.write_bytes(blank + text % 0)
    store = Store[dict[str, Any]](path, codec=Versioned(JsonCodec(shape=dict), version=2))
    store.update(lambda state: state.update(a=1))
    assert path.read_bytes() == blank + text % 1


def test_an_older_version_is_written_when_something_changes(path: Path) -> None:
    text = '{\n   "version": 1,\n   "a": 1\n}\n'
    path.write_text(text)
    codec = Versioned(JsonCodec(shape=dict), version=2, migrations={1: lambda document: {**document, "b": 0}})
    store = Store[dict[str, Any]](path, codec=codec)
    before = _identity(path)
    store.update(lambda state: None)
    assert _identity(path) == before
    store.update(lambda state: state.update(a=5))
    assert path.read_text() == '{\n   "version": 2,\n   "a": 5,\n   "b": 0\n}\n'


@pytest.mark.parametrize("indent", [None, 0, 3, "\t", " \t"])
def test_a_layout_that_is_asked_for_is_written_when_something_changes(path: Path, indent: int | str | None) -> None:
    found = LAYOUTS["byte order mark, CRLF, tabs"]
    path.write_bytes(found)
    store = Store[dict[str, Any]](path, codec=JsonCodec(shape=dict, indent=indent))
    before = _identity(path)
    store.update(lambda state: None)
    assert _identity(path) == before
    store.update(_increment)
    separators = (",", ":") if indent is None else None
    expected = json.dumps({**STATE, "count": 2}, indent=indent, ensure_ascii=False, separators=separators) + "\n"
    assert path.read_text() == expected


@pytest.mark.parametrize("indent", [-1, 1001, 2.0, True, "x", "\n", b" "])
def test_an_indent_that_is_none_is_refused_in_words(indent: Any) -> None:
    with pytest.raises(ValueError, match='indent must be "keep"') as caught:
        JsonCodec(indent=indent)
    assert repr(indent) in str(caught.value)


def test_a_new_document_is_one_line(path: Path) -> None:
    Store(path).update(lambda state: state.update(a=1, b=[]))
    assert path.read_bytes() == b'{"a":1,"b":[]}\n'


# -- codecs that know nothing of this ----------------------------------------------------------------------------------


def _read_lines(data: bytes) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in data.decode().splitlines())
    return dict(line.split("=") for line in lines if line)


def _write_lines(state: dict[str, str]) -> bytes:
    return "".join(f"{key}={value}\n" for key, value in sorted(state.items())).encode()


def test_nothing_changed_is_nothing_written_for_every_codec(path: Path) -> None:
    path.write_text("# settings\nb=2\na=1  # first\n")
    before = _identity(path)
    store = Store[dict[str, str]](path, codec=FunctionCodec(_write_lines, _read_lines))
    store.update(lambda state: None)
    store.update(lambda state: state.update(a="1"))
    assert _identity(path) == before
    store.update(lambda state: state.update(a="3"))
    assert path.read_text() == "a=3\nb=2\n"


class Upper(JsonCodec):
    """A class that inherits what a codec does for an update, and has a format of its own."""

    def encode(self, state: Any) -> bytes:
        return super().encode(state).upper()

    def decode(self, data: bytes) -> Any:
        return super().decode(data.lower())


class Delegating:
    def __init__(self) -> None:
        self._inner = JsonCodec()

    def encode(self, state: Any) -> bytes:
        return b"x" + self._inner.encode(state)

    def decode(self, data: bytes) -> Any:
        return self._inner.decode(data[1:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize(("codec", "expected"), [(Upper(), b'{"A":1}\n'), (Delegating(), b'x{"a":1}\n')])
def test_a_codec_around_another_one_is_not_passed_by(path: Path, codec: Any, expected: bytes) -> None:
    store = Store[dict[str, Any]](path, codec=codec)
    store.update(lambda state: state.update(a=0))
    store.update(lambda state: state.update(a=1))
    assert path.read_bytes() == expected


def test_an_encode_that_returns_text_is_named_with_its_store(path: Path) -> None:
    store = Store[Any](path, codec=FunctionCodec(json.dumps, json.loads))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not bytes: encode the text") as caught:
        store.update(lambda state: state.update(a=1))
    assert str(path) in str(caught.value)
    assert "FunctionCodec" in str(caught.value)
    assert not path.exists()
