"""The connections of this process to one database: taken for a turn or a read, given back, closed when idle.

Promise    A connection serves one thread at a time. One that is idle for a while is closed, and with the last one the
           thread that looks after them ends. A forked child never uses or closes a connection of its parent: it drops
           the object, whose socket is the parent's, too.
How        A stack: the one that was used last is taken first, so that those that are not needed become idle.
           What a session needs is set when it begins (`_SETTINGS`); a pooler that refuses that (PgBouncer) gets it in
           every transaction instead (`Link.prologue`).
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

import attrs
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storewriter._platform import forks, threads
from storewriter._platform.liveness import myself
from storewriter.postgres._statements import INCARNATION, ROLLBACK
from storewriter.postgres._wire import Broken, Refused, Rows, Statement, exchange, post, take_news

__all__ = ["Connections", "Link", "Pooled", "Source", "Unreachable", "caretaker", "connections_of"]

IDLE_SECONDS: Final = 10.0
"""Seconds after which a connection that is not used is closed."""

_CONNECT_SECONDS: Final = 10
"""Seconds for an attempt to connect, unless the address says otherwise (`connect_timeout`)."""

_CANCEL_SECONDS: Final = 2.0

_HAS_TRANSACTION_TIMEOUT: Final = 170000


class Unreachable(Exception):
    """No connection can be made."""


class Link:
    """One connection, and what is known of it."""

    __slots__ = (
        "_busy",
        "connection",
        "generation",
        "idle_since",
        "incarnation",
        "is_fresh",
        "is_lost",
        "owed",
        "prologue",
    )

    def __init__(self, connection: Any, prologue: Statement | None) -> None:
        self.connection = connection
        self.prologue = prologue
        """What every transaction has to begin with; None if the session has these settings."""
        self.incarnation: bytes | None = None
        """Of the server, if every transaction of this connection is in the same one; None: to be asked in each."""
        self.owed = 0
        """How many posted answers have not been read yet."""
        self.is_fresh = True
        """Whether nothing was ever received: then a loss is not that of a connection that was idle for too long."""
        self.is_lost = False
        """Whether the server has closed it, as far as is known."""
        self.idle_since = 0.0
        self.generation = forks.generation
        self._busy = threading.Lock()
        """Held while it is used, so that a ping does not get in between."""

    def exchange(self, statements: Sequence[Statement], wanted: Callable[[], bool] | None = None) -> list[Rows | int]:
        """See `_wire.exchange`. After anything but Refused the connection must be closed."""
        self._require_own()
        with self._busy:
            try:
                return exchange(self.connection.pgconn, statements, self.owed, wanted)
            except Broken:
                self.is_lost = True
                raise
            finally:
                self.owed, self.is_fresh = 0, False

    def _require_own(self) -> None:
        """A forked child reads and writes nothing on a connection of its parent's."""
        if self.generation != forks.generation:
            self.is_lost = True
            raise Broken("the connection is that of the process that has forked this one")

    def close(self) -> None:
        """Not while it is being used: another thread may ping."""
        may_close = self._busy.acquire(timeout=_CANCEL_SECONDS)
        try:
            self.connection.close()
        finally:
            if may_close:
                self._busy.release()

    def post(self, *statements: Statement) -> None:
        """Send, without waiting for the answer. Raises Broken."""
        self._require_own()
        with self._busy:
            try:
                post(self.connection.pgconn, statements)
            except Broken:
                self.is_lost = True
                raise
            self.owed += 1

    def roll_back(self) -> None:
        """The same with the end of the transaction, which also ends with the connection."""
        try:
            self.post(ROLLBACK)
        except Broken:
            pass

    def ping(self) -> None:
        """Let the server hear from it, unless it is in use."""
        if self._busy.acquire(blocking=False):
            try:
                post(self.connection.pgconn, [_PING])
                self.owed += 1
            except Broken:
                self.is_lost = True
            finally:
                self._busy.release()

    def looks_lost(self) -> bool:
        """Whether the server has closed it, as far as can be seen without waiting."""
        if not self.is_lost and self._busy.acquire(blocking=False):
            try:
                take_news(self.connection.pgconn)
            except Broken:
                self.is_lost = True
            finally:
                self._busy.release()
        return self.is_lost

    def cancel(self) -> None:
        """End the statement that the server runs. What the server says does not matter: the connection is closed."""
        try:
            self.connection.cancel_safe(timeout=_CANCEL_SECONDS)
        except psycopg.Error:
            pass

    @property
    def server_version(self) -> int:
        """Of the server, as libpq has it: 180006 is 18.6."""
        return int(self.connection.pgconn.server_version)

    @property
    def backend_pid(self) -> int:
        """The process of the server."""
        return int(self.connection.pgconn.backend_pid)


