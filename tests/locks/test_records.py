"""The record in the sidecar: what a holder writes about itself, and what others make of it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from contenders import Contender
from storewriter._files.keys import sidecar
from storewriter._platform.owner import _RECORD_LIMIT, Owner
from storewriter.locks import Flock, Lease, Marker, Strategy, _record, flock

Start = Callable[[], Contender]

STRATEGIES = [Flock(), Marker(), Lease()]


def called(strategy: Strategy) -> str:
    return strategy.name


@pytest.mark.parametrize("label", ["x" * 5000, "\N{PARTY POPPER}" * 5000], ids=["ascii", "far planes"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=called)
def test_a_label_of_any_length_leaves_the_record_readable(
    strategy: Strategy, path: str, contender: Start, label: str
) -> None:
    assert contender().ask("attempt", strategy.name if strategy.name != "lease" else "lease:60", path, label)
    owner = strategy.owner(path)
    assert owner is not None
    assert owner.since is not None
    assert owner.label is not None
    assert owner.label.startswith(label[:100])
    assert owner.label.endswith("…")


def test_the_longest_record_is_read_whole(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    far = "\N{PARTY POPPER}"
    longest = Owner(
        pid=2**31,
        host="h" * 64,
        start=1.5e9,
        command=far * 120,
        start_ticks=2**63,
        boot_id="b" * 36,
        pid_namespace=2**32,
    )
    monkeypatch.setattr(_record, "myself", lambda: longest)
    monkeypatch.setattr(_record, "_prefixes", {})
    fd = os.open(sidecar(path), os.O_RDWR | os.O_CREAT)
    try:
        _record.write_record(fd, "in-process", far * 1000)
        record = os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)
    assert len(record) <= _RECORD_LIMIT
    read = Owner.from_record(record)
    assert read is not None
    assert read.label == far * 159 + "…"


def test_what_is_no_text_does_not_fail_the_record(path: str) -> None:
    fd = os.open(sidecar(path), os.O_RDWR | os.O_CREAT)
    try:
        _record.write_record(fd, "flock", b"bytes")  # type: ignore[arg-type]
        record = _record.read_record(fd)
    finally:
        os.close(fd)
    assert record is not None
    assert record.pid == os.getpid()


def test_a_record_that_another_process_wrote_meanwhile_is_not_taken_for_our_own(
    path: str, contender: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However soon our next turn comes: otherwise it is written once in a while."""
    monkeypatch.setattr(flock, "_REWRITE", 3600.0)
    other = contender()
    for _ in range(2):
        for turn in ("ours", "theirs", "ours"):
            if turn == "theirs":
                assert other.ask("attempt", "flock", path)
                other.ask("release", path)
                continue
            hold = Flock().attempt(path, None)
            assert hold is not None
            record = _record.read_record(hold.fd)
            hold.release()
            assert record is not None
            assert record.pid == os.getpid()
