"""An operation sealed: bytes go in, bytes come out, and nothing that anybody could still change.

A storewriter store keeps a large state between two updates, and hands it on from one update of a batch to the next, if
its codec answers for it (`sealed`): that no caller holds on to a piece of it. Bytes make sure of that; records, however
immutable, would have to be believed.
"""

from __future__ import annotations

from collections.abc import Callable
from pickle import dumps, loads
from typing import Concatenate, ParamSpec, TypeVar, cast

from commitments.document import Document

P = ParamSpec("P")
T = TypeVar("T")


def sealed(
    operation: Callable[Concatenate[Document, P], T], *arguments: P.args, **named: P.kwargs
) -> Callable[[Document], bytes]:
    """Return the operation with its arguments as a function of the document alone. `opened` reads what it returns."""
    given = dumps((arguments, named))
    plain = cast("Callable[..., T]", operation)

    def update(document: Document) -> bytes:
        arguments, named = loads(given)
        return dumps(plain(document, *arguments, **named))

    return update


def opened(result: bytes, operation: Callable[Concatenate[Document, P], T]) -> T:
    """Return what the sealed `operation` returned."""
    return cast("T", loads(result))
