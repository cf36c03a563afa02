"""A store whose name another store uses for a file of its own is refused: that store's first update would destroy it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import anyio
import pytest

from commitments import __main__ as commitments
from storewriter import AsyncStore, PerStoreWriterQueue, ReservedName, Store, run_exclusive
from storewriter.__main__ import run
from storewriter._files.keys import auxiliary

RESERVED = [
    (".c.json.lock", "the lock file"),
    (".c.json.tmp", "the temporary file"),
    (".c.json.tmp.0123456789abcdef0123456789abcdef", "the temporary file"),
    (".c.json.marker", "the marker"),
    (".c.json.marker.break.12.ab", "the marker"),
    (".c.json.guard", "the guard"),
    (".c.json.journal", "the journal"),
    (".c.json.backup-1", "a backup"),
    (".c.json.backup-27", "a backup"),
    (".c.json.backup-new", "a backup"),
    ("c.json.corrupt-1", "the corrupt document that was set aside"),
]

FREE = [
    "c.json", ".c.json", "c.json.lock", "c.json.tmp", ".lock", ".tmp", "..lock", ".c.json.tmp.swp", ".c.json.backup-0",
    ".c.json.backup-01", ".c.json.backup-", ".c.json.locks", "c.json.corrupt-0", "c.json.corrupt", ".corrupt-1",
    ".c.json.marker.json", ".c.json.tmp.0123456789abcdef", "lock", ".c-lock",
]  # fmt: skip


@pytest.mark.parametrize(("name", "use"), RESERVED)
def test_it_is_refused_before_anything_is_made(name: str, use: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for make in (Store[Any], AsyncStore[Any]):
        with pytest.raises(ReservedName, match=use) as caught:
            make(path)
        assert caught.value.store == str(tmp_path / "c.json")
        assert caught.value.path == str(path)
        assert caught.value.use == use
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        assert isinstance(caught.value, ValueError)
    with pytest.raises(ReservedName), PerStoreWriterQueue().turn(path):
        pass
    with pytest.raises(ReservedName):
        anyio.run(run_exclusive, path, lambda: None)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", FREE)
def test_other_names_are_free(name: str, tmp_path: Path) -> None:
    Store[Any](tmp_path / name).update(lambda state: state.update(a=1))
    assert Store[Any](tmp_path / name).read() == {"a": 1}


def test_every_file_that_a_store_makes_beside_its_document_has_a_reserved_name(tmp_path: Path) -> None:
    """So the list of names is complete: what is made by any strategy, with backups, in place and by a recovery."""
    seen: set[str] = set()

    def look(state: dict[str, Any]) -> None:
        seen.update(os.listdir(tmp_path))
        state["n"] = state.get("n", 0) + 1

    for lock in ("flock", "marker", "lease"):
        for in_place in (False, True):
            if lock == "lease" and in_place:
                continue
            path = tmp_path / "c.json"
            store = Store[Any](path, backups=2, in_place=in_place, queue=PerStoreWriterQueue(lock=lock))
            for _ in range(4):
                store.update(look)
            path.write_text("{")
            store.recover()
            seen.update(os.listdir(tmp_path))
    seen.discard("c.json")
    assert {".c.json.lock", ".c.json.marker", ".c.json.journal", ".c.json.backup-2", "c.json.corrupt-1"} <= seen
    assert [name for name in seen if auxiliary(str(tmp_path / name)) is None] == []


def test_a_link_that_leads_to_such_a_file_is_no_store_either(tmp_path: Path) -> None:
    Store[Any](tmp_path / "c.json").update(lambda state: state.update(a=1))
    (tmp_path / "innocent.json").symlink_to(".c.json.lock")
    with pytest.raises(ReservedName):
        Store[Any](tmp_path / "innocent.json")


def test_a_store_whose_path_becomes_such_a_link_is_refused_at_its_next_update(tmp_path: Path) -> None:
    store = Store[Any](tmp_path / "later.json")
    store.update(lambda state: state.update(a=1))
    (tmp_path / "later.json").unlink()
    (tmp_path / "later.json").symlink_to(".later.json.lock")
    before = (tmp_path / ".later.json.lock").read_bytes()
    with pytest.raises(ReservedName):
        store.update(lambda state: state.update(a=2))
    assert (tmp_path / ".later.json.lock").read_bytes() == before


def test_the_command_says_which_store_is_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", str(tmp_path / ".c.json.lock")]) in (2, 3)
    assert f"the lock file of the store {tmp_path / 'c.json'}" in " ".join(capsys.readouterr().err.split())


def test_the_adapter_of_one_file_says_it_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`persistent_dedupe` keeps a folder of files that end with `.json`, which no store uses beside another."""
    assert commitments.run(["list", "--store", str(tmp_path / ".c.json.backup-1")]) in (2, 3)
    assert f"a backup of the store {tmp_path / 'c.json'}" in " ".join(capsys.readouterr().err.split())
