"""storewriter with update functions of other shapes: what a function can reach must not change its speed.

The strategies' own functions are closures over a number, made for each update.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal

from storewriter import AsyncStore
from storewriter.cli.bench.contender import AsyncUpdate, Contender, Target
from storewriter.cli.bench.document import RECORD_ID, State, adding
from storewriter.cli.bench.strategies import PREFIX

SHAPES = ("global", "method", "lambda")
STEPS = {"update": 1}


def _add_global(state: State) -> None:
    state["records"][RECORD_ID]["attempts"] += STEPS["update"]


class _Counter:
    def __init__(self) -> None:
        self.step = 1

    def add(self, state: State) -> None:
        state["records"][RECORD_ID]["attempts"] += self.step


def _lambda() -> Callable[[State], object]:
    # No name of this module and no value from outside: not even the record's.
    return lambda state: state["records"]["cm_000000"].update(attempts=state["records"]["cm_000000"]["attempts"] + 1)


_counter = _Counter()


def _refusal(keyword: str) -> str | None:
    known = keyword in inspect.signature(AsyncStore).parameters
    return None if known else f"this version's stores have no {keyword}="


def _tasks(
    name: str, about: str, function: Callable[[], Callable[[State], object]], *, families: str = "S3", **options: Any
) -> Contender:
    def async_updates(target: Target) -> Callable[[], AsyncUpdate]:
        durability: Literal["power", "process"] = "power" if target.durable else "process"
        store: AsyncStore[State] = AsyncStore(target.path, durability=durability, **options)

        async def update() -> None:
            await store.update(function())

        return lambda: update

    return Contender(
        name=f"{PREFIX}flock-{name}",
        about=about,
        only=frozenset(families.split()),
        async_updates=async_updates,
        missing=lambda: next(filter(None, map(_refusal, options)), None),
    )


FUNCTIONS = (
    _tasks("global", "a function that reaches a dict of its module", lambda: _add_global),
    _tasks("method", "a bound method, which reaches its object", lambda: _counter.add),
    _tasks("lambda", "a plain lambda, which reaches nothing", _lambda),
    _tasks(
        "shared",
        "functions of one batch share one state: the caller's word that they keep no reference to it",
        lambda: adding(1),
        families="S3 S6",
        isolation="shared",
    ),
)
