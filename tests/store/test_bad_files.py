"""Bad input never empties, resets or half-writes a file, and never makes a caller wait."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.children import child
from storewriter import AsyncStore, NotARegularFile, ReadOnlyStore, Store, StoreCorrupt, events
from storewriter.codecs import DecodeError, FunctionCodec

BAD = {
    "empty": (b"", 1, 1),
    "only white space": (b"  \n\n", None, None),
    "truncated": (b'{"a": [1, 2', 1, None),
    "truncated on a later line": (b'{\n  "a": 1,\n  "b": tru', 3, 8),
    "not UTF-8": (b'{"a":\n "\xff\xfe"}', 2, 3),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), 1, 1),
    "an array where an object belongs": (b"[1, 2]\n", 1, 1),
    "a string where an object belongs": (b'"text"', 1, 1),
    "null": (b"null", 1, 1),
    "NaN": (b'{"a": NaN}', 1, None),
    "infinite": (b'{"a": 1e999}', 1, None),
    "a key given twice": (b'{"a": 1,\n "a": 2}', None, None),
    "a key given twice deep inside": (b'{"x": [{"a": 1, "a": 1}]}', None, None),
    "two documents": (b'{"a": 1}\n{"b": 2}\n', 2, 1),
    "a trailing comma": (b'{"a": 1,}', 1, None),
    "a comment": (b'{"a": 1} // hello', 1, 10),
    "control characters": (b'{"a": "x\ny"}', 1, None),
    "NUL bytes": (b"\0" * 64, 1, 1),
    "NUL bytes at the end": (b'{"a": 1}' + b"\0" * 64, 1, None),
    "nested too deeply": (b"[" * 100_000 + b"]" * 100_000, None, None),
    "too many digits": (b'{"a": ' + b"9" * 5000 + b"}", None, None),
}


def attempts(path: Path) -> list[Callable[[], Any]]:
    store = Store(path)

    def transaction() -> None:
        with store.transaction():
            raise AssertionError

    return [
        store.read,
        store.read_versioned,
        lambda: store.update(lambda state: state.update(new=1)),
        lambda: store.transform(lambda state: {"new": 1}),
        lambda: store.update(lambda state: state.update(new=1), expect="absent"),
        transaction,
    ]


@pytest.mark.parametrize("what", list(BAD))
def test_a_corrupt_document_is_an_error_and_stays_as_it_is(path: Path, what: str, run: Any) -> None:
    data, line, column = BAD[what]
    path.write_bytes(data)
    before = path.stat()

    async def in_tasks() -> None:
        store = AsyncStore(path)
        with pytest.raises(StoreCorrupt):
            await store.read()
        with pytest.raises(StoreCorrupt):
            await store.update(lambda state: state.update(new=1))
        with pytest.raises(StoreCorrupt):
            async with store.transaction():
                raise AssertionError

    for attempt in attempts(path):
        with pytest.raises(StoreCorrupt) as caught:
            attempt()
        error = caught.value
        assert error.path == str(path)
        assert str(path) in str(error)
        assert error.reason in str(error)
        if line is not None:
            assert error.line == line, error
            assert f"line {line}" in str(error)
        if column is not None:
            assert error.column == column, error
    run(in_tasks)
    assert path.read_bytes() == data
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert sorted(os.listdir(path.parent)) == [".state.json.lock", "state.json"]


def test_a_corrupt_document_that_is_repaired_can_be_used_again(path: Path) -> None:
    store = Store(path)
    store.update(lambda state: state.update(a=1))
    good = path.read_bytes()
    path.write_bytes(good[:4])
    with pytest.raises(StoreCorrupt):
        store.update(lambda state: state.update(b=1))
    path.write_bytes(good)
    store.update(lambda state: state.update(b=1))
    assert store.read() == {"a": 1, "b": 1}


def test_a_corrupt_document_is_an_event(path: Path) -> None:
    path.write_bytes(b"{")
    seen: list[events.Event] = []
    unsubscribe = events.subscribe(seen.append)
    with pytest.raises(StoreCorrupt):
        Store(path).read()
    unsubscribe()
    assert [(type(event), event.path) for event in seen] == [(events.CorruptStore, str(path))]


def test_a_byte_order_mark_is_accepted_and_stays(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    store = Store(path)
    assert store.read() == {"a": 1}
    store.update(lambda state: state.update(b=1))
    assert path.read_bytes() == b'\xef\xbb\xbf{"a": 1, "b": 1}'


def _make_fifo(path: Path) -> None:
    os.mkfifo(path)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("make", [Path.mkdir, _make_fifo, _make_socket], ids=["folder", "FIFO", "socket"])
def test_what_is_not_a_regular_file_is_refused_at_once(path: Path, make: Callable[[Path], None], run: Any) -> None:
    make(path)
    kind = path.lstat().st_mode

    async def in_tasks() -> None:
        for call in (lambda: AsyncStore(path).read(), lambda: AsyncStore(path).update(lambda state: state.update(a=1))):
            with pytest.raises(OSError, match=str(path)):
                await call()

    for attempt in attempts(path):
        with pytest.raises(OSError, match=str(path)):
            attempt()
    run(in_tasks)
    assert path.lstat().st_mode == kind


def test_a_folder_says_what_it_is(path: Path) -> None:
    path.mkdir()
    with pytest.raises(NotARegularFile, match="folder") as caught:
        Store(path).read()
    assert caught.value.kind == "a folder"


def test_a_device_is_refused_and_not_read() -> None:
    with pytest.raises(NotARegularFile):
        Store("/dev/zero").read()


def test_a_link_to_itself_is_an_error(path: Path) -> None:
    path.symlink_to(path)
    for attempt in attempts(path):
        with pytest.raises(OSError, match=path.name):
            attempt()


def test_a_file_where_a_folder_belongs_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    store = Store(tmp_path / "file" / "state.json")
    with pytest.raises(OSError, match="file"):
        store.update(lambda state: state.update(a=1))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_read_only_document_is_refused_and_stays(path: Path) -> None:
    store = Store(path)
    store.update(lambda state: state.update(a=1))
    path.chmod(0o444)
    before = path.read_bytes()
    assert store.read() == {"a": 1}
    with pytest.raises(ReadOnlyStore, match="read-only") as caught:
        store.update(lambda state: state.update(b=1))
    assert isinstance(caught.value, PermissionError)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (before, 0o444)
    assert sorted(os.listdir(path.parent)) == [".state.json.lock", "state.json"]


_AS_NOBODY = """
store = Store(path + ".warm-up")
store.update(lambda state: state.update(a=1))  # whatever is imported late is imported now
os.unlink(path + ".warm-up")
os.chmod(os.path.dirname(path), int(args[0], 8))
os.setgid(65534); os.setuid(65534)
for call in (Store(path).read, lambda: Store(path).update(lambda state: state.update(new=1))):
    try:
        call()
    except OSError as error:
        say(type(error).__name__, path in str(error) or ".state.json.lock" in str(error))
    else:
        say("no error")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody without permission")
@pytest.mark.parametrize("mode", ["755", "700"], ids=["private file", "private folder"])
def test_without_permission_the_document_stays_and_the_error_names_it(mode: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        path = Path(folder) / "state.json"
        Store(path).update(lambda state: state.update(a=1))
        before = path.read_bytes()
        with child(_AS_NOBODY, path, mode) as nobody:
            nobody.expect("PermissionError True")
            nobody.expect("PermissionError True")
            nobody.finish()
        assert path.read_bytes() == before


def test_a_place_that_is_half_known_is_not_called_none(path: Path) -> None:
    def decode(data: bytes) -> object:
        raise DecodeError("odd", line=3)

    path.write_text("x")
    with pytest.raises(StoreCorrupt, match=r": line 3: odd\."):
        Store[object](path, codec=FunctionCodec(lambda state: b"", decode)).read()  # type: ignore[arg-type]
