"""For tests of programs that keep their state in a store: see, fail and stop the system calls of a commit.

A `System` is the record of system calls that a store uses for its files (the lock file is not among them). Here one
is built around the real one, so that nothing has to be patched:

    recorder = Recorder()
    store = Store(path, system=intercepted(recorder))
    store.update(change)
    assert "flush" in recorder.names()

    disk_full = Fault(OSError(errno.ENOSPC, "no space"), name="write")
    store = Store(path, system=intercepted(disk_full))
    with pytest.raises(OSError):
        store.update(change)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import attrs

from storewriter._platform.system import SYSTEM, System

__all__ = ["Around", "Call", "Fault", "Recorder", "System", "intercepted"]


@attrs.frozen
class Call:
    """One call of a method of `System`."""

    name: str
    """The method: `open`, `write`, `flush`, `rename`, ..."""
    arguments: tuple[Any, ...]
    """As they were given."""


Around = Callable[[Call, Callable[[], Any]], Any]
"""What happens instead of a call: it gets the call, and a function that makes it and returns what it returns. Runs in
the thread that commits."""


def intercepted(around: Around, real: System = SYSTEM) -> System:
    """Return a `System` whose every call goes through `around`, for `Store(..., system=)`.

    Args:
        around: Called with each call and a function that makes it, in the thread that commits; what it returns or
            raises is what the store gets.
        real: Does the work.
    """
    return cast(System, _Intercepted(around, real))


class _Intercepted:
    def __init__(self, around: Around, real: System) -> None:
        self._around = around
        self._real = real

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._real, name)

        def call(*arguments: Any) -> Any:
            return self._around(Call(name, arguments), lambda: method(*arguments))

        return call


@attrs.define(eq=False)
class Recorder:
    """Keeps every call and what it returned, in order, and lets it pass. An `Around` for `intercepted`.

    Example:
        recorder = Recorder()
        Store(path, system=intercepted(recorder)).update(change)
        assert "flush" in recorder.names()
    """

    done: list[tuple[Call, Any]] = attrs.field(factory=list[tuple[Call, Any]])
    """Each call with what it returned, or with the error that it raised."""

    def __call__(self, call: Call, proceed: Callable[[], Any]) -> Any:
        """Make `call` by `proceed`, and keep it with what came of it; return or raise that."""
        try:
            result = proceed()
        except BaseException as error:
            self.done.append((call, error))
            raise
        self.done.append((call, result))
        return result

    def names(self) -> list[str]:
        """Return the names of the calls so far, in order."""
        return [call.name for call, _ in self.done]

    def forget(self) -> None:
        """Drop the calls so far."""
        self.done.clear()


@attrs.define(eq=False)
class Fault:
    """Fails one call, and lets all others pass. An `Around` for `intercepted`.

    Example:
        disk_full = Fault(OSError(errno.ENOSPC, "no space"), name="write")
        store = Store(path, system=intercepted(disk_full))
    """

    error: BaseException
    """What is raised."""
    name: str | None = None
    """Only a call of this name, a method of `System` (`flush` is fsync); None: any. Another name is a ValueError."""
    skip: int = 0
    """How many calls that fit are let through first."""
    late: bool = False
    """Raise after the call was made, as a network file system does when the answer is lost. `close` is always made:
    a descriptor is gone even if close(2) fails."""
    struck: Call | None = None
    """The call that failed; None as long as there was none."""

    def __attrs_post_init__(self) -> None:
        """Refuse a name that no call has: a fault that never comes would let every test pass."""
        if self.name is not None and not callable(getattr(SYSTEM, self.name, None)):
            names = sorted(name for name in dir(SYSTEM) if not name.startswith("_") and callable(getattr(SYSTEM, name)))
            raise ValueError(f"a store makes no system call {self.name!r}; there are {', '.join(names)}")

    def __call__(self, call: Call, proceed: Callable[[], Any]) -> Any:
        """Make `call` by `proceed` and return what it returns, or raise `error` if it is the one to fail."""
        if self.struck is not None or self.name not in (None, call.name):
            return proceed()
        if self.skip:
            self.skip -= 1
            return proceed()
        self.struck = call
        if self.late or call.name == "close":
            result = proceed()
            if call.name == "open":
                SYSTEM.close(result)  # the caller never gets the descriptor, so it cannot close it
        raise self.error
