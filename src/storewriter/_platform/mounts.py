"""What kernel locks exclude on the file system of a path: all hosts, this host's processes, or nothing.

Promise    The type is the one that the kernel names for the mount. A lock that does not exclude, not even a second
           descriptor of the same process, is detected by trying.
How        /proc/self/mountinfo (proc(5)): the last mount whose point is an ancestor of the path. Answers are kept per
           device, so only the first look costs anything.
Does not   test other hosts: whether a network file system carries locks over is judged by its type and options alone.
           Outside Linux the type is unknown, and a file system is taken for a local one.
"""

from __future__ import annotations

import enum
import fcntl
import os
from typing import Final

import attrs

from storewriter._platform.descriptors import Descriptor


class Trust(enum.Enum):
    """What a kernel lock excludes."""

    LOCAL = "local"
    """Every process that can reach the file system: it belongs to this host."""
    SHARED = "shared"
    """Other hosts too: the file system carries locks over, as byte ranges and through its server."""
    HOST_ONLY = "host only"
    """The processes of this host; hosts that mount the same file system may hold the lock at the same time."""
    NONE = "none"
    """Nothing: locking fails, or succeeds for every process at once."""


@attrs.frozen
class Mount:
    """One line of /proc/self/mountinfo."""

    point: str
    kind: str
    """Type of the file system, `ext4` or `fuse.sshfs`."""
    options: frozenset[str]
    """Options of the mount and of the file system."""
    device: str = ""
    """`253:1`, the major and minor number of `st_dev`."""
    source: str = ""
    """What is mounted: `/dev/vda1`, `server:/data`."""


def mount_of(path: str) -> Mount | None:
    """The mount that a canonical path is on; None where the kernel does not show mounts."""
    # The deepest one, and of several over the same point the last: it hides the others.
    return max(
        (mount for mount in reversed(mounts()) if _is_under(path, mount.point)),
        key=lambda mount: len(mount.point),
        default=None,
    )


def mounts() -> list[Mount]:
    """All mounts that this process sees, in their order; none where the kernel does not show them."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return [mount for mount in map(_parsed, file) if mount is not None]
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's: what is remembered for good must not come of it
        return []


def _parsed(line: str) -> Mount | None:
    # 36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue   (proc(5))
    before, dash, after = line.partition(" - ")
    fields, rest = before.split(), after.split()
    if not dash or len(fields) < 6 or len(rest) < 2:
        return None
    options = ",".join([fields[5], *rest[2:]])
    return Mount(_unescaped(fields[4]), rest[0], frozenset(options.split(",")), fields[2], rest[1])


def _unescaped(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def _is_under(path: str, point: str) -> bool:
    return path == point or path.startswith(point if point.endswith("/") else point + "/")


# flock(2) on Linux >= 2.6.12 is a byte-range lock at the server there (nfs(5), mount.cifs(8)); the cluster file
# systems have a lock manager of their own. FUSE types that are listed pass flock(2) on to their server.
_SHARED: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.ceph", "gfs2", "ocfs2", "lustre", "fuse.glusterfs", "fuse.juicefs"}
)
_KEEPS_TO_ITSELF: Final[dict[str, frozenset[str]]] = {
    "nfs": frozenset({"nolock", "local_lock=flock", "local_lock=all"}),
    "nfs4": frozenset({"nolock", "local_lock=flock", "local_lock=all"}),
    "cifs": frozenset({"nobrl", "nolock"}),
    "smb3": frozenset({"nobrl", "nolock"}),
    "lustre": frozenset({"localflock"}),
}
"""Options with which a file system that could carry locks over does not."""

# Reached by other machines or kernels, with locks that stay on this one, or whose reach is unknown.
_HOST_ONLY: Final = frozenset(
    "9p virtiofs vboxsf vmhgfs prl_fs drvfs afs coda beegfs gpfs orangefs pvfs2 fuse".split()  # noqa: SIM905
)
_LOCAL_FUSE: Final = frozenset(
    {"fuseblk", "fuse.bindfs", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.encfs", "fuse.mergerfs", "fuse.lxcfs"}
)


def trust_in(mount: Mount | None) -> Trust:
    """The trust that the type and the options of a mount justify, before a lock has been tried."""
    if mount is None or mount.kind in _LOCAL_FUSE:
        return Trust.LOCAL
    if mount.options & _KEEPS_TO_ITSELF.get(mount.kind, frozenset()):
        return Trust.HOST_ONLY
    if mount.kind in _SHARED:
        return Trust.SHARED
    if mount.kind in _HOST_ONLY or mount.kind.startswith("fuse."):
        return Trust.HOST_ONLY
    return Trust.LOCAL


def is_refused_twice(fd: int, name: str) -> bool | None:
    """Whether another descriptor of a file that `fd` holds locked is refused the lock. None: it cannot be tried now."""
    file = Descriptor()
    try:
        other = file.open(os.open, name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    try:
        if not os.path.samestat(os.fstat(other), os.fstat(fd)):
            return None  # replaced meanwhile: that lock would be another one
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's
        return None
    finally:
        file.close()
    return False


_known: dict[int, tuple[Trust, Mount | None]] = {}
"""By device (`st_dev`)."""


def examine(fd: int, name: str, device: int) -> tuple[Trust, Mount | None]:
    """What locks are worth on the device of a file that `fd` holds locked; tried once per device."""
    known = _known.get(device)
    if known is not None:
        return known
    mount = mount_of(name)
    refused = is_refused_twice(fd, name)
    answer = (Trust.NONE if refused is False else trust_in(mount), mount)
    if refused is not None:
        _known[device] = answer
    return answer


def forget() -> None:
    """Drop the results of earlier trials."""
    _known.clear()
