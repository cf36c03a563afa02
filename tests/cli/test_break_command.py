"""`storewriter break`: exactly the marker that was shown is removed, and only at a person's word."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.commands import Here
from storewriter import LockLost, PerStoreWriterQueue
from storewriter._platform.liveness import myself
from storewriter.locks import Lease
from storewriter.locks._breaking import break_marker, token_of
from storewriter.locks._marker_file import look

ELSEWHERE = b"filelock/2\nmode=exclusive\npid=4242\nhost=elsewhere\n"
LEASE = b"filelock/2\nmode=lease\npid=4242\nhost=elsewhere\nduration=60.0\ntoken=1f0c93\n"


@pytest.fixture
def marker(path: Path) -> Path:
    return path.parent / f".{path.name}.marker"


def test_the_record_is_shown_and_nothing_is_done_without_a_word(cli: Here, path: Path, marker: Path) -> None:
    marker.write_bytes(LEASE)
    code, out, err = cli("break", path)
    assert code == 1
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert lines[0] == ["marker", str(marker)]
    assert lines[1] == ["strategy", "lease, runs out after 60 s"]
    assert lines[2] == ["holder", "pid 4242 on elsewhere (not known from here)"]
    assert lines[4] == ["token", "1f0c93"]
    assert err == "storewriter: the marker stays: it was not confirmed; use --token 1f0c93, or --yes\n"
    assert marker.read_bytes() == LEASE


@pytest.mark.parametrize("record", [ELSEWHERE, LEASE])
def test_its_token_breaks_it_and_another_one_does_not(cli: Here, path: Path, marker: Path, record: bytes) -> None:
    marker.write_bytes(record)
    token = json.loads(cli("break", "--json", path).out)["token"]
    code, _, err = cli("break", "--token", "beef", path)
    assert (code, err) == (1, f"storewriter: the marker stays: its token is {token}, not beef: it is another hold\n")
    assert marker.exists()
    assert cli("break", "--token", token, path).out.endswith(f"removed {marker}\n")
    assert not marker.exists()


def test_yes_breaks_what_is_there_also_a_damaged_one(cli: Here, path: Path, marker: Path) -> None:
    marker.write_bytes(b"?")
    found = json.loads(cli("break", "--yes", "--json", path).out)
    assert (found["broken"], found["strategy"], found["why_not"]) == (True, None, None)
    assert not marker.exists()


def test_a_living_holder_keeps_it(cli: Here, path: Path, marker: Path) -> None:
    with PerStoreWriterQueue(Lease(stale=60.0)).turn(path):
        code, _, err = cli("break", "--yes", path)
        assert code == 1
        assert f"its holder is alive: pid {os.getpid()}" in err
        assert "use --force: its commit will be refused then" in err
        assert marker.exists()


def test_force_breaks_a_lease_and_its_holder_does_not_commit(cli: Here, path: Path, marker: Path) -> None:
    with PerStoreWriterQueue(Lease(stale=60.0)).turn(path) as turn:
        assert cli("break", "--yes", "--force", path).code == 0
        assert not marker.exists()
        with pytest.raises(LockLost):
            turn.check()


def test_a_marker_whose_holder_has_the_kernel_lock_too_stays(cli: Here, path: Path, marker: Path) -> None:
    with PerStoreWriterQueue("marker").turn(path) as turn:
        code, _, err = cli("break", "--yes", "--force", path)
        assert code == 1
        assert "holds the kernel lock on the lock file, too" in err
        turn.check()


def test_a_kernel_lock_needs_no_breaking(cli: Here, path: Path) -> None:
    with PerStoreWriterQueue().turn(path):
        code, _, err = cli("break", "--yes", path)
    assert code == 1
    assert f"{path} is held by pid {myself().pid}" in err
    assert "with a kernel lock, which ends with that process" in err


def test_nothing_to_break_is_no_failure(cli: Here, path: Path) -> None:
    text = f"{path} has no marker, and no process holds its lock; there is nothing to break"
    assert cli("break", path) == (0, "", f"storewriter: {text}\n")
    assert json.loads(cli("break", "--json", path).out)["why_not"] == text


def test_a_successors_marker_stays(path: Path, marker: Path) -> None:
    marker.write_bytes(LEASE)
    seen = look(str(path))
    assert seen is not None
    marker.unlink()
    (path.parent / "keeps the inode number").touch()
    marker.write_bytes(LEASE.replace(b"1f0c93", b"2a2a2a"))
    assert token_of(seen) == "1f0c93"
    assert break_marker(str(path), seen) == "another hold has taken its place meanwhile"
    assert marker.exists()
    marker.unlink()
    assert break_marker(str(path), seen) == "it has been given back meanwhile"
