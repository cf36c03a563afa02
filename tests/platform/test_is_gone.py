"""`storewriter.is_gone` and `this_process`: an application's own records of processes, judged by proof."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import attrs
import pytest

from storewriter import Owner, is_gone, this_process

SAY = "import storewriter, sys; sys.stdout.buffer.write(storewriter.this_process().to_record()); sys.stdout.flush(); input()"


def test_a_live_process_is_not_gone() -> None:
    here = this_process()
    assert here.pid == os.getpid()
    assert here.label is None
    assert not is_gone(here)
    assert not is_gone(attrs.evolve(here, pid=os.getppid(), start_ticks=None))


@pytest.mark.parametrize("elsewhere", [{"host": "elsewhere"}, {"pid_namespace": 1}, {"pid": None}])
def test_what_cannot_be_known_from_here_is_not_gone(elsewhere: dict[str, Any]) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
    record = attrs.evolve(this_process(), pid=ended.pid, start_ticks=None)
    assert is_gone(record)
    assert not is_gone(attrs.evolve(record, **elsewhere))
    assert not is_gone(Owner())


def test_a_pid_that_was_given_to_another_process_is_gone_and_so_is_one_from_before_the_boot() -> None:
    here = this_process()
    assert here.start_ticks is not None
    assert is_gone(attrs.evolve(here, start_ticks=here.start_ticks - 1))
    assert is_gone(attrs.evolve(here, boot_id="another boot"))


def test_a_process_is_gone_once_it_was_killed_though_its_parent_has_not_waited_for_it() -> None:
    with subprocess.Popen([sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        record = b""
        while (owner := Owner.from_record(record)) is None:
            record += os.read(child.stdout.fileno(), 4096)
        assert not is_gone(owner)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie
        assert is_gone(owner)
    assert is_gone(owner)


def test_a_forked_child_is_another_process() -> None:
    parent = this_process()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, this_process().to_record())
        os._exit(0)
    os.waitpid(child, 0)
    owner = Owner.from_record(os.read(reader, 4096))
    os.close(reader)
    os.close(writer)
    assert owner is not None
    assert (owner.pid, parent.pid) == (child, os.getpid())
    assert is_gone(owner)
