"""Markers that cannot be read, put down or given back: told as what it is, and never in the way for good."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock  # noqa: F401 - without descriptors there is no importing it either
import pytest

from contenders import Contender
from helpers.lines import Worker
from helpers.scarcity import no_descriptors
from helpers.waiting import until
from storewriter import LockTimeout, PerStoreWriterQueue, events
from storewriter._files.keys import sidecar
from storewriter.errors import NotARegularFile
from storewriter.locks import Flock, Lease, Marker, Strategy, _marker_attempt
from storewriter.locks._marker_file import look, marker_file
from storewriter.locks._marker_hold import MarkerHold

Start = Callable[[], Contender]

EXISTENCE = pytest.mark.parametrize("strategy", [Marker(), Lease(stale=60.0)], ids=lambda strategy: strategy.name)


def in_words(strategy: Strategy) -> str:
    """How a contender is told."""
    return "lease:60" if strategy.name == "lease" else strategy.name


@EXISTENCE
def test_a_folder_in_the_markers_place_is_refused_at_once_and_named(strategy: Strategy, path: str) -> None:
    os.mkdir(marker_file(path))
    with pytest.raises(NotARegularFile, match=r"\.state\.json\.marker.*is a folder.*Move it away") as caught:
        strategy.attempt(path, None)
    assert caught.value.path == path
    os.rmdir(marker_file(path))
    hold = strategy.attempt(path, None)
    assert hold is not None
    hold.release()


@EXISTENCE
def test_a_name_that_is_too_long_for_its_marker_is_refused_with_the_reason(strategy: Strategy, path: str) -> None:
    long = str(Path(path).with_name("s" * 248))
    with pytest.raises(OSError, match=r"longer name than its file system allows.*shorter one") as caught:
        strategy.attempt(long, None)
    assert caught.value.errno == errno.ENAMETOOLONG
    assert look(long) is None
    hold = Flock().attempt(long, None)
    assert hold is not None
    hold.release()


@EXISTENCE
def test_without_descriptors_the_error_says_so(strategy: Strategy, path: str, contender: Start) -> None:
    assert contender().ask("attempt", in_words(strategy), path)
    with no_descriptors(), pytest.raises(OSError) as caught:
        strategy.attempt(path, None)
    assert caught.value.errno == errno.EMFILE
    assert not isinstance(caught.value, PermissionError)
    assert "Too many open files" in str(caught.value)


def is_waited_for(path: str) -> bool:
    """Whether a caller in this process has found the store held."""
    return any(key[0] == path and known.is_waiting for key, known in list(_marker_attempt._contenders.items()))


@EXISTENCE
def test_a_waiter_survives_a_moment_without_descriptors(
    strategy: Strategy, path: str, contender: Start, caplog: pytest.LogCaptureFixture
) -> None:
    holder = contender()
    assert holder.ask("attempt", in_words(strategy), path)

    def ask() -> None:
        with PerStoreWriterQueue(lock=strategy, warn_after=None).turn(path):
            pass

    with caplog.at_level(logging.WARNING, "storewriter"):
        worker = Worker(ask)
        until(lambda: worker.error or is_waited_for(path), "the waiter")
        with no_descriptors():
            until(lambda: worker.error or caplog.records, "an attempt without descriptors")
            assert holder.ask("release", path) is None
        worker.result()
    assert ["goes on, although" in record.message for record in caplog.records] == [True], "told once"


@EXISTENCE
def test_a_waiter_without_descriptors_waits_until_its_deadline_and_no_longer(
    strategy: Strategy, path: str, contender: Start, caplog: pytest.LogCaptureFixture
) -> None:
    assert contender().ask("attempt", in_words(strategy), path)
    assert strategy.attempt(path, None) is None
    with no_descriptors(), pytest.raises(LockTimeout):
        PerStoreWriterQueue(lock=strategy, timeout=0.2).turn(path).__enter__()
    assert os.path.exists(sidecar(path))


@EXISTENCE
def test_a_release_without_descriptors_leaves_nothing_behind(strategy: Strategy, path: str, contender: Start) -> None:
    other = contender()
    hold = strategy.attempt(path, None)
    assert hold is not None
    with no_descriptors():
        hold.release()
    assert not os.path.exists(marker_file(path))
    assert other.ask("attempt", in_words(strategy), path)


def cannot(call: str, monkeypatch: pytest.MonkeyPatch, owner: object) -> None:
    """From now on a call fails, as in a folder that may not be written or on a disk that is broken."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(owner, call, refuse)


