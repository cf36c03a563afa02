"""A gateway on Node.js, with its own lock, beside the `commitments` command; and OpenClaw's database beside the file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from programs import Program, program

from commitments import AsyncCommitmentsStore, CommitmentsStore, Item, Scope
from commitments.candidates import Candidate
from persistent_dedupe import AsyncPersistentDedupe, DedupeOptions, PersistentDedupe
from storewriter import PerStoreWriterQueue, StoreWriterError, locks

SOON = int(time.time() * 1000) + 3_600_000
SCOPE = Scope("main", "agent:main:telegram:user-1", "telegram", to="user-1")


def record(id_: str) -> dict[str, Any]:
    return {
        "id": id_,
        "agentId": "main",
        "sessionKey": SCOPE.session_key,
        "channel": "telegram",
        "to": "user-1",
        "kind": "event_check_in",
        "sensitivity": "routine",
        "source": "inferred_user_context",
        "status": "pending",
        "reason": f"Reason of {id_}.",
        "suggestedText": f"Text of {id_}?",
        "dedupeKey": f"key:{id_}",
        "confidence": 0.9,
        "dueWindow": {"earliestMs": SOON, "latestMs": SOON + 1000, "timezone": "UTC"},
        "createdAtMs": 1,
        "updatedAtMs": 1,
        "attempts": 0,
    }


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """OpenClaw's state directory of a user."""
    folder = tmp_path / "openclaw"
    (folder / "commitments").mkdir(parents=True)
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(folder))
    monkeypatch.delenv("PERSISTENT_DEDUPE_STORE", raising=False)
    return folder


@pytest.fixture
def file(state_dir: Path) -> Path:
    """Its commitments: twelve that a person dismisses, and one that the gateway works on."""
    path = state_dir / "commitments" / "commitments.json"
    ids = [f"cm_{number:02}" for number in range(12)]
    path.write_text(json.dumps({"version": 1, "commitments": [record(id_) for id_ in [*ids, "pulse"]]}, indent=2))
    return path


def by_id(path: Path) -> dict[str, dict[str, Any]]:
    return {found["id"]: found for found in json.loads(path.read_text())["commitments"]}


def command(*words: str, package: str = "commitments") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", package, *words], capture_output=True, text=True, check=False)


@pytest.fixture
def gateway(request: pytest.FixtureRequest, file: Path, node: Path) -> Iterator[Program]:
    with program(request.param, file, node, "gateway.mjs") as process:
        yield process


@pytest.mark.parametrize("gateway", ["openclaw-reference", "fs-safe-0.21-reference", "fs-safe-0.3"], indirect=True)
def test_twelve_dismissals_beside_a_gateway_on_node(gateway: Program, file: Path) -> None:
    ids = [f"cm_{number:02}" for number in range(12)]
    for id_ in ids:
        done = command("dismiss", id_)
        errors = [line for line in done.stderr.splitlines() if "has been waiting for" not in line]  # said after 1 s
        assert (done.returncode, done.stdout, errors) == (0, f"Dismissed commitments: {id_}\n", [])
    assert gateway.process.stdin is not None
    gateway.process.stdin.close()
    counted = re.fullmatch(r"attempts (\d+) busy (\d+)", gateway.hear())
    assert counted
    found = by_id(file)
    assert [id_ for id_ in ids if found[id_]["status"] != "dismissed"] == []
    assert found["pulse"]["attempts"] == int(counted[1]) > 0


def test_the_path_of_the_gateway_is_known_by_every_spelling(file: Path, tmp_path: Path) -> None:
    assert also_of(CommitmentsStore()) == (locks.OpenClawLock(),)
    assert also_of(CommitmentsStore(file)) == (locks.OpenClawLock(),)
    link = tmp_path / "link"
    link.symlink_to(file.parent)
    assert also_of(CommitmentsStore(link / file.name)) == (locks.OpenClawLock(),)
    assert also_of(AsyncCommitmentsStore()) == (locks.OpenClawLock(),)


def test_elsewhere_and_where_it_is_said_there_is_no_such_lock(file: Path, tmp_path: Path) -> None:
    assert also_of(CommitmentsStore(tmp_path / "mine.json")) == ()
    assert also_of(CommitmentsStore(neighbour_lock=False)) == ()
    assert also_of(CommitmentsStore(tmp_path / "mine.json", neighbour_lock=True)) == (locks.OpenClawLock(),)
    assert also_of(CommitmentsStore(queue=PerStoreWriterQueue())) == ()


