"""The real system calls, counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from storewriter._platform.system import SYSTEM


class Counted:
    """Passes every call on to the real system and counts it by name."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        real = getattr(SYSTEM, name)

        def call(*args: Any) -> Any:
            self.calls[name] += 1
            return real(*args)

        return call
