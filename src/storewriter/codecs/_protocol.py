"""What a codec is: two functions, and a third one for those that keep a document's layout; and its errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar, cast

import attrs

from storewriter.errors import DecodeError, EncodeError, Path, TooDeep, UnknownVersion

__all__ = [
    "Codec",
    "DecodeError",
    "EncodeError",
    "FunctionCodec",
    "Path",
    "TooDeep",
    "UnknownVersion",
    "UpdateCodec",
    "require_codec",
    "subscripted",
    "unwritable",
    "update_codec",
]

S = TypeVar("S")


class Codec(Protocol[S]):
    """Two functions between bytes and states. Anything that has them can be a store's codec.

    `decode(encode(state))` must equal `state`, and equal states must give equal bytes: bytes are compared to know
    whether anything changed. A codec is shared by threads and compared with `==` to know whether two stores agree.
    """

    def encode(self, state: S, /) -> bytes:
        """Return `state` as a document. Raise an exception for one that cannot be kept: its caller gets it.

        It may be of a subclass of `bytes`, by which `decode` recognises its own output: stores pass on the object.
        """
        ...

    def decode(self, data: bytes, /) -> S:
        """Return the state in `data`, a new object at every call. Raise `DecodeError` for bytes that are no document.

        Any other exception that is raised again when the same bytes are decoded again counts as one, too.
        """
        ...


class UpdateCodec(Codec[S], Protocol[S]):
    """A codec that writes a document after the one that it read: one that keeps its layout, for example."""

    def decode_for_update(self, data: bytes, /) -> tuple[S, Callable[[S], bytes]]:
        """Return the state in `data`, as `decode` does, and a function that encodes what an update makes of it.

        That function returns `data` itself, or equal bytes, if the document need not be written. It may be called
        more than once, with other objects than the one returned here, and in another thread; it raises as `encode`
        does. Without this method, a store finds out that nothing has changed by encoding what it has read once more.

        A class that inherits this method and has an `encode` or `decode` of its own must have its own version of this
        one, too: otherwise it is not called.
        """
        ...


def unwritable(path: Path, objection: str) -> EncodeError:
    """The error for a value: `state['a'][1] is a datetime, which JSON cannot hold`."""
    return EncodeError(f"{subscripted(path)} {objection}", path=path, objection=objection)


_SHOWN_STEPS: Final = 8
"""Steps of a long path that are shown at its beginning and at its end."""
_SHOWN_KEY: Final = 60
"""Characters of a key that are shown."""


def subscripted(path: Path) -> str:
    """A path as Python writes it: `state['a'][1]`."""
    steps = [f"[{_brief(step)}]" for step in path]
    if len(steps) > 2 * _SHOWN_STEPS:
        left_out = len(steps) - 2 * _SHOWN_STEPS
        steps = [*steps[:_SHOWN_STEPS], f"...({left_out} more)...", *steps[-_SHOWN_STEPS:]]
    return f"state{''.join(steps)}"


def _brief(step: str | int) -> str:
    if isinstance(step, str) and len(step) > _SHOWN_KEY:
        return f"{step[:_SHOWN_KEY]!r}..."
    return repr(step)


@attrs.frozen
class FunctionCodec(Generic[S]):
    """A codec from two functions. A value; two of the same functions are equal.

    Example:
        Store("robot.txt", default=Position, codec=FunctionCodec(to_text, from_text))
    """

    encode: Callable[[S], bytes]
    """State to bytes; raises for a state that cannot be kept."""
    decode: Callable[[bytes], S]
    """Bytes to state, a new object at each call; raises for bytes that are no document."""


def require_codec(codec: object) -> None:
    """Raise TypeError for what is no codec, and not None either, which means the default."""
    functions = (getattr(codec, "encode", None), getattr(codec, "decode", None))
    if codec is None or (all(map(callable, functions)) and not _is_no_instance(codec)):
        return
    hint = f": make one, `codec={codec.__name__}(...)`" if isinstance(codec, type) else ""
    msg = f"a codec must have the functions encode(state) and decode(data), got {codec!r}{hint}"
    raise TypeError(msg)


_FUNCTIONS: Final = ("encode", "decode")


def update_codec(codec: Codec[S]) -> UpdateCodec[S] | None:
    """The codec, if it has a `decode_for_update` that belongs to its `encode` and `decode`."""
    if isinstance(codec, type) or any(name in getattr(codec, "__dict__", ()) for name in _FUNCTIONS):
        return None
    for kind in type(codec).__mro__:
        if "decode_for_update" in vars(kind):
            return cast("UpdateCodec[S]", codec)
        if any(name in vars(kind) for name in _FUNCTIONS):
            return None  # what a base class does for an update does not apply to this class's format
    return None


def _is_no_instance(codec: object) -> bool:
    """Whether it is a class whose functions need a `self`; one with static or class methods is a codec."""
    return isinstance(codec, type) and inspect.isfunction(inspect.getattr_static(codec, "encode"))