def also_of(store: CommitmentsStore | AsyncCommitmentsStore) -> tuple[object, ...]:
    return store._store._queue.also


def test_the_commands_know_the_option(file: Path) -> None:
    for word in ("--neighbour-lock", "--no-neighbour-lock"):
        assert command("dismiss", "cm_00", word).returncode in (0, 1)
    assert by_id(file)["cm_00"]["status"] == "dismissed"


# -- since OpenClaw keeps them in a database ---------------------------------------------------------------------------


@pytest.fixture
def database(state_dir: Path) -> Path:
    path = state_dir / "state" / "openclaw.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"")
    return path


def test_beside_the_database_a_warning_says_so(file: Path, database: Path) -> None:
    for words in (["list"], ["dismiss", "cm_00"], ["list", "--store", str(file)]):
        done = command(*words)
        assert done.returncode == 0
        assert f"keeps its commitments in {database}" in done.stderr
        assert "#105780, 2026-07-13" in done.stderr


ADD = [
    *("add", "--agent", "main", "--session", "s", "--channel", "telegram"),
    *("--text", "Well?", "--reason", "An audition.", "--due", "+6h"),
]


def test_beside_the_database_no_legacy_file_is_made_unless_it_is_named(state_dir: Path, database: Path) -> None:
    path = state_dir / "commitments" / "commitments.json"
    done = command(*ADD)
    assert done.returncode == 3
    assert f"OpenClaw keeps its commitments in {database}" in done.stderr
    assert os.listdir(path.parent) == []
    assert command("list").returncode == 0
    assert os.listdir(path.parent) == []
    assert command(*ADD, "--store", str(path)).returncode == 0
    assert path.exists()


def test_the_library_makes_none_either(state_dir: Path, database: Path, backend: str) -> None:
    candidate = Candidate(
        kind="event_check_in", reason="r", suggested_text="t", dedupe_key="k", confidence=0.9,
        earliest_ms=SOON, latest_ms=SOON + 1, timezone="UTC",
    )  # fmt: skip

    async def main() -> None:
        with pytest.raises(StoreWriterError, match="openclaw.sqlite"):
            await AsyncCommitmentsStore().upsert(Item(SCOPE), [candidate])

    anyio.run(main, backend=backend)
    with pytest.raises(StoreWriterError, match="openclaw.sqlite"):
        CommitmentsStore().upsert(Item(SCOPE), [candidate])
    assert os.listdir(state_dir / "commitments") == []


# -- keys of events ----------------------------------------------------------------------------------------------------


def test_keys_in_the_state_directory_are_recorded_under_openclaws_lock(state_dir: Path, node: Path) -> None:
    folder = state_dir / "dedupe"
    folder.mkdir()
    with program("openclaw", folder / "global.json", node) as other:
        other.tell("hold")
        other.expect("holding")
        done = command("check", "evt-1", "--store", str(folder), "--timeout", "1s", package="persistent_dedupe")
        assert done.returncode == 4
        assert f"pid {other.pid}" in done.stderr
        done = command("check", "evt-1", "--store", str(folder), "--no-neighbour-lock", package="persistent_dedupe")
        assert done.returncode == 0
        assert "also=OpenClawLock()" in done.stderr
        other.tell("release")
        other.expect("released")
        for face in (PersistentDedupe, AsyncPersistentDedupe):
            file = face(folder, DedupeOptions(ttl=60))._context.file("global")
            assert file is not None
            keys: Any = file.keys
            claims: Any = file.claims
            assert keys._store._queue.also == (locks.OpenClawLock(),)
            assert claims._store._queue.also == ()


def test_keys_elsewhere_need_no_such_lock(tmp_path: Path, state_dir: Path) -> None:
    for wanted, also in ((None, ()), (True, (locks.OpenClawLock(),))):
        dedupe = PersistentDedupe(tmp_path / "dedupe", DedupeOptions(ttl=60, neighbour_lock=wanted))
        file = dedupe._context.file("global")
        assert file is not None
        keys: Any = file.keys
        assert keys._store._queue.also == also


def test_keys_beside_the_database_are_warned_of(state_dir: Path, database: Path) -> None:
    done = command("check", "evt-1", "--store", str(state_dir / "dedupe"), package="persistent_dedupe")
    assert done.returncode == 0
    assert f"keeps its dedupe keys in {database}" in done.stderr
    assert "#91133, 2026-06-07" in done.stderr
