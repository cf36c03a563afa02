"""Where a document is: a database, a table, a name; as a URL and as a key.

`postgresql://user@host:5432/database?table=app.documents&sslmode=require#name` is an address for libpq, of which three
parts are ours: the fragment names the document, `table` the table, if it is not the usual one, and `silence` the
seconds after which the server ends the turn of a holder from which it hears nothing.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

import attrs
from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

__all__ = ["SILENCE", "TABLE", "Location", "Table", "location_of", "place_of", "require_silence", "split_url"]

TABLE: Final = "storewriter.documents"
"""The usual table."""

SILENCE: Final = 6.0
"""Seconds after which the server ends the turn of a holder from which it hears nothing, unless the store says
otherwise: less than the usual timeouts, so that a waiter goes on behind a host that was cut off."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")
_OURS: Final = frozenset({"table", "silence"})
_LONGEST_SILENCE: Final = 86_400.0
_LONGEST: Final = 1000
"""Bytes of a document's name: it is the key of an index, whose entries are limited to about 2,700 bytes."""


@attrs.frozen
class Table:
    """The table of documents, and those beside it, in one schema."""

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Table:
        """`schema.table`, each an identifier of plain letters, digits and underscores. Raises ValueError."""
        parts = text.split(".")
        if len(parts) != 2 or not all(_NAME.fullmatch(part) for part in parts):
            msg = f"table must be schema.table, of letters, digits and underscores, got {text!r}"
            raise ValueError(msg)
        if len(parts[1]) > 63 - len("_version"):
            msg = f"the name of the table is too long: {parts[1]!r}; the tables beside it need the rest of 63 bytes"
            raise ValueError(msg)
        return cls(*parts)

    @property
    def documents(self) -> str:
        """The table of the documents, quoted for SQL."""
        return self._quoted("")

    @property
    def backups(self) -> str:
        """The table of replaced documents."""
        return self._quoted("_backups")

    @property
    def version(self) -> str:
        """The table with the version of the schema."""
        return self._quoted("_version")

    def _quoted(self, suffix: str) -> str:
        return f'"{self.schema}"."{self.name}{suffix}"'

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def lock_key(self, name: str) -> int:
        """The key of the advisory lock of a document: 64 bits, signed.

        A protocol between all programs that use the table, of all versions: it must never change. Two names with one
        key exclude each other, and nothing else happens.
        """
        text = "\0".join(("storewriter", self.schema, self.name, name))
        return int.from_bytes(
            blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True
        )

    @property
    def channel(self) -> str:
        """What a trigger notifies of changes, with the document's name as the payload."""
        return f"{self.schema}.{self.name}"[:63]


@attrs.frozen
class Location:
    """One document of one database."""

    conninfo: str
    """For libpq; it may hold a password."""
    table: Table
    name: str

    @property
    def key(self) -> str:
        """The document's name in this process, and in errors and events: an address without user and password."""
        return f"{place_of(self.conninfo, self.table)}#{quote(self.name, safe=_SAFE)}"


_SAFE: Final = "/:@ -._~!$&'()*+,;="


def location_of(url: str) -> Location:
    """The location that a URL names. Raises ValueError."""
    conninfo, table, name, _ = split_url(url)
    if not name:
        place = place_of(conninfo, table)
        msg = f"{place} names no document: add its name behind a #, for example {place}#state"
        raise ValueError(msg)
    return Location(conninfo, table, require_name(name))


def require_name(name: str) -> str:
    """A document's name: any text that PostgreSQL can store. Raises ValueError."""
    if not name or "\0" in name:
        msg = f"a document's name is a text that is not empty and has no NUL, got {name!r}"
        raise ValueError(msg)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        msg = f"a document's name must be valid Unicode, got {name!r}"
        raise ValueError(msg) from None
    if size > _LONGEST:
        msg = f"a document's name has at most {_LONGEST} bytes, got {size}"
        raise ValueError(msg)
    return name


class Parts(NamedTuple):
    """What a URL says."""

    conninfo: str
    table: Table
    name: str
    """May be empty."""
    silence: float


def split_url(url: str) -> Parts:
    """The parts of a URL. Raises ValueError."""
    address, _, fragment = url.partition("#")
    head, mark, query = address.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    ours = {key: value for key, value in options if key in _OURS}
    kept = [(key, value) for key, value in options if key not in _OURS]
    address = f"{head}?{urlencode(kept, quote_via=quote)}" if mark and kept else head
    try:
        conninfo = make_conninfo(address)
    except ProgrammingError as error:
        msg = f"this is not an address of a PostgreSQL database: {_without_values(str(error), options)}"
        raise ValueError(msg) from None
    _require_host(conninfo)
    silence = require_silence(ours.get("silence", SILENCE))
    return Parts(conninfo, Table.parse(ours.get("table", TABLE)), unquote(fragment), silence)


def require_silence(silence: float | str) -> float:
    """Seconds, at least one. Raises ValueError."""
    try:
        seconds = float(silence)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= _LONGEST_SILENCE:
        msg = f"silence must be at least one second and at most a day, got {silence!r}"
        raise ValueError(msg)
    return seconds


def _without_values(message: str, options: list[tuple[str, str]]) -> str:
    """What libpq says, without the part of the URL that it quotes (a password?), unless that is an option's name."""
    said, _, quoted = message.strip().partition(' "')
    name = quoted.rstrip('"')
    is_option = name.isidentifier() and any(name == key for key, _ in options)
    return f"{said} {name!r}" if is_option else said.rstrip(":")


def _require_host(conninfo: str) -> None:
    """Raise ValueError if a part of a password was taken for the host or the port, which are shown in messages."""
    given = conninfo_to_dict(conninfo)
    if "@" in str(given.get("host") or "")[1:]:
        msg = "the host has an '@': in a user or a password, write it as %40 (':' is %3A, '/' is %2F, '?' is %3F)"
        raise ValueError(msg)
    if not re.fullmatch(r"[0-9,]*", str(given.get("port") or "")):
        msg = "the port is not a number: a URL is postgresql://user:password@host:port/database#name"
        raise ValueError(msg)


def place_of(conninfo: str, table: Table) -> str:
    """The address of a table: host, port and database as libpq will take them, without user and password.

    Two spellings of one host are two places: their documents exclude each other by the server's lock only.
    """
    given = {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    known = {**_defaults(), **given}
    host = known.get("host") or known.get("hostaddr") or "localhost"
    port = known.get("port") or "5432"
    options: list[tuple[str, str]] = []
    if host.startswith(("/", "@")):
        options += [("host", host), ("port", port)]
        host = ""
    else:
        hosts, ports = host.split(","), port.split(",")
        ports = ports * len(hosts) if len(ports) == 1 else ports
        host = ",".join(f"{_bracketed(one)}:{its}" for one, its in zip(hosts, ports, strict=False))
    if str(table) != TABLE:
        options.append(("table", str(table)))
    database = known.get("dbname") or known.get("user") or ""
    query = urlencode(options, quote_via=quote, safe="/@")
    return f"postgresql://{host}/{quote(database)}" + (f"?{query}" if query else "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _defaults() -> dict[str, str]:
    """What libpq takes from its environment: PGHOST, a service file, and so on."""
    found: list[Any] = pq.Conninfo.get_defaults()
    return {option.keyword.decode(): option.val.decode(errors="replace") for option in found if option.val is not None}
