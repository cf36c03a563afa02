"""An update that finds the document to say what it wants said is acknowledged only if that survives a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from storewriter import AsyncStore, CommitUncertain, Store
from storewriter._files import replace
from storewriter.testing import Fault, Recorder, intercepted


def say_done(state: dict[str, Any]) -> None:
    state["done"] = True


def flushes(recorder: Recorder) -> list[str]:
    return [name for name in recorder.names() if name in ("flush", "flush_folder", "rename")]


@pytest.mark.parametrize("face", ["plain", "asyncio", "trio"])
@pytest.mark.parametrize("before", ["a flush that failed", "a writer that did not flush", "another process"])
def test_what_was_not_flushed_is_flushed_before_it_is_acknowledged(path: Path, before: str, face: str) -> None:
    path.write_text("{}")  # the first document in a folder would flush the folders above, too
    if before == "a flush that failed":
        broken = intercepted(Fault(OSError(errno.EIO, os.strerror(errno.EIO)), name="flush_folder"))
        with pytest.raises(CommitUncertain):
            Store(path, system=broken).update(say_done)
    elif before == "a writer that did not flush":
        Store(path, durability="process").update(say_done)
    else:
        Store(path).update(say_done)
        replace._flushed.clear()  # what a process knows that has just started
    recorder = Recorder()
    system = intercepted(recorder)

    async def main() -> None:
        await AsyncStore(path, system=system).update(say_done)

    if face == "plain":
        Store(path, system=system).update(say_done)
    else:
        anyio.run(main, backend=face)
    again = ["flush", "rename", "flush_folder"] if before == "a flush that failed" else ["flush", "flush_folder"]
    assert flushes(recorder) == again
    recorder.forget()
    Store(path, system=system).update(say_done)
    assert flushes(recorder) == []


def test_what_this_process_has_flushed_is_not_flushed_again(path: Path) -> None:
    recorder = Recorder()
    store = Store(path, system=intercepted(recorder))
    store.update(say_done)
    recorder.forget()
    store.update(say_done)
    with store.transaction() as tx:
        say_done(tx.state)
    assert flushes(recorder) == []


def test_another_file_that_came_into_its_place_is_flushed(path: Path) -> None:
    recorder = Recorder()
    store = Store(path, system=intercepted(recorder))
    store.update(say_done)
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)
    recorder.forget()
    store.update(say_done)
    assert flushes(recorder) == ["flush", "flush_folder"]


def test_durability_process_never_flushes_it(path: Path) -> None:
    recorder = Recorder()
    store = Store(path, durability="process", system=intercepted(recorder))
    store.update(say_done)
    store.update(say_done)
    assert "flush" not in recorder.names()


@pytest.mark.parametrize("name", ["flush", "flush_folder"])
def test_a_document_whose_flush_has_failed_is_written_anew_before_it_is_acknowledged(path: Path, name: str) -> None:
    """A kernel reports a failed write-back once: a second flush of the same file would succeed, and prove nothing."""
    Store(path, durability="process").update(say_done)
    fault = Fault(OSError(errno.EIO, os.strerror(errno.EIO)), name=name)
    store = Store(path, system=intercepted(fault))
    with pytest.raises(CommitUncertain, match="already says"):
        store.update(say_done)
    recorder = Recorder()
    Store(path, system=intercepted(recorder)).update(say_done)
    assert flushes(recorder) == ["flush", "rename", "flush_folder"]
    assert store.read() == {"done": True}
    recorder.forget()
    Store(path, system=intercepted(recorder)).update(say_done)
    assert flushes(recorder) == []