class Source(Protocol):
    """Where connections come from."""

    @property
    def silence(self) -> float:
        """Seconds after which the server ends the turn of a holder from which it hears nothing."""
        ...

    @property
    def was_reached(self) -> bool:
        """Whether there ever was a connection."""
        ...

    trouble: str | None
    """Why no connection could be had when it was last tried; None if one could."""

    @property
    def may_listen(self) -> bool:
        """Whether a connection may be kept for notifications."""
        ...

    def take(self, *, fresh: bool = False) -> Link:
        """A connection for the caller alone; `fresh`: not one that was idle. Raises Unreachable."""
        ...

    def give_back(self, link: Link) -> None:
        """It is idle, outside of any transaction but for what was posted; or lost."""
        ...

    def close(self, link: Link) -> None:
        """It is of no use any more, or of unknown state."""
        ...

    def close_idle(self) -> object:
        """Close the connections that are idle."""
        ...


@attrs.frozen(eq=False)
class _Settings:
    """What a session of ours needs, whatever the server, the database or the role are set to."""

    silence: float
    """Seconds after which the server ends the turn of a holder from which it hears nothing."""

    def of_client(self, conninfo: str) -> str:
        """The address, with what it does not say itself."""
        given = conninfo_to_dict(conninfo)
        probes = 3
        step = max(1, int(self.silence / (probes + 1)))
        ours: dict[str, Any] = {
            "connect_timeout": _CONNECT_SECONDS,
            "keepalives_idle": step,
            "keepalives_interval": step,
            "keepalives_count": probes,
            "tcp_user_timeout": int(self.silence * 1000),
            "client_encoding": "UTF8",
            "application_name": application_name(),
        }
        if "," in str(given.get("host") or given.get("hostaddr") or ""):
            ours["target_session_attrs"] = "read-write"  # of several servers, the one that is not a standby
        return make_conninfo(conninfo, **{key: value for key, value in ours.items() if not given.get(key)})

    def of_session(self) -> dict[str, str]:
        probes = 3
        step = max(1, int(self.silence / (probes + 1)))
        return {
            # The waits of turns end when no caller wants them any more; a limit of the role's would break them.
            "lock_timeout": "0",
            "statement_timeout": "0",
            # The turn of a holder whose host is cut off, or that was stopped, ends.
            "idle_in_transaction_session_timeout": str(int(self.silence * 1000)),
            "tcp_keepalives_idle": str(step),
            "tcp_keepalives_interval": str(step),
            "tcp_keepalives_count": str(probes),
            "tcp_user_timeout": str(int(self.silence * 1000)),
        }

    def options(self, conninfo: str) -> str:
        """The same for the start of a session, behind what the address says."""
        given = conninfo_to_dict(conninfo).get("options") or ""
        return " ".join([*(f"-c {key}={value}" for key, value in self.of_session().items()), str(given)]).strip()

    def statement(self, version: int, *, synchronous: bool) -> Statement:
        """The same for one transaction, of a server of this version."""
        settings = self.of_session()
        if version >= _HAS_TRANSACTION_TIMEOUT:
            settings["transaction_timeout"] = "0"
        if synchronous:
            settings["synchronous_commit"] = "on"
        calls = ", ".join(f"pg_catalog.set_config('{key}', '{value}', true)" for key, value in settings.items())
        return Statement(f"SELECT {calls}".encode())


def application_name(label: str | None = None) -> str:
    """This process, for those who look into pg_stat_activity: 63 bytes of ASCII at most."""
    me = myself()
    # The folder of the interpreter would fill what the server keeps of the name.
    program, *arguments = (me.command or "").split(" ")
    what = f": {label}" if label else f" {' '.join([os.path.basename(program), *arguments])}"
    return f"storewriter {me.pid}@{me.host}{what}".strip().encode("ascii", "replace").decode()[:63]


