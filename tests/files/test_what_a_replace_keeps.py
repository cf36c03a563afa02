"""A replace keeps what the file was, and refuses what is no file."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.documents import save
from storewriter import NotARegularFile, ReadOnlyStore, Store
from storewriter.testing import Call, intercepted

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away and mount")

ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"

DURABILITIES: list[dict[str, Any]] = [{}, {"durability": "process"}, {"backups": 1}, {"in_place": True}]


@pytest.fixture(params=DURABILITIES, ids=str)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


def change(path: Path, options: dict[str, Any] | None = None) -> None:
    Store[Any](path, **(options or {})).update(lambda state: state.update(changed=state.get("changed", 0) + 1))


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An access ACL as the kernel keeps it (acl_entry: tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


USER_OBJ, USER, GROUP_OBJ, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
NOBODY = 0xFFFFFFFF
FOR_ONE_MORE_USER = acl(
    (USER_OBJ, 6, NOBODY), (USER, 4, 1234), (GROUP_OBJ, 0, NOBODY), (MASK, 4, NOBODY), (OTHER, 0, NOBODY)
)


def set_attribute(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"this file system keeps no {name}: {error}")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o666, 0o700, 0o755, 0o2644, 0o4755])
def test_the_mode_stays(tmp_path: Path, mode: int, options: dict[str, Any]) -> None:
    path = tmp_path / "state.json"
    change(path)
    path.chmod(mode)
    change(path, options)
    kept = stat.S_IMODE(path.stat().st_mode)
    # write(2) itself takes the set-id bits from a file that is written in place.
    assert kept == mode or (options.get("in_place") and kept == mode & 0o777)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o277, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_new_document_gets_its_mode_whatever_the_umask(tmp_path: Path, mode: int, mask: int) -> None:
    before = os.umask(mask)
    try:
        save(tmp_path / "state.json", b"{}", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == mode


def test_every_new_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c" / "state.json"
    before = os.umask(0o022)
    try:
        change(path)
    finally:
        os.umask(before)
    for folder in list(path.parents)[:3]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_names_of_new_folders_are_durable_before_the_first_document_has_its_own(tmp_path: Path) -> None:
    done: list[str] = []

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "flush_folder":
            done.append(os.readlink(f"/proc/self/fd/{call.arguments[0]}"))
        elif call.name == "rename":
            done.append("rename")
        return proceed()

    there = tmp_path.resolve() / "there"
    there.mkdir()
    there.chmod(0o755)
    folder = there / "a" / "b"
    Store[Any](folder / "state.json", system=intercepted(around)).update(lambda state: state.update(a=1))
    assert done == [str(there / "a"), str(there), "rename", str(folder)]
    done.clear()
    Store[Any](folder / "state.json", system=intercepted(around)).update(lambda state: state.update(a=2))
    assert done[0] == "rename", "once"


@needs_root
def test_the_owner_and_the_group_stay(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "state.json"
    change(path)
    os.chown(path, 1234, 2345)
    path.chmod(0o2640)
    change(path, options)
    found = path.stat()
    assert (found.st_uid, found.st_gid) == (1234, 2345)
    assert found.st_mode & 0o777 == 0o640


def refusing_chown(*, uids: bool, gids: bool) -> Callable[[Call, Callable[[], Any]], Any]:
    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "fchown":
            _, uid, _ = call.arguments
            if (uids and uid != -1) or gids:
                raise PermissionError(1, "Operation not permitted")
        return proceed()

    return around


@needs_root
@pytest.mark.parametrize(
    ("refused", "group", "mode"),
    [
        ({"uids": True, "gids": False}, 2345, 0o2664),
        # The group bits were for another group; ours gets the bits of others.
        ({"uids": True, "gids": True}, 0, 0o644),
    ],
)
def test_without_the_right_to_give_files_away_nobody_gets_more_than_before(
    tmp_path: Path, refused: dict[str, bool], group: int, mode: int
) -> None:
    path = tmp_path / "state.json"
    change(path)
    os.chown(path, 1234, 2345)
    path.chmod(0o6664)
    Store[Any](path, system=intercepted(refusing_chown(**refused))).update(lambda state: state.update(b=2))
    found = path.stat()
    assert (found.st_uid, found.st_gid) == (0, group)
    assert stat.S_IMODE(found.st_mode) == mode


def test_an_access_list_stays(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "state.json"
    change(path)
    set_attribute(path, ACL, FOR_ONE_MORE_USER)
    change(path, options)
    assert os.getxattr(path, ACL) == FOR_ONE_MORE_USER
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(shutil.which("setfacl") is None, reason="setfacl is not installed")
def test_an_access_list_set_by_a_person_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change(path)
    if subprocess.run(["setfacl", "-m", "u:1234:rw,g:2345:r", str(path)], check=False).returncode:
        pytest.skip("this file system keeps no access lists")
    before = subprocess.run(["getfacl", "-cn", str(path)], capture_output=True, check=True).stdout
    change(path)
    assert b"user:1234:rw-" in before
    assert subprocess.run(["getfacl", "-cn", str(path)], capture_output=True, check=True).stdout == before


def test_a_default_access_list_of_the_folder_lets_nobody_in_who_was_not(tmp_path: Path) -> None:
    """The temporary file inherits it; the document, which had none, must not."""
    path = tmp_path / "state.json"
    change(path)
    path.chmod(0o640)
    set_attribute(tmp_path, DEFAULT_ACL, FOR_ONE_MORE_USER)
    change(path)
    assert ACL not in os.listxattr(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_extended_attributes_stay(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "state.json"
    change(path)
    set_attribute(path, "user.origin", b"\0\xff bytes")
    set_attribute(path, "user.empty", b"")
    change(path, options)
    assert os.getxattr(path, "user.origin") == b"\0\xff bytes"
    assert os.getxattr(path, "user.empty") == b""


def test_a_user_attribute_that_cannot_be_kept_is_an_error_and_the_old_document_stands(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change(path)
    set_attribute(path, "user.origin", b"x")

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "set_attribute":
            raise PermissionError(1, "Operation not permitted")
        return proceed()

    before = path.read_bytes()
    with pytest.raises(PermissionError, match="the old document is untouched"):
        Store[Any](path, system=intercepted(around)).update(lambda state: state.update(b=2))
    assert path.read_bytes() == before


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path: Path, options: dict[str, Any]) -> None:
    target = tmp_path / "elsewhere" / "real.json"
    change(target)
    link = tmp_path / "state.json"
    link.symlink_to("elsewhere/real.json")
    change(link, options)
    assert os.readlink(link) == "elsewhere/real.json"
    assert Store[Any](target).read() == {"changed": 2}
    assert list(tmp_path.glob(".*")) == []


def test_a_link_to_nothing_yet_is_kept_and_its_target_made(tmp_path: Path) -> None:
    link = tmp_path / "state.json"
    link.symlink_to("new/real.json")
    change(link)
    assert link.is_symlink()
    assert Store[Any](tmp_path / "new" / "real.json").read() == {"changed": 1}


def test_a_second_name_keeps_the_document_that_it_had(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change(path)
    other = tmp_path / "other.json"
    os.link(path, other)
    change(path)
    assert Store[Any](other).read() == {"changed": 1}


@pytest.mark.parametrize("mode", [0o444, 0o400, 0o000])
def test_a_read_only_document_is_refused_even_to_root(tmp_path: Path, mode: int, options: dict[str, Any]) -> None:
    path = tmp_path / "state.json"
    change(path)
    before = path.read_bytes()
    path.chmod(mode)
    if mode == 0 and os.geteuid() != 0:
        pytest.skip("only root can read it")
    with pytest.raises(ReadOnlyStore, match="Make it writable") as caught:
        change(path, options)
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is not caught.value
    path.chmod(0o600)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("attribute", ["immutable", "append-only"])
def test_an_attribute_that_forbids_a_change_is_named(tmp_path: Path, attribute: str) -> None:
    path = tmp_path / "state.json"
    change(path)
    before = path.read_bytes()
    forbids = intercepted(lambda call, proceed: attribute if call.name == "forbidden" else refuses(call, proceed))
    with pytest.raises(ReadOnlyStore, match=rf"{attribute}.*lsattr.*chattr -{attribute[0]}"):
        Store[Any](path, system=forbids).transform(lambda _: {"new": 1})
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


def refuses(call: Call, proceed: Callable[[], Any]) -> Any:
    """The kernel's answer for a file that may not lose its name."""
    if call.name in {"rename", "exchange"}:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    return proceed()


