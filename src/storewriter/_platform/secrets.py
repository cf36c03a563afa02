"""Text without the passwords of URLs: command lines and messages are shown, logged and written into records."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["without_passwords"]

# Greedy: in a password whose `@` was not written as `%40`, the last one ends it.
_USER: Final = re.compile(r"(?<=://)[^\s/]\S*@")
_OPTION: Final = re.compile(r"(?i)(?<=password=)(?:'[^']*'|[^\s&#]+)")


def without_passwords(text: str) -> str:
    """The text; in the URLs in it, users and passwords are replaced by `***`, also those in their options."""
    return _OPTION.sub("***", _USER.sub("***@", text))