def author() -> str:
    """This process, as the author of a version."""
    me = myself()
    return f"{me.pid}@{me.host} {me.command or ''}".strip()


_PING: Final = Statement(b"SELECT 1")
_LOOK: Final = Statement(
    b"SELECT pg_catalog.current_setting('synchronous_commit') = 'off', "
    b"(SELECT setting FROM pg_catalog.pg_settings WHERE name = 'idle_in_transaction_session_timeout'), "
    b"CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN " + INCARNATION.encode() + b" END, "
    # Not among the settings at the start of the session: servers before 17 do not know it.
    b"(SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout')"
)


class Connections:
    """Connections of our own."""

    def __init__(self, conninfo: str, silence: float) -> None:
        self.silence = silence
        self.was_reached = False
        self.trouble: str | None = None
        self.may_listen = True
        self._conninfo = conninfo
        self._settings = _Settings(silence)
        self._takes_options = True
        """Whether sessions can begin with settings; a pooler may refuse that."""
        self._idle: list[Link] = []
        """Taken and given back with single list operations, which are atomic."""

    def forget(self) -> None:
        """In a forked child: begin anew. The objects stay, so that nothing closes what is the parent's."""
        _inherited.extend(self._idle)
        self._idle = []

    def take(self, *, fresh: bool = False) -> Link:
        """See `Source`."""
        forks.install()
        if not fresh:
            try:
                return self._idle.pop()
            except IndexError:
                pass
        return self._connect()

    def give_back(self, link: Link) -> None:
        """See `Source`."""
        if _is_inherited(link):
            return
        if link.is_lost:
            link.close()
            return
        link.idle_since = time.monotonic()
        self._idle.append(link)
        caretaker().look_after(self)

    def close(self, link: Link) -> None:
        """See `Source`."""
        if not _is_inherited(link):
            link.close()

    def close_idle(self, before: float = float("inf")) -> float | None:
        """Close those that are idle since then; returns since when the others are, or None if there are no others."""
        for link in list(self._idle):
            if link.idle_since < before:
                try:
                    self._idle.remove(link)
                except ValueError:
                    continue  # taken meanwhile
                link.close()
        return min((link.idle_since for link in list(self._idle)), default=None)

    def _connect(self) -> Link:
        try:
            return self._begin(self._open(with_options=self._takes_options))
        except psycopg.Error as error:
            # PgBouncer's words, which are in no other language: it knows neither `options` nor what is in them.
            if not (self._takes_options and "startup parameter" in str(error)):
                raise Unreachable(_text_of(error)) from error
        self._takes_options = False
        try:
            return self._begin(self._open(with_options=False))
        except psycopg.Error as error:
            raise Unreachable(_text_of(error)) from error

    def _open(self, *, with_options: bool) -> Any:
        conninfo = self._settings.of_client(self._conninfo)
        if with_options:
            conninfo = make_conninfo(conninfo, options=self._settings.options(self._conninfo))
        return psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)

    def _begin(self, connection: Any) -> Link:
        """The first words on a connection: whether the session has its settings, and a commit waits for the disk.

        A pooler may have dropped the settings; then notifications do not come through it either.
        """
        link = Link(connection, None)
        try:
            (rows,) = link.exchange([_LOOK])
        except (Broken, Refused) as error:
            connection.close()
            raise Unreachable(str(error)) from error
        assert isinstance(rows, list)
        is_off, silence, incarnation, _ = rows[0]
        is_pooled = silence != str(int(self.silence * 1000)).encode()
        if is_off == b"\x01" or is_pooled:
            link.prologue = self._settings.statement(link.server_version, synchronous=is_off == b"\x01")
        if not is_pooled:
            link.incarnation = incarnation  # it ends with all connections
        self.was_reached = link.is_fresh = True
        self.may_listen = not is_pooled
        return link


