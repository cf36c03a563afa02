"""Arbitrary bytes where a document, a lock file or a marker belongs, and arbitrary names: no crash, no hang, no reset."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storewriter import LockTimeout, PerStoreWriterQueue, Store, StoreCorrupt, StoreWriterError
from storewriter.locks import Lease, Marker

SOME = settings(max_examples=150)
FEW = settings(max_examples=40)

PIECES = [
    b"{",
    b"}",
    b'"',
    b"[",
    b",",
    b":",
    b"\\",
    b"\\u0000",
    b"1e999",
    b"NaN",
    b"null",
    b"\xef\xbb\xbf",
    b"\0",
    b"\xff",
]
DOCUMENTS = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
RECORD = {"pid": 1, "host": "h", "start": "5", "boot_id": "b", "token": "0" * 32, "strategy": "flock", "label": None}
RECORDS = st.one_of(
    st.binary(max_size=300),
    st.dictionaries(st.sampled_from(list(RECORD)), st.one_of(st.none(), st.integers(), st.text(max_size=20))).map(
        lambda record: json.dumps(record).encode()
    ),
    st.lists(st.one_of(st.integers(0, 1 << 40), st.text("abc-\0 ", max_size=8)), max_size=8).map(
        lambda lines: "\n".join(map(str, lines)).encode()
    ),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A new folder for each example. They go at the end: a waiting thread may still look into one that is over."""
    base = tmp_path_factory.mktemp("fuzz")
    return lambda: Path(tempfile.mkdtemp(dir=base))


def add(state: Any) -> None:
    state["n"] = 1


@SOME
@given(DOCUMENTS)
@example(b"")
@example(b"\0" * 64)
@example(b'{"n": 1}')
def test_a_document_is_understood_or_stays_as_it_is(folders: Callable[[], Path], data: bytes) -> None:
    place = folders()
    path = place / "state.json"
    path.write_bytes(data)
    store: Store[Any] = Store(path)
    try:
        before = store.read()
    except StoreCorrupt:
        with pytest.raises(StoreCorrupt):
            store.update(add)
        assert path.read_bytes() == data
    else:
        store.update(add)
        assert store.read() == {**before, "n": 1}


@SOME
@given(RECORDS)
def test_a_lock_file_of_any_content_loses_no_update(folders: Callable[[], Path], data: bytes) -> None:
    """It is locked, not read: what stands in it can only change what an error says."""
    place = folders()
    path = place / "state.json"
    path.write_text('{"old": 1}')
    (place / ".state.json.lock").write_bytes(data)
    store: Store[Any] = Store(path, timeout=5)
    try:
        store.update(add)
    except StoreWriterError:  # another program's file, or another strategy's
        assert path.read_text() == '{"old": 1}'
        assert (place / ".state.json.lock").read_bytes() == data
    else:
        assert store.read() == {"old": 1, "n": 1}


@FEW
@given(RECORDS, st.sampled_from([Marker(), Lease(stale=60.0)]))
def test_a_marker_of_any_content_is_waited_for_or_taken_over(
    folders: Callable[[], Path], data: bytes, strategy: Any
) -> None:
    place = folders()
    path = place / "state.json"
    path.write_text('{"old": 1}')
    (place / ".state.json.marker").write_bytes(data)
    store: Store[Any] = Store(path, queue=PerStoreWriterQueue(lock=strategy), timeout=0.02)
    try:
        store.update(add)
    except (LockTimeout, StoreWriterError):
        assert path.read_text() == '{"old": 1}'
    else:
        assert store.read() == {"old": 1, "n": 1}


NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.binary(min_size=1, max_size=60).map(lambda name: name.replace(b"/", b"-").replace(b"\0", b"-")).map(os.fsdecode),
    st.sampled_from(["-rf", "--help", "\n", "a\nb", " ", "...", "~", "$HOME", "%s", "{name}", "x" * 240, "x" * 255]),
)


@SOME
@given(NAMES)
def test_a_store_of_any_name_works_or_says_what_is_wrong_with_it(folders: Callable[[], Path], name: str) -> None:
    if name in (".", ".."):
        return
    place = folders()
    path = place / name
    store: Store[Any] = Store(path)
    try:
        store.update(add)
    except (StoreWriterError, OSError) as error:
        assert len(os.fsencode(name)) > 240 or "reserved" in str(error) or "name" in str(error), error
        assert not path.exists()
    else:
        assert json.loads(path.read_bytes()) == {"n": 1}
        assert Store[Any](path).read() == {"n": 1}
