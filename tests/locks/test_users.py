"""Several users and root on one store: all who may write it can do so, and no other user can hold its lock."""

from __future__ import annotations

import errno
import os
import stat
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from helpers.users import ADA, BOB, EVE, ROOT, TEAM, User, background, needs_root, needs_setpriv, run_as
from storewriter import ForeignFile, PerStoreWriterQueue, ReadOnlyStore, Store
from storewriter.locks import Flock, Lease, Marker, Strategy, _lock_file, _marker_attempt, _rights, flock

pytestmark = needs_root

STRATEGIES = pytest.mark.parametrize(
    "strategy", [Flock(), Marker(), Lease(stale=60.0)], ids=lambda strategy: strategy.name
)


def count(path: Path, strategy: Strategy, times: int = 1, mode: int = 0o600, umask: int = 0o077) -> int:
    """Add to the store, in this process."""
    os.umask(umask)
    store = Store[Any](
        path,
        default=lambda: {"n": 0},
        durability="process",
        mode=mode,
        backups=1,
        queue=PerStoreWriterQueue(lock=strategy, timeout=30.0, warn_after=None),
    )
    for _ in range(times):
        store.update(lambda state: state.update(n=state["n"] + 1))
    return int(store.read()["n"])


def whose(file: Path) -> tuple[int, int, int]:
    found = file.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike pytest's; whatever has to be imported has been."""
    mask = os.umask(0o022)
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        for strategy in (Flock(), Marker(), Lease(stale=60.0)):
            count(Path(made, f"first.{strategy.name}"), strategy, umask=0o022)
        for name in os.listdir(made):
            os.unlink(Path(made, name))
        _rights.forget()
        yield Path(made)
    os.umask(mask)


@pytest.fixture
def home(folder: Path) -> Path:
    """Ada's folder."""
    made = folder / "ada"
    made.mkdir(0o755)
    os.chown(made, ADA.uid, ADA.gid)
    return made


@pytest.fixture
def team(folder: Path) -> Path:
    """A folder of the group, in which new files get the group."""
    made = folder / "team"
    made.mkdir()
    os.chown(made, 0, TEAM)
    made.chmod(0o2775)
    return made


@STRATEGIES
@pytest.mark.parametrize("first", [ADA, ROOT], ids=["ada", "root"])
def test_the_owner_and_root_in_turn(strategy: Strategy, first: User, home: Path) -> None:
    path = home / "state.json"
    path.write_text('{"n":0}')
    path.chmod(0o600)
    os.chown(path, ADA.uid, ADA.gid)
    second = ROOT if first is ADA else ADA
    for number, user in enumerate([first, second, first, second]):
        assert run_as(user, partial(count, path, strategy)) == number + 1
        for file in home.iterdir():
            assert whose(file) == (ADA.uid, ADA.gid, 0o600), file


@STRATEGIES
def test_a_group_of_users_in_a_folder_of_theirs(strategy: Strategy, team: Path) -> None:
    path = team / "state.json"
    assert run_as(ADA, partial(count, path, strategy, mode=0o664)) == 1
    assert run_as(BOB, partial(count, path, strategy)) == 2
    assert run_as(ADA, partial(count, path, strategy)) == 3
    assert run_as(ROOT, partial(count, path, strategy)) == 4
    assert run_as(BOB, partial(count, path, strategy)) == 5
    assert whose(path)[1:] == (TEAM, 0o664)
    assert whose(lock_of(path))[1:] == (TEAM, 0o660)


@STRATEGIES
def test_a_group_of_users_at_the_same_time_from_the_first_turn_on(strategy: Strategy, team: Path) -> None:
    for number in range(4):
        path = team / f"{number}.json"
        work = partial(count, path, strategy, 20, mode=0o664)
        with background(ADA, work) as ada, background(BOB, work) as bob, background(ADA, work) as again:
            assert max(ada(), bob(), again()) == 60
        assert whose(lock_of(path))[1:] == (TEAM, 0o660)


