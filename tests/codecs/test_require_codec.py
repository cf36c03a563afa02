"""What is no codec is refused where it is given, and not at the first use of the store."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest

from storewriter import AsyncStore, Store
from storewriter.codecs import FunctionCodec, JsonCodec, Versioned
from storewriter.codecs.attrs import AttrsCodec
from storewriter.codecs.msgspec import MsgspecCodec
from storewriter.codecs.pydantic import PydanticCodec


class OneFunction:
    def encode(self, state: Any) -> bytes:
        return b""


class Namespace:
    @staticmethod
    def encode(state: Any) -> bytes:
        return json.dumps(state).encode()

    @classmethod
    def decode(cls, data: bytes) -> Any:
        return json.loads(data)


MISTAKES: list[Any] = [
    5,
    "json",
    json,
    {},
    OneFunction(),
    OneFunction,
    types.SimpleNamespace(encode=1, decode=2),
    JsonCodec,
    FunctionCodec,
    Versioned,
    AttrsCodec,
    MsgspecCodec,
    PydanticCodec,
]


def _name(value: Any) -> str:
    """The same in every process, for runs in several: no address of an object."""
    return value.__name__ if isinstance(value, type | types.ModuleType) else type(value).__name__


@pytest.mark.parametrize("mistake", MISTAKES, ids=_name)
def test_what_is_no_codec_is_refused_at_once(mistake: Any, path: Path) -> None:
    for face in (Store, AsyncStore):
        with pytest.raises(TypeError, match="codec must have"):
            face(path, codec=mistake)
    with pytest.raises(TypeError, match="codec must have"):
        Versioned(mistake, version=1)
    if isinstance(mistake, type):
        with pytest.raises(TypeError, match=f"{mistake.__name__}\\(\\.\\.\\.\\)"):
            Store(path, codec=mistake)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "codec",
    [
        JsonCodec(),
        Namespace,
        types.SimpleNamespace(encode=Namespace.encode, decode=Namespace.decode),
        FunctionCodec(encode=Namespace.encode, decode=Namespace.decode),
    ],
    ids=_name,
)
def test_whatever_has_the_two_functions_is_a_codec(codec: Any, path: Path) -> None:
    store: Store[Any] = Store(path, codec=codec)
    store.update(lambda state: state.update(a=1))
    assert store.read() == {"a": 1}
