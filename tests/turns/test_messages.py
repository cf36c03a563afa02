"""The texts that waiters get: the log record after `warn_after`, the timeout, and the errors that refuse a ticket."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from helpers.children import HOLDER, child
from helpers.lines import Worker, held
from helpers.waiting import until
from storewriter import Backoff, LockTimeout, Owner, PerStoreWriterQueue, QueueFull
from storewriter.locks import Hold


class Taken:
    """A strategy whose lock is never free."""

    name = "taken"
    is_quick = True

    def __init__(self, owner: Owner | None) -> None:
        self._owner = owner

    def attempt(self, path: str, label: str | None) -> Hold | None:
        return None

    def owner(self, path: str) -> Owner | None:
        return self._owner


def refused(queue: PerStoreWriterQueue, path: Path, **options: Any) -> str:
    with pytest.raises(LockTimeout) as caught, queue.turn(path, **options):
        pass
    return str(caught.value)


def test_a_timeout_says_how_long_for_which_lock_who_holds_it_and_what_to_do(path: Path) -> None:
    with child(HOLDER, path, "nightly") as holder:
        holder.expect("holding")
        text = refused(PerStoreWriterQueue(timeout=0.05), path)
        assert text.startswith(f"timed out after 0.05 s waiting for the lock on {path}: held by pid {holder.pid} ")
        assert re.search(
            r", which is alive; nobody ahead in this process; lock file \S+/\.state\.json\.lock\. Wait", text
        )
        assert text.endswith(f"or look at what pid {holder.pid} does; its lock ends with it.")
        holder.tell()
        holder.finish()


def test_a_timeout_behind_a_holder_of_this_process(queue: PerStoreWriterQueue, path: Path) -> None:
    with held(queue, path):
        text = refused(queue, path, timeout=0.05)
    assert "; 1 ahead in this process; " in text
    assert "The holder is in this same process" in text


def test_a_timeout_whose_holder_is_not_known(path: Path) -> None:
    text = refused(PerStoreWriterQueue(lock=Taken(None), timeout=0.05), path)
    assert f"timed out after 0.05 s waiting for the lock on {path}: its holder is not known; nobody ahead" in text


def test_attempts_that_are_used_up(path: Path) -> None:
    backoff = Backoff(retries=2)
    text = refused(PerStoreWriterQueue(lock=Taken(None), backoff=backoff), path)
    assert text.startswith(f"gave up after 3 attempts, waiting for the lock on {path}: ")


def test_the_warning_says_for_how_long_and_for_whom_it_has_been_waiting(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = Taken(Owner(pid=1, host="elsewhere"))
    refused(PerStoreWriterQueue(lock=taken, timeout=0.2, warn_after=0.01), path, label="digest")
    (record,) = [each for each in caplog.records if "has been waiting" in each.getMessage()]
    expected = r'has been waiting for (\S+) for \d\.\d s \("digest"\): held by pid 1 on elsewhere; nobody ahead in this process'
    assert re.fullmatch(expected, record.getMessage()), record.getMessage()


def test_the_warning_counts_those_ahead(
    queue: PerStoreWriterQueue, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with held(queue, path):
        waiter = Worker(lambda: refused(PerStoreWriterQueue(timeout=0.2, warn_after=0.01), path))
        until(lambda: "; 1 ahead in this process" in caplog.text)
        waiter.result()


def test_a_full_queue(path: Path) -> None:
    queue = PerStoreWriterQueue(max_pending=0)
    with held(queue, path), pytest.raises(QueueFull) as caught, queue.turn(path):
        pass
    assert str(caught.value) == (
        f"0 callers already wait for {path}, and max_pending is 0: try again later, or ask more slowly."
    )
