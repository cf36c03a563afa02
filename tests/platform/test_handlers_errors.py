"""A TimeoutError that a signal handler raises is an OSError, and no answer of the system call that it interrupts."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storewriter._files import keys
from storewriter._platform import descriptors, liveness, mounts
from storewriter.locks import Lease, Marker
from storewriter.locks._guard import Guard
from storewriter.locks._marker_file import look
from storewriter.locks._marker_owner import owner_at

Call = Callable[[str], object]


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is remembered yet."""
    monkeypatch.setattr(liveness, "_here", None)
    mounts.forget()
    yield
    mounts.forget()


def refused_twice(path: str) -> object:
    with open(path, "rb") as file:
        return mounts.is_refused_twice(file.fileno(), path)


def refreshed(path: str) -> None:
    hold = Lease().attempt(path, None)
    assert hold is not None
    try:
        hold.refresh()
        hold.check()
    finally:
        hold.release()


def guarded(path: str) -> None:
    guard = Guard(path)
    try:
        guard.take(wait=False)
    finally:
        guard.close()


CALLS: list[tuple[Call, Any, str, str]] = [
    (look, os, "open", ".marker"),
    (owner_at, os, "open", ".marker"),
    (refreshed, os, "utime", ""),
    (guarded, os, "stat", ".guard"),
    (lambda _: liveness.here(), builtins, "open", "boot_id"),
    (lambda _: liveness.here(), os, "stat", "ns/pid"),
    (lambda _: mounts.mounts(), builtins, "open", "mountinfo"),
    (refused_twice, os, "open", "a.json"),
]


@pytest.mark.parametrize(("call", "module", "name", "place"), CALLS)
def test_it_is_raised(
    call: Call, module: Any, name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    (tmp_path / ".a.json.marker").write_text("1\nelsewhere\n") if call is not refreshed else None
    real = getattr(module, name)
    raised: list[object] = []

    def interrupted(file: object, *args: Any, **kwargs: Any) -> Any:
        result = real(file, *args, **kwargs)
        if not raised and place in str(file):
            raised.append(file)
            if name == "open":
                os.close(result) if isinstance(result, int) else result.close()
            msg = "from a signal handler"
            raise TimeoutError(msg)
        return result

    monkeypatch.setattr(module, name, interrupted)
    with pytest.raises(TimeoutError, match="from a signal handler"):
        call(str(path))
    assert raised


def test_it_is_raised_where_a_path_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a.json")
    keys.canonical(path)

    def interrupted(name: str) -> os.stat_result:
        msg = "from a signal handler"
        raise TimeoutError(msg)

    monkeypatch.setattr(keys, "_STAT_CACHE_SECONDS", 0.0)
    with monkeypatch.context() as patched, pytest.raises(TimeoutError, match="from a signal handler"):
        patched.setattr(os, "lstat", interrupted)
        keys.canonical(path)


def test_a_marker_that_is_looked_at_is_not_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupt comes when the descriptor is open, and before it is read."""
    path = str(tmp_path / "a.json")
    (tmp_path / ".a.json.marker").write_text("1\nelsewhere\n")
    real = descriptors.Descriptor.open

    def interrupted(self: descriptors.Descriptor, *args: Any) -> int:
        real(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(descriptors.Descriptor, "open", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        look(path)
    del caught
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    assert not [link for link in links if os.path.lexists(link) and os.readlink(link).endswith(".a.json.marker")]


def test_a_marker_that_was_put_down_is_not_taken_for_another_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "a.json")
    real = os.open

    def interrupted(file: str, flags: int, *args: Any, **kwargs: Any) -> int:
        if file.endswith(".marker") and flags & os.O_RDWR and not flags & os.O_CREAT:
            msg = "from a signal handler"
            raise TimeoutError(msg)
        return real(file, flags, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", interrupted)
        with pytest.raises(TimeoutError, match="from a signal handler"):
            Marker().attempt(path, None)
    hold = Marker().attempt(path, None)
    assert hold is not None
    hold.release()
