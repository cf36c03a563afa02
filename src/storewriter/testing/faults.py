"""One store whose system calls can be failed, and its power cut between two of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from storewriter.testing.calls import Call, Fault, Recorder, System, intercepted
from storewriter.testing.power import ACKNOWLEDGED, PowerCut, disk_of, power_cuts

__all__ = ["Faults"]


class Faults:
    """Records the system calls of a store's commits, and fails the one that it was asked to fail.

    Example:
        faults = Faults(folder)
        store = Store(folder / "state.json", system=faults.system)
        store.update(change)
        faults.acknowledged()
        for cut in faults.power_cuts():
            cut.disk.write_out(somewhere)
            ...

    The calls of the lock file are not among them. For one thread at a time.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """`folder`: the one with the store. What is in it now counts as durable."""
        self._start = disk_of(Path(folder))
        self._recorder = Recorder()
        self._fault: Fault | None = None
        self.system: System = intercepted(self._around)
        """For `Store(..., system=)`."""

    def _around(self, call: Call, proceed: Callable[[], Any]) -> Any:
        fault = self._fault
        return self._recorder(call, proceed if fault is None else lambda: fault(call, proceed))

    @property
    def calls(self) -> list[Call]:
        """What was called so far, in order."""
        return [call for call, _ in self._recorder.done]

    def fail(self, name: str | None, error: BaseException, *, skip: int = 0, late: bool = False) -> None:
        """Fail one of the next calls.

        Args:
            name: the method of `System`, such as `write`, `flush` or `rename`; None: any.
            error: what is raised there.
            skip: how many calls that fit are let through first.
            late: whether it is raised after the call was made, as when the answer of a file server is lost.

        Raises:
            ValueError: `System` has no such method.

        """
        self._fault = Fault(error, name=name, skip=skip, late=late)

    @property
    def has_failed(self) -> bool:
        """Whether the call that was to fail has come."""
        return self._fault is not None and self._fault.struck is not None

    def acknowledged(self) -> None:
        """Note that an update has returned: every power cut after this must find it."""
        self._recorder.done.append((ACKNOWLEDGED, None))

    def power_cuts(self) -> Iterator[PowerCut]:
        """Every state in which a power cut at any moment so far may leave the folder; see `power_cuts`."""
        return power_cuts(self._start, self._recorder.done)
