"""How a command reaches a store: the options for its lock and its format, and the store and the queue they stand for.

The only place that knows what a store's name on the command line may be. Everything else passes it on as it was given.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, TypeVar

import attrs
import click

from storewriter import PerStoreWriterQueue, Store, StoreWriterError
from storewriter._backends.addresses import is_url, lock_of
from storewriter._files.keys import canonical
from storewriter.cli.base.options import checked, parsed
from storewriter.cli.base.times import parse_wait
from storewriter.cli.documents import AsWritten
from storewriter.codecs import Codec, JsonCodec
from storewriter.locks import Flock, Neighbour, OpenClawLock, ProperLockfile
from storewriter.per_store_writer_queue import TurnRequest

__all__ = ["TIMEOUT", "Access", "access_options", "codec_option", "lock_options", "path_of", "usage_errors"]

F = TypeVar("F", bound=Callable[..., Any])

_LOCKS: Final = ("flock", "marker", "lease", "none")
_ALSO: Final = ("flock", "openclaw", "proper-lockfile")


def _timeout(text: str) -> float | None:
    return None if text == "none" else parse_wait(text)


TIMEOUT = parsed("DURATION", _timeout)
"""How long to wait, in seconds: `30s` or `30`; `0`, not at all; `none`, for ever (None)."""


def _codec(text: str) -> Codec[Any]:
    module_name, _, name = text.partition(":")
    if not module_name or not name:
        raise ValueError(f"{text!r} does not name a codec; write MODULE:NAME, for example myapp.state:codec")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        found: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module_name))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the codec {text!r} cannot be imported: {error}") from None
    if not all(callable(getattr(found, each, None)) for each in ("encode", "decode")) or isinstance(found, type):
        raise ValueError(f"{text!r} is no codec: it is {found!r}, which needs encode(state) and decode(data)")
    codec: Codec[Any] = found
    return codec


@attrs.frozen(kw_only=True)
class Access:
    """How a command reaches a store."""

    codec: Codec[Any] = attrs.field(factory=JsonCodec)
    lock: str = "flock"
    also: tuple[str, ...] = ()
    timeout: float | None = 30.0
    label: str | None = None

    def queue(self) -> PerStoreWriterQueue:
        """The queue for turns on a store. Raises click.UsageError for locks that do not go together."""
        if "flock" in self.also and self.lock != "flock":
            raise click.UsageError(f"--also flock goes with --lock flock only, not with --lock {self.lock}.")
        strategy = Flock(file="{name}.lock") if "flock" in self.also else self.lock
        neighbours = [_NEIGHBOURS[name]() for name in self.also if name in _NEIGHBOURS]
        return checked(self._queue, strategy, neighbours)

    def _queue(self, strategy: Any, neighbours: list[Neighbour]) -> PerStoreWriterQueue:
        return PerStoreWriterQueue(strategy, also=neighbours, timeout=self.timeout)

    def turn(self, given: Sequence[str]) -> TurnRequest:
        """A turn on stores. Raises click.UsageError for what cannot be the name of a store."""
        for name in given:
            _require_name(name)
        return self.queue().turn(*given, label=self.label)

    def store(self, given: str) -> Store[bytes | None]:
        """The store whose states are its documents as they are written; None where there is no document.

        Raises click.UsageError for what cannot be the name of a store.
        """
        return self.typed_store(given, _no_document, AsWritten(self.codec))

    def typed_store(self, given: str, default: Callable[[], Any], codec: Codec[Any] | None = None) -> Store[Any]:
        """The store with the states of its own codec. Raises click.UsageError as `store` does."""
        _require_name(given)
        return Store[Any](given, default=default, codec=codec or self.codec, queue=self.queue())


def _require_name(given: str) -> None:
    """Raise click.UsageError for what cannot be the name of a store, and OSError for what cannot be resolved."""
    try:
        if is_url(given):
            lock_of(given)
        else:
            canonical(given)
    except StoreWriterError:
        raise
    except (ValueError, ImportError) as error:
        raise click.UsageError(f"{error}.") from None


def path_of(given: str) -> str:
    """The canonical path of a store in a file. Raises click.UsageError for what is none, ReservedName, OSError."""
    if is_url(given):
        raise click.UsageError(f"{given!r} is no file: this command is for stores in files.")
    with usage_errors():
        return canonical(given)


@contextlib.contextmanager
def usage_errors() -> Generator[None]:
    """Turn a ValueError about what the command line says into wrong usage; errors of stores stay."""
    try:
        yield
    except (StoreWriterError, OSError):
        raise
    except (ValueError, TypeError) as error:
        raise click.UsageError(f"{str(error).rstrip('.')}.") from None


_NEIGHBOURS: Final[dict[str, Callable[[], Neighbour]]] = {"openclaw": OpenClawLock, "proper-lockfile": ProperLockfile}


def _no_document() -> bytes | None:
    return None


def _codec_or_json(ctx: click.Context, param: click.Parameter, value: Codec[Any] | None) -> Codec[Any]:
    return JsonCodec() if value is None else value


def codec_option(command: F) -> F:
    """Add `--codec`, passed as `codec`: JSON unless it is given."""
    option = click.option(
        "--codec",
        type=parsed("MODULE:NAME", _codec),
        default=None,
        callback=_codec_or_json,
        help="Object that reads and writes the document's format.  [default: JSON]",
    )
    return option(command)


def access_options(command: F) -> F:
    """Add `--lock`, `--also`, `--timeout`, `--label` and `--codec`, passed together as `access`."""

    @functools.wraps(command)
    def with_access(
        *args: Any,
        lock: str,
        also: tuple[str, ...],
        timeout: float | None,
        label: str | None,
        codec: Codec[Any],
        **others: Any,
    ) -> Any:
        access = Access(codec=codec, lock=lock, also=also, timeout=timeout, label=label)
        return command(*args, access=access, **others)

    options = (
        codec_option,
        lock_options,
    )
    return functools.reduce(lambda made, option: option(made), options, with_access)  # type: ignore[return-value]


def lock_options(command: F) -> F:
    """Add `--lock`, `--also`, `--timeout` and `--label`."""
    options = (
        click.option("--label", metavar="TEXT", help="What the turn is for; waiters are told."),
        click.option(
            "--timeout",
            type=TIMEOUT,
            default="30s",
            show_default=True,
            help="How long to wait for the lock: 5m, 90s or 90; 0: not at all; none: for ever.",
        ),
        click.option(
            "--also",
            multiple=True,
            type=click.Choice(_ALSO),
            help="Also take the lock of other programs, STORE.lock, of this kind.",
        ),
        click.option(
            "--lock",
            type=click.Choice(_LOCKS),
            default="flock",
            show_default=True,
            help="Lock strategy; the one that the store's other writers use.",
        ),
    )
    return functools.reduce(lambda made, option: option(made), options, command)
