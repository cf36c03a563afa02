"""A descriptor is neither lost by an interrupt nor closed twice (`storewriter._platform.descriptors`)."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

import pytest

from helpers.interrupts import interrupted, points
from helpers.waiting import until
from storewriter._platform import descriptors
from storewriter._platform.descriptors import Descriptor


def inside(code: CodeType) -> bool:
    return code.co_filename in (descriptors.__file__, __file__)


def open_here(folder: Path) -> list[str]:
    found: list[str] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # that of the listing itself
        if target.startswith(f"{folder}/"):
            found.append(target)
    return found


def open_and_close(file: Path, keep: Callable[[Descriptor], object]) -> None:
    descriptor = Descriptor()
    keep(descriptor)
    try:
        descriptor.open(os.open, str(file), os.O_RDWR | os.O_CREAT)
    finally:
        descriptor.close()


@pytest.mark.parametrize("kept", [True, False], ids=["still referred to", "lost"])
def test_wherever_an_interrupt_arrives_nothing_stays_open_or_is_closed_twice(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second close of the number would close another owner's file: here it is EBADF, which is raised or reported."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    owners: list[Descriptor] = []

    def keep(owner: Descriptor) -> None:
        if kept:
            owners.append(owner)

    def operation() -> None:
        open_and_close(tmp_path / "file", keep)

    tried = points(operation, inside)
    fired = 0
    for point in tried:
        landing = interrupted(operation, point)
        fired += landing.kind is not None
        assert landing.kind in ("Interrupt", None), landing
        for owner in owners:
            owner.close()  # as the one who owns it does, when it is repeated
        owners.clear()
        assert open_here(tmp_path) == [], landing
        assert not unraisable, landing
        assert not [one for one in descriptors.all_open() if one.fd < 0]
    if sys.version_info < (3, 12):  # the helper knows where that version looks for signals
        assert fired >= len(tried) - 1 > 3


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer")
def test_a_storm_of_signals_loses_none(tmp_path: Path) -> None:
    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        for number in range(500):
            with pytest.raises(Alarm):
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + number % 97 * 1e-6)
                while True:
                    open_and_close(tmp_path / "file", bool)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not open_here(tmp_path)


def test_a_lost_one_is_closed_at_once(tmp_path: Path) -> None:
    descriptor = Descriptor()
    descriptor.open(os.open, str(tmp_path / "file"), os.O_RDWR | os.O_CREAT)
    assert open_here(tmp_path)
    assert descriptor in descriptors.all_open()
    before = set(map(id, descriptors.all_open()))
    lost = id(descriptor)
    del descriptor
    assert not open_here(tmp_path)
    assert set(map(id, descriptors.all_open())) == before - {lost}


def test_one_that_is_lost_in_a_cycle_is_closed_by_the_collector(tmp_path: Path) -> None:
    class Owner(Descriptor):
        pass  # with a `__dict__`, so that it can refer to itself

    owner = Owner()
    owner.itself = owner  # type: ignore[attr-defined]
    owner.open(os.open, str(tmp_path / "file"), os.O_RDWR | os.O_CREAT)
    del owner
    gc.collect()
    assert not open_here(tmp_path)


def test_it_can_be_opened_again_and_an_error_leaves_it_closed(tmp_path: Path) -> None:
    descriptor = Descriptor()
    with pytest.raises(FileNotFoundError):
        descriptor.open(os.open, str(tmp_path / "none"), os.O_RDONLY)
    assert not descriptor.is_open
    descriptor.close()
    for _ in range(2):
        descriptor.open(os.open, str(tmp_path / "file"), os.O_RDWR | os.O_CREAT, 0o640)
        assert descriptor.is_open
        assert open_here(tmp_path) == [str(tmp_path / "file")]
        descriptor.close()
        assert not descriptor.is_open
    assert not open_here(tmp_path)


def test_of_two_threads_one_closes_it(tmp_path: Path) -> None:
    """The number may be another file's right after the first close."""
    for _ in range(200):
        descriptor = Descriptor()
        descriptor.open(os.open, str(tmp_path / "file"), os.O_RDWR | os.O_CREAT)
        errors: list[OSError] = []
        barrier = threading.Barrier(2)

        def close(descriptor: Descriptor = descriptor, errors: list[OSError] = errors) -> None:
            barrier.wait()
            try:
                descriptor.close()
            except OSError as error:
                errors.append(error)

        threads = [threading.Thread(target=close) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors


def test_a_close_that_fails_is_raised_once(tmp_path: Path) -> None:
    descriptor = Descriptor()
    fd = descriptor.open(os.open, str(tmp_path / "file"), os.O_RDWR | os.O_CREAT)
    os.close(fd)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        descriptor.close()
    descriptor.close()


def test_a_callback_that_is_interrupted_at_its_first_instruction_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no `try` can catch it: the second reference's callback starts a thread then, which closes what was lost."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: unraisable.append(found.exc_type))
    before = list(descriptors.all_open())
    lost = Descriptor()
    fd = lost.open(os.open, str(tmp_path / "lost"), os.O_CREAT | os.O_RDWR)

    def interrupt_once(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is descriptors._close_lost.__code__ and not interrupts:
            interrupts.append(event)
            raise KeyboardInterrupt

    interrupts: list[str] = []
    profiler = sys.getprofile()
    sys.setprofile(interrupt_once)
    del lost
    sys.setprofile(profiler)
    assert unraisable == [KeyboardInterrupt]
    until(lambda: not os.path.lexists(f"/proc/self/fd/{fd}"), "the end of the thread")
    assert list(descriptors.all_open()) == before


def test_if_every_function_in_python_is_interrupted_a_thread_closes_what_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a timer does that interrupts again and again, under load."""

    def interrupt(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is descriptors._close_lost.__code__:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", lambda found: sys.setprofile(interrupt))
    lost = Descriptor()
    lost.open(os.open, str(tmp_path / "lost"), os.O_CREAT | os.O_RDWR)
    profiler = sys.getprofile()
    sys.setprofile(interrupt)
    del lost
    sys.setprofile(profiler)
    until(lambda: not open_here(tmp_path), "the descriptor to be closed")


def test_an_open_costs_the_same_however_many_are_open(tmp_path: Path) -> None:
    def steps() -> int:
        return len(points(lambda: open_and_close(tmp_path / "one", bool), inside))

    alone = steps()
    others = [Descriptor() for _ in range(20)]
    for number, other in enumerate(others):
        other.open(os.open, str(tmp_path / f"other-{number}"), os.O_CREAT | os.O_RDWR)
    try:
        assert steps() == alone
    finally:
        for other in others:
            other.close()


def test_the_error_of_a_signal_handler_that_ends_iterators_is_raised_as_such(tmp_path: Path) -> None:
    """os.open lets signal handlers in while it waits; the unpacking takes what they raise for the end of an iterator."""

    def interrupted(path: str, flags: int, mode: int) -> int:
        raise StopIteration

    descriptor = Descriptor()
    with pytest.raises(StopIteration, match=r"signal handler while .*file was opened"):
        descriptor.open(interrupted, str(tmp_path / "file"), os.O_RDONLY)
    assert not descriptor.is_open
    with pytest.raises(ValueError, match="embedded null"):
        descriptor.open(os.open, "a\0b", os.O_RDONLY)
