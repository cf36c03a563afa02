"""`storewriter copy`: byte for byte, in a turn on both, and refusing to overwrite."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storewriter import PerStoreWriterQueue, Store, StoreCorrupt
from storewriter.codecs import FunctionCodec, JsonCodec
from storewriter.errors import RecoveryRefused


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "storewriter", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("data", [b"", b'{"a" : 1e2}\r\n', bytes(range(256)) * 5000])
def test_a_document_is_copied_byte_for_byte_whatever_it_holds(tmp_path: Path, data: bytes) -> None:
    source, target = tmp_path / "a.json", tmp_path / "b.json"
    source.write_bytes(data)
    done = run("copy", source, target)
    assert (done.returncode, done.stderr) == (0, f"storewriter: {len(data)} bytes copied to {target}\n")
    assert target.read_bytes() == source.read_bytes() == data


def test_another_document_is_overwritten_only_if_asked_for(tmp_path: Path) -> None:
    source, target = tmp_path / "a.json", tmp_path / "b.json"
    source.write_bytes(b"{}")
    target.write_bytes(b"[]")
    done = run("copy", source, target)
    assert (done.returncode, target.read_bytes()) == (1, b"[]")
    assert "has a document of its own; nothing was copied (--replace overwrites it)" in done.stderr
    assert run("copy", "--replace", source, target).returncode == 0
    assert target.read_bytes() == b"{}"
    assert run("copy", source, target).returncode == 0, "the same document is no conflict"


def test_what_cannot_be_copied_is_said(tmp_path: Path) -> None:
    source = tmp_path / "a.json"
    done = run("copy", source, tmp_path / "b.json")
    assert (done.returncode, done.stderr) == (3, f"storewriter: {source} does not exist; nothing was copied\n")
    assert not (tmp_path / "b.json").exists()
    done = run("copy", source, source)
    assert (done.returncode, "the same store" in done.stderr) == (2, True)


@pytest.mark.parametrize("which", ["a.json", "b.json"])
def test_both_stores_are_locked(tmp_path: Path, which: str) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    with PerStoreWriterQueue().turn(tmp_path / which):
        done = run("copy", "--timeout", "100ms", tmp_path / "a.json", tmp_path / "b.json")
    assert (done.returncode, f"waiting for the lock on {tmp_path / which}" in done.stderr) == (4, True)


def test_two_copies_in_opposite_directions_do_not_wait_for_each_other(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_bytes(b"{}")
    second.write_bytes(b"{}")
    done: list[int] = []
    copies = [
        threading.Thread(target=lambda pair=pair: done.append(run("copy", *pair).returncode))
        for pair in [(first, second), (second, first)] * 3
    ]
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join()
    assert done == [0] * 6


def test_a_tombstone_names_the_new_place_to_those_who_use_the_old_one(tmp_path: Path) -> None:
    source, target = tmp_path / "a.json", tmp_path / "b.json"
    Store(source, backups=2).update(lambda state: state.update(a=1))
    Store(source, backups=2).update(lambda state: state.update(a=2))
    assert run("copy", "--tombstone", source, target).returncode == 0
    assert json.loads(target.read_text()) == {"a": 2}
    assert source.read_text() == f"@storewriter: this store has moved to {target}\n"

    for codec in (JsonCodec(), JsonCodec(shape=dict), FunctionCodec(encode=lambda state: b"", decode=json.loads)):
        store: Store[object] = Store(source, codec=codec, on_corrupt="restore", backups=2)
        for attempt in (store.read, lambda store=store: store.update(print)):
            with pytest.raises(StoreCorrupt, match=f"this store has moved to {target}; open it there") as caught:
                attempt()
            assert caught.value.may_be_intact
        with pytest.raises(RecoveryRefused, match="has moved to"):
            store.recover()
    assert source.read_text().startswith("@storewriter"), "no backup took its place"
