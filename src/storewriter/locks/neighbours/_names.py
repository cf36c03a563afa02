"""The name of a neighbour's lock: a template with `{name}` for the document's name, in the document's folder."""

from __future__ import annotations

import os
import re
from typing import Any, Final

import attrs

DEFAULT: Final = "{name}.lock"

_OURS: Final = re.compile(r"\.\{name\}\.(lock|tmp(\..*)?|marker|guard|journal|backup-\d+|corrupt-\d+)")
"""What storewriter keeps beside a store."""


def lock_path(template: str, path: str) -> str:
    """Where the lock of the store at this canonical path is."""
    folder, name = path.rsplit(os.sep, 1)
    return f"{folder}{os.sep}{template.replace('{name}', name)}"


def check_template(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    """An attrs validator. Raises TypeError or ValueError."""
    what = f"{type(instance).__name__.removesuffix('File')}.{attribute.name}"  # FlockFile is Flock's for its users
    if not isinstance(value, str):
        msg = f"{what} must be the name of a lock file such as '{DEFAULT}', got {value!r}"
        raise TypeError(msg)
    if os.sep in value or "\0" in value:
        msg = f"{what} must be a name in the document's folder, without a path, got {value!r}"
        raise ValueError(msg)
    if "{name}" not in value or re.search(r"[{}]", value.replace("{name}", "")):
        msg = f"{what} must contain {{name}}, which stands for the document's name, and no other braces, got {value!r}"
        raise ValueError(msg)
    if value == "{name}":
        msg = f"{what} must not be the document itself: each save replaces that file, and its lock with it"
        raise ValueError(msg)
    if _OURS.fullmatch(value):
        msg = f"{what}={value!r} is a file that storewriter keeps beside the document; a neighbour cannot share it"
        raise ValueError(msg)


def check_stale(least: float) -> Any:
    """An attrs validator for seconds from `least` on."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not least <= value < float("inf"):
            what = f"{type(instance).__name__}.{attribute.name}"
            msg = f"{what} must be a number of seconds from {least:g}, got {value!r}"
            raise ValueError(msg)

    return check
