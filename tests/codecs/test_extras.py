"""The default codec is the same whatever extras are installed; a typed codec without its extra says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

_WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def _run(code: str, *absent: str) -> str:
    prelude = _WITHOUT.format(names=absent)
    done = subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_package_imports_no_extra() -> None:
    code = """
import storewriter, storewriter.codecs
print(sorted({"cattrs", "msgspec", "pydantic", "watchfiles"} & set(sys.modules)))
"""
    assert _run(code) == "[]"


def test_the_default_codec_writes_the_same_without_any_extra() -> None:
    code = """
from storewriter.codecs import JsonCodec
print(JsonCodec().encode({"a": [1, None, 2.5, "é", 2**70]}))
"""
    assert _run(code, "cattrs", "msgspec", "pydantic") == _run(code)


@pytest.mark.parametrize("module", ["attrs", "msgspec", "pydantic"])
def test_a_typed_codec_without_its_extra_says_what_to_install(module: str) -> None:
    extra = "cattrs" if module == "attrs" else module
    code = f"""
try:
    import storewriter.codecs.{module}
except ImportError as error:
    print(error)
"""
    assert f"storewriter[{extra}]" in _run(code, extra)
