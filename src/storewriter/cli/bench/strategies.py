"""Our own contenders: one a lock strategy, measured through the public names only."""

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path

from storewriter import AsyncStore, PerStoreWriterQueue, Store
from storewriter.cli.bench.contender import AsyncUpdate, Contender, Target, Update, table
from storewriter.cli.bench.document import bump

PREFIX = "storewriter-"


def _durability(target: Target) -> str:
    return "power" if target.durable else "process"


def strategy(lock: str, about: str, *, across_processes: bool = True) -> Contender:
    """A `Store`, an `AsyncStore` and a `PerStoreWriterQueue` with the lock strategy of that name."""

    def updates(target: Target):
        store = Store(target.path, durability=_durability(target), queue=PerStoreWriterQueue(lock=lock))

        def update() -> None:
            store.update(bump)

        return lambda: update

    def async_updates(target: Target):
        store = AsyncStore(target.path, durability=_durability(target), queue=PerStoreWriterQueue(lock=lock))

        async def update() -> None:
            await store.update(bump)

        return lambda: update

    def turns(path: Path):
        queue = PerStoreWriterQueue(lock=lock)
        return lambda: queue.turn(path)

    return Contender(
        name=f"{PREFIX}{lock}",
        about=about,
        across_processes=across_processes,
        updates=updates,
        async_updates=async_updates,
        turns=turns,
        async_turns=turns,
    )


STRATEGIES = table(
    strategy("flock", "one line of writers, a kernel lock with a turnstile, group commit"),
    strategy("marker", "the same with an existence marker, for file systems without kernel locks"),
    strategy("lease", "the same with a marker that expires when its holder is stuck"),
    strategy("none", "the same, but other processes are not excluded and lose updates", across_processes=False),
)
