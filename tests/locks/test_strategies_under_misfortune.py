"""The table: every strategy against every misfortune that can befall a holder or its files.

In every cell a victim is in the middle of an update, or has left something behind; three others want to count on the
same store. Whatever happens: no critical section overlaps another's (an exclusive witness file inside it), every
acknowledged update is in the final count and no other is, and every contender gets through.

For `flock` and `marker` the critical section is the whole turn. A lease may be succeeded while its holder still runs,
by intent: what never overlaps there is the commit. Every cell watches the commits as well.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contenders import Contender, Died
from storewriter._files.keys import sidecar
from storewriter.locks._marker_file import marker_file

Start = Callable[[], Contender]

SHORT_LEASE = "lease:0.6"
LONG_LEASE = "lease:60"
TIMES = 5
OTHERS = 3


def witness_for(name: str, path: str) -> str | None:
    """The witness stands outside the store's folder, which some misfortunes take away."""
    return None if name.startswith("lease") else f"{Path(path).parent}.witness"


class Table:
    """One cell: a victim inside its update, and the others."""

    def __init__(self, start: Start, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.witness = witness_for(name, path)
        self.victim = start()
        self.others = [start() for _ in range(OTHERS)]

    def enter(self) -> None:
        """The victim is in the middle of adding its one."""
        self.victim.tell("count", self.name, self.path, 1, self.witness, True)
        assert self.victim.answer() == ("note", "inside")

    def release_the_others(self, witness: bool = True) -> None:
        for other in self.others:
            other.tell("count", self.name, self.path, TIMES, self.witness if witness else None, False)

    def let_one_other_wait(self, times: int = TIMES) -> None:
        """Another one asks, and has waited for a while when this returns."""
        other = self.others[0]
        other.ask("tell_waiting")
        other.tell("count", self.name, self.path, times, self.witness, False)
        assert other.answer() == ("note", "waiting")
        del self.others[1:]

    def others_finish(self) -> list[int]:
        return [number for other in self.others for number in other.answer()]

    def victim_finishes(self) -> list[int]:
        self.victim.go_on()
        numbers: list[int] = self.victim.answer()
        return numbers

    def count(self) -> int:
        return int(json.loads(Path(self.path).read_text())["n"])

    def require_all_counted(self, numbers: list[int]) -> None:
        """Every acknowledged number once, and nothing else in the document."""
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        assert self.count() == len(numbers)


@pytest.fixture
def table(contender: Start, path: str, request: pytest.FixtureRequest) -> Table:
    return Table(contender, request.param, path)


def strategies(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("table", names, indirect=True)


@strategies("flock", "marker", LONG_LEASE)
def test_a_holder_that_is_killed_is_succeeded_at_once_and_its_update_is_in_no_state(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    table.enter()
    table.let_one_other_wait(times=1)
    killed = time.monotonic()
    table.victim.kill()
    numbers = table.others_finish()
    with capsys.disabled():
        print(f"\n  {table.name}: the next update {1000 * (time.monotonic() - killed):.1f} ms after SIGKILL", end="")
    table.require_all_counted(numbers)
    table.others[0].tell("count", table.name, table.path, TIMES, table.witness, False)
    table.require_all_counted(numbers + table.others_finish())


@strategies("flock", "marker", LONG_LEASE)
def test_a_holder_that_is_stopped_is_waited_for(table: Table) -> None:
    table.enter()
    table.victim.stop()
    table.let_one_other_wait()
    table.victim.signal(signal.SIGCONT)
    mine = table.victim_finishes()
    assert mine == [1], "somebody got in before it"
    table.require_all_counted(mine + table.others_finish())


@strategies(SHORT_LEASE)
def test_a_stopped_holder_whose_lease_runs_out_is_succeeded_and_does_its_update_again(table: Table) -> None:
    table.enter()
    table.victim.stop()
    table.release_the_others()
    theirs = table.others_finish()
    assert table.count() == len(theirs)
    table.victim.signal(signal.SIGCONT)
    mine = table.victim_finishes()
    assert mine == [OTHERS * TIMES + 1], "its update was not made on the others' state"
    table.require_all_counted(mine + theirs)


def leave_a_record(start: Start, name: str, path: str, change: Callable[[str], str]) -> None:
    """What a dead holder left behind, changed: its marker if there is one, its record in the sidecar if not."""
    dead = start()
    assert dead.ask("attempt", name, path)
    dead.kill()
    for file in (Path(marker_file(path)), Path(sidecar(path))):
        if file.exists():
            file.write_text(change(file.read_text().replace(str(dead.pid), str(os.getpid()))))


def own_start() -> str:
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


@strategies("flock", "marker", LONG_LEASE)
def test_a_dead_holder_whose_pid_belongs_to_another_process_now_is_succeeded_at_once(
    table: Table, contender: Start
) -> None:
    # The pid is this test's own: alive, but started at another moment than the record says.
    leave_a_record(contender, table.name, table.path, lambda text: text)
    assert own_start() not in Path(sidecar(table.path)).read_text()
    table.release_the_others()
    table.require_all_counted(table.others_finish())


@strategies("flock", "marker", LONG_LEASE)
def test_what_was_left_before_a_reboot_is_taken_over_at_once(table: Table, contender: Start) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    number = int(boot.replace("-", ""), 16)
    ticks = int(own_start())

    def reboot(text: str) -> str:
        # The pid and its start are those of a living process: only the boot is another one.
        lines = [
            f"start={(number ^ 1) << 64 | ticks}" if line.startswith("start=") else line for line in text.split("\n")
        ]
        return "\n".join(lines).replace(boot, boot[:-1] + ("1" if boot[-1] == "0" else "0"))

    leave_a_record(contender, table.name, table.path, reboot)
    table.release_the_others()
    table.require_all_counted(table.others_finish())


@pytest.mark.parametrize("garbage", ["", "\0\0\0\0", "filelock/2\npid=", "not a record\n" * 300])
@strategies("flock", "marker", LONG_LEASE)
def test_a_marker_that_cannot_be_read_holds_up_nobody_for_long(table: Table, garbage: str) -> None:
    Path(marker_file(table.path)).write_text(garbage)
    table.release_the_others()
    table.require_all_counted(table.others_finish())


@pytest.mark.parametrize("left", ["", "\0\0\0\0", '{"pid":12,"host":"a', '{"pid":12,"host":"a"}\n' + "x" * 5000])
@strategies("flock", "marker", LONG_LEASE)
def test_a_record_that_was_cut_short_holds_up_nobody(table: Table, left: str) -> None:
    Path(sidecar(table.path)).write_text(left)
    table.release_the_others()
    table.require_all_counted(table.others_finish())


@strategies("flock", "marker", LONG_LEASE)
def test_a_sidecar_that_is_deleted_under_its_holder_loses_no_update(table: Table) -> None:
    table.enter()
    os.unlink(sidecar(table.path))
    # Nothing on disk shows the holder any more: with `flock` the bodies may overlap, the commits may not.
    table.release_the_others(witness=False)
    theirs = table.others_finish() if table.name == "flock" else []
    mine = table.victim_finishes()
    table.require_all_counted(mine + (theirs or table.others_finish()))


@strategies("flock", "marker", LONG_LEASE)
def test_a_folder_that_is_recreated_under_its_holder_loses_no_update(table: Table) -> None:
    table.enter()
    shutil.rmtree(Path(table.path).parent)
    os.mkdir(Path(table.path).parent)
    table.release_the_others(witness=False)
    theirs = table.others_finish()
    mine = table.victim_finishes()
    assert mine == [OTHERS * TIMES + 1]
    table.require_all_counted(mine + theirs)


@pytest.mark.parametrize("jump", [+86400.0, -86400.0], ids=["a day ahead", "a day back"])
@strategies("flock", "marker", LONG_LEASE)
def test_a_clock_that_jumps_takes_nobodys_turn_away(table: Table, jump: float) -> None:
    table.enter()
    if Path(marker_file(table.path)).exists():
        then = time.time() + jump
        os.utime(marker_file(table.path), (then, then))
    for other in table.others:
        other.ask("jump_clock", jump)
    table.let_one_other_wait()
    mine = table.victim_finishes()
    assert mine == [1], "somebody got in before it"
    table.require_all_counted(mine + table.others_finish())


@strategies("flock", "marker", LONG_LEASE, "none")
def test_a_child_that_was_forked_inside_a_turn_holds_nothing_and_holds_up_nobody(table: Table) -> None:
    found, child = table.victim.ask("fork_inside", table.name, table.path)
    try:
        assert found == "LockLost"
        table.victim.ask("leave")
        others = table.others if table.name != "none" else table.others[:1]
        for other in others:
            other.tell("count", table.name, table.path, TIMES, table.witness, False)
        numbers = [number for other in others for number in other.answer()]
        table.require_all_counted(numbers)
    finally:
        os.kill(child, signal.SIGKILL)


@strategies("flock", "marker", LONG_LEASE, "none")
def test_a_holder_that_is_killed_leaves_no_lock_with_its_forked_child(table: Table) -> None:
    _, child = table.victim.ask("fork_inside", table.name, table.path)
    try:
        table.victim.kill()
        numbers = table.others[0].ask("count", table.name, table.path, TIMES, table.witness, False)
        table.require_all_counted(numbers)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("how", ["at once", "in order"])
@strategies("flock", "marker", LONG_LEASE, "none")
def test_a_process_that_ends_inside_a_turn_is_succeeded_at_once(table: Table, how: str) -> None:
    table.victim.tell("exit_inside", table.name, table.path, how)
    assert table.victim.answer() == ("note", "inside")
    table.victim.go_on()
    with pytest.raises(Died):
        table.victim.answer()
    assert table.victim.wait() == 0
    others = table.others if table.name != "none" else table.others[:1]
    for other in others:
        other.tell("count", table.name, table.path, TIMES, table.witness, False)
    table.require_all_counted([number for other in others for number in other.answer()])


@pytest.mark.parametrize("name", ["marker", LONG_LEASE])
def test_twelve_that_see_one_stale_marker_get_in_one_at_a_time(contender: Start, path: str, name: str) -> None:
    leave_a_record(contender, name, path, lambda text: text)
    twelve = [contender() for _ in range(12)]
    for one in twelve:
        one.tell("count", name, path, 2, f"{Path(path).parent}.witness", False)
    numbers = [number for one in twelve for number in one.answer()]
    assert sorted(numbers) == list(range(1, 25))


@pytest.mark.parametrize("name", ["marker", LONG_LEASE])
def test_twelve_that_see_one_stale_marker_where_there_are_no_kernel_locks(
    contender: Start, path: str, name: str
) -> None:
    leave_a_record(contender, name, path, lambda text: text)
    twelve = [contender() for _ in range(12)]
    for one in twelve:
        one.ask("without_kernel_locks")
        one.tell("count", name, path, 2, f"{Path(path).parent}.witness", False)
    numbers = [number for one in twelve for number in one.answer()]
    assert sorted(numbers) == list(range(1, 25))
