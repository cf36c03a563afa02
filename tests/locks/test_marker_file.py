"""What a marker says: filelock's own records, read back, and everything that is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewriter._platform.liveness import Verdict, judge, myself
from storewriter.locks._marker_file import GRACE, MarkerAge, Seen, _parsed, look, marker_file, why_stale


@pytest.mark.parametrize(
    ("make", "strategy", "stale"),
    [
        (lambda name: filelock.MarkerSoftFileLock(name), "marker", None),
        (lambda name: filelock.SoftFileLock(name), "marker", None),
        (lambda name: filelock.SoftFileLease(name, lease_duration=7.5), "lease", 7.5),
    ],
)
def test_what_filelock_writes_is_understood(
    path: str, make: Callable[[str], filelock.SoftFileLock], strategy: str, stale: float | None
) -> None:
    with make(marker_file(path)) as lock:
        seen = look(path)
        assert seen is not None
        assert (seen.strategy, seen.stale, seen.token) == (strategy, stale, getattr(lock, "token", None))
        assert seen.owner is not None
        me = myself()
        for fact in ("pid", "host", "start_ticks", "boot_id", "pid_namespace"):
            assert getattr(seen.owner, fact) == getattr(me, fact), fact
        assert judge(seen.owner) is Verdict.ALIVE
    assert look(path) is None


RECORD = b"filelock/2\npid=812\nhost=there\nmode=lease\ntoken=abc\nduration=60.0\nstart=1\n"


@pytest.mark.parametrize("end", range(len(RECORD)))
def test_a_record_that_was_cut_short_is_never_taken_for_a_whole_one(end: int) -> None:
    cut = _parsed(RECORD[:end])
    if cut[1] is not None:
        # Cut after the last line that is needed: it says less, but nothing wrong.
        assert (cut[1].pid, cut[1].host, *cut[:1], *cut[2:]) == (812, "there", "lease", 60.0, "abc")


@given(st.binary(max_size=200))
def test_garbage_is_no_owner_and_no_error(data: bytes) -> None:
    strategy, owner, _, _ = _parsed(data)
    assert (strategy is None) == (owner is None)
    assert owner is None or (owner.pid or 0) > 0


@given(
    st.lists(st.sampled_from([*RECORD.decode().splitlines(), "pid=-1", "pid=x", "mode=", "=", "start=", "duration=x"]))
)
def test_shuffled_and_wrong_fields_are_no_error(lines: list[str]) -> None:
    _parsed("".join(f"{line}\n" for line in lines).encode())


def test_a_mode_of_tomorrow_is_somebodys_lock(path: str) -> None:
    me = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    boot = int(Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", ""), 16)
    Path(marker_file(path)).write_text(
        f"filelock/2\npid={os.getpid()}\nhost={os.uname().nodename}\nmode=shared\nstart={boot << 64 | int(me)}\n"
    )
    seen = look(path)
    assert seen is not None
    assert why_stale(seen, 1e9, 60.0) is None


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda name: os.symlink("/etc/passwd", name)])
def test_what_is_no_file_is_damaged_and_read_without_waiting(path: str, make: Callable[[str], None]) -> None:
    make(marker_file(path))
    seen = look(path)
    assert seen is not None
    assert seen.owner is None


def seen_as(path: str, text: str) -> Seen:
    Path(marker_file(path)).write_text(text)
    seen = look(path)
    assert seen is not None
    return seen


def test_age_is_counted_from_the_first_look_and_starts_anew_with_every_change(path: str) -> None:
    now = [100.0]
    watch = MarkerAge(clock=lambda: now[0])
    old = seen_as(path, "one")
    os.utime(marker_file(path), (1.0, 1.0))  # ancient, says the file
    old = look(path) or old
    assert watch.unchanged(old) == 0.0
    now[0] += 50.0
    assert watch.unchanged(old) == 50.0
    os.utime(marker_file(path))
    new = look(path)
    assert new is not None
    assert watch.unchanged(new) == 0.0
    now[0] += 3.0
    assert watch.unchanged(new) == 3.0


def test_an_unreadable_marker_gets_its_grace_and_no_more(path: str) -> None:
    seen = seen_as(path, "")
    assert why_stale(seen, GRACE - 0.01, None) is None
    assert why_stale(seen, GRACE, None) is not None


def test_only_a_lease_of_the_same_term_runs_out(path: str) -> None:
    record = RECORD.decode()
    lease = seen_as(path, record)
    assert why_stale(lease, 60.0, 60.0) is not None
    assert why_stale(lease, 59.9, 60.0) is None
    assert why_stale(lease, 1e9, 30.0) is None
    assert why_stale(lease, 1e9, None) is None
    marker = seen_as(path, record.replace("mode=lease", "mode=exclusive"))
    assert why_stale(marker, 1e9, 60.0) is None
