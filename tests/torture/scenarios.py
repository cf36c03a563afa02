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
    isolation: Literal["own", "shared"] = "own"
    """See `AsyncStore`; of the tasks only."""
    tasks: int = 32
    """Of one writer that runs an event loop."""
    plant: Plant = "none"
    """A defect that is put in on purpose."""

    def __str__(self) -> str:
        words: list[str] = [self.strategy, self.api, self.durability]
        words += ["shared"] if self.isolation == "shared" else []
        words += [self.plant] if self.plant != "none" else []
        return ", ".join(words)

    def queue(self, timeout: float = 60.0) -> PerStoreWriterQueue:
        """The queue that every writer of it uses."""
        if self.plant == "no lock":
            return PerStoreWriterQueue(lock=InProcess(), timeout=timeout)
        strategies: dict[str, Any] = {"flock": Flock(), "marker": Marker(), "lease": Lease(stale=STALE)}
        return PerStoreWriterQueue(lock=strategies[self.strategy], timeout=timeout)


MANY: Final = 200
"""Tasks of one writer whose functions share a state: so many updates in one batch, when it is killed."""

SCENARIOS: Final = tuple(
    Scenario(strategy, api, durability, isolation, tasks)  # type: ignore[arg-type]
    for strategy in ("flock", "marker", "lease")
    for api, durability, isolation, tasks in (
        ("threads", "power", "own", 32),
        ("asyncio", "process", "own", 32),
        ("trio", "power", "own", 32),
        ("asyncio", "power", "shared", MANY),
        ("trio", "process", "shared", MANY),
        ("transactions", "process", "own", 32),
        ("commitments", "power", "own", 32),
        ("dedupe", "power", "own", 32),
    )
)
