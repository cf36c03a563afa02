"""Markers that cannot be read, put down or given back: told as what it is, and never in the way for good."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import filelock  # noqa: F401 - now, and not at the first attempt, when there may be no descriptor to read it with
import pytest

from contenders import Contender
from helpers.lines import Worker
from helpers.scarcity import no_descriptors
from helpers.waiting import until
from storewriter import LockTimeout, PerStoreWriterQueue
from storewriter._keys import sidecar
from storewriter.errors import NotARegularFile
from storewriter.locks import Flock, Lease, Marker, Strategy
from storewriter.locks._marker_file import look, marker_file

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
        until(lambda: PerStoreWriterQueue(lock=strategy).pending(path) == 1, "the waiter")
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
