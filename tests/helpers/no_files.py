"""Forbid files to the package: whatever of it opens, lists or looks at one is noted."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

import storewriter

__all__ = ["files_forbidden"]

_SOURCE = os.path.dirname(storewriter.__file__)
_LOOKS = ("stat", "lstat", "fstat", "open", "readlink", "access", "statvfs")

_noted: list[list[str]] = []
"""Where to note it: one list at most."""


def _note(what: str, subject: object) -> None:
    if not _noted or (isinstance(subject, str) and subject.startswith("/proc/")):
        return  # this process itself: when it was started, for messages that name it
    frame: FrameType | None = sys._getframe(2)
    where = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return
        if where is None and frame.f_code.co_filename.startswith(_SOURCE):
            where = f"{frame.f_code.co_filename[len(_SOURCE) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    if where is not None:
        _noted[0].append(f"{what}({subject!r}) at {where}")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _noted and (event == "open" or event.startswith("os.")) and not event.startswith("os.fork"):
        _note(event, arguments[0] if arguments else None)


sys.addaudithook(_audit)  # it cannot be removed; without a list to note in, it does nothing


@contextlib.contextmanager
def files_forbidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Around what must not touch a file; fails at the end and says where it was."""
    noted: list[str] = []
    for name in _LOOKS:
        call = getattr(os, name)

        def watched(*args: Any, call: Any = call, name: str = name, **kwargs: Any) -> Any:
            _note(f"os.{name}", args[0] if args else None)
            return call(*args, **kwargs)

        monkeypatch.setattr(os, name, watched)
    _noted.append(noted)
    try:
        yield
    finally:
        _noted.clear()
        monkeypatch.undo()
    assert not noted, noted
