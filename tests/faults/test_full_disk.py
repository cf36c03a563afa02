"""A real disk that is really full."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storewriter import Store

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount"),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], capture_output=True, check=False, text=True
    )
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    yield disk
    # Lazily: a store may keep a large document open for a moment after its last update.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("options", [{}, {"durability": "process"}, {"backups": 2}, {"in_place": True}], ids=str)
def test_on_a_full_disk_the_old_document_stands_and_the_next_update_works_once_there_is_room(
    small_disk: Path, options: dict[str, Any]
) -> None:
    path = small_disk / "state.json"
    store = Store[Any](path, **options)
    store.update(lambda state: state.update(text="x" * 50_000))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    before = path.read_bytes()
    for _ in range(3):
        with pytest.raises(OSError, match="No space left") as caught:
            store.update(lambda state: state.update(text="y" * 60_000))
        assert caught.value.errno == errno.ENOSPC
        assert str(path) in str(caught.value)
        assert path.read_bytes() == before
        assert store.read() == {"text": "x" * 50_000}
        assert not list(small_disk.glob(".*.tmp"))
    filler.unlink()
    store.update(lambda state: state.update(text="z" * 60_000))
    assert Store[Any](path, **options).read() == {"text": "z" * 60_000}


def test_a_disk_that_fills_up_in_the_middle_of_an_in_place_write_gives_the_old_document_back(small_disk: Path) -> None:
    path = small_disk / "state.json"
    store = Store[Any](path, in_place=True)
    store.update(lambda state: state.update(text="x" * 10_000))
    before = path.read_bytes()
    with (small_disk / "filler").open("wb", buffering=0) as file:
        # Room for the journal, which holds the old document, and not for the new one.
        file.write(b"\0" * 100_000)
        with pytest.raises(OSError, match="the old document was put back") as caught:
            store.update(lambda state: state.update(text="y" * 200_000))
        assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert store.read() == {"text": "x" * 10_000}
    store.update(lambda state: state.update(text="z" * 20_000))
    assert store.read() == {"text": "z" * 20_000}
