"""Where the store is."""

from __future__ import annotations

from pathlib import Path

import pytest

from commitments import AsyncCommitmentsStore, CommitmentsStore, default_path
from commitments.location import Location


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OPENCLAW_STATE_DIR", raising=False)
    return tmp_path


def test_without_a_state_dir_it_is_in_the_home(home: Path) -> None:
    assert default_path() == f"{home}/.openclaw/commitments/commitments.json"


def test_a_state_dir_goes_before_that(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    for value, expected in (
        ("/elsewhere", "/elsewhere"),
        (" ~/state ", f"{home}/state"),
        ("", f"{home}/.openclaw"),
        (" ", f"{home}/.openclaw"),
    ):
        monkeypatch.setenv("OPENCLAW_STATE_DIR", value)
        assert default_path() == f"{expected}/commitments/commitments.json"


def test_the_state_dir_counts_when_the_store_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    store = CommitmentsStore()
    monkeypatch.setenv("OPENCLAW_STATE_DIR", "/elsewhere")
    assert CommitmentsStore().path == "/elsewhere/commitments/commitments.json"
    assert store.path != CommitmentsStore().path


@pytest.mark.parametrize("kind", [CommitmentsStore, AsyncCommitmentsStore])
def test_a_path_is_trimmed_expanded_and_made_absolute(
    kind: type[CommitmentsStore | AsyncCommitmentsStore], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    for given, expected in (
        ("/x/y.json", "/x/y.json"),
        (" /x/../y.json\n", "/y.json"),
        ("~/y.json", f"{home}/y.json"),
        ("y.json", f"{home}/y.json"),
        (Path("/x/y.json"), "/x/y.json"),
        ("", default_path()),
        ("\ufeff ", default_path()),
        (None, default_path()),
    ):
        assert kind(given).path == expected


def test_making_a_store_touches_nothing(home: Path) -> None:
    CommitmentsStore()
    AsyncCommitmentsStore()
    assert list(home.iterdir()) == []


def test_a_url_is_passed_on_as_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not taken for a relative path, and nothing of what holds for files: no folder, no OpenClaw beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "postgresql:" / "host" / "state").mkdir(parents=True)
    (tmp_path / "postgresql:" / "host" / "state" / "openclaw.sqlite").write_text("")
    found = Location.of(" postgresql://host/commitments/db#name ")
    assert found.path == "postgresql://host/commitments/db#name"
    assert (found.is_default, found.is_openclaws, found.database) == (False, False, None)
    found.require_in_use()
    found.keep_private()