@needs_root
@pytest.mark.parametrize("letter", ["i", "a"])
def test_chattr_is_noticed(tmp_path: Path, letter: str) -> None:
    path = tmp_path / "state.json"
    change(path)
    if subprocess.run(["chattr", f"+{letter}", path], check=False, capture_output=True).returncode:
        pytest.skip("the file system has no such attribute")
    try:
        with pytest.raises(ReadOnlyStore, match="lsattr"):
            change(path)
    finally:
        subprocess.run(["chattr", f"-{letter}", path], check=True)


def test_links_in_a_circle_are_named_and_stay(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.symlink_to(two)
    two.symlink_to(one)
    for call in (lambda: Store[Any](one).read(), lambda: change(one)):
        with pytest.raises(OSError, match="in a circle") as caught:
            call()
        assert caught.value.errno == errno.ELOOP
        assert type(caught.value) is OSError
    assert one.is_symlink()
    assert two.is_symlink()


def a_folder(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the whole path may be too long for an address
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def a_character_device(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))


def a_block_device(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(7, 250))


@pytest.mark.parametrize("make", [a_folder, a_fifo, a_socket, a_character_device, a_block_device])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], options: dict[str, Any]
) -> None:
    path = tmp_path / "state.json"
    try:
        make(path)
    except PermissionError:
        pytest.skip("only root may make one")
    kind = stat.S_IFMT(path.lstat().st_mode)
    for use in (lambda: Store[Any](path, **options).read(), lambda: change(path, options)):
        with pytest.raises((NotARegularFile, OSError)) as caught:
            use()
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, NotARegularFile) or make is a_block_device
    with pytest.raises(NotARegularFile, match=make.__name__.replace("_", " ").replace("a fifo", "a FIFO")):
        save(path, b"{}")
    assert stat.S_IFMT(path.lstat().st_mode) == kind
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(("mode", "first"), [(0o660, 0o600), (0o640, 0o600), (0o664, 0o644), (0o604, 0o604)])
def test_until_the_new_document_has_its_group_no_group_may_do_more_than_others(
    tmp_path: Path, mode: int, first: int
) -> None:
    """It is made with the group that the system chooses, which need not be the document's."""
    made: list[int] = []

    def around(call: Call, proceed: Callable[[], Any]) -> Any:
        if call.name == "open" and call.arguments[0] == str(tmp_path / ".state.json.tmp"):
            made.append(call.arguments[2])
        return proceed()

    path = tmp_path / "state.json"
    path.write_text("{}")
    path.chmod(mode)
    Store[Any](path, system=intercepted(around)).update(lambda state: state.update(a=1))
    assert made == [first]
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_a_dead_writer_left_under_the_temporary_name_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change(path)
    leftover = tmp_path / ".state.json.tmp"
    leftover.write_bytes(b"half a docu")
    reader = leftover.open("rb")
    change(path)
    assert not leftover.exists()
    assert Store[Any](path).read() == {"changed": 2}
    with reader:
        assert reader.read() == b"half a docu", "a dead writer's file is never written through"