def test_the_lock_file_of_a_new_store_has_the_rights_that_the_document_will_have(team: Path) -> None:
    """Also if the first update fails, and no document comes of it."""
    path = team / "state.json"

    def fail() -> None:
        os.umask(0o077)
        with pytest.raises(ZeroDivisionError):
            Store[Any](path, mode=0o664).update(lambda state: 1 // 0)

    run_as(ADA, fail)
    assert not path.exists()
    assert whose(lock_of(path)) == (ADA.uid, TEAM, 0o660)
    assert run_as(BOB, partial(count, path, Flock(), mode=0o664)) == 1


@pytest.mark.parametrize(("mode", "lock"), [(0o600, 0o600), (0o644, 0o600), (0o640, 0o600), (0o660, 0o660)])
def test_only_who_may_write_the_document_can_open_its_lock_file(mode: int, lock: int, team: Path) -> None:
    path = team / "state.json"
    run_as(ADA, partial(count, path, Flock(), mode=mode))
    assert whose(path) == (ADA.uid, TEAM, mode)
    assert whose(lock_of(path)) == (ADA.uid, TEAM, lock)


@needs_setpriv
def test_a_stranger_who_may_only_read_cannot_hold_the_lock(team: Path) -> None:
    path = team / "state.json"
    run_as(ADA, partial(count, path, Flock(), mode=0o664))
    assert EVE.setpriv("cat", str(path)).stdout.strip() == '{"n":1}'
    for option in ("-x", "-s"):
        denied = EVE.setpriv("flock", "-n", option, str(lock_of(path)), "true")
        assert denied.returncode
        assert "Permission denied" in denied.stderr
    assert BOB.setpriv("flock", "-n", str(lock_of(path)), "true").returncode == 0

    def try_all() -> None:
        assert Store[Any](path).read() == {"n": 1}
        with pytest.raises(PermissionError, match="may not write it"):
            Store[Any](path).update(lambda state: state.update(n=9))
        for strategy in (Flock(), Marker(), Lease(stale=60.0)):
            with pytest.raises(PermissionError, match=r"Only users who may write.*reading it needs no lock"):
                strategy.attempt(str(path), None)

    run_as(EVE, try_all)


def test_the_lock_file_follows_a_document_whose_mode_changes(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = team / "state.json"
    run_as(ADA, partial(count, path, Flock()))
    assert whose(lock_of(path)) == (ADA.uid, TEAM, 0o600)
    path.chmod(0o664)
    run_as(ADA, partial(count, path, Flock()))
    assert whose(lock_of(path)) == (ADA.uid, TEAM, 0o660)
    assert run_as(BOB, partial(count, path, Flock())) == 3
    path.chmod(0o600)  # Bob's by now
    run_as(ROOT, partial(count, path, Flock()))
    assert whose(lock_of(path)) == (BOB.uid, TEAM, 0o600)


def test_within_one_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rights, "_INTERVAL", 0.0)
    monkeypatch.setattr(flock, "_REWRITE", 0.0)
    store = Store[Any](tmp_path / "state.json")
    for mode, lock in ((0o600, 0o600), (0o666, 0o666), (0o644, 0o600), (0o620, 0o660)):
        store.update(lambda state, mode=mode: state.update(mode=mode))
        (tmp_path / "state.json").chmod(mode)
        store.update(lambda state, mode=mode: state.update(again=mode))
        assert whose(lock_of(tmp_path / "state.json"))[2] == lock


@STRATEGIES
def test_the_lock_file_follows_a_document_that_is_given_away(strategy: Strategy, home: Path) -> None:
    path = home / "state.json"
    run_as(ADA, partial(count, path, strategy))
    home.chmod(0o777)
    os.chown(path, BOB.uid, BOB.gid)
    with pytest.raises(PermissionError) as caught:
        run_as(BOB, partial(count, path, strategy))
    assert f"chown {BOB.uid}:{BOB.gid} {lock_of(path)} && chmod 0600 {lock_of(path)}" in str(caught.value)
    run_as(ROOT, partial(count, path, strategy))
    assert run_as(BOB, partial(count, path, strategy)) == 3
    assert whose(lock_of(path)) == (BOB.uid, BOB.gid, 0o600)


def test_a_lock_file_that_roots_older_version_left_is_named_with_what_repairs_it(home: Path) -> None:
    path = home / "state.json"
    run_as(ADA, partial(count, path, Flock()))
    os.chown(lock_of(path), 0, 0)
    with pytest.raises(PermissionError) as caught:
        run_as(ADA, partial(count, path, Flock()))
    text = str(caught.value)
    assert f"{lock_of(path)}, the store's lock file; nothing was written" in text
    assert "It is uid 0's, gid 0, mode 0600" in text
    command = f"chown {ADA.uid}:{ADA.gid} {lock_of(path)} && chmod 0600 {lock_of(path)}"
    assert command in text
    assert os.system(command) == 0
    assert run_as(ADA, partial(count, path, Flock())) == 2


def test_a_lock_file_with_wrong_rights_that_is_not_ours_is_reported(
    team: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = team / "state.json"
    run_as(ADA, partial(count, path, Flock(), mode=0o664))
    lock_of(path).chmod(0o666)

    def look() -> list[str]:
        caplog.clear()
        _rights.forget()
        count(path, Flock(), 3)
        return [record.message for record in caplog.records]

    [told] = run_as(BOB, look)
    assert f"chmod 0660 {lock_of(path)}" in told
    assert "others may hold its lock" in told
    run_as(ADA, partial(count, path, Flock()))
    assert whose(lock_of(path)) == (ADA.uid, TEAM, 0o660)


def access_list(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NONE = 0xFFFF_FFFF


def test_an_access_list_counts(home: Path) -> None:
    """Bob may write by an entry of the list; the group's bits in the mode only look as if it might."""
    path = home / "state.json"
    run_as(ADA, partial(count, path, Flock()))
    home.chmod(0o777)
    os.chown(path, ADA.uid, TEAM)
    entries = (1, 6, NONE), (2, 6, BOB.uid), (2, 4, EVE.uid), (4, 4, NONE), (16, 6, NONE), (32, 4, NONE)
    try:
        os.setxattr(path, "system.posix_acl_access", access_list(*entries))
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")
    run_as(ROOT, partial(count, path, Flock()))
    assert os.getxattr(lock_of(path), "system.posix_acl_access") == access_list(
        (1, 6, NONE), (2, 6, BOB.uid), (2, 0, EVE.uid), (4, 0, NONE), (16, 6, NONE), (32, 0, NONE)
    )
    member = User(4204, 4204, (TEAM,))
    for user, allowed in ((ADA, True), (BOB, True), (EVE, False), (member, False)):
        assert run_as(user, lambda: os.access(lock_of(path), os.R_OK)) is allowed, user
    assert run_as(BOB, partial(count, path, Flock())) == 3
    rights, lock = _rights.wanted(str(path)), lock_of(path).stat()
    assert rights is not None
    # The mode is the one that the kernel shows, so a lock file that is right is known by it.
    assert rights.mode_for(lock)[0] == stat.S_IMODE(lock.st_mode) == 0o660
    os.removexattr(path, "system.posix_acl_access")
    path.chmod(0o640)
    os.chown(path, ADA.uid, TEAM)
    run_as(ROOT, partial(count, path, Flock()))
    assert "system.posix_acl_access" not in os.listxattr(lock_of(path))
    assert whose(lock_of(path)) == (ADA.uid, TEAM, 0o600)


def test_the_first_lock_file_of_a_user_with_an_entry_lets_the_owner_in(home: Path) -> None:
    path = home / "state.json"
    path.write_text('{"n":0}')
    home.chmod(0o777)
    os.chown(path, ADA.uid, ADA.gid)
    entries = (1, 6, NONE), (2, 6, BOB.uid), (4, 0, NONE), (16, 6, NONE), (32, 0, NONE)
    try:
        os.setxattr(path, "system.posix_acl_access", access_list(*entries))
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")

    def take() -> None:
        hold = Flock().attempt(str(path), None)
        assert hold is not None
        hold.release()

    run_as(BOB, take)
    assert lock_of(path).stat().st_uid == BOB.uid
    run_as(ADA, take)
    with pytest.raises(PermissionError):
        run_as(EVE, take)


@pytest.mark.parametrize("gid", [TEAM - 1, TEAM + 1])
def test_a_lock_file_of_a_member_has_the_documents_group_if_it_cannot_have_its_owner(gid: int, home: Path) -> None:
    """Where new files have the group of the user who makes them, whichever number that has."""
    path = home / "state.json"
    path.write_text('{"n":0}')
    home.chmod(0o777)
    os.chown(path, ADA.uid, TEAM)
    path.chmod(0o660)
    member = User(BOB.uid, gid, (TEAM,))
    assert run_as(member, partial(count, path, Flock(), umask=0o007)) == 1
    assert whose(lock_of(path)) == (BOB.uid, TEAM, 0o660)


@pytest.mark.parametrize(("mode", "lock"), [(0o645, 0o600), (0o664, 0o660), (0o606, 0o606), (0o440, 0o600)])
def test_the_advice_for_a_lock_file_names_no_more_rights_than_the_document_gives(mode: int, lock: int) -> None:
    assert _rights.lock_mode(mode) == lock


@STRATEGIES
def test_a_default_access_list_of_the_folder_counts_as_far_as_it_counts_for_the_document(
    strategy: Strategy, team: Path
) -> None:
    entries = (1, 7, NONE), (2, 7, EVE.uid), (4, 7, NONE), (16, 7, NONE), (32, 7, NONE)
    try:
        for kind in ("default", "access"):
            os.setxattr(team, f"system.posix_acl_{kind}", access_list(*entries))
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")
    for mode in (0o600, 0o660):
        path = team / f"{mode:o}.json"
        run_as(ADA, partial(count, path, strategy, mode=mode))
        run_as(ADA, partial(count, path, strategy))  # now there is a document that can be looked at
        for file in (path, lock_of(path)):
            allowed = run_as(EVE, lambda file=file: os.access(file, os.W_OK))  # type: ignore[misc]
            assert allowed is (mode == 0o660), file
    assert run_as(EVE, partial(count, path, strategy)) == 3
    assert run_as(BOB, partial(count, path, strategy)) == 4


# -- forged files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def public(folder: Path) -> Path:
    """A folder like /tmp."""
    made = folder / "tmp"
    made.mkdir()
    made.chmod(0o1777)
    return made


@pytest.mark.parametrize("strategy", [Flock(), Marker(), Lease(stale=60.0)], ids=lambda strategy: strategy.name)
@pytest.mark.parametrize("kind", ["link", "hard link", "file", "open file"])
def test_a_planted_lock_file_changes_no_other_file(strategy: Strategy, kind: str, public: Path, home: Path) -> None:
    """Root writes a store in a folder in which Eve has put something in the place of its lock file."""
    victim = home / "shadow"
    victim.write_text("precious")
    victim.chmod(0o640)
    os.chown(victim, EVE.uid if "file" in kind else ADA.uid, ADA.gid)
    before = whose(victim)
    path = public / "state.json"
    path.write_text('{"n":0}')
    plant = lock_of(path)
    if kind == "link":
        plant.symlink_to(victim)
    elif kind == "hard link":
        plant.hardlink_to(victim)
    else:
        plant.touch(0o666)
        plant.chmod(0o666)
        os.chown(plant, EVE.uid, EVE.gid)
    planted = whose(plant)
    with pytest.raises(OSError, match=r"\.state\.json\.lock") as caught:
        run_as(ROOT, partial(count, path, strategy))
    assert caught.value.errno in (errno.ELOOP, errno.EMLINK) or isinstance(caught.value, ForeignFile)
    assert victim.read_text() == "precious"
    assert whose(victim) == before
    assert whose(plant) == planted
    assert path.read_text() == '{"n":0}'


def test_a_file_that_has_another_name_is_never_changed(home: Path) -> None:
    """Whichever way it comes there: the callers refuse one before."""
    victim, other, path = home / "shadow", home / "other", home / "state.json"
    for file in (victim, path):
        file.touch()
    os.chown(path, BOB.uid, BOB.gid)
    other.hardlink_to(victim)
    before = whose(victim)
    rights = _rights.wanted(str(path))
    assert rights is not None
    fd = os.open(other, os.O_RDWR)
    try:
        assert not _rights.adapt(fd, os.fstat(fd), rights)
        assert whose(victim) == before
        other.unlink()
        assert _rights.adapt(fd, os.fstat(fd), rights)
    finally:
        os.close(fd)
    assert whose(victim) == (BOB.uid, BOB.gid, 0o600)


@pytest.mark.parametrize("content", ["", "precious"])
def test_a_hard_link_in_the_place_of_the_guard_changes_no_other_file(content: str, public: Path, home: Path) -> None:
    victim = home / "shadow"
    victim.write_text(content)
    victim.chmod(0o640)
    os.chown(victim, ADA.uid, ADA.gid)
    before = whose(victim)
    (public / ".state.json.guard").hardlink_to(victim)
    with pytest.raises(OSError, match=r"\.state\.json\.guard has another name") as caught:
        run_as(ROOT, partial(count, public / "state.json", Lease(stale=60.0)))
    assert caught.value.errno == errno.EMLINK
    assert whose(victim) == before
    assert victim.read_text() == content


def test_a_planted_lock_file_is_refused_at_every_turn_not_only_at_the_first(public: Path) -> None:
    path = public / "state.json"
    lock_of(path).touch()
    os.chown(lock_of(path), EVE.uid, EVE.gid)
    for _ in range(3):
        with pytest.raises(ForeignFile, match=f"belongs to uid {EVE.uid}.*sticky"):
            count(path, Flock())
    assert not path.exists()


@pytest.mark.parametrize("planter", [ADA, EVE], ids=["a smaller uid", "a larger uid"])
def test_in_a_sticky_folder_of_another_user_a_planted_lock_file_is_refused(planter: User, public: Path) -> None:
    """The owner of the folder could delete everything in it anyway; others could not."""
    assert ADA.uid < BOB.uid < EVE.uid
    os.chown(public, BOB.uid, BOB.gid)
    path = public / "state.json"
    lock_of(path).touch()
    os.chown(lock_of(path), planter.uid, planter.gid)
    with pytest.raises(ForeignFile, match=f"belongs to uid {planter.uid}"):
        count(path, Flock())


def test_in_a_sticky_folder_the_own_store_and_roots_are_served(public: Path) -> None:
    path = public / "state.json"
    assert run_as(ADA, partial(count, path, Flock())) == 1
    assert run_as(ROOT, partial(count, path, Flock())) == 2
    assert run_as(ADA, partial(count, path, Flock())) == 3
    assert whose(lock_of(path)) == (ADA.uid, ADA.gid, 0o600)


# -- how a lock file is made ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["unnamed", "exclusive", "no proc"])
@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_a_new_lock_file_has_its_rights_whichever_way_it_is_made(
    way: str, umask: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "state.json"
    path.write_text('{"n":0}')
    path.chmod(0o660)
    os.chown(path, ADA.uid, TEAM)
    if way == "exclusive":
        monkeypatch.setattr(_lock_file, "_UNNAMED", 0)
    if way == "no proc":

        def refuse(*args: Any, **options: Any) -> None:
            raise FileNotFoundError(errno.ENOENT, "no /proc")

        monkeypatch.setattr(os, "link", refuse)

    def make() -> None:
        os.umask(umask)
        file = _lock_file.LockFile()
        file.open_at(str(path), str(lock_of(path)))  # and no turn, which would repair it
        file.close()

    run_as(ROOT, make)
    assert whose(lock_of(path)) == (ADA.uid, TEAM, 0o660)
    assert sorted(os.listdir(home)) == [".state.json.lock", "state.json"]


def test_a_file_that_another_user_was_faster_with_gets_no_rights_by_being_opened(
    public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look whether there is one and its making, where it is made under its name."""
    path = public / "state.json"
    path.write_text("{}")
    monkeypatch.setattr(_lock_file, "_UNNAMED", 0)
    create = _lock_file.LockFile._create_exclusively

    def late(file: _lock_file.LockFile, path: str, name: str) -> int:
        Path(name).touch(0o640)
        os.chown(name, EVE.uid, EVE.gid)
        return create(file, path, name)

    monkeypatch.setattr(_lock_file.LockFile, "_create_exclusively", late)
    file = _lock_file.LockFile()
    file.open_at(str(path), str(lock_of(path)))
    file.close()
    assert whose(lock_of(path)) == (EVE.uid, EVE.gid, 0o640)
    with pytest.raises(ForeignFile):
        Flock().attempt(str(path), None)


@pytest.mark.parametrize("strategy", [Marker(), Lease(stale=60.0)], ids=lambda strategy: strategy.name)
def test_roots_marker_can_be_read_by_the_owner(strategy: Strategy, home: Path) -> None:
    """So the owner waits for root's process, and an error can name it."""
    path = home / "state.json"
    run_as(ADA, partial(count, path, strategy, mode=0o660))
    hold = strategy.attempt(str(path), None)
    assert hold is not None
    assert whose(home / ".state.json.marker") == (ADA.uid, ADA.gid, 0o660)
    owner = run_as(ADA, lambda: strategy.owner(str(path)))
    assert owner is not None
    assert owner.pid == os.getpid()
    assert run_as(ADA, lambda: strategy.attempt(str(path), None) is None)
    hold.release()


def test_a_lock_file_is_never_there_with_other_rights(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a process of the owner opens while root makes the file."""
    path = home / "state.json"
    path.write_text('{"n":0}')
    os.chown(path, ADA.uid, ADA.gid)
    seen: list[bool] = []
    real: dict[str, Callable[..., Any]] = {"fchown": os.fchown, "fchmod": os.fchmod, "link": os.link}

    def watched(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            seen.append(lock_of(path).exists())
            return real[name](*args, **options)

        return call

    for name in real:
        monkeypatch.setattr(os, name, watched(name))
    hold = Flock().attempt(str(path), None)
    assert hold is not None
    hold.release()
    assert seen
    assert not any(seen)
    assert whose(lock_of(path))[:2] == (ADA.uid, ADA.gid)


def test_of_two_that_make_the_lock_file_at_once_both_use_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def late(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(os, "link", link)
        other = Flock().attempt(str(path), None)
        assert other is not None
        other.release()
        link(*args, **options)

    monkeypatch.setattr(os, "link", late)
    hold = Flock().attempt(str(path), None)
    assert hold is not None
    hold.check()
    hold.release()


def test_turns_that_follow_each_other_look_at_nothing_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flock, "_REWRITE", float("inf"))
    queue = PerStoreWriterQueue()
    with queue.turn(path):
        pass
    monkeypatch.setattr(_rights, "is_due", lambda *args: pytest.fail("another look"))
    for _ in range(10):
        with queue.turn(path):
            pass


def test_a_document_that_may_not_be_written_is_refused_as_before(home: Path) -> None:
    path = home / "state.json"
    path.write_text('{"n":0}')
    path.chmod(0o444)
    with pytest.raises(ReadOnlyStore):
        count(path, Flock())


def test_a_marker_that_may_not_be_read_yet_is_waited_for(home: Path) -> None:
    """Root makes it readable for the owner right after it was created."""
    path = home / "state.json"
    run_as(ADA, partial(count, path, Marker()))
    marker = home / ".state.json.marker"
    marker.touch(0o600)

    def wait() -> str:
        strategy = Marker()
        assert strategy.attempt(str(path), None) is None
        for known in _marker_attempt._contenders.values():
            assert known.unreadable_since is not None
            known.unreadable_since -= 10.0
        with pytest.raises(PermissionError) as caught:
            strategy.attempt(str(path), None)
        return str(caught.value)

    text = run_as(ADA, wait)
    assert f"the marker {marker} cannot be read" in text
    assert "uid 0" in text
    assert f"chown {ADA.uid}:{ADA.gid} {marker}" in text


def test_threads_of_one_process_agree(team: Path) -> None:
    path = team / "state.json"
    threads = [threading.Thread(target=count, args=(path, Flock(), 5, 0o664, 0)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Store[Any](path).read() == {"n": 15}


@pytest.mark.parametrize("lost", [True, False], ids=["missing", "corrupt"])
def test_roots_recovery_gives_the_document_back_to_its_owner(lost: bool, home: Path) -> None:
    path = home / "state.json"
    for _ in range(2):
        run_as(ADA, partial(count, path, Flock()))
    if lost:
        path.unlink()
    else:
        path.write_text("{")
    assert Store[Any](path).recover().outcome == "restored"
    for file in home.iterdir():
        assert whose(file) == (ADA.uid, ADA.gid, 0o600), file
    assert run_as(ADA, partial(count, path, Flock())) == 2


def test_in_a_sticky_folder_a_group_cannot_replace_each_others_documents(team: Path) -> None:
    """As the page says: the system does not permit it, and the document is untouched."""
    path = team / "state.json"
    run_as(ADA, partial(count, path, Flock(), mode=0o664))
    team.chmod(0o3775)
    with pytest.raises(PermissionError, match="untouched"):
        run_as(BOB, partial(count, path, Flock()))
    assert Store[Any](path).read() == {"n": 1}
    assert run_as(ADA, partial(count, path, Flock())) == 2


def test_a_turn_on_a_path_without_a_document_makes_a_lock_file_of_its_user(team: Path) -> None:
    def take() -> None:
        os.umask(0)
        with PerStoreWriterQueue().turn(team / "nothing"):
            pass

    run_as(ADA, take)
    assert whose(lock_of(team / "nothing")) == (ADA.uid, TEAM, 0o600)
    with pytest.raises(PermissionError, match="every user who writes the store needs the right"):
        run_as(BOB, take)
