"""Is an owner provably dead?  Only GONE permits a reclaim, so every doubt must be UNKNOWN or ALIVE."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import attrs
import pytest

from helpers.waiting import until
from storewriter import Owner
from storewriter._platform import liveness
from storewriter._platform.liveness import Machine, Verdict, describe, here, judge, myself


def dead_process() -> Owner:
    """The record of a process that has ended and been waited for."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = describe(process.pid)
        assert process.stdin is not None
        process.stdin.close()
    return owner


def test_this_process_is_alive_and_described() -> None:
    me = myself()
    assert judge(me) is Verdict.ALIVE
    assert me.pid == os.getpid()
    assert me.start_ticks is not None
    assert me.boot_id is not None
    assert me.start is not None
    assert "python" in (me.command or "")


def test_a_process_that_has_ended_is_gone() -> None:
    assert judge(dead_process()) is Verdict.GONE


def test_a_pid_that_belongs_to_another_process_now_is_gone() -> None:
    reused = attrs.evolve(dead_process(), pid=os.getpid())
    assert judge(reused) is Verdict.GONE


def test_an_owner_from_before_a_reboot_is_gone_even_if_its_pid_and_its_container_are_there() -> None:
    before = attrs.evolve(myself(), boot_id="00000000-0000-0000-0000-000000000000")
    assert judge(before) is Verdict.GONE
    assert judge(attrs.evolve(before, pid_namespace=1)) is Verdict.GONE


def test_a_process_that_was_killed_and_not_waited_for_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        owner = describe(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert judge(owner) is Verdict.GONE
    finally:
        process.communicate()


_LEADER_ENDS = """
import ctypes, os, platform, sys, threading
def work():
    sys.stdin.readline()
    os._exit(0)
threading.Thread(target=work).start()
print("working", flush=True)
number = {"x86_64": 60, "aarch64": 93}[platform.machine()]
ctypes.CDLL(None).syscall(number, 0)  # exit(2): of this thread alone
"""


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the number of exit(2) is not known here")
def test_a_process_whose_first_thread_has_ended_lives_as_long_as_another_one_does() -> None:
    process = subprocess.Popen([sys.executable, "-c", _LEADER_ENDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        until(lambda: _state(process.pid) == "Z", "the end of its first thread")
        owner = describe(process.pid)
        assert judge(owner) is Verdict.ALIVE
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        until(lambda: judge(owner) is Verdict.GONE, "its end")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "change",
    [
        {"host": "elsewhere"},
        {"host": None},
        {"pid": None},
        {"pid_namespace": 1},
        {"host": "elsewhere", "boot_id": "00000000-0000-0000-0000-000000000000"},
    ],
    ids=lambda change: ", ".join(change),
)
def test_who_cannot_be_looked_at_from_here_is_unknown_dead_or_not(change: dict[str, object]) -> None:
    for owner in (dead_process(), myself()):
        assert judge(attrs.evolve(owner, **change)) is Verdict.UNKNOWN  # type: ignore[arg-type]


def test_a_record_without_a_start_is_believed_while_its_pid_is_there() -> None:
    assert judge(attrs.evolve(myself(), start_ticks=None)) is Verdict.ALIVE
    assert judge(attrs.evolve(dead_process(), start_ticks=None)) is Verdict.GONE


def test_a_process_that_may_not_be_signalled_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert judge(attrs.evolve(dead_process(), start_ticks=None)) is Verdict.ALIVE


def test_a_shifted_clock_makes_starts_incomparable_and_nobody_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    real = liveness._read_text
    monkeypatch.setattr(
        liveness,
        "_read_text",
        lambda path: "monotonic 0 0\nboottime 86400 0\n" if path == "/proc/self/timens_offsets" else real(path),
    )
    monkeypatch.setattr(liveness, "_here", None)
    assert here().clock_is_shifted
    assert judge(attrs.evolve(myself(), start_ticks=12345)) is Verdict.ALIVE
    assert judge(dead_process()) is Verdict.GONE


@pytest.mark.parametrize("text", [None, "", "monotonic 0 0\nboottime 0 0\n", "1 0 0\n7 0 0\n"])
def test_an_unshifted_clock_is_told(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.setattr(liveness, "_read_text", lambda path: text)
    assert not liveness._clock_is_shifted()


def test_a_machine_can_be_stood_in_for() -> None:
    elsewhere = Machine(host="elsewhere", boot_id=None, pid_namespace=None)
    assert judge(myself(), elsewhere) is Verdict.UNKNOWN