def test_a_link_planted_under_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change(path)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    victim.chmod(0o600)
    (tmp_path / ".state.json.tmp").symlink_to(victim)
    change(path)
    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()


def test_a_folder_in_the_way_of_the_temporary_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change(path)
    (tmp_path / ".state.json.tmp").mkdir()
    with pytest.raises(OSError, match=r"\.state\.json\.tmp.*the old document is untouched") as caught:
        change(path)
    assert str(path) in str(caught.value)
    assert Store[Any](path).read() == {"changed": 1}


@contextlib.contextmanager
def mounted_alone(path: Path, source: Path) -> Iterator[None]:
    """One file mounted over another, as `docker run -v file:file` does."""
    path.touch()
    done = subprocess.run(["mount", "--bind", str(source), str(path)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


linux = pytest.mark.skipif(sys.platform != "linux", reason="bind mounts are Linux's")


@linux
@needs_root
@pytest.mark.parametrize("durability", ["power", "process"])
def test_a_file_that_is_mounted_alone_is_refused_with_what_to_do(tmp_path: Path, durability: Any) -> None:
    source = tmp_path / "host.json"
    source.write_bytes(b'{"changed":1}\n')
    path = tmp_path / "state.json"
    with mounted_alone(path, source):
        with pytest.raises(OSError, match=r"mount point by itself.*in_place=True.*untouched") as caught:
            change(path, {"durability": durability})
        assert str(path) in str(caught.value)
        assert not list(tmp_path.glob(".*.tmp"))
    assert source.read_bytes() == b'{"changed":1}\n'


@linux
@needs_root
@pytest.mark.parametrize("backups", [0, 2])
@pytest.mark.parametrize("durability", ["power", "process"])
def test_a_file_that_is_mounted_alone_can_be_written_in_place(tmp_path: Path, durability: Any, backups: int) -> None:
    source = tmp_path / "host.json"
    source.write_bytes(b'{"changed":1}\n')
    path = tmp_path / "state.json"
    options = {"durability": durability, "in_place": True, "backups": backups}
    with mounted_alone(path, source):
        change(path, options)
        change(path, options)
        assert Store[Any](path, **options).read() == {"changed": 3}
    assert source.read_bytes() == b'{"changed":3}\n'
    kept = sorted(file.read_bytes() for file in tmp_path.glob(".state.json.backup-*"))
    assert kept == [b'{"changed":1}\n', b'{"changed":2}\n'][:backups]
