"""One library, written for attrs, msgspec and pydantic: the same fields, the same documents."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

import attrs
import msgspec
import pydantic

from storewriter.codecs.attrs import AttrsCodec
from storewriter.codecs.msgspec import MsgspecCodec
from storewriter.codecs.pydantic import PydanticCodec


class Shelf(enum.Enum):
    FICTION = "fiction"
    SCIENCE = "science"


@attrs.define
class AttrsBook:
    title: str
    pages: int = 0
    shelf: Shelf = Shelf.FICTION
    due: dt.datetime | None = None
    rating: float | None = None


@attrs.define
class AttrsLibrary:
    books: list[AttrsBook] = attrs.field(factory=list)
    lent: dict[str, AttrsBook] = attrs.field(factory=dict)
    tags: set[str] = attrs.field(factory=set)
    place: tuple[int, str] = (1, "cellar")


class MsgspecBook(msgspec.Struct):
    title: str
    pages: int = 0
    shelf: Shelf = Shelf.FICTION
    due: dt.datetime | None = None
    rating: float | None = None


class MsgspecLibrary(msgspec.Struct):
    books: list[MsgspecBook] = []
    lent: dict[str, MsgspecBook] = {}
    tags: set[str] = set()
    place: tuple[int, str] = (1, "cellar")


class PydanticBook(pydantic.BaseModel):
    title: str
    pages: int = 0
    shelf: Shelf = Shelf.FICTION
    due: dt.datetime | None = None
    rating: float | None = None


class PydanticLibrary(pydantic.BaseModel):
    books: list[PydanticBook] = []
    lent: dict[str, PydanticBook] = {}
    tags: set[str] = set()
    place: tuple[int, str] = (1, "cellar")


@attrs.frozen
class Kind:
    """One typed codec, and the classes to use it with."""

    name: str
    codec: Any
    library: Any
    book: Any


KINDS = (
    Kind("attrs", AttrsCodec, AttrsLibrary, AttrsBook),
    Kind("msgspec", MsgspecCodec, MsgspecLibrary, MsgspecBook),
    Kind("pydantic", PydanticCodec, PydanticLibrary, PydanticBook),
)
