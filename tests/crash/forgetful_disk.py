"""A disk with a volatile cache, as a file for a loop device: what was not flushed may be lost at a cut, in any mixture.

    python forgetful_disk.py FILE STABLE CURRENT

`FILE` becomes the disk: this process serves it through /dev/fuse (fuse(4)), so that it sees every write and every flush
that a file system on it makes. `CURRENT` holds what reads see, and `STABLE` what was flushed; both are images of the
same size, and equal at the start. Lines on the standard input are commands:

    cut TARGET SEED    make `TARGET` what a power cut at this instant may leave: what is stable, and of each page that was
                       written since the last flush, the new content or not
    fail flushes       answer every flush from now on with EIO; `fail writes`: every write and every flush
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import random
import select
import struct
import subprocess
import sys
from pathlib import Path

import attrs

PAGE = 4096
"""Written as a whole or not at all. btrfs relies on so much for its superblock."""

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_INIT = struct.Struct("<IIIIHHIIHHII24x")
_ATTRIBUTES = struct.Struct("<QII6Q10I")
_OPENED = struct.Struct("<QIi")
_SPAN = struct.Struct("<QQI")
_WRITTEN = struct.Struct("<II")


class Op(enum.IntEnum):
    """What the kernel asks for (linux/fuse.h)."""

    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    WRITE = 16
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    INTERRUPT = 36
    BATCH_FORGET = 42


_NO_ANSWER = {Op.FORGET, Op.INTERRUPT, Op.BATCH_FORGET}

_MOST_WRITTEN = 1 << 17
_KEEP_CACHE = 2
_ARGUMENTS_OF_WRITE = 40


@attrs.define
class Disk:
    stable_path: Path
    stable: int
    current: int
    size: int
    fails: str = ""
    """`flushes`, `writes` (and flushes), or nothing."""
    unflushed: dict[int, bytes] = attrs.field(factory=dict[int, bytes])
    """Pages by their offset; of one that was written twice, a cut keeps the last content or the flushed one."""

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.current, size, offset)

    def write(self, offset: int, data: memoryview) -> int:
        if self.fails == "writes":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written = os.pwrite(self.current, data, offset)
        for start in range(offset - offset % PAGE, offset + written, PAGE):
            self.unflushed[start] = os.pread(self.current, PAGE, start)
        return written

    def flush(self) -> None:
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        for start, page in self.unflushed.items():
            os.pwrite(self.stable, page, start)
        self.unflushed.clear()

    def cut(self, target: Path, seed: int) -> None:
        subprocess.run(["cp", "--sparse=always", str(self.stable_path), str(target)], check=True)
        dice = random.Random(seed)
        kept = dice.choice([0.0, 0.5, 1.0])  # nothing, a mixture, or all of it as if there were no cache
        with target.open("r+b", buffering=0) as file:
            for start, page in self.unflushed.items():
                if dice.random() < kept:
                    os.pwrite(file.fileno(), page, start)


def attributes(size: int) -> bytes:
    valid_for = (3600, 0, 0)  # seconds, nanoseconds
    times = (0, 0, 0)
    mode, links, user, group, device = 0o100600, 1, 0, 0, 0
    return _ATTRIBUTES.pack(*valid_for, 1, size, size // 512, *times, *times, mode, links, user, group, device, PAGE, 0)


def answer(disk: Disk, operation: int, body: memoryview) -> bytes:
    """What fuse(4) is told. Raises OSError."""
    match operation:
        case Op.INIT:
            return _INIT.pack(7, 31, 0, 0, 0, 0, _MOST_WRITTEN, 1, 0, 0, 0, 0)
        case Op.GETATTR:
            return attributes(disk.size)
        case Op.OPEN:
            return _OPENED.pack(0, _KEEP_CACHE, 0)
        case Op.READ:
            _, offset, size = _SPAN.unpack_from(body)
            return disk.read(offset, size)
        case Op.WRITE:
            _, offset, size = _SPAN.unpack_from(body)
            return _WRITTEN.pack(disk.write(offset, body[_ARGUMENTS_OF_WRITE:][:size]), 0)
        case Op.FSYNC:
            disk.flush()
            return b""
        case Op.RELEASE | Op.FLUSH:  # a descriptor was closed: that flushes nothing
            return b""
        case _:
            raise OSError(errno.ENOSYS, "not needed by a loop device")


def serve(disk: Disk, fuse: int) -> None:
    """Answer until the file is unmounted."""
    commands = open(0, "rb", buffering=0)  # noqa: SIM115 - the standard input, unbuffered, so that select() is right
    while True:
        ready, _, _ = select.select([fuse, commands], [], [])  # type: ignore[type-var]
        if commands in ready:
            obey(disk, commands.readline())
        if fuse in ready and not serve_one(disk, fuse):
            return


def obey(disk: Disk, line: bytes) -> None:
    word, *arguments = line.decode().split()
    if word == "fail":
        (disk.fails,) = arguments
    else:
        assert word == "cut"
        target, seed = arguments
        disk.cut(Path(target), int(seed))
    os.write(1, b"done\n")


def serve_one(disk: Disk, fuse: int) -> bool:
    try:
        request = memoryview(os.read(fuse, _MOST_WRITTEN + PAGE))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise
    _, operation, unique, *_ = _IN.unpack_from(request)
    if operation in _NO_ANSWER:
        return True
    try:
        code, said = 0, answer(disk, operation, request[_IN.size :])
    except OSError as error:
        code, said = -(error.errno or errno.EIO), b""
    os.write(fuse, _OUT.pack(_OUT.size + len(said), code, unique) + said)
    return True


def mount(fuse: int, at: str) -> None:
    options = f"fd={fuse},rootmode=100000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"forgetful", os.fsencode(at), b"fuse", 0, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), at)


def main() -> None:
    at, stable, current = sys.argv[1:]
    fuse = os.open("/dev/fuse", os.O_RDWR)
    disk = Disk(Path(stable), os.open(stable, os.O_RDWR), os.open(current, os.O_RDWR), os.stat(stable).st_size)
    mount(fuse, at)
    os.write(1, b"mounted\n")
    serve(disk, fuse)


if __name__ == "__main__":
    main()
