"""Codecs import nothing once they are set up: they run in signal handlers, without free descriptors, without privileges."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from library import KINDS
from storewriter.codecs import DecodeError, EncodeError, JsonCodec, Versioned

codecs = [JsonCodec(), JsonCodec(indent=2), Versioned(JsonCodec(), version=2, migrations={1: dict})]
states = [{}, {"a": [1, None, "\\u00fc", 0.1, 2**70, "\\ud800"]}, [float("nan")], {1: 2}, b"", "\\ud83d\\ude00", {"a": {1}}]
documents = [b"", b"\\xff", b"\\xef\\xbb\\xbf{}", b"[1.50, 1e999]", b"[1,]", b'{"a": "\\\\ud800", "a": 1}', b"[" * 300,
             b'{"version": 1}', b'{"version": 9}', b'{"version":2,"\\\\u00fc":1}', b'{"place": [1, "x"], "tags": ["a"]}',
             b'{"books": [{"title": "a", "due": "2026-01-02T03:04:05Z", "pages": "5"}]}', b"\\xff\\xfe{"]
for kind in KINDS:
    codecs += [kind.codec(kind.library), kind.codec(kind.library, indent=2)]
    states += [kind.library(books=[kind.book(title="a", rating=0.5)], tags={"x"}), {"books": 1}]

late = []
sys.addaudithook(lambda event, arguments: late.append(arguments[0]) if event == "import" else None)
for codec in codecs:
    for state in states:
        try:
            codec.decode(codec.encode(state))
        except (EncodeError, DecodeError):
            pass
    for data in documents:
        try:
            codec.decode(data)
        except DecodeError:
            pass
print(late)
"""


def test_nothing_is_imported_after_the_codecs_are_set_up() -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", CODE, here], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
