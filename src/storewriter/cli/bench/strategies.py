"""Our own contenders: one a lock strategy, measured through the public names only."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter.cli.bench.contender import AsyncUpdate, Contender, TakeAsyncTurn, TakeTurn, Target, Update, table
from storewriter.cli.bench.document import State, adding

if TYPE_CHECKING:
    from storewriter.locks import LockName  # which former versions, measured beside this one, do not have

PREFIX = "storewriter-"


def _durability(target: Target) -> Literal["power", "process"]:
    return "power" if target.durable else "process"


WITHIN_ONE_PROCESS = frozenset({"S1", "S2", "S3", "S4", "S8", "S9", "S11"})


def strategy(lock: "LockName", about: str, *, across_processes: bool = True) -> Contender:
    """Build the contender that uses the lock strategy of that name in all three public ways."""

    def updates(target: Target) -> Callable[[], Update]:
        store: Store[State] = Store(target.path, durability=_durability(target), queue=PerStoreWriterQueue(lock=lock))

        def update() -> None:
            store.update(adding(1))

        return lambda: update

    def async_updates(target: Target) -> Callable[[], AsyncUpdate]:
        store: AsyncStore[State] = AsyncStore(
            target.path, durability=_durability(target), queue=PerStoreWriterQueue(lock=lock)
        )

        async def update() -> None:
            await store.update(adding(1))

        return lambda: update

    def turns(path: Path) -> TakeTurn:
        queue = PerStoreWriterQueue(lock=lock)
        return lambda: queue.turn(path)

    def async_turns(path: Path) -> TakeAsyncTurn:
        queue = PerStoreWriterQueue(lock=lock)
        return lambda: queue.turn(path)

    return Contender(
        name=f"{PREFIX}{lock}",
        about=about,
        across_processes=across_processes,
        only=frozenset() if across_processes else WITHIN_ONE_PROCESS,
        updates=updates,
        async_updates=async_updates,
        turns=turns,
        async_turns=async_turns,
        missing=lambda: _refusal(lock),
    )


def _refusal(lock: "LockName") -> str | None:
    """Say why the queue does not take a lock strategy of that name."""
    try:
        PerStoreWriterQueue(lock=lock)
    except ValueError as error:
        return str(error)
    return None


STRATEGIES = table(
    strategy("flock", "one line of writers, a kernel lock with a turnstile, group commit"),
    strategy("marker", "the same with an existence marker, for file systems without kernel locks"),
    strategy("lease", "the same with a marker that expires when its holder is stuck"),
    strategy("none", "the same within one process: others are not excluded nor measured", across_processes=False),
)
