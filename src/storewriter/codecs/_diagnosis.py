"""What a document is that is not JSON: in the words of what people meet, in place of those of the parser.

Promise    `named` returns an error with the same place, and a reason that names the document, if it is a known one. It
           raises nothing for any bytes, and is called only after the decoder has refused them: it cannot change which
           documents are accepted.
Decided    `may_be_intact`: what no torn write makes (a comment, another format, another encoding) is as its writer
           meant it. NUL bytes, an end in the middle and a second document are damage.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from storewriter.codecs._places import path_at
from storewriter.codecs._protocol import DecodeError, TooDeep

__all__ = ["named"]

_Verdict = tuple[str, bool]
"""A reason, and whether the document may be intact."""


def named(data: bytes, text: str | None, error: DecodeError) -> DecodeError:
    """The error for a document that is not JSON, with the best reason that is known, and the path if it has a place.

    `text` is what `position` counts in; None for bytes that are not UTF-8.
    """
    if isinstance(error, TooDeep):
        return error
    verdict = _of_bytes(data) or (_of_encoding(data, error) if text is None else _of_text(text, error))
    reason, may_be_intact = verdict or (error.reason, error.may_be_intact)
    path = error.path
    if path is None and text is not None and error.position is not None:
        path = path_at(text, error.position)
    return type(error)(
        reason,
        position=error.position,
        line=error.line,
        column=error.column,
        path=path,
        may_be_intact=may_be_intact,
    )


# -- bytes -------------------------------------------------------------------------------------------------------------

_BINARY: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b", "gzip-compressed, not JSON"),
    (b"BZh", "bzip2-compressed, not JSON"),
    (b"\xfd7zXZ\0", "xz-compressed, not JSON"),
    (b"\x28\xb5\x2f\xfd", "Zstandard-compressed, not JSON"),
    (b"PK\x03\x04", "a ZIP archive, not JSON"),
    (b"SQLite format 3\0", "an SQLite database, not JSON"),
)
_UTF16: Final = "UTF-16 (PowerShell's `>` writes it): save as UTF-8"


def _of_bytes(data: bytes) -> _Verdict | None:
    if data and not data.strip(b"\0"):
        return f"{_count(len(data))}, all NUL: usually left by a power cut. Restore a backup", False
    for beginning, reason in _BINARY:
        if data.startswith(beginning):
            return reason, True
    return (_UTF16, True) if _is_utf16(data) else None


def _is_utf16(data: bytes) -> bool:
    """By its byte order mark, or because the first characters, which are ASCII in JSON, have a NUL byte each."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data[2:4] != b"\0\0" or len(data) == 2  # UTF-32 otherwise
    if len(data) % 2:
        return False
    first, second = data[0:4:2], data[1:4:2]
    for nul, shown in ((first, second), (second, first)):
        if nul and not nul.strip(b"\0") and shown.isascii() and 0 not in shown:
            return True
    return False


def _of_encoding(data: bytes, error: DecodeError) -> _Verdict | None:
    """Whole in an encoding of one byte a character: nothing is missing but the right encoding."""
    try:
        orjson.loads(data.decode("latin-1"))
    except orjson.JSONDecodeError:
        return None
    return f"{error.reason}; perhaps Windows-1252 or Latin-1: save as UTF-8", True


def _count(number: int) -> str:
    return f"{number} bytes" if number != 1 else "1 byte"


# -- text --------------------------------------------------------------------------------------------------------------

_COMMENT: Final = "a comment; JSON has none. Remove it, or give the store a codec that knows comments"
_NUMBER: Final = (
    "a number that JSON does not have: no `+`, no `0x`, no 0 in front, and digits on both sides of the point"
)
_YAML: Final = "it looks like YAML, not JSON: give the store a codec for it"
_SETTINGS: Final = "it looks like TOML, INI or .env, not JSON: give the store a codec for it"
_FOREIGN: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (
        re.compile(r"version https://git-lfs\.github\.com/spec/"),
        "a Git LFS pointer, not the file itself: `git lfs pull` fetches that",
    ),
    (
        re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE),
        "an HTML page, not JSON: perhaps a server's error page",
    ),
    (re.compile(r"<\?xml\b|<[A-Za-z][\w:.-]*[\s/>]"), "XML, not JSON"),
)
"""By the beginning of the document."""
_FOREIGN_LINE: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"---(?:[ \t]|$)|[\w.-]+[ \t]*:(?:[ \t\r]|$)|- ", re.MULTILINE), _YAML),
    (re.compile(r"\[\[?[A-Za-z_][\w .\"'-]*\]\]?[ \t\r]*(?:$|#)", re.MULTILINE), _SETTINGS),
    (re.compile(r"(?:export +)?[A-Za-z_][\w.-]*[ \t]*="), _SETTINGS),
)
"""By the first line, if the decoder got no further."""
_COMMENT_MARK: Final = re.compile(r"//|/\*|#")
_CONFLICT: Final = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?:[ \t\r]|$)", re.MULTILINE)
_PYTHON: Final = re.compile(r"[bBrRuU]?'|(?:True|False|None)\b|\(")
_NUMBER_BEGINS: Final = re.compile(r"[+-]?\.\d|\+[\d.]")
_NUMBER_GOES_ON: Final = re.compile(r"(?<![\d.])0[\dxX]|\d\.[^\d.]")
"""From the last digit that the decoder has read: it takes `0` for all of `01` and `0x10`, and `5` for all of `5.`."""
_NAME: Final = re.compile(r"[A-Za-z_$][\w$]*[ \t]*:")
_CUT_CONSTANT: Final = re.compile(r"(?:t|tr|tru|f|fa|fal|fals|n|nu|nul|-)\s*\Z")
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_EXTRA: Final = "Extra data"
_CUT: Final = "the document is cut off: it ends in the middle"


