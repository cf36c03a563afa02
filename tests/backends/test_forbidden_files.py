"""The witness of `test_not_a_file.py` sees what a store of a file does."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.no_files import files_forbidden
from storewriter import PerStoreWriterQueue, Store


def test_a_store_of_a_file_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match=r"state\.json.* at "), files_forbidden(monkeypatch):
        Store(path).read()


def test_a_turn_on_a_file_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(AssertionError, match=r"\.state\.json\.lock.* at "),
        files_forbidden(monkeypatch),
        PerStoreWriterQueue().turn(path),
    ):
        pass
