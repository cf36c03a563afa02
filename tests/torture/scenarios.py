"""What is tortured: every strategy, through every API."""

from __future__ import annotations

from typing import Any, Final, Literal

import attrs

from storewriter import PerStoreWriterQueue
from storewriter.locks import Flock, InProcess, Lease, Marker

Api = Literal["threads", "asyncio", "trio", "transactions", "commitments", "dedupe"]
Plant = Literal["none", "acknowledge before the save", "load before the lock", "no lock"]

STALE: Final = 0.6
"""Seconds after which a lease that is not refreshed is taken over."""


@attrs.frozen
class Scenario:
    """One way of writing a store from several processes."""

    strategy: Literal["flock", "marker", "lease"]
    api: Api
    durability: Literal["power", "process"] = "power"
    plant: Plant = "none"
    """A defect that is put in on purpose."""

    def __str__(self) -> str:
        return f"{self.strategy}, {self.api}, {self.durability}" + ("" if self.plant == "none" else f", {self.plant}")

    def queue(self, timeout: float = 60.0) -> PerStoreWriterQueue:
        """The queue that every writer of it uses."""
        if self.plant == "no lock":
            return PerStoreWriterQueue(lock=InProcess(), timeout=timeout)
        strategies: dict[str, Any] = {"flock": Flock(), "marker": Marker(), "lease": Lease(stale=STALE)}
        return PerStoreWriterQueue(lock=strategies[self.strategy], timeout=timeout)


SCENARIOS: Final = tuple(
    Scenario(strategy, api, durability)  # type: ignore[arg-type]
    for strategy in ("flock", "marker", "lease")
    for api, durability in (
        ("threads", "power"),
        ("asyncio", "process"),
        ("trio", "power"),
        ("transactions", "process"),
        ("commitments", "power"),
        ("dedupe", "power"),
    )
)