def _of_text(text: str, error: DecodeError) -> _Verdict | None:
    if error.position is None:
        return None
    at = _after_blanks(text, error.position)
    return (
        _of_nul_bytes(text, at)
        or _of_beginning(text)
        or _of_conflict(text, at)
        or (_of_more(text, at) if error.reason == _EXTRA else _of_place(text, at))
        or _of_number(text, error.position, error.reason)
        or _of_complaint(text, error.position, at, error.reason)
    )


def _after_blanks(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    return position if blank is None else blank.end()


def _of_nul_bytes(text: str, at: int) -> _Verdict | None:
    rest = text[at:]
    number = len(rest) - len(rest.lstrip("\0"))
    return (f"{_count(number)} from here on, all NUL: usually left by a power cut", False) if number else None


def _of_beginning(text: str) -> _Verdict | None:
    return _first(_FOREIGN, text, _after_blanks(text, 0))


def _first(patterns: tuple[tuple[re.Pattern[str], str], ...], text: str, at: int) -> _Verdict | None:
    for pattern, reason in patterns:
        if pattern.match(text, at):
            return reason, True
    return None


def _of_conflict(text: str, at: int) -> _Verdict | None:
    if _CONFLICT.match(text, at):
        return "marks of a merge conflict: choose one side of each, and remove the marks", True
    return None


def _of_place(text: str, at: int) -> _Verdict | None:
    """By the text at which the decoder stopped."""
    if _COMMENT_MARK.match(text, at):
        return _COMMENT, True
    if _PYTHON.match(text, at):
        return "written by `str()`, not by `json.dumps()`", True
    start = _after_blanks(text, 0)
    if "\n" not in text[start:at] and (verdict := _first(_FOREIGN_LINE, text, start)) is not None:
        return verdict
    if _NAME.match(text, at):
        return "a key without quotation marks, as JavaScript and JSON5 have them; JSON has none", True
    return None


def _of_number(text: str, position: int, reason: str) -> _Verdict | None:
    """By a number as a person, JavaScript or JSON5 writes it."""
    is_one = (reason == "Expecting value" and _NUMBER_BEGINS.match(text, position)) or (
        reason.startswith("Expecting ','") and position > 0 and _NUMBER_GOES_ON.match(text, position - 1)
    )
    return (_NUMBER, True) if is_one else None


def _of_more(text: str, at: int) -> _Verdict | None:
    """By the text behind a whole document."""
    rest = text[at:].rstrip()
    if _COMMENT_MARK.match(rest) and not rest.endswith(("}", "]")):  # or it is the rest of a text in a document
        return _COMMENT, True
    start = _after_blanks(text, 0)
    if not text.startswith(("{", "["), start):
        return _first(_FOREIGN_LINE, text, start)
    if _is_json_lines(text):
        return "one document a line (JSON Lines): give the store a codec for it", True
    return "a whole document, then more: two programs wrote at once, or a longer text was overwritten", False


def _is_json_lines(text: str) -> bool:
    """Whether every line is a document, but perhaps the last one, if there are two without it."""
    lines = [line for line in text.split("\n") if line.strip()]
    wholes = 0
    for line in lines:
        if not line.lstrip().startswith(("{", "[")) or not _is_json(line):
            break
        wholes += 1
    return wholes >= 2 and wholes >= len(lines) - 1


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _of_complaint(text: str, position: int, at: int, reason: str) -> _Verdict | None:
    """By the decoder's reason."""
    if reason.startswith("a comma before"):
        return reason, True
    if reason.startswith("Invalid \\"):
        return ("a backslash in text must be doubled", True) if '"' in text[at:] else (_CUT, False)
    if reason.startswith("Invalid control character"):
        return _of_control_character(text[position : position + 1]), True
    if reason.startswith("Unterminated string"):
        return "the document is cut off: this text has no end", False
    if text.strip() and (at == len(text) or _CUT_CONSTANT.match(text, at)):
        return _CUT, False
    return None


def _of_control_character(character: str) -> str:
    if character in ("\n", "\r"):
        return r"a raw line break in a text: write `\n`, or add the quotation mark that is missing"
    if character == "\t":
        return r"a raw tab in a text: write `\t`"
    return rf"a control character in a text: write `\u{ord(character or chr(0)):04x}`"
