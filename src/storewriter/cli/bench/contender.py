"""A contender: one way to keep a shared document, in the shape in which it can be measured."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path

import attrs

from storewriter.cli.bench import document


@attrs.frozen
class Target:
    """The store that one measurement works on."""

    path: Path
    durable: bool
    """Whether file and folder are flushed before an update is acknowledged."""


Update = Callable[[], object]
AsyncUpdate = Callable[[], Awaitable[object]]
TakeTurn = Callable[[], AbstractContextManager[object]]
TakeAsyncTurn = Callable[[], AbstractAsyncContextManager[object]]


@attrs.frozen
class Layout:
    """How a contender keeps the document: to create it before a measurement and to count it afterwards."""

    create: Callable[[Path, int], None]
    """`create(path, size)` writes the document of about `size` bytes."""
    attempts: Callable[[Path], int]
    """How often the record has been bumped; any exception means that the document cannot be read any more."""


JSON_FILE = Layout(document.create_json, document.json_attempts)


def everywhere() -> str | None:
    """Say that nothing is missing: the contender runs on every machine."""
    return None


@attrs.frozen(kw_only=True)
class Contender:
    """One way to keep a shared document.

    Each opener is called once in every process, and what it returns once for every caller, in that caller's
    own thread: what callers share belongs to the outer call, a caller's own lock or connection to the inner.
    A contender is measured in those scenarios whose callers it can serve.
    """

    name: str
    about: str
    """What it is and what it gives up, in one sentence: shown beside its figures."""
    layout: Layout = JSON_FILE
    durabilities: frozenset[bool] = frozenset({True, False})
    updates: Callable[[Target], Callable[[], Update]] | None = None
    async_updates: Callable[[Target], Callable[[], AsyncUpdate]] | None = None
    turns: Callable[[Path], TakeTurn] | None = None
    async_turns: Callable[[Path], TakeAsyncTurn] | None = None
    program: Callable[[Target, str, int], list[str]] | None = None
    """`program(target, mode, tasks)`: the command line of a member in another language (see `team`); `mode` is the name
    of a `team.Mode`."""
    across_processes: bool = True
    """Whether it claims to exclude other processes; only then can one recover from another's death."""
    only: frozenset[str] = frozenset()
    """The scenario families it was written for, such as S1; empty: all that its openers suit."""
    missing: Callable[[], str | None] = everywhere
    """Why it cannot run on this machine, or None."""

    @property
    def keeps_json(self) -> bool:
        """Whether its document is a JSON file that plain code can save in a turn of it."""
        return self.layout == JSON_FILE


def table(*contenders: Contender) -> Mapping[str, Contender]:
    """Contenders by name, in the order given."""
    by_name = {contender.name: contender for contender in contenders}
    if len(by_name) != len(contenders):
        raise ValueError("two contenders have the same name")
    return by_name
