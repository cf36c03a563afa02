"""bytes <-> state: what a codec is, JSON by default, and documents that evolve.

Here            Codec, UpdateCodec, JsonCodec, FunctionCodec, Versioned,
                DecodeError, UnknownVersion, TooDeep, EncodeError
For own codecs  explained
Typed states    storewriter.codecs.attrs.AttrsCodec          extra `cattrs`
                storewriter.codecs.msgspec.MsgspecCodec      extra `msgspec`
                storewriter.codecs.pydantic.PydanticCodec    extra `pydantic`
Does not        import an extra here: the default codec is the same whatever is installed.
"""

from __future__ import annotations

from storewriter.codecs._explained import explained
from storewriter.codecs._protocol import (
    Codec,
    DecodeError,
    EncodeError,
    FunctionCodec,
    TooDeep,
    UnknownVersion,
    UpdateCodec,
)
from storewriter.codecs.json import JsonCodec
from storewriter.codecs.versioned import Versioned

__all__ = [
    "Codec",
    "DecodeError",
    "EncodeError",
    "FunctionCodec",
    "JsonCodec",
    "TooDeep",
    "UnknownVersion",
    "UpdateCodec",
    "Versioned",
    "explained",
]