class Pooled:
    """Connections of a `psycopg_pool.ConnectionPool` of the caller's, which opens and closes it."""

    def __init__(self, pool: Any, silence: float) -> None:
        self.silence = silence
        self.was_reached = False
        self.trouble: str | None = None
        self.may_listen = False
        self.pool = pool
        self._generation = forks.generation
        self._settings = _Settings(silence)

    def take(self, *, fresh: bool = False) -> Link:
        """See `Source`."""
        forks.install()
        if self._generation != forks.generation:
            self.was_reached = False  # nothing to wait for
            raise Unreachable(
                "this process was forked, and the pool is its parent's: open a pool of its own in each process"
            )
        try:
            connection = self.pool.getconn()
        except psycopg.Error as error:
            raise Unreachable(_text_of(error)) from error
        self.was_reached = True
        link = Link(connection, None)
        link.prologue = self._settings.statement(link.server_version, synchronous=True)
        link.is_fresh = fresh
        return link

    def give_back(self, link: Link) -> None:
        """See `Source`. The pool's other users find it as they have left it."""
        if _is_inherited(link):
            return
        try:
            link.exchange([])
            link.connection.pgconn.exit_pipeline_mode()
        except (Broken, psycopg.Error):
            link.connection.close()
        self.pool.putconn(link.connection)

    def close(self, link: Link) -> None:
        """See `Source`."""
        if _is_inherited(link):
            return
        link.close()
        self.pool.putconn(link.connection)

    def close_idle(self) -> None:
        """See `Source`: they are the pool's, and remember nothing."""


_inherited: list[Link] = []
"""In a forked child: connections of its parent. Their objects live on, so that nothing closes them."""


def _is_inherited(link: Link) -> bool:
    """Whether it is the parent's; then it is kept, and not touched."""
    if link.generation == forks.generation:
        return False
    _inherited.append(link)
    return True


class _Caretaker:
    """One thread of this process that closes idle connections, and lets the server hear from holders of long turns.

    It ends when there is no connection left to look after.
    """

    def __init__(self) -> None:
        self._sources: dict[Connections, None] = {}
        """Those that may have idle connections."""
        self.held: dict[Link, tuple[float, float]] = {}
        """Connections with an open turn: since when, and how often the server wants to hear from them (seconds)."""
        self._mutex = threading.RLock()  # re-entrant: a signal handler may read a store
        self._is_running = False
        self._sleeps = 0.0
        self._wake = threading.Event()
        atexit.register(self.finish)

    def look_after(self, source: Connections) -> None:
        """It has an idle connection."""
        self._sources[source] = None
        if not self._is_running:
            self._run()

    def hold(self, link: Link, silence: float) -> None:
        """A turn has begun; until `let_go`, the server hears from it."""
        often = silence / 4
        self.held[link] = time.monotonic(), often
        if not self._is_running:
            self._run()
        elif often < self._sleeps:
            self._wake.set()

    def let_go(self, link: Link) -> None:
        """The turn has ended, or is about to."""
        self.held.pop(link, None)

    def finish(self) -> None:
        """Close all idle connections, and end the thread if no turn is open; for the end of a program, and tests."""
        for source in list(self._sources):
            source.close_idle()
        self._wake.set()

    def _run(self) -> None:
        with self._mutex:
            if self._is_running:
                return
            self._is_running = True
        try:
            threads.start(self._care)
        except RuntimeError:  # no thread to be had: the next connection tries again
            self._is_running = False

    def _care(self) -> None:
        while True:
            with self._mutex:
                if not self.held and not self._sources:
                    self._is_running = False
                    return
            self._sleeps = min([IDLE_SECONDS / 2, *(often for _, often in list(self.held.values()))])
            self._wake.wait(self._sleeps)
            self._wake.clear()
            now = time.monotonic()
            for source in list(self._sources):
                # Out of the table first: a connection that comes meanwhile puts it back.
                self._sources.pop(source, None)
                if source.close_idle(now - IDLE_SECONDS) is not None:
                    self._sources[source] = None
            for link, (since, often) in list(self.held.items()):
                if now - since >= often:
                    link.ping()


_caretaker = _Caretaker()


def caretaker() -> _Caretaker:
    """This process's; a forked child has its own."""
    return _caretaker


_known: WeakValueDictionary[tuple[str, float], Connections] = WeakValueDictionary()


def connections_of(conninfo: str, silence: float) -> Connections:
    """One object for all documents of this process in one database, so that they share connections."""
    key = (conninfo, silence)
    return _known.get(key) or _known.setdefault(key, Connections(conninfo, silence))


def _reset_in_child() -> None:
    global _caretaker
    _inherited.extend(_caretaker.held)
    for connections in list(_known.values()):
        connections.forget()
    _caretaker = _Caretaker()


forks.in_child(_reset_in_child)


def _text_of(error: psycopg.Error) -> str:
    return str(error).strip() or type(error).__name__