@EXISTENCE
def test_a_marker_that_cannot_be_removed_is_given_back_all_the_same(
    strategy: Strategy,
    path: str,
    contender: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = contender()
    hold = strategy.attempt(path, None)
    assert hold is not None
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING, "storewriter"):
        cannot("unlink", broken, Path)
        hold.release()
    assert "could not be removed" in caplog.text
    assert "filelock-lease" not in str(threading.enumerate()), "its heart beats on"
    seen = look(path)
    assert seen is not None
    assert seen.owner is None
    assert other.ask("attempt", in_words(strategy), path), "at once, and in another process"


@EXISTENCE
def test_a_release_that_fails_although_no_marker_stays_says_so(
    strategy: Strategy, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was given back in it: the error is not passed over as one that has been dealt with."""
    hold = strategy.attempt(path, None)
    assert isinstance(hold, MarkerHold)
    release = hold.lock.release

    def fail_at_the_end(*args: Any, **options: Any) -> None:
        release(*args, **options)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(hold.lock, "release", fail_at_the_end)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            hold.release()
    assert look(path) is None
    again = strategy.attempt(path, None)
    assert again is not None
    again.release()


@EXISTENCE
def test_a_marker_that_this_process_left_behind_is_taken_over_by_it_at_once(
    strategy: Strategy, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[events.Event] = []
    hold = strategy.attempt(path, None)
    assert hold is not None
    with monkeypatch.context() as broken:
        cannot("unlink", broken, Path)
        cannot("pwrite", broken, os)
        with pytest.raises(PermissionError):
            hold.release()
    seen = look(path)
    assert seen is not None
    assert seen.owner is not None
    assert seen.owner.pid == os.getpid()
    stop = events.subscribe(told.append)
    again = strategy.attempt(path, None)
    stop()
    assert again is not None
    assert ["this very process" in event.reason for event in told if isinstance(event, events.LockReclaimed)] == [True]
    again.check()
    again.release()
    assert look(path) is None


def test_a_hold_that_is_reached_by_another_path_was_not_left_behind(path: str) -> None:
    """By its marker's inode, not by its name: a bind mount, or a link above the folder, leads here too."""
    folder = Path(path).parent
    alias = folder.with_name("alias")
    alias.symlink_to(folder)
    hold = Lease(stale=60.0).attempt(path, None)
    assert hold is not None
    assert Lease(stale=60.0).attempt(str(alias / "state.json"), None) is None
    hold.check()
    hold.release()


def test_a_marker_that_is_just_being_put_down_was_not_left_behind(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no guard: it is at its path before its hold has opened it."""
    folder = Path(path).parent
    alias = folder.with_name("alias")
    alias.symlink_to(folder)

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    opened = _marker_attempt._open_own

    def open_late(hold: MarkerHold) -> bool:
        monkeypatch.setattr(_marker_attempt, "_open_own", opened)
        other = Worker(lambda: Lease(stale=60.0).attempt(str(alias / "state.json"), None))
        assert other.result() is None
        return opened(hold)

    monkeypatch.setattr(_marker_attempt, "_open_own", open_late)
    hold = Lease(stale=60.0).attempt(path, None)
    assert hold is not None
    hold.check()
    hold.release()
    assert look(path) is None
